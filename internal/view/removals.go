package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A removal is something that a plan takes away, with all that goes with it: a package
// with its objects, a class with its units.
type removal struct {
	kind    oprc.Kind
	key     string
	pkg     string
	renamed string            // what has its content from now on, or ""
	objects map[oprc.Kind]int // that go with it
	units   map[string]int    // that go with it, by environment
	reason  string            // of units that go alone
}

func (r removal) line() planLine {
	l := planLine{depth: 1, marker: "-", text: string(r.kind) + " " + clean(r.key)}
	if r.kind == oprc.KindUnit {
		l.text = count(sum(r.units), "unit") + " of " + clean(r.key) + r.where()
		l.note = r.reason
		return l
	}
	var with []string
	for _, k := range []oprc.Kind{oprc.KindClass, oprc.KindFunction, oprc.KindDeployment} {
		if n := r.objects[k]; n > 0 {
			with = append(with, count(n, string(k)))
		}
	}
	if n := sum(r.units); n > 0 {
		with = append(with, "undeploys "+count(n, "unit")+r.where())
	}
	if r.renamed != "" {
		with = append([]string{"renamed to " + clean(r.renamed)}, with...)
	}
	l.note = strings.Join(with, ", ")
	return l
}

func (r removal) where() string {
	if len(r.units) == 0 {
		return ""
	}
	return " in " + clean(strings.Join(slices.Sorted(maps.Keys(r.units)), ", "))
}

func sum(n map[string]int) int {
	all := 0
	for _, m := range n {
		all += m
	}
	return all
}

// plain is the removal in one line without markup.
func (r removal) plain() string {
	l := r.line()
	if l.note == "" {
		return l.text
	}
	return l.text + " (" + l.note + ")"
}

// removals lists what a plan deletes and undeploys: environments, packages, their objects,
// and units whose class stays.
func removals(p *plan.Plan) []removal {
	at := map[string]*removal{} // by "<kind>/<key>"
	var order []*removal
	add := func(c plan.Change, kind oprc.Kind, key string) *removal {
		r := &removal{kind: kind, key: key, pkg: c.Package, objects: map[oprc.Kind]int{}, units: map[string]int{}}
		at[string(kind)+"/"+key] = r
		order = append(order, r)
		return r
	}
	for _, kind := range []oprc.Kind{oprc.KindEnv, oprc.KindPackage, oprc.KindClass, oprc.KindFunction, oprc.KindDeployment, oprc.KindUnit} {
		for _, c := range p.Changes {
			if c.Kind != kind || marker(c.Actions) != "-" {
				continue
			}
			pkg, cls := at["package/"+c.Package], c.Key
			if kind == oprc.KindUnit {
				cls, _, _, _, _ = oprc.ParseUnitID(c.Key)
			}
			class := at["class/"+cls]
			switch {
			case kind == oprc.KindUnit:
				into := cmp.Or(pkg, class, at["deployment/"+cls], at["unit/"+cls])
				if into == nil {
					into = add(c, kind, cls)
					into.reason = why(c)
				}
				_, _, _, env, _ := oprc.ParseUnitID(c.Key)
				into.units[env]++
			case kind != oprc.KindPackage && pkg != nil:
				pkg.objects[kind]++
			case kind == oprc.KindDeployment && class != nil: // says the same again
			default:
				add(c, kind, c.Key)
			}
		}
	}
	for _, c := range p.Changes {
		if r := at[string(c.Kind)+"/"+c.RenamedFrom]; c.RenamedFrom != "" && r != nil && r.kind == c.Kind {
			r.renamed = c.Key
		}
	}
	out := make([]removal, len(order))
	for i, r := range order {
		out[i] = *r
	}
	return out
}

// removalTitle counts packages, objects and units that go.
func removalTitle(p *plan.Plan) string {
	n := map[oprc.Kind]int{}
	for _, c := range p.Changes {
		if marker(c.Actions) == "-" {
			n[c.Kind]++
		}
	}
	var parts []string
	for _, k := range []oprc.Kind{oprc.KindEnv, oprc.KindPackage, oprc.KindClass, oprc.KindFunction, oprc.KindDeployment} {
		if n[k] > 0 {
			parts = append(parts, count(n[k], string(k)))
		}
	}
	out := ""
	if len(parts) > 0 {
		out = "Deletes " + strings.Join(parts, ", ")
	}
	if units := n[oprc.KindUnit]; units > 0 {
		if out == "" {
			return "Undeploys " + count(units, "unit")
		}
		out += fmt.Sprintf("; undeploys %s", count(units, "unit"))
	}
	return out
}
