package crm_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

func TestAllDataLost(t *testing.T) {
	t.Parallel()
	alone(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{ReportEvery: 500 * time.Millisecond}, h)
		kept, dropped := unit(0, "a"), unit(1, "a")
		w.dispatch(command(oprc.Deploy, 1, kept), command(oprc.Deploy, 1, dropped))
		w.saysLast(kept.ID, "1 RUNNING crm-1")
		w.saysLast(dropped.ID, "1 RUNNING crm-1")
		w.dispatch(command(oprc.Deploy, 2, kept))
		w.saysLast(kept.ID, "2 RUNNING crm-1")
		before := len(h.did())

		rdbtest.Flush(t, w.c)
		w.saysLast(kept.ID, "2 RUNNING crm-1") // said again, to a ledger that knows nothing
		if got := h.did()[before:]; len(got) > 0 {
			t.Fatalf("an empty ledger made it act: %v", got)
		}
		w.dispatch(command(oprc.Deploy, 1, kept)) // the count begins anew
		w.saysLast(kept.ID, "1 RUNNING crm-1")
		w.settles()
		// What the ledger does not know of in the end is stopped.
		eventually(t, "dropped unit", func() bool { return h.runs(dropped.ID) }, func(runs bool) bool { return !runs })
		if diff := cmp.Diff(h.did()[before:], []string{"undeploy " + dropped.ID + " 1"}); diff != "" {
			t.Errorf("calls (-got +want):\n%s", diff)
		}
	})
}

func TestRedisRestarts(t *testing.T) {
	t.Parallel()
	p := rdbtest.Start(t, t.TempDir())
	w, h := worldAt(t, p.URL(), rdb.Keys{N: "n", T: "t"}), &recorder{}
	var lost atomic.Int64
	w.run(crm.Options{OnEvent: func(e crm.Event) {
		if e.Type == crm.EventLost {
			lost.Add(1)
		}
	}}, h)
	u := unit(0, "a")
	w.dispatch(command(oprc.Deploy, 1, u))
	w.saysLast(u.ID, "1 RUNNING crm-1")
	p.Kill()
	h.report(u.ID, crm.State{Condition: crm.Down, ErrorMsg: "while nobody listens"})
	time.Sleep(500 * time.Millisecond)
	p.Restart()
	w.saysLast(u.ID, "1 DOWN crm-1")
	w.dispatch(command(oprc.Deploy, 2, u))
	w.saysLast(u.ID, "2 RUNNING crm-1")
	w.settles()
	if got := lost.Load(); got != 1 {
		t.Errorf("told of the loss %d times, want once", got)
	}
}

func TestRunFailsAtOnceWithoutRedis(t *testing.T) {
	t.Parallel()
	began := time.Now()
	err := crm.Run(t.Context(), crm.Options{Redis: "redis://127.0.0.1:1", Env: env, ID: "crm-1"}, &recorder{})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v, want the address", err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %s", took)
	}
}

// The Redis that comes with the binary is enough for a CRM.
func TestRunOnMiniredis(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	w, h := worldAt(t, "redis://"+m.Addr(), rdb.Keys{N: "n", T: "t"}), &recorder{}
	w.run(crm.Options{LeaseTime: time.Second}, h)
	u := unit(0, "a")
	w.dispatch(command(oprc.Deploy, 1, u))
	w.saysLast(u.ID, "1 RUNNING crm-1")
	w.inject(map[string]string{"type": "nonsense"})
	w.dispatch(command(oprc.Undeploy, 2, u))
	w.saysLast(u.ID, "2 DELETED crm-1")
	w.settles()
}

// A handler whose workloads outlive it is not asked to deploy them again.
func TestResumedUnitsAreLeftAsTheyAre(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		same, older, gone := unit(0, "a"), unit(1, "a"), unit(2, "a")
		w.dispatch(command(oprc.Deploy, 1, same), command(oprc.Deploy, 1, older), command(oprc.Deploy, 1, gone))
		w.dispatch(command(oprc.Deploy, 2, older), command(oprc.Undeploy, 2, gone))
		h := &resumer{was: []crm.Command{command(oprc.Deploy, 1, same), command(oprc.Deploy, 1, older), command(oprc.Deploy, 1, gone)}}
		w.run(crm.Options{}, h)
		w.saysLast(same.ID, "1 RUNNING crm-1")
		w.saysLast(older.ID, "2 RUNNING crm-1")
		w.saysLast(gone.ID, "2 DELETED crm-1")
		w.settles()
		got := map[string]bool{}
		for _, call := range h.did() {
			got[call] = true
		}
		want := map[string]bool{"deploy " + older.ID + " 2": true, "undeploy " + gone.ID + " 2": true}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("calls (-got +want):\n%s", diff)
		}
		if !h.reporters[0](crm.State{Condition: crm.Down}) {
			t.Error("the reporter of a resumed unit says that it is not wanted")
		}
		w.saysLast(same.ID, "1 DOWN crm-1")
	})
}

type resumer struct {
	recorder
	was       []crm.Command
	reporters []crm.Reporter
}

func (h *resumer) Resume(_ context.Context, adopt func(crm.Command, crm.State) crm.Reporter) error {
	for _, c := range h.was {
		h.reporters = append(h.reporters, adopt(c, crm.State{}))
	}
	return nil
}

// A Resume may take long: the environment must not count as gone meanwhile.
func TestHeartbeatsBeginBeforeResume(t *testing.T) {
	t.Parallel()
	alone(t, func(t *testing.T, w *world) {
		resumed := make(chan struct{})
		w.run(crm.Options{}, &slowResumer{until: func() {
			defer close(resumed)
			eventually(t, "heartbeat during Resume", func() int64 { return w.c.XLen(t.Context(), w.stream("reports")).Val() }, func(n int64) bool { return n > 0 })
		}})
		<-resumed
	})
}

type slowResumer struct {
	recorder
	until func()
}

func (h *slowResumer) Resume(context.Context, func(crm.Command, crm.State) crm.Reporter) error {
	h.until()
	return nil
}

func TestHeartbeatIsTheFirstReport(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		w.dispatch(command(oprc.Deploy, 1, unit(0, "a")))
		w.run(crm.Options{Availability: 0.97, Capacity: &crm.Capacity{Units: new(5)}, Templates: []string{"gpu"}}, &recorder{})
		eventually(t, "reports", func() int64 { return w.c.XLen(t.Context(), w.stream("reports")).Val() }, func(n int64) bool { return n > 2 })
		entries, err := w.c.XRange(t.Context(), w.stream("reports"), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		var beat map[string]any
		for _, e := range entries {
			if e.Values["type"] == "heartbeat" {
				beat = e.Values
			}
		}
		delete(beat, "ts")
		want := map[string]any{"type": "heartbeat", "crm": "crm-1", "availability": "0.97", "capacity": `{"units":5}`, "templates": `["gpu"]`}
		if diff := cmp.Diff(beat, want); diff != "" {
			t.Errorf("heartbeat (-got +want):\n%s", diff)
		}
	})
}
