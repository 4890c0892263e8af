package crm_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
)

func TestColleaguesShareUnitsAndEachKeepsItsOwn(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := map[string]*recorder{"crm-1": {}, "crm-2": {}}
		for id := range h {
			w.run(crm.Options{ID: id}, h[id])
		}
		eventually(t, "leases", func() int64 { return w.c.HLen(t.Context(), w.hash("leases")).Val() }, func(n int64) bool { return n == 2 })
		const n = 20
		for i := range n {
			w.dispatch(command(oprc.Deploy, 1, unit(i, "a")))
		}
		w.eventuallyOwned(n)
		w.settles()
		before := w.c.HGetAll(t.Context(), w.hash("owners")).Val()
		for i := range n {
			w.dispatch(command(oprc.Deploy, 2, unit(i, "b")))
		}
		for i := range n {
			id := unit(i, "").ID
			w.saysLast(id, "2 RUNNING "+before[id])
			if got := (map[string]bool{"crm-1": h["crm-1"].runs(id), "crm-2": h["crm-2"].runs(id)}); got["crm-1"] == got["crm-2"] {
				t.Errorf("%s runs: %v", id, got)
			}
		}
		w.settles()
		if diff := cmp.Diff(w.c.HGetAll(t.Context(), w.hash("owners")).Val(), before); diff != "" {
			t.Errorf("owners (-got +want):\n%s", diff)
		}
		for i := range n {
			w.dispatch(command(oprc.Undeploy, 3, unit(i, "b")))
		}
		eventually(t, "owners", func() int64 { return w.c.HLen(t.Context(), w.hash("owners")).Val() }, func(n int64) bool { return n == 0 })
	})
}

func (w *world) eventuallyOwned(n int64) {
	w.t.Helper()
	eventually(w.t, "owners", func() int64 { return w.c.HLen(w.t.Context(), w.hash("owners")).Val() }, func(got int64) bool { return got == n })
}

// die leaves behind what a CRM that was killed leaves: a lease that ran out, a unit
// that it owns, and the command on it, read and not acknowledged.
func (w *world) die(id string, u oprc.DeploymentUnit, ago time.Duration) {
	w.t.Helper()
	ctx := w.t.Context()
	if err := w.db.Join(ctx, env); err != nil {
		w.t.Fatal(err)
	}
	got, err := w.c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "crm", Consumer: id, Streams: []string{w.stream("commands"), ">"}, Count: 1}).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	w.c.Do(ctx, "XCLAIM", w.stream("commands"), "crm", id, 0, got[0].Messages[0].ID, "IDLE", ago.Milliseconds(), "JUSTID")
	w.c.HSet(ctx, w.hash("owners"), u.ID, id)
	w.c.HSet(ctx, w.hash("leases"), id, fmt.Sprint(time.Now().Add(-ago).UnixMilli()))
}

func TestDeadColleaguesUnitsAndCommandsAreTakenOver(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		u := unit(0, "a")
		w.dispatch(command(oprc.Deploy, 1, u))
		w.die("crm-0", u, time.Hour)
		w.run(crm.Options{LeaseTime: time.Second}, h)
		w.saysLast(u.ID, "1 RUNNING crm-1")
		w.settles()
		if got := w.c.HGet(t.Context(), w.hash("owners"), u.ID).Val(); got != "crm-1" {
			t.Errorf("owner: got %q", got)
		}
		if diff := cmp.Diff(h.did(), []string{"deploy " + u.ID + " 1"}); diff != "" {
			t.Errorf("calls (-got +want):\n%s", diff)
		}
	})
}

// What a colleague leaves behind is shared by those who live, not taken by the first
// who notices.
func TestUnitsOfOneWhoLeftAreSpread(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		leave := w.run(crm.Options{ID: "crm-1"}, &recorder{})
		const n = 200
		for i := range n {
			w.dispatch(command(oprc.Deploy, 1, unit(i, "a")))
		}
		w.eventuallyOwned(n)
		w.settles()
		h := map[string]*recorder{"crm-2": {}, "crm-3": {}}
		for id := range h {
			w.run(crm.Options{ID: id}, h[id])
		}
		eventually(t, "leases", func() int64 { return w.c.HLen(t.Context(), w.hash("leases")).Val() }, func(n int64) bool { return n == 3 })
		leave()
		for i := range n {
			id := unit(i, "a").ID
			eventually(t, "who runs "+id, func() bool { return h["crm-2"].runs(id) != h["crm-3"].runs(id) }, func(one bool) bool { return one })
		}
		count := map[string]int{}
		for _, owner := range w.c.HGetAll(t.Context(), w.hash("owners")).Val() {
			count[owner]++
		}
		if len(count) != 2 || count["crm-2"] < n*35/100 || count["crm-3"] < n*35/100 {
			t.Errorf("units by owner: %v", count)
		}
	})
}

