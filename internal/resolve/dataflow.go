package resolve

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// checkMacros follows every macro through the classes that bind it: the bindings
// that its steps call must exist and be callable, and it must not call itself.
func (w *world) checkMacros() {
	flow := &dataflow{world: w, issues: map[issueKey]*issue{}, walked: map[call]bool{}, number: map[call]int{}}
	for _, p := range w.packs {
		for _, c := range p.classes {
			if w.classes[c.key] == c {
				flow.followClass(c)
			}
		}
	}
	for _, p := range w.packs {
		for _, f := range p.functions {
			if f.out.Macro != nil && !f.bound {
				flow.follow(nil, "", f)
			}
		}
	}
	flow.report()
	flow.reportRecursion()
}

// A dataflow is the walk over all macros. A macro bound by many classes is walked
// for each of them; what is wrong with the same step is said once.
type dataflow struct {
	*world
	issues map[issueKey]*issue
	order  []*issue
	walked map[call]bool
	// Calls form a graph: which macro, on which class, calls which.
	calls  []call
	number map[call]int
	next   [][]int
	steps  [][]int // parallel to next: by which step
}

// A call is a macro at work on an object of a class; nil where the class is not
// known.
type call struct {
	class *class
	macro *function
}

type issueKey struct {
	pack    *pack
	pointer string
	code    oprc.Code
	message string // with %s for the class
}

type issue struct {
	issueKey
	severity oprc.Severity
	hint     string
	classes  []string
	about    about
}

// An about is what an issue is about, whoever is blamed for it.
type about struct {
	macro *function
	step  int
	code  oprc.Code
}

func (d *dataflow) followClass(c *class) {
	for _, name := range sortedNames(c.out.Resolved.Functions) {
		if f := d.functions[c.out.Resolved.Functions[name].Function]; f != nil && f.out.Macro != nil {
			d.follow(c, name, f)
		}
	}
}

// A result is what is known of the object behind an alias.
type result struct {
	class *class
	quiet bool // it is not known, and that was said
}

// follow walks the steps of macro f, bound as name on class c.
func (d *dataflow) follow(c *class, name string, f *function) {
	from := call{c, f}
	if d.walked[from] {
		return
	}
	d.walked[from] = true
	results := map[string]result{self: {class: c, quiet: c == nil}}
	for i := range f.out.Macro.Steps {
		s := &f.out.Macro.Steps[i]
		to := d.target(s, results)
		w := walker{d, from, name, i, s}
		out := w.step(to)
		if _, taken := results[s.As]; s.As != "" && !taken {
			results[s.As] = out
		}
	}
}

// target finds out on what a step works.
func (d *dataflow) target(s *oprc.Step, results map[string]result) result {
	if !oprc.NoOutput(s.TargetCls) {
		if c := d.classes[s.TargetCls]; c != nil {
			return result{class: c}
		}
		return result{quiet: true}
	}
	if r, known := results[s.Target]; known {
		return r
	}
	alias, field, _ := strings.Cut(s.Target, ".")
	r, known := results[alias]
	if !known || r.class == nil {
		return result{quiet: r.quiet || !known}
	}
	if ref, has := r.class.out.Resolved.RefSpecs[field]; has && ref.Cls != "" {
		c := d.classes[ref.Cls]
		return result{class: c, quiet: c == nil}
	}
	return result{}
}

// A walker looks at one step of one call.
type walker struct {
	*dataflow
	from call
	name string // of the macro's binding
	i    int
	s    *oprc.Step
}

// step checks that the target has the binding, and returns what it gives.
func (w walker) step(to result) result {
	if w.s.Function == "" {
		return result{quiet: true}
	}
	if to.class == nil {
		if !to.quiet {
			w.issue(oprc.SeverityWarning, oprc.CodeUnbound, "target", "add targetCls: CLASS",
				step0(w.i)+"the class of target "+quote(w.s.Target)+" is not known, so binding "+quote(w.s.Function)+" is not checked", "")
		}
		return result{quiet: true}
	}
	b, has := to.class.out.Resolved.Functions[w.s.Function]
	if !has {
		w.issue(oprc.SeverityError, oprc.CodeMacro, "function", nearBinding(w.s.Function, to.class),
			step0(w.i)+"class %s has no binding "+quote(w.s.Function), to.class.key)
		return result{quiet: true}
	}
	w.from.macro.pack.dependOn(to.class.pack)
	w.access(to.class, b)
	callee := w.functions[b.Function]
	if callee != nil && callee.out.Macro != nil {
		w.edge(call{to.class, callee})
	}
	if b.NoOutput || oprc.NoOutput(b.OutputCls) {
		return result{}
	}
	c := w.classes[b.OutputCls]
	return result{class: c, quiet: c == nil}
}

