package oprc

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// KindEnvironment is the `kind` of a document that declares an environment. A
// document without a kind is a package.
const KindEnvironment = "Environment"

// An Environment is a place where classes run, served by one or more CRMs.
type Environment struct {
	Kind         string            `json:"kind,omitempty"`
	Name         string            `json:"name"`
	Availability float64           `json:"availability,omitempty"` // 0 < a < 1; 0: not declared
	Capacity     *Capacity         `json:"capacity,omitempty"`
	Default      bool              `json:"default,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Templates    []string          `json:"templates,omitempty"`
	Kubernetes   *Kubernetes       `json:"kubernetes,omitempty"` // part of the spec of each unit there
}

// Kubernetes says how pods of an environment run, where its CRMs run units as pods.
type Kubernetes struct {
	PullSecrets    []string          `json:"pullSecrets,omitempty"`    // names of Secrets with registry credentials
	ServiceAccount string            `json:"serviceAccount,omitempty"` // of the pods
	NodeSelector   map[string]string `json:"nodeSelector,omitempty"`   // labels that nodes must have
	Tolerations    []Toleration      `json:"tolerations,omitempty"`
}

// A Toleration lets pods run on nodes with a taint.
type Toleration struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`  // "": any
	Effect string `json:"effect,omitempty"` // NoSchedule, PreferNoSchedule, NoExecute; "": all of them
}

// Capacity is what an environment can carry. What is absent is not declared.
type Capacity struct {
	CPU    string `json:"cpu,omitempty"`    // Kubernetes quantity
	Memory string `json:"memory,omitempty"` // Kubernetes quantity
	Units  *int   `json:"units,omitempty"`  // most units at once; 0: nothing new, nil: no limit
}

// Health is what heartbeats say of an environment.
type Health string

// The healths of an environment.
const (
	HealthUnknown Health = "UNKNOWN" // no CRM has ever reported
	Healthy       Health = "HEALTHY"
	Degraded      Health = "DEGRADED" // some of its CRMs are silent
	EnvDown       Health = "DOWN"     // all of them are
)

const (
	// HeartbeatInterval is how often a CRM reports that it is alive.
	HeartbeatInterval = 5 * time.Second
	// HeartbeatTimeout is the silence after which a CRM counts as gone: three
	// heartbeats missed.
	HeartbeatTimeout = 3*HeartbeatInterval + HeartbeatInterval/2
	// SteadyAfter is how long an environment that was DOWN has to be heard of without a
	// break before computed placements return to it.
	SteadyAfter = time.Minute
)

// A Heartbeat is the last that was heard of one CRM.
type Heartbeat struct {
	CRM          string    `json:"crm"`
	Time         time.Time `json:"ts"`
	Since        time.Time `json:"since,omitzero"`         // start of the current unbroken run of heartbeats
	Returned     bool      `json:"returned,omitempty"`     // that run ended a silence of the whole environment
	Availability float64   `json:"availability,omitempty"` // 0: not reported
	Capacity     *Capacity `json:"capacity,omitempty"`
	Templates    []string  `json:"templates,omitempty"`
}

// HealthOf derives an environment's health from its CRMs' heartbeats.
func HealthOf(beats []Heartbeat, now time.Time) Health {
	alive := 0
	for _, b := range beats {
		if now.Sub(b.Time) <= HeartbeatTimeout {
			alive++
		}
	}
	switch {
	case len(beats) == 0:
		return HealthUnknown
	case alive == 0:
		return EnvDown
	case alive < len(beats):
		return Degraded
	}
	return Healthy
}

// RecoveringUntil is when an environment that was DOWN, and is heard of again, is
// taken for steady; zero where it is so already, or is DOWN still.
func RecoveringUntil(beats []Heartbeat, now time.Time) time.Time {
	var until time.Time
	for _, b := range beats {
		steady := b.Since.Add(SteadyAfter)
		switch {
		case now.Sub(b.Time) > HeartbeatTimeout:
		case !now.Before(steady):
			return time.Time{}
		case b.Returned && (until.IsZero() || steady.Before(until)):
			until = steady
		}
	}
	return until
}

// HeardSince is when the CRMs that are alive began to be heard without a break: the
// first of them; zero where none is.
func HeardSince(beats []Heartbeat, now time.Time) time.Time {
	var first time.Time
	for _, b := range beats {
		since := cmp.Or(b.Since, b.Time)
		if now.Sub(b.Time) <= HeartbeatTimeout && (first.IsZero() || since.Before(first)) {
			first = since
		}
	}
	return first
}

