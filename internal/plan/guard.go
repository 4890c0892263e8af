package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Guard says how much a plan may do before a person has to approve it. The
// zero Guard holds every plan that deletes a package.
type Guard struct {
	// A plan is held when it deletes more than MaxDelete packages and more than
	// MaxDeletePercent of the packages in its scope.
	MaxDelete        int     `json:"maxDelete"`
	MaxDeletePercent float64 `json:"maxDeletePercent"`
	// Stops holds the classes that go, and the units that stop, to the same limits, and
	// holds a plan that leaves the scope without a package.
	Stops bool `json:"stops,omitempty"`
	// MaxBlastUnits is the greatest share of the scope's running units, in percent,
	// that a plan may touch; 0 means any.
	MaxBlastUnits float64 `json:"maxBlastUnits,omitempty"`
}

// DefaultGuard is that of sources: it holds plans that delete over 10 and over 20 % of
// the packages, classes or units of the scope.
func DefaultGuard() Guard { return Guard{MaxDelete: 10, MaxDeletePercent: 20, Stops: true} }

// A Size is what the scope of a plan spoke for before it: its origin's live
// packages, their classes, and the units that they have by their recorded placements.
type Size struct {
	Packages int `json:"packages"`
	Classes  int `json:"classes,omitempty"`
	Units    int `json:"units"`
}

// size counts what a scope speaks for.
func (l Live) size(s Scope) Size {
	if l.Rest != nil {
		return l.Rest.Sizes[s.Origin]
	}
	var size Size
	for _, rec := range l.Packages {
		if rec.Origin == s.Origin {
			size.Packages++
			size.Classes += len(rec.Spec.Classes)
		}
	}
	for _, d := range l.Deployments {
		if rec, known := l.Packages[d.Pkg]; known && rec.Origin == s.Origin {
			for _, n := range UnitsByEnvironment(d) {
				size.Units += n
			}
		}
	}
	return size
}

// Stopped lists what a plan ends: packages that it deletes, classes that go, units that
// stop and do not run elsewhere instead. Owners names the packages that they belong to.
type Stopped struct {
	Packages, Classes, Units []string
	Owners                   map[string]bool
}

// Stopped says what the plan ends.
func (p *Plan) Stopped() Stopped {
	out := Stopped{Owners: map[string]bool{}}
	place := func(unit string) string { id, _, _ := strings.Cut(unit, "@"); return id }
	runs := map[string]bool{}
	for _, c := range p.Changes {
		if c.Kind == oprc.KindUnit && !slices.Contains(c.Actions, Delete) {
			runs[place(c.Key)] = true
		}
	}
	for _, c := range p.Changes {
		if !slices.Contains(c.Actions, Delete) || c.Kind == oprc.KindUnit && runs[place(c.Key)] {
			continue
		}
		switch c.Kind {
		case oprc.KindPackage:
			out.Packages = append(out.Packages, c.Key)
		case oprc.KindClass:
			out.Classes = append(out.Classes, c.Key)
		case oprc.KindUnit:
			out.Units = append(out.Units, c.Key)
		default:
			continue
		}
		if c.Package != "" {
			out.Owners[c.Package] = true
		}
	}
	return out
}

// Held says whether, and why, the plan must wait for an approval.
func (p *Plan) Held(g Guard) (reason string, held bool) {
	if reason, held = p.Ends(g); held {
		return reason, held
	}
	blast := share(p.Summary.Blast.Units, p.Size.Units)
	if g.MaxBlastUnits > 0 && p.Size.Units > 0 && blast > g.MaxBlastUnits {
		return fmt.Sprintf("it touches %d units where %d run; more than %g %% need approval",
			p.Summary.Blast.Units, p.Size.Units, g.MaxBlastUnits), true
	}
	return "", false
}

// Ends is Held, but for what the plan touches without ending it.
func (p *Plan) Ends(g Guard) (reason string, held bool) {
	stopped := p.Stopped()
	var reasons []string
	over := func(verb, noun string, names []string, all int) {
		if n := len(names); n > g.MaxDelete && share(n, all) > g.MaxDeletePercent {
			reasons = append(reasons, fmt.Sprintf("%s %d of %d %s (%s)", verb, n, all, noun, few(names)))
		}
	}
	over("deletes", "packages", stopped.Packages, p.Size.Packages)
	if g.Stops {
		over("removes", "classes", stopped.Classes, p.Size.Classes)
		over("stops", "units", stopped.Units, p.Size.Units)
	}
	n := len(stopped.Packages)
	switch {
	case len(reasons) > 0:
		limit := fmt.Sprintf("more than %d", g.MaxDelete)
		if g.MaxDeletePercent > 0 {
			limit += fmt.Sprintf(" and more than %g %%", g.MaxDeletePercent)
		}
		return fmt.Sprintf("it %s; %s need approval", strings.Join(reasons, ", "), limit), true
	case g.Stops && n > 0 && n == p.Size.Packages && p.count(oprc.KindPackage, Create) == 0:
		return fmt.Sprintf("it deletes %d of %d packages (%s); that no package remains needs approval", n, n, few(stopped.Packages)), true
	}
	return "", false
}

// few names the first of many.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// share is n of all in percent; of nothing, everything.
func share(n, all int) float64 {
	if all == 0 {
		return 100
	}
	return 100 * float64(n) / float64(all)
}
