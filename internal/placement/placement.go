// Package placement decides where a class runs: how many replicas its
// availability target asks for, in which environments, and who owns which shard.
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

// Place decides. It never fails: what cannot be placed is a Finding.
func Place(in Input) Placement { panic("skeleton") }
