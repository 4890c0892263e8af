package plan

import (
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A touched is what changes reach.
type touched struct{ packages, classes, functions, units, envs map[string]bool }

// summarize counts changes, and what they reach.
func summarize(changes []Change, unchanged int) Summary {
	set := func() map[string]bool { return map[string]bool{} }
	t := touched{packages: set(), classes: set(), functions: set(), units: set(), envs: set()}
	s := Summary{Unchanged: unchanged}
	for _, c := range changes {
		t.add(c)
		switch {
		case c.Kind == oprc.KindUnit && slices.Contains(c.Actions, Delete):
			s.Commands.Undeploy++
		case c.Kind == oprc.KindUnit:
			s.Commands.Deploy++
		case slices.Contains(c.Actions, Create):
			s.Create++
		case slices.Contains(c.Actions, Update):
			s.Update++
		case slices.Contains(c.Actions, Delete):
			s.Delete++
		}
	}
	s.Blast = Blast{
		Packages: len(t.packages), Classes: len(t.classes), Functions: len(t.functions),
		Units: len(t.units), Environments: slices.AppendSeq([]string{}, maps.Keys(t.envs)),
	}
	slices.Sort(s.Blast.Environments)
	return s
}

func (t touched) add(c Change) {
	if c.Package != "" {
		t.packages[c.Package] = true
	}
	switch c.Kind {
	case oprc.KindEnv:
		t.envs[c.Key] = true
	case oprc.KindFunction:
		t.functions[c.Key] = true
	case oprc.KindClass, oprc.KindDeployment:
		t.classes[c.Key] = true
	case oprc.KindUnit:
		u := c.unit()
		t.units[c.Key], t.classes[u.ClsKey], t.envs[u.TargetEnv] = true, true, true
		for _, f := range u.Functions {
			t.functions[f.Key] = true
		}
	}
}