// An EnvironmentRecord is an environment as the ledger knows it.
type EnvironmentRecord struct {
	Spec      Environment `json:"spec"`
	Rev       int64       `json:"rev"`
	Origin    string      `json:"origin,omitempty"`
	Source    *SourceRef  `json:"source,omitempty"`
	AppliedAt time.Time   `json:"appliedAt,omitzero"`
	AppliedBy string      `json:"appliedBy,omitempty"`
}

// An EnvironmentState is what placement sees of an environment: the record, and
// what its CRMs say.
type EnvironmentState struct {
	EnvironmentRecord
	Health       Health  `json:"health"`
	Availability float64 `json:"availability,omitempty"` // reported, else declared; 0: unknown
	Units        int     `json:"units"`                  // units that run or should run there now
	// ReportedUnits is the most units at once, as its CRMs report it; nil: not reported.
	ReportedUnits *int `json:"reportedUnits,omitempty"`
	// RecoveringUntil is set while computed placements do not return yet.
	RecoveringUntil time.Time   `json:"recoveringUntil,omitzero"`
	Beats           []Heartbeat `json:"crms,omitempty"`
	// Unreadable says why the state of the environment cannot be read now, and names the
	// key or the node. What else is said here is from before, or unknown.
	Unreadable string `json:"unreadable,omitempty"`
	// Read is when this was so, by the clock that stamps heartbeats.
	Read time.Time `json:"-"`
}

// An UnreadableError means that the state of some environments cannot be read. What
// is returned with it is of the others, and good for looking at alone: a plan would take
// units for missing that it cannot see.
type UnreadableError struct {
	Causes map[string]error // by environment
}

func (e *UnreadableError) Error() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(e.Causes)) {
		all = append(all, "environment "+name+": "+e.Causes[name].Error())
	}
	return strings.Join(all, "; ")
}

func (e *UnreadableError) Unwrap() []error { return slices.Collect(maps.Values(e.Causes)) }

// MaxUnits is the most units that the environment takes at once: what is declared, or
// what its CRMs report, whichever is less; nil where nobody says. Where it is 0 the
// environment takes nothing new, and keeps what runs there.
func (s EnvironmentState) MaxUnits() *int {
	var declared *int
	if s.Spec.Capacity != nil {
		declared = s.Spec.Capacity.Units
	}
	switch {
	case declared == nil:
		return s.ReportedUnits
	case s.ReportedUnits == nil:
		return declared
	}
	return new(min(*declared, *s.ReportedUnits))
}

// Standing stands for all that placement sees of the environment: while it is the
// same, so is every placement. It differs when health, availability, capacity or
// templates do, and says nothing else.
func (s EnvironmentState) Standing() string {
	seen := s
	seen.AppliedAt, seen.AppliedBy, seen.Source = time.Time{}, "", nil
	seen.Beats = make([]Heartbeat, len(s.Beats))
	for i, b := range s.Beats {
		b.Time, b.Since, b.Returned = time.Time{}, time.Time{}, false
		seen.Beats[i] = b
	}
	return Digest(seen)
}

// An Observation is what a decision reads of an environment besides its record: what its
// CRMs' heartbeats add up to. It is recorded in the catalogue's slot, under the version
// that a commit compares.
type Observation struct {
	Health       Health  `json:"health"`
	Availability float64 `json:"availability,omitempty"` // as reported; 0: not reported
	Units        *int    `json:"units,omitempty"`        // most at once, as reported; nil: not reported
	Recovering   bool    `json:"recovering,omitempty"`
}

// Observed is what a decision reads of the environment.
func (s EnvironmentState) Observed() Observation {
	o := Observation{Health: s.Health, Recovering: !s.RecoveringUntil.IsZero()}
	if slices.ContainsFunc(s.Beats, func(b Heartbeat) bool { return b.Availability > 0 }) {
		o.Availability = s.Availability
	}
	o.Units = s.ReportedUnits
	return o
}

// Equal compares two observations.
func (o Observation) Equal(other Observation) bool {
	most, others := o.Units, other.Units
	o.Units, other.Units = nil, nil
	return o == other && (most == nil) == (others == nil) && (most == nil || *most == *others)
}

func (o Observation) String() string {
	words := []string{string(o.Health)}
	if o.Recovering {
		words = append(words, "recovering")
	}
	if o.Availability > 0 {
		words = append(words, fmt.Sprintf("availability %g", o.Availability))
	}
	if o.Units != nil {
		words = append(words, fmt.Sprintf("at most %d units", *o.Units))
	}
	return strings.Join(words, ", ")
}
