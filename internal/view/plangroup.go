package view

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A planGroup is what a plan does to one package, or to the environments when
// pkg is empty.
type planGroup struct {
	pkg     string
	changes []plan.Change // as in the plan, units last
	causes  causes
}

// planGroups returns the environments first, then each package by name.
func planGroups(changes []plan.Change, because causes) []planGroup {
	byPkg := map[string][]plan.Change{}
	for _, c := range changes {
		pkg := c.Package
		if c.Kind == oprc.KindPackage {
			pkg = c.Key
		}
		byPkg[pkg] = append(byPkg[pkg], c)
	}
	var out []planGroup
	for _, pkg := range slices.Sorted(maps.Keys(byPkg)) {
		cs := byPkg[pkg]
		slices.SortStableFunc(cs, func(a, b plan.Change) int { return cmp.Compare(depth(a.Kind), depth(b.Kind)) })
		out = append(out, planGroup{pkg, cs, because})
	}
	return out
}

func depth(k oprc.Kind) int {
	switch k {
	case oprc.KindEnv, oprc.KindPackage:
		return 0
	case oprc.KindUnit:
		return 2
	}
	return 1
}

func (g planGroup) title() string {
	if g.pkg == "" {
		return "environments"
	}
	return "package " + g.pkg
}

// lines draws the group: its package, the objects in it, and the units, which are
// folded where they are many.
func (g planGroup) lines(wide bool) []planLine {
	var out []planLine
	if g.pkg != "" && g.changes[0].Kind != oprc.KindPackage {
		out = append(out, planLine{0, "~", "package " + clean(g.pkg), "package file unchanged; only its placement or dependencies changed"})
	}
	explained := false // the units' own fields would say the same again
	for _, c := range g.changes {
		if c.Kind != oprc.KindUnit {
			out = append(out, g.changeLines(c, depth(c.Kind), wide)...)
			explained = explained || depth(c.Kind) == 1 && len(c.Fields) > 0
		}
	}
	return append(out, g.unitLines(wide, explained)...)
}

// unitLines lists few units one by one, and counts many that share class,
// action and reason.
func (g planGroup) unitLines(wide, explained bool) []planLine {
	const few = 4
	type key struct{ cls, marker, why string }
	var order []key
	alike := map[key][]plan.Change{}
	for _, c := range g.changes {
		if c.Kind != oprc.KindUnit {
			continue
		}
		cls, _, _, _, _ := oprc.ParseUnitID(c.Key)
		k := key{cls, marker(c.Actions), g.causes.why(c)}
		if alike[k] == nil {
			order = append(order, k)
		}
		alike[k] = append(alike[k], c)
	}
	var out []planLine
	for _, k := range order {
		cs := alike[k]
		if wide || len(cs) <= few {
			for _, c := range cs {
				if explained && !wide {
					c.Fields = nil
				}
				out = append(out, g.changeLines(c, 2, wide)...)
			}
			continue
		}
		out = append(out, planLine{2, k.marker, fmt.Sprintf("%s of %s: %s", count(len(cs), "unit"), clean(k.cls), perEnvironment(cs)), k.why})
	}
	return out
}

func perEnvironment(units []plan.Change) string {
	n := map[string]int{}
	for _, c := range units {
		_, _, _, env, _ := oprc.ParseUnitID(c.Key)
		n[env]++
	}
	var parts []string
	for _, env := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%d in %s", n[env], clean(env)))
	}
	return strings.Join(parts, ", ")
}

// changeLines is one object and the fields that differ.
func (g planGroup) changeLines(c plan.Change, depth int, wide bool) []planLine {
	var notes []string
	if b := brief(c); b != "" {
		notes = append(notes, b)
	}
	if w := g.causes.why(c); w != "" {
		notes = append(notes, w)
	}
	if c.RenamedFrom != "" && c.Kind != oprc.KindUnit {
		notes = append(notes, "renamed from "+clean(c.RenamedFrom))
	}
	out := []planLine{{depth, marker(c.Actions), string(c.Kind) + " " + clean(c.Key), strings.Join(notes, ", ")}}
	if c.Kind == oprc.KindPackage && !wide { // the objects below say it better
		c.Fields = slices.DeleteFunc(slices.Clone(c.Fields), func(f plan.Field) bool { return partOfPackage(f.Path) })
	}
	width := 60
	if wide {
		width = 2000
	}
	for _, f := range c.Fields {
		var where string
		if f.File != "" {
			where = oprc.Position{File: f.File, Line: f.Line}.String()
		}
		out = append(out, planLine{depth, "", fieldText(f, width), clean(where)})
	}
	return out
}

// partOfPackage reports whether the path lies in an object with changes of its own.
func partOfPackage(path string) bool {
	for _, list := range []string{"/classes", "/functions", "/deployments"} {
		if path == list || strings.HasPrefix(path, list+"/") {
			return true
		}
	}
	return false
}

func fieldText(f plan.Field, width int) string {
	switch {
	case len(f.Before) == 0:
		return clean(f.Path) + ": " + value(f.After, width) + " (added)"
	case len(f.After) == 0:
		return clean(f.Path) + ": " + value(f.Before, width) + " (removed)"
	}
	return clean(f.Path) + ": " + value(f.Before, width) + " → " + value(f.After, width)
}

func value(raw json.RawMessage, width int) string { return cut(clean(string(raw)), width) }

// brief describes a new object in a few words.
func brief(c plan.Change) string {
	if len(c.After) == 0 || len(c.Before) > 0 {
		return ""
	}
	switch c.Kind {
	case oprc.KindFunction:
		var f oprc.Function
		if json.Unmarshal(c.After, &f) == nil {
			return clean(strings.TrimSpace(string(f.Type) + " " + f.Provision.Image()))
		}
	case oprc.KindClass:
		var k oprc.Class
		if json.Unmarshal(c.After, &k) == nil {
			return clean(strings.TrimSpace(string(k.StateType) + " " + inherits(k.Parents)))
		}
	case oprc.KindDeployment:
		var d oprc.Deployment
		if json.Unmarshal(c.After, &d) == nil && len(d.TargetEnvs) > 0 {
			return fmt.Sprintf("%s × %s in %s", count(d.PartitionCount, "partition"), count(d.ReplicaCount, "replica"), clean(strings.Join(d.TargetEnvs, ", ")))
		}
	}
	return ""
}

func inherits(parents []string) string {
	if len(parents) == 0 {
		return ""
	}
	return "from " + strings.Join(parents, ", ")
}
