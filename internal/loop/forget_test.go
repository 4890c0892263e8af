package loop_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// What is kept of units that went goes after a week, if they were reported to be gone.
func TestUnitsThatWentLongAgoAreForgotten(t *testing.T) {
	d := newDaemon(t)
	report := func(age time.Duration) string { return fmt.Sprintf("%d-0", time.Now().Add(-age).UnixMilli()) }
	for n, unit := range []struct {
		ops        []oprc.Op
		generation int64
		condition  oprc.Condition
		age        time.Duration
	}{
		{[]oprc.Op{oprc.Deploy, oprc.Undeploy}, 2, oprc.Deleted, 8 * 24 * time.Hour}, // goes
		{[]oprc.Op{oprc.Deploy, oprc.Undeploy}, 2, oprc.Deleted, 6 * 24 * time.Hour},
		{[]oprc.Op{oprc.Deploy, oprc.Undeploy}, 1, oprc.Running, 8 * 24 * time.Hour}, // still runs, for all we know
		{[]oprc.Op{oprc.Deploy}, 1, oprc.Deleted, 8 * 24 * time.Hour},                // is to run
	} {
		id := oprc.UnitID("shop.cart", n, 0, "edge")
		u := oprc.DeploymentUnit{ID: id, ClsKey: "shop.cart", TargetEnv: "edge", PartitionInfo: oprc.PartitionInfo{PartitionID: n}}
		for i, op := range unit.ops {
			cmd := oprc.Command{Type: op, ID: id, Generation: int64(i + 1), SpecHash: oprc.Digest(u), Time: time.Now(), Unit: u}
			if err := d.db.Dispatch(t.Context(), "edge", []oprc.Command{cmd}, 0); err != nil {
				t.Fatal(err)
			}
		}
		st := oprc.Status{Generation: unit.generation, Condition: unit.condition, ReportID: report(unit.age)}
		if _, err := d.db.Fold(t.Context(), "edge", []ingest.StatusWrite{{ID: id, New: st}}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	d.start()
	defer d.stop()
	left := 0
	deadline := time.Now().Add(2 * time.Minute)
	for left != 3 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
		records, err := d.db.UnitRecords(t.Context(), "edge")
		if err != nil {
			t.Fatal(err)
		}
		left = len(records)
	}
	digests, err := d.db.UnitDigests(t.Context(), "edge")
	if err != nil {
		t.Fatal(err)
	}
	all, err := d.db.Statuses(t.Context(), "edge")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for id := range digests {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if diff := cmp.Diff([]string{"shop.cart/1/0@edge", "shop.cart/2/0@edge", "shop.cart/3/0@edge"}, ids); diff != "" {
		t.Errorf("kept: -want +got\n%s", diff)
	}
	if left != 3 || len(all) != 3 {
		t.Errorf("records %d, statuses %d, want 3", left, len(all))
	}
}