func TestLivingColleaguesUnitsAreLeftAlone(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		u := unit(0, "a")
		w.dispatch(command(oprc.Deploy, 1, u))
		w.die("crm-0", u, 0) // it lives
		joined := make(chan struct{}, 1)
		w.run(crm.Options{OnEvent: func(e crm.Event) {
			if e.Type == crm.EventJoined {
				joined <- struct{}{}
			}
		}}, h)
		<-joined // from now on who reads a command on a new unit takes it
		other := unit(1, "a")
		w.dispatch(command(oprc.Deploy, 1, other))
		w.saysLast(other.ID, "1 RUNNING crm-1")
		if diff := cmp.Diff(h.did(), []string{"deploy " + other.ID + " 1"}); diff != "" {
			t.Errorf("calls (-got +want):\n%s", diff)
		}
		// Only the colleague's own command stays pending; ours may be acknowledged a moment later.
		eventually(t, "pending is the colleague's 1", w.pending, func(n int64) bool { return n == 1 })
	})
}

// A CRM that was stopped for a while finds that a colleague has its unit.
func TestUnitThatAColleagueTookIsStoppedQuietly(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{ReportEvery: 200 * time.Millisecond}, h)
		u := unit(0, "a")
		w.dispatch(command(oprc.Deploy, 1, u))
		w.saysLast(u.ID, "1 RUNNING crm-1")
		ctx := t.Context()
		w.c.HSet(ctx, w.hash("leases"), "crm-2", fmt.Sprint(time.Now().UnixMilli()))
		w.c.HSet(ctx, w.hash("owners"), u.ID, "crm-2")
		eventually(t, "unit", func() bool { return h.runs(u.ID) }, func(runs bool) bool { return !runs })
		w.saysLast(u.ID, "1 RUNNING crm-1") // nothing about it since
	})
}

func TestDrainStopsWhatMustNotOutliveTheCRM(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &drainer{}
		stop := w.run(crm.Options{}, h)
		u := unit(0, "a")
		w.dispatch(command(oprc.Deploy, 1, u))
		w.saysLast(u.ID, "1 RUNNING crm-1")
		stop()
		if !h.drained {
			t.Error("the handler was not drained")
		}
		w.saysLast(u.ID, "1 DOWN crm-1")
		left := map[string]int64{"owners": w.c.HLen(t.Context(), w.hash("owners")).Val(), "leases": w.c.HLen(t.Context(), w.hash("leases")).Val()}
		if diff := cmp.Diff(left, map[string]int64{"owners": 0, "leases": 0}); diff != "" {
			t.Errorf("left behind (-got +want):\n%s", diff)
		}
		w.run(crm.Options{ID: "crm-2"}, &recorder{})
		w.saysLast(u.ID, "1 RUNNING crm-2")
	})
}

type drainer struct{ recorder }

func (h *drainer) Drain(context.Context) error { h.drained = true; return nil }

// inFlight makes h work on a command that came by the stream, until its block is closed.
func (w *world) inFlight(h *recorder) oprc.DeploymentUnit {
	w.t.Helper()
	first, u := unit(0, "a"), unit(1, "a")
	w.dispatch(command(oprc.Deploy, 1, first))
	w.saysLast(first.ID, "1 RUNNING crm-1") // the records are read: what follows comes by the stream
	h.mu.Lock()
	h.block = make(chan struct{})
	h.mu.Unlock()
	w.dispatch(command(oprc.Deploy, 1, u))
	w.saysLast(u.ID, "1 DEPLOYING crm-1")
	return u
}

func TestDrainLetsCallsInFlightEnd(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		stop := w.run(crm.Options{}, h)
		u := w.inFlight(h)
		time.AfterFunc(2*time.Second, func() { close(h.block) })
		stop()
		w.saysLast(u.ID, "1 RUNNING crm-1")
		w.settles()
	})
}

func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		stop := w.run(crm.Options{DrainTime: 200 * time.Millisecond}, h)
		w.inFlight(h)
		eventually(t, "pending commands, want 1", w.pending, func(n int64) bool { return n == 1 })
		began := time.Now()
		stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		if got := w.pending(); got != 1 {
			t.Errorf("pending: got %d, want 1, for who comes next", got)
		}
	})
}
