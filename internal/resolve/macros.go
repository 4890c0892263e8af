package resolve

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// self is how a macro names the object that it is called on.
const self = "@"

// resolveMacro makes the references of a function's macro absolute, and checks
// what the macro alone shows.
func (w *world) resolveMacro(f *function) *oprc.Macro {
	if f.spec.Macro == nil {
		return nil
	}
	m := *f.spec.Macro
	m.Steps = slices.Clone(m.Steps)
	for i := range m.Steps {
		s := &m.Steps[i]
		if oprc.NoOutput(s.TargetCls) {
			continue
		}
		pointer := at("functions", f.index, "macro", "steps", i, "targetCls")
		ref := w.modern(f.pack, s.TargetCls, pointer)
		if c := w.classRef(f.pack, ref); c != nil {
			s.TargetCls = c.key
			continue
		}
		w.warn(f.pack, oprc.CodeUnbound, pointer, w.nearClass(f.pack, ref), step0(i)+"targetCls "+quote(ref)+" names no class that is known")
		s.TargetCls = absolute(f.pack, ref)
	}
	if f.pack.doc != nil {
		shape{w, f, at("functions", f.index, "macro")}.check()
	}
	return &m
}

// step0 starts a sentence about a step, counted from 0 as in pointers.
func step0(i int) string { return "steps[" + itoa(i) + "]: " }

// A shape check looks at one macro by itself: its names, and the order in which
// they are used.
type shape struct {
	w    *world
	f    *function
	here string // pointer to the macro
}

func (s shape) check() {
	m := s.f.spec.Macro
	defined := map[string]int{} // alias -> step that defines it
	for i, st := range m.Steps {
		if _, again := defined[st.As]; !again && st.As != "" {
			defined[st.As] = i
		}
	}
	for i, st := range m.Steps {
		here := s.here + at("steps", i)
		s.checkStep(i, st, here, defined)
		before := func(alias string) verdict { return missingAlias(alias, i, defined) }
		for _, name := range slices.Sorted(maps.Keys(st.Args)) {
			s.checkTemplates(here+at("args", name), step0(i), st.Args[name], before)
		}
		s.checkTemplates(here+"/bodyTemplate", step0(i), st.BodyTemplate, before)
	}
	atEnd := func(alias string) verdict { return missingAlias(alias, len(m.Steps), defined) }
	if m.Output != "" {
		if why := atEnd(aliasOf(m.Output, defined)); why.message != "" {
			s.error(s.here+"/output", why.hint, "output: "+why.message)
		}
	}
	s.checkTemplates(s.here+"/bodyTemplate", "", m.BodyTemplate, atEnd)
}

func (s shape) error(pointer, hint, message string) {
	s.w.report(s.f.pack, oprc.CodeMacro, pointer, hint, message)
}

func (s shape) checkStep(i int, st oprc.Step, here string, defined map[string]int) {
	switch {
	case st.Target == "":
		s.error(here+"/target", "add target: \"@\", or the alias of an earlier step", step0(i)+"the step has no target")
	case st.As != "" && st.As != self && aliasOf(st.Target, defined) == st.As && defined[st.As] == i:
		s.error(here+"/as", "choose another alias", step0(i)+"the alias "+quote(st.As)+" is also the target of the step")
	default:
		if why := missingAlias(aliasOf(st.Target, defined), i, defined); why.message != "" {
			s.error(here+"/target", why.hint, step0(i)+"target: "+why.message)
		}
	}
	if st.As == self {
		s.error(here+"/as", "choose another alias", step0(i)+"the alias "+quote(self)+" always means the object that is called")
	} else if first, taken := defined[st.As]; taken && first != i {
		s.error(here+"/as", "choose another alias", fmt.Sprintf("%sthe alias %q is taken by steps[%d]", step0(i), st.As, first))
	}
}

// aliasOf is the alias in "alias" or "alias.field".
func aliasOf(target string, defined map[string]int) string {
	if _, known := defined[target]; known {
		return target
	}
	alias, _, _ := strings.Cut(target, ".")
	return alias
}

// missingAlias says why an alias cannot be used by step i, if so.
func missingAlias(alias string, i int, defined map[string]int) verdict {
	if alias == self {
		return verdict{}
	}
	switch by, known := defined[alias]; {
	case !known:
		return verdict{"there is no step with the alias " + quote(alias), nearAlias(alias, i, defined)}
	case by == i:
		return verdict{quote(alias) + " is what the step itself gives", "use what an earlier step gives, or " + quote(self)}
	case by > i:
		return verdict{fmt.Sprintf("%q is the result of a later step, steps[%d]", alias, by), "move that step up"}
	}
	return verdict{}
}

// nearAlias hints at an alias that step i may use.
func nearAlias(alias string, i int, defined map[string]int) string {
	if near := oprc.Nearest(alias, slices.Sorted(maps.Keys(defined))); near != "" {
		return didYouMean(near)
	}
	earlier := []string{self}
	for name, by := range defined {
		if by < i {
			earlier = append(earlier, name)
		}
	}
	return choice("aliases so far", earlier)
}

// checkTemplates looks at every text in a value for ${alias|...} with an alias
// that cannot be used there.
func (s shape) checkTemplates(pointer, prefix string, value any, missing func(string) verdict) {
	switch v := value.(type) {
	case string:
		for _, alias := range templateAliases(v) {
			if why := missing(alias); why.message != "" {
				s.error(pointer, why.hint, prefix+"template: "+why.message)
			}
		}
	case []any:
		for i, item := range v {
			s.checkTemplates(pointer+at(i), prefix, item, missing)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			s.checkTemplates(pointer+at(name), prefix, v[name], missing)
		}
	}
}

// templateAliases lists the aliases of the ${alias|...} in a text, once each.
func templateAliases(text string) []string {
	var out []string
	for {
		_, rest, found := strings.Cut(text, "${")
		if !found {
			return out
		}
		inside, after, closed := strings.Cut(rest, "}")
		if !closed {
			return out
		}
		text = after
		alias, _, piped := strings.Cut(inside, "|")
		if alias = strings.TrimSpace(alias); piped && !slices.Contains(out, alias) {
			out = append(out, alias)
		}
	}
}
