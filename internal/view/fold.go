package view

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

const (
	// So many objects that change alike are listed one by one; more are one line.
	fewAlike   = 4
	fewCreated = 20
)

// A fold is many objects of one kind that change in the same way.
type fold struct {
	kind    oprc.Kind
	marker  string
	what    string // that is common to them
	changes []plan.Change
}

// lines say how many there are, what is common to them, and where they are.
func (f fold) lines() []planLine {
	text := count(len(f.changes), string(f.kind))
	if f.what != "" {
		text += ": " + f.what
	}
	out := []planLine{{1, f.marker, text, ""}}
	if f.kind == oprc.KindUnit {
		return append(out, planLine{1, "", perEnvironment(f.changes), ""})
	}
	var names []string
	for _, c := range f.changes {
		name := c.Package
		if f.kind == oprc.KindPackage || name == "" {
			name = c.Key
		}
		names = append(names, clean(name))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	where := span(names)
	if f.kind != oprc.KindPackage && f.kind != oprc.KindEnv {
		where = "in " + count(len(names), "package") + ": " + where
	}
	return append(out, planLine{1, "", where, ""})
}

// span names a sorted list by its first and last few.
func span(names []string) string {
	const few = 6
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:few/2], ", ") + " … " + names[len(names)-1]
}

// folded parts changes that many objects have in common from the others. Removals are in
// neither.
func folded(p *plan.Plan, because causes) (folds []fold, rest []plan.Change) {
	type likeness struct{ kind, marker, what string }
	var order []likeness
	alike := map[likeness][]plan.Change{}
	of := func(c plan.Change) likeness {
		return likeness{string(c.Kind), marker(c.Actions), common(c, because)}
	}
	for _, c := range p.Changes {
		if marker(c.Actions) == "-" {
			continue
		}
		l := of(c)
		if alike[l] == nil {
			order = append(order, l)
		}
		alike[l] = append(alike[l], c)
	}
	many := func(l likeness) bool {
		most := fewAlike
		if l.marker == "+" && oprc.Kind(l.kind) != oprc.KindUnit {
			most = fewCreated
		}
		return len(alike[l]) > most && sharedBySeveral(alike[l])
	}
	inRest := map[string]bool{} // packages that are shown on their own
	for _, c := range p.Changes {
		if marker(c.Actions) != "-" && c.Kind != oprc.KindPackage && !many(of(c)) {
			inRest[c.Package] = true
		}
	}
	for _, l := range order {
		cs := alike[l]
		if oprc.Kind(l.kind) == oprc.KindPackage && l.marker == "~" && l.what == "" {
			// The change of such a package is that of its objects. It heads those that are
			// shown one by one.
			cs = slices.DeleteFunc(slices.Clone(cs), func(c plan.Change) bool { return !inRest[c.Key] })
			rest = append(rest, cs...)
			continue
		}
		if many(l) {
			folds = append(folds, fold{oprc.Kind(l.kind), l.marker, l.what, cs})
		} else {
			rest = append(rest, cs...)
		}
	}
	slices.SortStableFunc(folds, func(a, b fold) int { return cmp.Compare(depth(a.kind), depth(b.kind)) })
	return folds, rest
}

// sharedBySeveral reports whether the changes are of more than one package: units of one
// class are counted where their package is shown.
func sharedBySeveral(cs []plan.Change) bool {
	if cs[0].Kind == oprc.KindPackage || cs[0].Kind == oprc.KindEnv {
		return true
	}
	return slices.ContainsFunc(cs, func(c plan.Change) bool { return c.Package != cs[0].Package })
}

// common says what a change may have in common with those of other objects.
func common(c plan.Change, because causes) string {
	var parts []string
	inherited := c.Reason == plan.ReasonInherited && c.Kind != oprc.KindUnit
	for _, f := range c.Fields {
		if inherited || c.Kind == oprc.KindPackage && partOfPackage(f.Path) {
			continue
		}
		if c.Kind == oprc.KindUnit { // the path holds the name of the function
			f.Path = f.Path[strings.LastIndexByte(f.Path, '/')+1:]
		}
		parts = append(parts, fieldText(f, 60))
	}
	if b := brief(c); b != "" {
		parts = append(parts, b)
	}
	if w := because.why(c); w != "" {
		parts = append(parts, w)
	}
	return strings.Join(slices.Compact(parts), "; ")
}

// causes knows which changes of a plan others follow from.
type causes struct {
	changed map[string]string      // key -> "class base.P", of functions and classes that were edited
	classes map[string]plan.Change // classes that change because of others
}

func causesOf(p *plan.Plan) causes {
	k := causes{map[string]string{}, map[string]plan.Change{}}
	for _, c := range p.Changes {
		switch {
		case c.Kind != oprc.KindClass && c.Kind != oprc.KindFunction:
		case c.Reason == plan.ReasonInherited:
			k.classes[c.Key] = c
		default:
			k.changed[c.Key] = string(c.Kind) + " " + clean(c.Key)
		}
	}
	return k
}

// why words a reason where the action does not say it already, and names its cause.
func (k causes) why(c plan.Change) string {
	if c.Reason == plan.ReasonInherited {
		if of := k.of(c); len(of) > 0 {
			verb := "because of "
			if c.Kind == oprc.KindClass {
				verb = "inherited from "
			}
			return verb + span(of)
		}
	}
	return why(c)
}

// of names the edited functions and classes that a change follows from, sorted.
func (k causes) of(c plan.Change) []string {
	var out []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, m := range v {
				walk(key)
				walk(m)
			}
		case []any:
			for _, m := range v {
				walk(m)
			}
		case string:
			if name := k.changed[v]; name != "" && v != c.Key {
				out = append(out, name)
			}
		}
	}
	for _, raw := range []json.RawMessage{c.Before, c.After} {
		var v any
		if json.Unmarshal(raw, &v) == nil {
			walk(v)
		}
	}
	if c.Kind == oprc.KindUnit && len(out) == 0 {
		cls, _, _, _, _ := oprc.ParseUnitID(c.Key)
		if class, inherits := k.classes[cls]; inherits {
			return k.of(class)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// foldTitle counts objects that are folded.
func foldTitle(folds []fold) string {
	n := 0
	for _, f := range folds {
		n += len(f.changes)
	}
	return fmt.Sprintf("The same in many places (%s)", count(n, "change"))
}
