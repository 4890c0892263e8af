package rdb_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A reading that keeps what has not moved is what somebody reads who keeps nothing,
// after every kind of write; and where nothing was written, it is the same reading.
func TestReadingsKeepWhatHasNotMoved(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, ctx := open(t, url), t.Context()
		what := oprc.DeploymentUnit{ID: "a.c/0/0@edge"}
		unit := func(gen int64, op oprc.Op) oprc.Command {
			return oprc.Command{ID: "a.c/0/0@edge", Type: op, Generation: gen, SpecHash: oprc.Digest(what), Time: time.Unix(1, 0), Unit: what}
		}
		status := func(old oprc.Status, gen int64, id string, c oprc.Condition) func() error {
			return func() error {
				_, err := db.Fold(ctx, "edge", []ingest.StatusWrite{{ID: "a.c/0/0@edge", Old: old, New: oprc.Status{Generation: gen, ReportID: id, Condition: c}}}, nil, nil)
				return err
			}
		}
		steps := []struct {
			name  string
			write func() error
		}{
			{"dispatch", func() error { return db.Dispatch(ctx, "edge", []oprc.Command{unit(1, oprc.Deploy)}, 0) }},
			{"report", status(oprc.Status{}, 1, "1-1", oprc.Running)},
			{"another report", status(oprc.Status{Generation: 1, ReportID: "1-1"}, 1, "2-1", oprc.Down)},
			{"undeploy", func() error { return db.Dispatch(ctx, "edge", []oprc.Command{unit(2, oprc.Undeploy)}, 0) }},
			{"gone", status(oprc.Status{Generation: 1, ReportID: "2-1"}, 2, "3-1", oprc.Deleted)},
			{"forget", func() error { return db.Forget(ctx, "edge", map[string]int64{"a.c/0/0@edge": 2}, 0) }},
		}
		if err := write(t, db, shop()); err != nil {
			t.Fatal(err)
		}
		before := must(db.Live(ctx))(t)
		for _, s := range steps {
			if err := s.write(); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			kept := must(db.Live(ctx))(t)
			again := must(db.Live(ctx))(t)
			whole := must(open(t, url).Live(ctx))(t)
			ignore := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(plan.Live{}, "Reading"), cmpopts.IgnoreFields(oprc.EnvironmentState{}, "Read")}
			if diff := cmp.Diff(whole, kept, ignore); diff != "" {
				t.Errorf("after %s: -whole +kept\n%s", s.name, diff)
			}
			if kept.Reading <= before.Reading {
				t.Errorf("after %s: reading %d follows %d", s.name, kept.Reading, before.Reading)
			}
			if again.Reading != kept.Reading {
				t.Errorf("after %s nothing moved, and yet reading %d follows %d", s.name, again.Reading, kept.Reading)
			}
			before = kept
		}
	})
}

// A ledger at rest costs a daemon its counters: nothing is read again, audits or not. What
// somebody alters past all scripts shows all the same.
func TestAtRestNothingIsReadAgain(t *testing.T) {
	url := servers.Empty(t, rdbtest.Kinds[0])
	db, ctx := open(t, url), t.Context()
	if err := write(t, db, shop()); err != nil {
		t.Fatal(err)
	}
	dispatch(t, db, "edge", command(unit("shop.record", 0, 0, "edge"), oprc.Deploy, 1))
	const id = "shop.record/0/0@edge"
	if _, err := db.Fold(ctx, "edge", []ingest.StatusWrite{{ID: id, New: oprc.Status{Generation: 1, ReportID: "1-1", Condition: oprc.Running}}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	client, _ := raw(t, url).(*redis.Client)
	first := must(db.Live(ctx))(t)
	for range 3 { // whoever reads first looks at the records once
		time.Sleep(rdb.AuditEvery)
		must(db.Live(ctx))(t)
	}
	before := calls(t, client, "hgetall")
	readings := 0
	for end := time.Now().Add(2*rdb.AuditEvery + time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if live := must(db.Live(ctx))(t); live.Reading != first.Reading {
			t.Fatalf("reading %d follows %d", live.Reading, first.Reading)
		}
		readings++
	}
	if got := calls(t, client, "hgetall") - before; got != readings { // the heartbeats
		t.Errorf("%d hashes were read whole in %d readings", got, readings)
	}
	if err := client.HSet(ctx, "oaas_pm:{env:edge}:status", id, `{"generation":1,"reportId":"1-1","condition":"DOWN"}`).Err(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if must(db.Live(ctx))(t).Statuses["edge"][id].Condition == oprc.Down {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a status that was altered by hand does not show")
		}
	}
}

// calls is how often Redis ran a command.
func calls(t *testing.T, c *redis.Client, command string) int {
	t.Helper()
	all, err := c.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	n, _, _ := strings.Cut(strings.TrimPrefix(all["Commandstats"]["cmdstat_"+command], "calls="), ",")
	count, err := strconv.Atoi(n)
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// The embedded Redis takes what a slice of many records asks of its scripts, too.
func TestAuditsOfManyRecordsOnTheEmbeddedRedis(t *testing.T) {
	db := open(t, "redis://"+miniredis.RunT(t).Addr())
	if err := write(t, db, shop()); err != nil {
		t.Fatal(err)
	}
	var all []oprc.Command
	for i := range 500 {
		all = append(all, command(unit("shop.record", i, 0, "edge"), oprc.Deploy, 1))
	}
	dispatch(t, db, "edge", all...)
	if live := must(db.Live(t.Context()))(t); len(live.Units["edge"]) != len(all) || len(live.Damaged) != 0 {
		t.Errorf("%d units, damaged: %v", len(live.Units["edge"]), live.Damaged)
	}
}
