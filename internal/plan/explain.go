package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/placement"
)

// A Placing shows the arithmetic of where one class runs.
type Placing struct {
	Class       string                `json:"class"`
	Package     string                `json:"package"`
	Without     []string              `json:"without,omitempty"` // environments that were left out
	Target      float64               `json:"target,omitempty"`  // availability that is asked; 0: none
	Consistency string                `json:"consistency"`
	ShardType   string                `json:"shardType,omitempty"`
	Candidates  []placement.Candidate `json:"candidates"`
	Quorums     []Quorum              `json:"quorums"`
	Replicas    int                   `json:"replicas"`
	Why         string                `json:"why"`
	Slack       float64               `json:"slack"`
	Best        float64               `json:"best,omitempty"`
	Shares      []placement.Share     `json:"partitions"`
	Changes     bool                  `json:"changes"` // it is not what is recorded
	Failed      bool                  `json:"failed,omitempty"`
	Diagnostics oprc.Diagnostics      `json:"diagnostics"`
}

// A Quorum is what n replicas reach.
type Quorum struct {
	N       int     `json:"n"`
	Need    int     `json:"need"` // so many of them must be up
	Q       float64 `json:"q"`
	Reaches bool    `json:"reaches"` // the target
}

// ExplainPlacement places a class that live packages deploy again, as a plan
// would, and keeps the arithmetic. The environments in without are taken away first.
func ExplainPlacement(live Live, cls string, without []string) (Placing, error) {
	pkg, deployed := live.deployer(cls)
	if !deployed {
		return Placing{}, fmt.Errorf("no package deploys class %q: %w", cls, oprc.ErrNotFound)
	}
	for _, env := range without {
		if _, known := live.Environments[env]; !known {
			return Placing{}, fmt.Errorf("environment %q: %w", env, oprc.ErrNotFound)
		}
	}
	it := read(Input{Live: live})
	it.scope[pkg] = true
	a := it.attempt()
	in, found := a.placementOf(cls)
	if !found {
		if err := a.diagnostics().Err(); err != nil {
			return Placing{}, err
		}
		return Placing{}, fmt.Errorf("class %q is switched off, it is not placed: %w", cls, oprc.ErrNotFound)
	}
	for _, env := range without {
		in = placement.Without(in, env)
	}
	return explained(in, cls, pkg, without), nil
}

// deployer is the package that deploys a class.
func (l Live) deployer(cls string) (string, bool) {
	if d, placed := l.Deployments[cls]; placed {
		if _, declared := deploymentFor(l.Packages[d.Pkg].Spec, cls); declared {
			return d.Pkg, true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Packages)) {
		if _, declared := deploymentFor(l.Packages[name].Spec, cls); declared {
			return name, true
		}
	}
	return "", false
}

// placementOf is what the placement of one class is decided from: those that come
// before it in the same package have taken their room.
func (a *attempt) placementOf(cls string) (placement.Input, bool) {
	stands := a.stands()
	room := a.newRoom(stands)
	for _, s := range stands {
		in := a.placementInput(s, room)
		if s.key == cls {
			return in, true
		}
		if out := placement.Place(in); !out.Failed() {
			room.move(s.current, &out.Deployment)
		}
	}
	return placement.Input{}, false
}

func (a *attempt) diagnostics() oprc.Diagnostics {
	var out oprc.Diagnostics
	for _, f := range a.found {
		out = append(out, f.Diagnostic)
	}
	return out.Sort()
}

// explained places and writes down why.
func explained(in placement.Input, cls, pkg string, without []string) Placing {
	out := placement.Place(in)
	ex := out.Explanation
	p := Placing{
		Class: cls, Package: pkg, Without: without, Target: ex.Target, Consistency: ex.Consistency,
		ShardType: out.Deployment.ShardType, Candidates: ex.Candidates, Quorums: []Quorum{}, Replicas: ex.Replicas,
		Why: ex.Why, Slack: ex.Slack, Best: ex.Best, Shares: []placement.Share{}, Failed: out.Failed(), Diagnostics: oprc.Diagnostics{},
	}
	for _, q := range ex.Quorum {
		p.Quorums = append(p.Quorums, Quorum{
			N: q.N, Q: q.Q, Need: placement.Need(oprc.Consistency(ex.Consistency), q.N), Reaches: placement.Reaches(q.Q, ex.Target),
		})
	}
	for _, f := range out.Findings {
		p.Diagnostics = append(p.Diagnostics, oprc.Diagnostic{
			Code: f.Code, Severity: f.Severity, Pointer: f.Pointer, Message: f.Message, Hint: f.Hint, Package: pkg,
		})
	}
	if !p.Failed {
		p.Shares = out.Shares(in)
		placed := out.Deployment
		placed.Key, placed.Pkg = cls, pkg
		p.Changes = in.Current == nil || !equal(placed, *in.Current)
	}
	return p
}
