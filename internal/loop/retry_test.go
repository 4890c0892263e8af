package loop_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// taken is a lease that another daemon holds.
type taken struct{}

func (taken) Acquire(context.Context, string, time.Duration) (int64, bool, error) {
	return 0, false, nil
}
func (taken) Release(context.Context, string, int64) error { return nil }
func (taken) Fence(context.Context, int64) error           { return nil }

// A daemon that does not lead waits; it does not go round in circles.
func TestStandbyRests(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.lease = taken{}
	var looked atomic.Int64
	d.repo.commit("a", "shop 1")
	d.start(func(c *loop.SourceConfig) { c.Interval = 10 * time.Millisecond })
	d.stop()
	d.loop.Now = func() time.Time {
		looked.Add(1)
		return time.Now()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := d.loop.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if n := looked.Load(); n == 0 || n > 100 {
		t.Errorf("woke up %d times in 30 intervals", n)
	}
}

// flaky is a ledger whose next writes fail.
type flaky struct {
	reconcile.Ledger
	failures atomic.Int64
}

func (f *flaky) Commit(ctx context.Context, c reconcile.Commit) (int64, error) {
	if f.failures.Add(-1) >= 0 {
		return 0, errors.New("out of memory")
	}
	return f.Ledger.Commit(ctx, c)
}

// What could not be written is tried again soon, however long the interval.
func TestFailedWritesAreTriedAgain(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	f := &flaky{Ledger: d.rec.Ledger}
	d.rec.Ledger = f
	d.repo.commit("a", "shop 1")
	d.start()
	d.tick()
	f.failures.Store(1 << 30) // until it has been looked at
	d.repo.commit("b", "shop 2")
	s := d.tick()
	if c := condition(s, "Ready"); c.Reason != "ApplyFailed" || !strings.Contains(c.Message, "next try at") || condition(s, "Stalled").Status || s.NextTry.IsZero() {
		t.Errorf("got %+v", s)
	}
	f.failures.Store(0)
	until(t, "the next try", func() bool { return d.images()["shop"] == "2" })
	until(t, "all is well", func() bool { s := d.status("main"); return condition(s, "Ready").Status && s.NextTry.IsZero() })
}

// deaf is a store that cannot be read for a moment.
type deaf struct {
	loop.SourceStore
	until atomic.Int64
}

func (s *deaf) Requests(ctx context.Context) (oprc.Requests, error) {
	if time.Now().UnixNano() < s.until.Load() {
		return oprc.Requests{}, errors.New("away")
	}
	return s.SourceStore.Requests(ctx)
}

// A webhook that came while the state could not be read is not forgotten.
func TestNoWakeIsLost(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	store := &deaf{SourceStore: d.db}
	d.store = store
	d.repo.commit("a", "shop 1")
	d.start()
	d.tick()
	store.until.Store(time.Now().Add(200 * time.Millisecond).UnixNano())
	d.repo.commit("b", "shop 2")
	d.loop.Wake("main")
	until(t, "the revision that was told of", func() bool { return d.images()["shop"] == "2" })
}

// What a branch no longer has because it was rewound is not deleted unasked, however
// little it is, and whatever commits follow; what it still has goes out.
func TestARewindDeletesNothingUnasked(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.repo.commit("a", "one 1", "two 1")
	d.start()
	d.tick()
	d.repo.commit("b", "one 1")
	d.repo.rev.Rewind = true
	s := d.tick()
	if c := condition(s, "Ready"); s.Receipt.Result != oprc.ResultHeld || c.Reason != "ApprovalNeeded" || !strings.Contains(c.Message, "rewound or force-pushed: revision b does not descend from a") {
		t.Fatalf("got %+v", s)
	}
	d.repo.commit("c", "one 2") // a descendant of b
	d.start()
	if s = d.tick(); s.Receipt.Result != oprc.ResultHeld || s.PlanID == "" {
		t.Fatalf("a descendant: %+v", s)
	}
	d.wantImages(map[string]string{"one": "2", "two": "1"})
	d.repo.commit("d", "one 3", "two 1") // it is back
	if s = d.tick(); s.Receipt.Result != oprc.ResultOK || s.RewoundFrom != "" {
		t.Fatalf("back: %+v", s)
	}
	d.repo.commit("e", "one 3") // an ordinary deletion
	if s = d.tick(); s.Receipt.Result != oprc.ResultOK {
		t.Fatalf("removed: %+v", s)
	}
	d.wantImages(map[string]string{"one": "3"})
}

// Approved, the deletion goes out.
func TestARewindThatIsApproved(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.repo.commit("a", "one 1", "two 1")
	d.start()
	d.tick()
	d.repo.commit("b", "one 1")
	d.repo.rev.Rewind = true
	s := d.tick()
	d.ask(oprc.SourceRequest{Verb: oprc.VerbApprove, Name: "main", PlanID: s.PlanID})
	if s = d.tick(); s.Receipt.Result != oprc.ResultOK {
		t.Errorf("got %+v", s)
	}
	d.wantImages(map[string]string{"one": "1"})
}

// While the newest revision is refused, or the repository away, that is what the
// source says, whatever runtimes report meanwhile; what was applied is kept true.
func TestWhatIsWrongStaysSaidUntilTheNextPoll(t *testing.T) {
	t.Parallel()
	for reason, down := range map[string]error{
		"VerificationFailed": fmt.Errorf("commit b: %w", oprc.ErrUnverified), "Unreachable": errors.New("no route"),
	} {
		t.Run(reason, func(t *testing.T) {
			d := newDaemon(t)
			d.repo.commit("a", "shop 1")
			d.start()
			d.tick()
			d.repo.fail(down)
			if c := condition(d.tick(), "Ready"); c.Reason != reason || c.Revision != "a" {
				t.Fatalf("got %+v", c)
			}
			polls := d.repo.count()
			d.forget("shop")
			d.loop.Replan()
			until(t, "what was deleted by hand is back", func() bool { return d.images()["shop"] == "1" })
			d.loop.Replan()
			time.Sleep(100 * time.Millisecond)
			if c := condition(d.status("main"), "Ready"); c.Reason != reason {
				t.Errorf("got %+v", c)
			}
			if more := d.repo.count() - polls; more != 0 {
				t.Errorf("%d polls that nobody asked for", more)
			}
			d.repo.fail(nil)
			if c := condition(d.tick(), "Ready"); !c.Status {
				t.Errorf("got %+v", c)
			}
		})
	}
}

// A repository that was never reached is not asked again because runtimes report.
func TestReportsDoNotPollWhatIsAway(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.repo.fail(errors.New("no route"))
	d.start()
	d.tick()
	polls := d.repo.count()
	for range 5 {
		d.loop.Replan()
		time.Sleep(20 * time.Millisecond)
	}
	if more := d.repo.count() - polls; more != 0 {
		t.Errorf("%d polls", more)
	}
}

// That a source comes to be wrong, and right again, is an event each.
func TestChangesOfReadyAreEvents(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.repo.commit("a", "shop 1")
	d.start()
	d.tick()
	d.repo.fail(errors.New("no route"))
	d.tick()
	d.tick()
	d.repo.fail(nil)
	d.tick()
	events, err := d.db.Events(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		if e.Type == "source" {
			got = append(got, e.From+" -> "+e.To)
		}
	}
	if want := []string{"Applied -> Unreachable", "Unreachable -> Applied"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A deletion does not make a source healthy whose other units are on their way.
func TestADeletionLeavesTheOthersOnTheirWay(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.environment("edge")
	d.repo.commit("a", deployed, strings.ReplaceAll(deployed, "shop", "more"))
	d.repo.files["a"][1].Path = "more.yaml"
	d.start()
	d.tick()
	d.repo.commit("b", deployed)
	s := d.tick()
	if condition(s, "Healthy").Status || !condition(s, "Reconciling").Status {
		t.Errorf("got %+v", s.Conditions)
	}
}
