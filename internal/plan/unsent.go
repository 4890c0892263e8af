package plan

import (
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// Unsent says what the environments still have to be sent about classes, so that their
// units are what the catalogue says now: whoever wrote it, and whatever was sent by others
// before. It decides nothing: deployments are where they are recorded to be.
func (l Live) Unsent(classes map[string]bool) map[string][]oprc.Command {
	catalogue := l.around(classes)
	out, wanted := map[string][]oprc.Command{}, map[string]bool{}
	settings := podSettings(maps.Values(l.Environments))
	var digests oprc.Digester
	for _, cls := range slices.Sorted(maps.Keys(classes)) {
		d, placed := l.Deployments[cls]
		class, known := catalogue.Classes[cls]
		if !placed || !known {
			continue
		}
		for _, u := range Units(d, class, catalogue.Functions, settings) {
			wanted[u.ID] = true
			if was := l.Units[u.TargetEnv][u.ID]; was.SpecHash != digests.Digest(u) || l.Damaged[subject(oprc.KindUnit, u.ID)] {
				out[u.TargetEnv] = append(out[u.TargetEnv], commandFor(u, was.Generation+1, true))
			}
		}
	}
	for env, units := range l.Units {
		for _, id := range slices.Sorted(maps.Keys(units)) {
			if cls, _ := classOf(id); classes[cls] && !wanted[id] && units[id].Runs() {
				out[env] = append(out[env], commandFor(oprc.UnitOf(id), units[id].Generation+1, false))
			}
		}
	}
	return out
}

// around resolves the packages that deploy classes, and all that they need.
func (l Live) around(classes map[string]bool) *resolve.Catalogue {
	specs, start := make(map[string]oprc.Package, len(l.Packages)), map[string]bool{}
	for name, rec := range l.Packages {
		specs[name] = rec.Spec
	}
	for cls := range classes {
		if d, placed := l.Deployments[cls]; placed {
			start[d.Pkg] = true
		}
	}
	g := newGraph(specs)
	needed := closure(start, g.reads, g.near)
	maps.DeleteFunc(specs, func(name string, _ oprc.Package) bool { return !needed[name] })
	catalogue, _ := resolve.Packages(nil, specs)
	return catalogue
}
