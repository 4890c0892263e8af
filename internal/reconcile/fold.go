package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
		r.Generation == old.Generation && compareStreamIDs(e.ID, old.ReportID) <= 0:
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

// compareStreamIDs orders Redis stream ids; what is no id sorts first.
func compareStreamIDs(a, b string) int {
	am, as := splitStreamID(a)
	bm, bs := splitStreamID(b)
	return cmp.Or(cmp.Compare(am, bm), cmp.Compare(as, bs))
}

func splitStreamID(id string) (ms, seq uint64) {
	head, tail, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(head, 10, 64)
	seq, _ = strconv.ParseUint(tail, 10, 64)
	return ms, seq
}

// badness orders conditions; across units the worst wins.
var badness = map[oprc.Condition]int{
	oprc.Deleted: 1, oprc.Running: 2, oprc.Pending: 3, oprc.Deploying: 4, oprc.Down: 5,
}

// Worst returns the worst of two conditions; "" is no condition.
func Worst(a, b oprc.Condition) oprc.Condition {
	if badness[b] > badness[a] {
		return b
	}
	return a
}

// runtimeOf sums the units of one class in one environment up. Units that were
// told to go do not count. ok is false when none is left.
func runtimeOf(cls, env string, units []UnitView, now time.Time) (rt oprc.ClassRuntime, ok bool) {
	parts := map[int]*tally{}
	strong := false
	for _, u := range units {
		if u.Op != oprc.Deploy {
			continue
		}
		if c := u.Unit.Constraints; c != nil && c.Consistency == oprc.Strong {
			strong = true
		}
		p := parts[u.Unit.PartitionInfo.PartitionID]
		if p == nil {
			p = &tally{}
			parts[u.Unit.PartitionInfo.PartitionID] = p
		}
		p.add(u)
	}
	rt = oprc.ClassRuntime{
		Key: cls + "@" + env, ClsKey: cls, Env: env, Status: oprc.RuntimeRunning,
		Partitions: []oprc.RuntimePartition{}, LastUpdate: now,
	}
	anyUp, deploying := false, false
	for id, p := range parts {
		slices.Sort(p.replicas)
		rt.Partitions = append(rt.Partitions, oprc.RuntimePartition{ID: id, Replicas: p.replicas, Time: p.last})
		anyUp, deploying = anyUp || p.up > 0, deploying || p.deploying > 0
		if !p.quorum(strong) {
			rt.Status = oprc.RuntimeDown
		}
	}
	if rt.Status == oprc.RuntimeDown && anyUp && deploying {
		rt.Status = oprc.RuntimeScaling
	}
	slices.SortFunc(rt.Partitions, func(a, b oprc.RuntimePartition) int { return cmp.Compare(a.ID, b.ID) })
	return rt, len(parts) > 0
}

// A tally counts the units of one partition.
type tally struct {
	units, up, deploying int
	replicas             []string
	last                 time.Time
}

func (t *tally) add(u UnitView) {
	t.units++
	switch u.Condition {
	case oprc.Running:
		t.up++
		names := []string{u.Unit.ID}
		if u.Status != nil && len(u.Status.Replicas) > 0 {
			names = u.Status.Replicas
		}
		t.replicas = append(t.replicas, names...)
	case oprc.Pending, oprc.Deploying:
		t.deploying++
	}
	if u.Status != nil && u.Status.Time.After(t.last) {
		t.last = u.Status.Time
	}
}

// quorum reports whether enough units are up: most of them under STRONG, one of
// them otherwise.
func (t *tally) quorum(strong bool) bool {
	if strong {
		return t.up > t.units/2
	}
	return t.up > 0
}

// view joins a unit's record and status into what a reader should believe.
func view(rec oprc.UnitRecord, st oprc.Status, health oprc.Health) UnitView {
	u := UnitView{UnitRecord: rec, Condition: oprc.Pending, Settled: st.Generation == rec.Generation}
	if st.Generation > 0 {
		u.Status = &st
	}
	if u.Settled {
		u.Condition = st.Condition
		u.Drift = rec.Op == oprc.Deploy && (st.Condition == oprc.Deleted || st.SpecHash != "" && st.SpecHash != rec.SpecHash)
	}
	if health == oprc.EnvDown && u.Condition != oprc.Deleted {
		u.Condition = oprc.Down
	}
	return u
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
