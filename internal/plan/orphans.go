package plan

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Deletes reports whether the plan takes something away that others may need.
func (p *Plan) Deletes() bool {
	return slices.ContainsFunc(p.Changes, func(c Change) bool {
		return c.Kind != oprc.KindUnit && slices.Contains(c.Actions, Delete)
	})
}

// Orphaned lists what needs an object that the plan deletes and came after it was
// made: no revision that the plan rests on has moved by that. It is sorted.
func (p *Plan) Orphaned(live Live) []string {
	gone := p.gone(live)
	if len(gone) == 0 {
		return nil
	}
	written := map[string]bool{}
	for _, c := range p.Changes {
		written[subject(c.Kind, c.Key)] = true
	}
	var out []string
	say := func(pkg, object, what string) {
		out = append(out, fmt.Sprintf("%s: it needs %s, which the plan deletes", subject(oprc.KindPackage, pkg)+object, what))
	}
	for name, rec := range live.Packages {
		if _, seen := p.Base.Packages[name]; seen || written[subject(oprc.KindPackage, name)] {
			continue
		}
		for _, required := range requiredNames(&rec.Spec) {
			if what := subject(oprc.KindPackage, required); gone[what] {
				say(name, "", what)
			}
		}
		for _, ref := range strongRefs(&rec.Spec) {
			for _, kind := range []oprc.Kind{oprc.KindClass, oprc.KindFunction} {
				if what := subject(kind, oprc.Abs(name, ref)); gone[what] {
					say(name, "", what)
				}
			}
		}
	}
	for key, d := range live.Deployments {
		if _, seen := p.Base.Packages[d.Pkg]; seen || written[subject(oprc.KindDeployment, key)] {
			continue
		}
		for _, m := range d.Members {
			if what := subject(oprc.KindEnv, m.Env); gone[what] {
				say(d.Pkg, ": "+subject(oprc.KindDeployment, key), what)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// gone names what the plan's packages declare no more, deleted packages and deleted
// environments, as "<kind>/<key>".
func (p *Plan) gone(live Live) map[string]bool {
	gone := map[string]bool{}
	for _, c := range p.Changes {
		deleted := slices.Contains(c.Actions, Delete)
		if deleted && (c.Kind == oprc.KindEnv || c.Kind == oprc.KindPackage) {
			gone[subject(c.Kind, c.Key)] = true
		}
		if c.Kind != oprc.KindPackage {
			continue
		}
		was := declares(live.Packages[c.Key].Spec)
		var now oprc.Package
		if !deleted && json.Unmarshal(c.After, &now) != nil {
			continue // apply says so
		}
		for object := range declares(now) {
			delete(was, object)
		}
		for object := range was {
			gone[object] = true
		}
	}
	return gone
}

// declares names the classes and functions of a package.
func declares(p oprc.Package) map[string]bool {
	out := make(map[string]bool, len(p.Classes)+len(p.Functions))
	for _, c := range p.Classes {
		out[subject(oprc.KindClass, oprc.Key(p.Name, c.Name))] = true
	}
	for _, f := range p.Functions {
		out[subject(oprc.KindFunction, oprc.Key(p.Name, f.Name))] = true
	}
	return out
}
