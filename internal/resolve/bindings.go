package resolve

import (
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// bindings resolves the class's own bindings.
func (w *world) bindings(c *class) []oprc.Binding {
	if len(c.spec.Functions) == 0 {
		return nil
	}
	out := make([]oprc.Binding, 0, len(c.spec.Functions))
	first := make(map[string]int, len(c.spec.Functions))
	route := -1
	for j := range c.spec.Functions {
		b := w.binding(c, j)
		if i, repeated := first[b.Name]; repeated && b.Name != "" {
			pointer := at("classes", c.index, "functions", j, "name")
			if c.spec.Functions[j].Name == "" || c.spec.Functions[j].Name == lastPart(c.spec.Functions[j].Function) {
				pointer = at("classes", c.index, "functions", j)
			}
			w.report(c.pack, oprc.CodeDuplicate, pointer, "give one of them a `name` of its own",
				"class "+quote(c.spec.Name)+" has two bindings named "+quote(b.Name)+": functions/"+itoa(i)+" and functions/"+itoa(j))
		} else {
			first[b.Name] = j
		}
		if b.DefaultRoute && route >= 0 {
			w.report(c.pack, oprc.CodeAccess, at("classes", c.index, "functions", j, "defaultRoute"), "keep one of them",
				"class "+quote(c.spec.Name)+" has two default routes: "+quote(out[route].Name)+" and "+quote(b.Name))
		} else if b.DefaultRoute {
			route = j
		}
		out = append(out, b)
	}
	return out
}

// binding resolves one binding.
func (w *world) binding(c *class, j int) oprc.Binding {
	b := c.spec.Functions[j]
	if b.Name == "" {
		b.Name = lastPart(b.Function)
	}
	if b.Access == "" {
		b.Access = oprc.Public
	}
	if b.Condition != "" && c.pack.doc != nil {
		if message, hint := w.conditions.check(b.Condition); message != "" {
			w.report(c.pack, oprc.CodeCondition, at("classes", c.index, "functions", j, "condition"), hint,
				"condition of binding "+quote(b.Name)+": "+message)
		}
	}
	f := w.boundFunction(c, j)
	if f == nil {
		b.Function = absolute(c.pack, b.Function)
		b.OutputCls = w.outputClass(c.pack, b.OutputCls, func() string { return at("classes", c.index, "functions", j, "outputCls") })
		return b
	}
	f.bound = true
	b.Function = f.key
	b.Immutable = b.Immutable || f.spec.Immutable
	if b.OutputCls == "" {
		b.OutputCls = w.resolvedOutput(f)
	} else {
		b.OutputCls = w.outputClass(c.pack, b.OutputCls, func() string { return at("classes", c.index, "functions", j, "outputCls") })
	}
	return b
}

// boundFunction finds the function that a binding names.
func (w *world) boundFunction(c *class, j int) *function {
	ref := c.spec.Functions[j].Function
	if ref == "" {
		return nil
	}
	if strings.HasPrefix(ref, oldBuiltin) {
		ref = w.modern(c.pack, ref, at("classes", c.index, "functions", j, "function"))
	}
	f := lookup(w.functions, c.pack, ref)
	if twoReadings(w, w.functions, c.pack, oprc.CodeFunctionRef, at("classes", c.index, "functions", j, "function"), "function", ref) {
		return nil
	}
	if f == nil {
		w.report(c.pack, oprc.CodeFunctionRef, at("classes", c.index, "functions", j, "function"), w.nearFunction(c.pack, ref),
			"binding "+quote(c.spec.Functions[j].Name)+" of class "+quote(c.spec.Name)+" names function "+quote(ref)+", and there is no such function")
		return nil
	}
	c.pack.dependOn(f.pack)
	return f
}

// outputClass makes an outputCls absolute, and warns where there is no such class.
func (w *world) outputClass(p *pack, ref string, pointer func() string) string {
	if oprc.NoOutput(ref) {
		return ref
	}
	if strings.HasPrefix(ref, oldBuiltin) {
		ref = w.modern(p, ref, pointer())
	}
	if c := lookup(w.classes, p, ref); c != nil {
		return c.key
	}
	if p.doc != nil {
		w.warn(p, oprc.CodeOutputCls, pointer(), w.nearClass(p, ref), "outputCls "+quote(ref)+" names no class that is known")
	}
	return absolute(p, ref)
}

// resolvedOutput is a function's outputCls, absolute; [world.checkFunctions] warns
// about it.
func (w *world) resolvedOutput(f *function) string {
	ref := f.spec.OutputCls
	if oprc.NoOutput(ref) {
		return ref
	}
	if name, old := strings.CutPrefix(ref, oldBuiltin); old {
		ref = oprc.Key(oprc.BuiltinPackage, name)
	}
	if c := lookup(w.classes, f.pack, ref); c != nil {
		return c.key
	}
	return absolute(f.pack, ref)
}

// references resolves the class's own references to other classes.
func (w *world) references(c *class) []oprc.RefSpec {
	if len(c.spec.RefSpec) == 0 {
		return nil
	}
	out := make([]oprc.RefSpec, 0, len(c.spec.RefSpec))
	seen := make(map[string]bool, len(c.spec.RefSpec))
	for j, ref := range c.spec.RefSpec {
		if seen[ref.Name] && ref.Name != "" {
			w.report(c.pack, oprc.CodeDuplicate, at("classes", c.index, "refSpec", j, "name"), "rename or remove one of the two",
				"class "+quote(c.spec.Name)+" has two references named "+quote(ref.Name))
		}
		seen[ref.Name] = true
		if ref.Cls != "" {
			pointer := at("classes", c.index, "refSpec", j, "cls")
			name := w.modern(c.pack, ref.Cls, pointer)
			if to := lookup(w.classes, c.pack, name); to != nil {
				ref.Cls = to.key
			} else {
				w.warn(c.pack, oprc.CodeOutputCls, pointer, w.nearClass(c.pack, name),
					"reference "+quote(ref.Name)+" is to class "+quote(name)+", which is not known")
				ref.Cls = absolute(c.pack, name)
			}
		}
		out = append(out, ref)
	}
	return out
}

func (w *world) checkKeys(c *class) {
	if c.spec.StateSpec == nil {
		return
	}
	seen := make(map[string]bool, len(c.spec.StateSpec.KeySpecs))
	for j, k := range c.spec.StateSpec.KeySpecs {
		if seen[k.Name] && k.Name != "" {
			w.report(c.pack, oprc.CodeDuplicate, at("classes", c.index, "stateSpec", "keySpecs", j, "name"), "rename or remove one of the two",
				"class "+quote(c.spec.Name)+" has two keys named "+quote(k.Name))
		}
		seen[k.Name] = true
	}
}

func lastPart(ref string) string { return ref[strings.LastIndexByte(ref, '.')+1:] }
