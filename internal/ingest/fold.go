package ingest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// An Outcome is what became of a report.
type Outcome int

// The outcomes.
const (
	Folded  Outcome = iota // the status changed, or was confirmed
	Stale                  // older than what is stored: changes nothing
	Refused                // a transition that does not exist: changes nothing
	Unknown                // a unit that was never dispatched there
	Future                 // a generation that was never dispatched
)

// next lists the transitions that a unit's condition may take. RUNNING straight
// from PENDING is a report that skipped DEPLOYING.
var next = map[oprc.Condition][]oprc.Condition{
	oprc.Pending:   {oprc.Deploying, oprc.Running, oprc.Down, oprc.Deleted},
	oprc.Deploying: {oprc.Running, oprc.Down, oprc.Deleted},
	oprc.Running:   {oprc.Deploying, oprc.Down, oprc.Deleted},
	oprc.Down:      {oprc.Deploying, oprc.Running, oprc.Deleted},
	oprc.Deleted:   {oprc.Pending},
}

// Fold is the effect of one report on the status of its unit. Order is decided by
// generation, then by stream id; a new generation starts at PENDING. It returns
// the conditions that were passed through, in order: two when RUNNING was reported
// without DEPLOYING, none when the condition stayed.
func Fold(rec oprc.UnitRecord, old oprc.Status, e oprc.ReportEntry) (oprc.Status, []oprc.Condition, Outcome) {
	r := e.Report
	switch {
	case rec.Generation == 0:
		return old, nil, Unknown
	case r.Generation > rec.Generation:
		return old, nil, Future
	case r.Generation < old.Generation,
		r.Generation == old.Generation && oprc.ParseStreamID(e.ID).Compare(oprc.ParseStreamID(old.ReportID)) <= 0:
		return old, nil, Stale
	}
	from := old.Condition
	if from == "" || r.Generation > old.Generation {
		from = oprc.Pending
	}
	passed, ok := transition(from, r.Condition)
	if !ok {
		return old, nil, Refused
	}
	return oprc.Status{
		Generation: r.Generation, SpecHash: r.SpecHash, Condition: r.Condition, ErrorMsg: r.ErrorMsg,
		Functions: r.Functions, Replicas: r.Replicas, CRM: r.CRM, Time: r.Time, ReportID: e.ID,
	}, passed, Folded
}

func transition(from, to oprc.Condition) ([]oprc.Condition, bool) {
	switch {
	case from == to:
		return nil, true
	case !slices.Contains(next[from], to):
		return nil, false
	case from == oprc.Pending && to == oprc.Running:
		return []oprc.Condition{oprc.Deploying, oprc.Running}, true
	}
	return []oprc.Condition{to}, true
}

// describe says in words why a report was not folded in.
func describe(o Outcome, rec oprc.UnitRecord, old oprc.Status, r oprc.Report) string {
	switch o {
	case Unknown:
		return fmt.Sprintf("unit %s was never dispatched here", r.ID)
	case Future:
		return fmt.Sprintf("generation %d of %s was never dispatched; the last one is %d", r.Generation, r.ID, rec.Generation)
	case Refused:
		return fmt.Sprintf("%s cannot go from %s to %s", r.ID, cmp.Or(old.Condition, oprc.Pending), r.Condition)
	}
	return ""
}
