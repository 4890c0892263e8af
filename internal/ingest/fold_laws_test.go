package ingest_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// A history is what one class was told to be, and what was reported on it.
type history struct {
	records map[string]oprc.UnitRecord
	reports []oprc.ReportEntry // in the order of the stream
}

// randomHistory has reports as CRMs write them: on any generation up to the record's,
// with nothing after DELETED in the same one, and some with another specHash.
func randomHistory(r *rand.Rand) history {
	h := history{records: map[string]oprc.UnitRecord{}}
	consistency := []oprc.Consistency{oprc.Strong, oprc.ConsistencyNone}[r.IntN(2)]
	var ids []string
	for partition := range 1 + r.IntN(2) {
		for replica := range 1 + r.IntN(3) {
			id := oprc.UnitID("shop.cart", partition, replica, "edge")
			op := []oprc.Op{oprc.Deploy, oprc.Deploy, oprc.Deploy, oprc.Undeploy}[r.IntN(4)]
			h.records[id] = oprc.UnitRecord{
				Op: op, Generation: 1 + r.Int64N(3), SpecHash: "sha256:a",
				Unit: oprc.DeploymentUnit{
					ID: id, ClsKey: "shop.cart", TargetEnv: "edge", PartitionInfo: oprc.PartitionInfo{PartitionID: partition, ReplicaID: replica},
					Constraints: &oprc.Constraints{Consistency: consistency},
				},
			}
			ids = append(ids, id)
		}
	}
	ended := map[string]bool{}
	for n := range 1 + r.IntN(30) {
		id := ids[r.IntN(len(ids))]
		generation := 1 + r.Int64N(h.records[id].Generation)
		if ended[fmt.Sprint(id, generation)] {
			continue
		}
		e := entry(generation, []oprc.Condition{oprc.Deploying, oprc.Running, oprc.Down, oprc.Deleted}[r.IntN(4)], fmt.Sprintf("%d-%d", 9+n/4, n))
		e.Report.ID, e.Report.Time = id, noon.Add(time.Duration(n)*time.Second)
		e.Report.SpecHash = []string{"sha256:a", "sha256:a", "sha256:b"}[r.IntN(3)]
		ended[fmt.Sprint(id, generation)] = e.Report.Condition == oprc.Deleted
		h.reports = append(h.reports, e)
	}
	return h
}

// The law, judged without Fold: of the reports on a unit that of the highest generation
// counts, of those the last in the stream, whatever the order in which they arrive and
// however often; and the class is the sum of its units.
func TestFoldIsOrderTolerant(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 0))
		h := randomHistory(r)
		box := newInbox()
		box.records = h.records
		drifted := false
		for range 2 { // the second time everything comes again
			arriving := slices.Concat(h.reports, h.reports[:r.IntN(len(h.reports)+1)])
			r.Shuffle(len(arriving), func(i, j int) { arriving[i], arriving[j] = arriving[j], arriving[i] })
			box.entries = arriving
			run(t, box, func(string) { drifted = true })
		}
		want := h.last()
		got := map[string]oprc.ReportEntry{}
		for id, s := range box.statuses {
			got[id] = oprc.ReportEntry{ID: s.ReportID, Report: oprc.Report{
				Type: oprc.ReportStatus, CRM: s.CRM, Time: s.Time, ID: id, Generation: s.Generation, Condition: s.Condition, SpecHash: s.SpecHash,
			}}
		}
		if diff := gocmp.Diff(got, want); diff != "" {
			t.Fatalf("seed %d: statuses (-got +want):\n%s", seed, diff)
		}
		if rt, want := box.runtimes["shop.cart"], h.sum(); len(rt.Partitions) > 0 && rt.Status != want {
			t.Fatalf("seed %d: class is %s, want %s of %v", seed, rt.Status, want, got)
		}
		if !drifted && h.drifts() {
			t.Fatalf("seed %d: nobody was told of the drift", seed)
		}
		if len(box.dead) > 0 {
			t.Fatalf("seed %d: dead letters: %v", seed, box.dead)
		}
	}
}

