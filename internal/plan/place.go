package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/placement"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// A stand is a deployment that is to be placed.
type stand struct {
	key, pkg string
	index    int // in the package's list
	declared oprc.Deployment
	current  *oprc.Deployment
}

// place places every deployment of the planned packages that should run: those
// that run already first, so that a new one cannot push them away.
func (a *attempt) place() {
	stands := a.stands()
	room, units := a.newRoom(stands), newBudget(a.MaxUnits)
	for _, s := range stands {
		var out placement.Placement
		if f, over := units.take(s); over {
			out.Findings = append(out.Findings, f)
		} else {
			out = placement.Place(a.placementInput(s, room))
		}
		failed := slices.ContainsFunc(out.Findings, func(f placement.Finding) bool { return f.Severity == oprc.SeverityError })
		stays := failed && s.current != nil && a.asBefore(s)
		for _, f := range out.Findings {
			a.addPlacement(s, f, stays)
		}
		if !failed || stays {
			a.addEffects(s, out.Findings, room)
		}
		switch {
		case stays:
			a.placed[s.key] = a.counted(s, *s.current)
		case !failed:
			d := out.Deployment
			d.Key, d.Pkg = s.key, s.pkg
			a.placed[s.key] = a.counted(s, d)
			room.move(s.current, &d)
		}
	}
}

// counted is a placed deployment with how often it was restarted: a count makes the
// specs of its units others, and outlives what is planned later.
func (a *attempt) counted(s stand, d oprc.Deployment) oprc.Deployment {
	d.Restarts = 0
	if s.current != nil {
		d.Restarts = s.current.Restarts
		if slices.Contains(a.Scope.Restart, s.key) {
			d.Restarts++
		}
	}
	return d
}

func (a *attempt) placementInput(s stand, r *room) placement.Input {
	return placement.Input{
		Deployment: s.declared, Class: a.catalogue.Classes[s.key], Availability: target(a.catalogue, s.key),
		Environments: r.seenBy(s), Current: s.current,
	}
}

// stands lists what is to be placed: what has a place first, then by key.
func (a *attempt) stands() []stand {
	var stands []stand
	for name := range a.planned {
		p, present := a.packages[name]
		if !present || a.bad[name] {
			continue
		}
		for i, d := range p.Deployments {
			key := resolve.DeploymentKey(p, d.Key)
			declared, known := a.catalogue.Deployments[key]
			if !known || declared.Pkg != name || !a.runs(name, key) {
				continue
			}
			s := stand{key: key, pkg: name, index: i, declared: declared}
			if live, ok := a.Live.Deployments[key]; ok {
				s.current = &live
			}
			stands = append(stands, s)
		}
	}
	slices.SortFunc(stands, func(x, y stand) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(x.key, y.key))
	})
	return slices.CompactFunc(stands, func(x, y stand) bool { return x.key == y.key })
}

func rank(s stand) int {
	if s.current != nil {
		return 0
	}
	return 1
}

// runs says whether a deployment that pkg declares should run.
func (a *attempt) runs(pkg, cls string) bool {
	class, known := a.catalogue.Classes[cls]
	return known && !a.packages[pkg].Disabled && !class.Disabled && !class.MarkForRemoval && !a.packages[class.Pkg].Disabled
}

// target is the availability that a class asks for: its own, else the highest
// among the functions that it binds.
func target(c *resolve.Catalogue, cls string) float64 {
	class := c.Classes[cls]
	if class.Requirements != nil && class.Requirements.Availability > 0 {
		return class.Requirements.Availability
	}
	highest := 0.0
	for _, key := range boundFunctions(class, nil) {
		if r := c.Functions[key].Requirements; r != nil {
			highest = max(highest, r.Availability)
		}
	}
	return highest
}