// access checks that the macro may call a binding of class to.
func (w walker) access(to *class, b oprc.Binding) {
	origin := declares(to, w.s.Function)
	switch b.Access {
	case oprc.Internal:
		if mine := w.from.macro.pack; mine != to.pack && mine != origin.pack {
			w.issue(oprc.SeverityError, oprc.CodeAccess, "function", "make the binding PUBLIC, or call another",
				step0(w.i)+"binding "+quote(w.s.Function)+" of class %s is INTERNAL: only macros of its own package may call it", to.key)
		}
	case oprc.Private:
		if w.from.class == to || (w.from.class != nil && declares(w.from.class, w.name) == origin) {
			return
		}
		w.issue(oprc.SeverityError, oprc.CodeAccess, "function", "make the binding INTERNAL or PUBLIC, or call another",
			step0(w.i)+"binding "+quote(w.s.Function)+" of class %s is PRIVATE: only macros of its own class may call it", to.key)
	}
}

// declares finds the class, c or an ancestor, from which c has the binding.
func declares(c *class, name string) *class {
	for _, b := range c.out.Functions {
		if b.Name == name {
			return c
		}
	}
	for _, up := range slices.Backward(c.parents) {
		if _, has := up.class.out.Resolved.Functions[name]; has {
			return declares(up.class, name)
		}
	}
	return c
}

// issue notes what is wrong with the step. It is blamed on the macro, but on the
// class that binds it where that is in another package of the change.
func (w walker) issue(severity oprc.Severity, code oprc.Code, field, hint, message, class string) {
	f := w.from.macro
	key := issueKey{f.pack, at("functions", f.index, "macro", "steps", w.i, field), code, message}
	if c := w.from.class; c != nil && c.pack != f.pack && c.pack.doc != nil {
		key.pack, key.pointer = c.pack, at("classes", c.index, "parents")
		if owner := declares(c, w.name); owner.pack == c.pack {
			j := slices.IndexFunc(owner.out.Functions, func(b oprc.Binding) bool { return b.Name == w.name })
			key.pointer = at("classes", owner.index, "functions", j, "function")
		}
		key.message = "macro " + quote(f.key) + ", " + message
	}
	is := w.issues[key]
	if is == nil {
		is = &issue{issueKey: key, severity: severity, hint: hint, about: about{f, w.i, code}}
		w.issues[key] = is
		w.order = append(w.order, is)
	}
	if is.hint != hint {
		is.hint = "" // it is about one of the classes alone
	}
	if class != "" && !slices.Contains(is.classes, class) {
		is.classes = append(is.classes, class)
	}
}

// report says each thing once, with the classes that it concerns. Where a macro
// is wrong at home, classes elsewhere that inherit it are not blamed.
func (d *dataflow) report() {
	own := map[about]bool{} // wrong on a class of the macro's package already
	for _, is := range d.order {
		own[is.about] = own[is.about] || is.pack == is.about.macro.pack
	}
	for _, is := range d.order {
		if own[is.about] && is.pack != is.about.macro.pack {
			continue
		}
		message := is.message
		if len(is.classes) > 0 {
			slices.Sort(is.classes)
			message = strings.Replace(message, "%s", quote(is.classes[0]), 1)
			switch others := len(is.classes) - 1; {
			case others == 1:
				message += " (the same on another class)"
			case others > 1:
				message += fmt.Sprintf(" (the same on %d other classes)", others)
			}
		}
		if is.severity == oprc.SeverityError {
			d.world.report(is.pack, is.code, is.pointer, is.hint, message)
		} else {
			d.warn(is.pack, is.code, is.pointer, is.hint, message)
		}
	}
}

// node numbers a call.
func (d *dataflow) node(c call) int {
	n, known := d.number[c]
	if !known {
		n = len(d.calls)
		d.number[c] = n
		d.calls = append(d.calls, c)
		d.next = append(d.next, nil)
		d.steps = append(d.steps, nil)
	}
	return n
}

// edge notes that the step calls another macro.
func (w walker) edge(to call) {
	from, n := w.node(w.from), w.node(to)
	w.next[from] = append(w.next[from], n)
	w.steps[from] = append(w.steps[from], w.i)
}

// reportRecursion reports macros that call themselves, directly or through others.
// Nothing in a macro could end that.
func (d *dataflow) reportRecursion() {
	seen := map[string]bool{}
	g := graph{next: d.next}
	g.cycles(func(cycle []step) {
		var names []named
		for _, s := range cycle {
			f, i := d.calls[s.node].macro, d.steps[s.node][s.edge]
			names = append(names, named{
				key: f.key, name: f.spec.Name, pack: f.pack, step: i,
				pointer: at("functions", f.index, "macro", "steps", i, "function"),
			})
		}
		if p := path(rotate(names)); !seen[p] {
			seen[p] = true
			d.reportCycle(oprc.CodeMacro, names, "call something else in one of these steps", func(n named, path string) string {
				return step0(n.step) + "the macro calls itself: " + path
			})
		}
	})
}