func (h history) last() map[string]oprc.ReportEntry {
	last := map[string]oprc.ReportEntry{}
	for _, e := range h.reports { // in the order of the stream
		if was, ok := last[e.Report.ID]; !ok || e.Report.Generation >= was.Report.Generation {
			last[e.Report.ID] = e
		}
	}
	return last
}

func (h history) drifts() bool {
	for id, e := range h.last() {
		rec := h.records[id]
		if rec.Op == oprc.Deploy && e.Report.Generation == rec.Generation && (e.Report.SpecHash != rec.SpecHash || e.Report.Condition == oprc.Deleted) {
			return true
		}
	}
	return false
}

// sum is the state of the class by its definition.
func (h history) sum() oprc.RuntimeStatus {
	last := h.last()
	units, up := map[int]int{}, map[int]int{}
	running, deploying, strong := 0, 0, false
	for id, rec := range h.records {
		if rec.Op != oprc.Deploy {
			continue
		}
		strong = rec.Unit.Constraints.Consistency == oprc.Strong
		units[rec.Unit.PartitionInfo.PartitionID]++
		e, heard := last[id]
		switch {
		case !heard || e.Report.Generation < rec.Generation || e.Report.Condition == oprc.Deploying:
			deploying++
		case e.Report.Condition == oprc.Running:
			running++
			up[rec.Unit.PartitionInfo.PartitionID]++
		}
	}
	for partition, n := range units {
		if quorum := map[bool]int{true: n/2 + 1, false: 1}[strong]; up[partition] < quorum {
			if running > 0 && deploying > 0 {
				return oprc.RuntimeScaling
			}
			return oprc.RuntimeDown
		}
	}
	return oprc.RuntimeRunning
}

// Whatever is reported, also what no CRM may say: a status never goes back, the same
// report changes nothing a second time, and nothing is changed in place.
func TestFoldNeverGoesBack(t *testing.T) {
	all := []oprc.Condition{oprc.Pending, oprc.Deploying, oprc.Running, oprc.Down, oprc.Deleted, "", "GREAT"}
	r := rand.New(rand.NewPCG(1, 2))
	rec := oprc.UnitRecord{Generation: 3}
	var st oprc.Status
	for range 5000 {
		e := entry(r.Int64N(6)-1, all[r.IntN(len(all))], fmt.Sprintf("%d-%d", r.IntN(2000), r.IntN(20)))
		if r.IntN(50) == 0 {
			e.ID, st = "no id", oprc.Status{}
		}
		before := st
		got, _, outcome := ingest.Fold(rec, st, e)
		switch {
		case outcome != ingest.Folded && !gocmp.Equal(got, before):
			t.Fatalf("%v changed %+v to %+v", outcome, before, got)
		case cmp.Compare(got.Generation, before.Generation) < 0, got.Generation > rec.Generation:
			t.Fatalf("%+v became %+v", before, got)
		}
		again, passed, outcome := ingest.Fold(rec, got, e)
		if !gocmp.Equal(again, got) || len(passed) > 0 || outcome == ingest.Folded {
			t.Fatalf("%+v a second time: %v, from %+v to %+v", e, outcome, got, again)
		}
		st = got
	}
}

// A CRM whose heartbeat stands behind many of its reports is not taken for dead.
func TestReportsAreSignsOfLife(t *testing.T) {
	long := time.Date(1999, 12, 31, 23, 59, 40, 0, time.UTC) // 20 s before synctest's clocks start
	said := fmt.Sprintf("%d-0", long.Add(20*time.Second).UnixMilli())
	box := newInbox(entry2(oprc.Running, said), entryOf("stranger", said))
	box.beats = map[string]oprc.Heartbeat{"crm-1": {CRM: "crm-1", Time: long, Since: long, Availability: 0.9}}
	run(t, box, func(string) {})
	now := long.Add(20 * time.Second)
	want := map[string]oprc.Heartbeat{"crm-1": {CRM: "crm-1", Time: now, Since: now, Returned: true, Availability: 0.9}}
	if diff := gocmp.Diff(box.beats, want); diff != "" {
		t.Errorf("heartbeats (-got +want):\n%s", diff)
	}
}

func entryOf(crm, id string) oprc.ReportEntry {
	e := entry2(oprc.Running, id)
	e.Report.CRM = crm
	return e
}