// asBefore reports whether nothing that the deployment asks for has changed: then
// it is the environments that changed, and it stays where it is rather than stop
// everything else.
func (a *attempt) asBefore(s stand) bool {
	if !a.affected[s.pkg] {
		return true
	}
	was, declared := a.wasAsked().Deployments[s.key]
	return declared && equal(was, s.declared) && a.sameClassAsk(s.key)
}

// sameClassAsk reports whether the class asks for the same placement as before.
func (a *attempt) sameClassAsk(cls string) bool {
	was := a.wasAsked()
	return target(was, cls) == target(a.catalogue, cls) && consistency(was.Classes[cls]) == consistency(a.catalogue.Classes[cls])
}

// wasAsked is what the affected packages ask for as they are live.
func (a *attempt) wasAsked() *resolve.Catalogue {
	if a.before == nil {
		a.before = a.past(a.affected)
	}
	return a.before
}

func consistency(c oprc.Class) oprc.Consistency {
	if c.Constraints == nil {
		return ""
	}
	return c.Constraints.Consistency
}

func (a *attempt) addPlacement(s stand, f placement.Finding, stays bool) {
	d, named := a.doc(s.pkg)
	if stays && f.Severity == oprc.SeverityError {
		f.Severity, f.Message = oprc.SeverityWarning, f.Message+"; it stays as it was placed"
	}
	if !named && f.Severity != oprc.SeverityError {
		return
	}
	at := fmt.Sprintf("/deployments/%d%s", s.index, f.Pointer)
	a.add(finding{
		Diagnostic: oprc.Diagnostic{
			Code: f.Code, Severity: f.Severity, Position: d.Where.At(at), Pointer: at,
			Package: s.pkg, Message: f.Message, Hint: f.Hint,
		},
		subject: subject(oprc.KindPackage, s.pkg),
	})
}

// A room counts the units of each environment while deployments are placed.
type room struct {
	all     []oprc.EnvironmentState
	staying []oprc.EnvironmentState // without those that this plan deletes
	index   map[string]int
	leaving map[string]bool
}

// newRoom starts from the recorded placements of all that remains.
func (a *attempt) newRoom(stands []stand) *room {
	r := &room{all: slices.Clone(a.environments), index: map[string]int{}, leaving: map[string]bool{}}
	for i, e := range r.all {
		r.all[i].Units = 0
		if a.Live.Rest != nil {
			r.all[i].Units = a.Live.Rest.Units[e.Spec.Name]
		}
		r.index[e.Spec.Name] = i
		r.leaving[e.Spec.Name] = a.leaving(e.Spec.Name)
	}
	again := map[string]bool{}
	for _, s := range stands {
		again[s.key] = true
	}
	for key, d := range a.Live.Deployments {
		if again[key] || !a.planned[d.Pkg] || a.bad[d.Pkg] {
			r.move(nil, &d)
		}
	}
	return r
}

// move takes the units of one placement away and adds those of another.
func (r *room) move(from, to *oprc.Deployment) {
	r.count(from, -1)
	r.count(to, 1)
}

func (r *room) count(d *oprc.Deployment, by int) {
	if d == nil {
		return
	}
	for env, n := range UnitsByEnvironment(*d) {
		if i, known := r.index[env]; known {
			r.all[i].Units += by * n
		}
	}
}

// seenBy is what a deployment may choose from. An environment that is being
// deleted is there only for those that name it or are in it.
func (r *room) seenBy(s stand) []oprc.EnvironmentState {
	named := slices.Clone(s.declared.TargetEnvs)
	for _, m := range s.declared.Members {
		named = append(named, m.Env)
	}
	if s.current != nil {
		for _, m := range s.current.Members {
			named = append(named, m.Env)
		}
	}
	if !slices.Contains(slices.Collect(maps.Values(r.leaving)), true) {
		return r.all
	}
	r.staying = r.staying[:0]
	for _, e := range r.all {
		if !r.leaving[e.Spec.Name] || slices.Contains(named, e.Spec.Name) {
			r.staying = append(r.staying, e)
		}
	}
	return r.staying
}
