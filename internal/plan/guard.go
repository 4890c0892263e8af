package plan

import (
	"fmt"
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
	// MaxBlastUnits is the greatest share of the scope's running units, in percent,
	// that a plan may touch; 0 means any.
	MaxBlastUnits float64 `json:"maxBlastUnits,omitempty"`
}

// DefaultGuard holds plans that delete over 10 packages and over 20 % of the scope.
func DefaultGuard() Guard { return Guard{MaxDelete: 10, MaxDeletePercent: 20} }

// A Size is what the scope of a plan spoke for before it: its origin's live
// packages, and their running units.
type Size struct {
	Packages int `json:"packages"`
	Units    int `json:"units"`
}

// size counts what a scope speaks for.
func (l Live) size(s Scope) Size {
	var size Size
	for _, rec := range l.Packages {
		if rec.Origin == s.Origin {
			size.Packages++
		}
	}
	for _, units := range l.Units {
		for id, u := range units {
			cls, _, _ := strings.Cut(id, "/")
			if u.Runs() && l.Packages[l.Deployments[cls].Pkg].Origin == s.Origin {
				size.Units++
			}
		}
	}
	return size
}

// Held says whether, and why, the plan must wait for an approval.
func (p *Plan) Held(g Guard) (reason string, held bool) {
	deletes := p.count(oprc.KindPackage, Delete)
	if deletes > g.MaxDelete && share(deletes, p.Size.Packages) > g.MaxDeletePercent {
		limit := fmt.Sprintf("more than %d", g.MaxDelete)
		if g.MaxDeletePercent > 0 {
			limit += fmt.Sprintf(" and more than %g %%", g.MaxDeletePercent)
		}
		return fmt.Sprintf("it deletes %d of %d packages; %s need approval", deletes, p.Size.Packages, limit), true
	}
	blast := share(p.Summary.Blast.Units, p.Size.Units)
	if g.MaxBlastUnits > 0 && p.Size.Units > 0 && blast > g.MaxBlastUnits {
		return fmt.Sprintf("it touches %d units where %d run; more than %g %% need approval",
			p.Summary.Blast.Units, p.Size.Units, g.MaxBlastUnits), true
	}
	return "", false
}

// share is n of all in percent; of nothing, everything.
func share(n, all int) float64 {
	if all == 0 {
		return 100
	}
	return 100 * float64(n) / float64(all)
}
