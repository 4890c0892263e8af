// Package placement decides where a class runs: how many replicas its
// availability target asks for, in which environments, and who owns which shard.
//
//	environments ─> candidates ─> replicas (Q) ─> members ─> owners ─> primaries
//	                                                 ^
//	                              the last placement: what is valid stays
//
// It decides from its input alone, so the same input gives the same placement on
// every machine.
package placement

import "github.com/oaas-platform/oprc/internal/oprc"

// An Input is all that one decision depends on.
type Input struct {
	Deployment   oprc.Deployment         // as declared, key absolute
	Class        oprc.Class              // resolved
	Availability float64                 // target; 0: none asked
	Environments []oprc.EnvironmentState // all known, sorted by name
	Current      *oprc.Deployment        // as last placed; nil when new
}

// A Placement is the decision.
type Placement struct {
	// Deployment is the declared one with ReplicaCount, TargetEnvs, Members,
	// Assignments and ShardType computed. It is meaningless if a finding is an error.
	Deployment  oprc.Deployment
	Findings    []Finding
	Explanation Explanation
}

// Failed reports whether a finding is an error.
func (p Placement) Failed() bool { return failed(p.Findings) }

// A Finding is a diagnostic whose Pointer is relative to the deployment, e.g.
// "/members/0/env".
type Finding struct {
	Code     oprc.Code
	Severity oprc.Severity
	Pointer  string
	Message  string
	Hint     string
}

// An Explanation shows the arithmetic of a decision.
type Explanation struct {
	Target      float64     `json:"target,omitempty"`
	Consistency string      `json:"consistency"`
	Candidates  []Candidate `json:"candidates"`
	Quorum      []Quorum    `json:"quorum,omitempty"` // Q(n) for each n considered
	Replicas    int         `json:"replicas"`
	Why         string      `json:"why"`            // one sentence
	Slack       float64     `json:"slack"`          // Q(replicas) - target
	Best        float64     `json:"best,omitempty"` // the highest Q that can be reached
}

// A Candidate is an environment that was considered.
type Candidate struct {
	Env          string  `json:"env"`
	Availability float64 `json:"availability"`
	Units        int     `json:"units"`
	Chosen       bool    `json:"chosen"`
	Why          string  `json:"why,omitempty"` // why it was left out
}

// A Quorum is the availability that n replicas reach.
type Quorum struct {
	N int     `json:"n"`
	Q float64 `json:"q"`
}

// MaxShards bounds what one deployment may ask for: partitions times replicas.
const MaxShards = 1 << 20

// Place decides. It never fails: what cannot be placed is a Finding.
func Place(in Input) Placement {
	d := newDecision(in)
	d.add(Check(in.Deployment)...)
	d.findCandidates()
	if d.stopped() {
		return d.out
	}
	d.countReplicas()
	if d.stopped() {
		return d.out
	}
	d.chooseMembers()
	if d.stopped() {
		return d.out
	}
	d.assign()
	return d.out
}

// A basis says where the members of a deployment come from.
type basis int

const (
	fromMembers basis = iota // the user listed members
	fromTargets              // the user listed environments
	fromPool                 // all healthy environments: an availability is asked
	fromDefault              // the default environment
)

// A decision is the work in progress on one placement.
type decision struct {
	in          Input
	basis       basis
	consistency oprc.Consistency
	partitions  int
	envs        map[string]*oprc.EnvironmentState
	own         map[string]int // units of this deployment that are placed now, by environment
	candidates  []string       // names of the environments to choose from
	replicas    int
	out         Placement
}

func newDecision(in Input) *decision {
	d := &decision{in: in, partitions: partitionsOf(in.Deployment), consistency: consistencyOf(in.Class), own: unitsByEnv(in.Current)}
	d.envs = make(map[string]*oprc.EnvironmentState, len(in.Environments))
	for i := range in.Environments {
		d.envs[in.Environments[i].Spec.Name] = &in.Environments[i]
	}
	switch {
	case len(in.Deployment.Members) > 0:
		d.basis = fromMembers
	case len(in.Deployment.TargetEnvs) > 0:
		d.basis = fromTargets
	case in.Availability > 0:
		d.basis = fromPool
	default:
		d.basis = fromDefault
	}
	d.out.Deployment = in.Deployment
	d.out.Deployment.PartitionCount = d.partitions
	if in.Deployment.ShardType == "" {
		d.out.Deployment.ShardType = shardTypeOf(d.consistency)
	}
	d.out.Explanation = Explanation{Target: in.Availability, Consistency: string(d.consistency), Candidates: []Candidate{}}
	return d
}

func (d *decision) add(fs ...Finding) { d.out.Findings = append(d.out.Findings, fs...) }

func (d *decision) stopped() bool { return d.out.Failed() }

func failed(fs []Finding) bool {
	for _, f := range fs {
		if f.Severity == oprc.SeverityError {
			return true
		}
	}
	return false
}

func partitionsOf(d oprc.Deployment) int { return max(1, d.PartitionCount) }

func consistencyOf(c oprc.Class) oprc.Consistency {
	if c.Constraints == nil || c.Constraints.Consistency == "" {
		return oprc.ConsistencyNone
	}
	return c.Constraints.Consistency
}

func shardTypeOf(c oprc.Consistency) string {
	switch c {
	case oprc.Strong:
		return "raft"
	case oprc.ReadYourWrite, oprc.BoundedStaleness:
		return "mst"
	}
	return "basic"
}

// Without returns the input of the same decision as if env did not exist: no such
// environment, no target, no member there, and nothing placed there before.
func Without(in Input, env string) Input {
	in.Environments = drop(in.Environments, func(e oprc.EnvironmentState) bool { return e.Spec.Name == env })
	in.Deployment.TargetEnvs = drop(in.Deployment.TargetEnvs, func(t string) bool { return t == env })
	members := drop(in.Deployment.Members, func(m oprc.Member) bool { return m.Env == env })
	if len(members) < len(in.Deployment.Members) {
		in.Deployment.Assignments = nil
	}
	in.Deployment.Members = members
	return in
}

// drop returns the elements that out does not pick, in a slice of its own.
func drop[E any](s []E, out func(E) bool) []E {
	var kept []E
	for _, e := range s {
		if !out(e) {
			kept = append(kept, e)
		}
	}
	return kept
}
