package rdb_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
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
