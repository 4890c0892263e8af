package oprc

import "time"

// The verbs of a [SourceRequest].
const (
	VerbSuspend    = "suspend"    // a source: Reason, Until
	VerbApprove    = "approve"    // a source: PlanID
	VerbQuarantine = "quarantine" // a package: Digest, Commit
	VerbAdopt      = "adopt"      // a package: Source, which is to own it
)

// A SourceRequest is what a person asks of the daemon that looks after a source.
// It holds until it is taken back.
type SourceRequest struct {
	Verb   string    `json:"verb"`
	Name   string    `json:"name"` // of the source, or of the package
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
	Until  time.Time `json:"until,omitzero"`
	PlanID string    `json:"planId,omitempty"`
	Digest string    `json:"digest,omitempty"` // of the spec that is not to be applied again
	Commit string    `json:"commit,omitempty"` // that brought it
	Source string    `json:"source,omitempty"` // that is to adopt the package, or that the quarantine binds
	Of     string    `json:"of,omitempty"`     // ID of the source that it was said of; "": whichever has the name
}

// About names the source that the request concerns; "" for a quarantine from before they
// named one.
func (r SourceRequest) About() string {
	if r.Verb == VerbSuspend || r.Verb == VerbApprove {
		return r.Name
	}
	return r.Source
}

// Requests is everything that is asked at one time.
type Requests struct {
	// Tickets holds, by source, the number of the tick that was asked for last.
	Tickets map[string]int64
	Asked   []SourceRequest // sorted by verb, then by name
}

// Find returns the request of a verb for a name.
func (r Requests) Find(verb, name string) (SourceRequest, bool) {
	for _, a := range r.Asked {
		if a.Verb == verb && a.Name == name {
			return a, true
		}
	}
	return SourceRequest{}, false
}

// For returns what is asked of the source with that name and ID, and what was said of
// former sources of that name, which does not count any more.
func (r Requests) For(source, id string) (asked Requests, former []SourceRequest) {
	asked.Tickets = r.Tickets
	for _, a := range r.Asked {
		switch about := a.About(); {
		case about != source && about != "":
		case a.Of != "" && id != "" && a.Of != id:
			former = append(former, a)
		default:
			asked.Asked = append(asked.Asked, a)
		}
	}
	return asked, former
}

// Suspension returns how a source is suspended at a time, or nil.
func (r Requests) Suspension(source string, now time.Time) *Suspension {
	a, ok := r.Find(VerbSuspend, source)
	if !ok || !a.Until.IsZero() && !now.Before(a.Until) {
		return nil
	}
	return &Suspension{Reason: a.Reason, Author: a.By, Since: a.At, Until: a.Until}
}

// A Suspension says that a source is left alone, why, and how long.
type Suspension struct {
	Reason string    `json:"reason,omitempty"`
	Author string    `json:"author,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"` // zero: until somebody resumes it
}

// The results in a [Receipt].
const (
	ResultOK          = "ok"
	ResultInvalid     = "invalid"
	ResultHeld        = "held"
	ResultSuspended   = "suspended"
	ResultConflict    = "conflict"
	ResultNotFound    = "not-found"
	ResultUnreachable = "unreachable"
	ResultDenied      = "denied" // by a policy
	ResultError       = "error"
)

// A Receipt answers a requested tick: one that began after the request was made.
type Receipt struct {
	Ticket   int64     `json:"ticket"` // of the request, and of all before it
	Time     time.Time `json:"ts"`
	Result   string    `json:"result"`
	Revision string    `json:"revision,omitempty"`
	Message  string    `json:"message,omitempty"`
}
