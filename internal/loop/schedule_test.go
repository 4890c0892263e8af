package loop_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// deafEnv is a ledger with one environment whose CRM sends heartbeats, acknowledges and
// answers nothing, until the status of a unit is set. It is used under synctest, by one
// goroutine at a time.
type deafEnv struct {
	reconcile.Ledger
	lossy
	records  map[string]oprc.UnitRecord
	statuses map[string]oprc.Status
	since    time.Time     // of heartbeats
	silent   bool          // no heartbeats
	skew     time.Duration // of the clock that stamps heartbeats, before ours
	away     time.Time     // Dispatch fails until then
	sent     map[string][]time.Duration
	began    time.Time
}

func (e *deafEnv) Live(context.Context) (plan.Live, error) {
	live := plan.Live{
		Units:        map[string]map[string]oprc.UnitDigest{"edge": {}},
		Statuses:     map[string]map[string]oprc.Status{"edge": e.statuses},
		Environments: map[string]oprc.EnvironmentState{},
	}
	for id, r := range e.records {
		live.Units["edge"][id] = oprc.UnitDigest{Generation: r.Generation, SpecHash: r.SpecHash}
	}
	since := e.since.Add(e.skew)
	state := oprc.EnvironmentState{Read: time.Now().Add(e.skew), Health: oprc.EnvDown, Beats: []oprc.Heartbeat{{CRM: "x", Time: since, Since: since}}}
	if !e.silent {
		state.Health, state.Beats[0].Time = oprc.Healthy, state.Read
	}
	live.Environments["edge"] = state
	return live, nil
}

func (e *deafEnv) UnitRecordsOf(_ context.Context, _ string, ids []string) (map[string]oprc.UnitRecord, error) {
	return only(e.records, ids), nil
}

func (e *deafEnv) CommandsRead(context.Context, string) (read, last string, err error) {
	return "1-0", "1-0", nil
}

func (e *deafEnv) CommandsHeld(context.Context, string) (map[string]int64, error) { return nil, nil }

func (e *deafEnv) Observe(_ context.Context, version int64, _ map[string]*oprc.Observation, _ int64, _ string) (int64, error) {
	return version, nil
}

func (e *deafEnv) AwaitTurn(context.Context, string, bool) (int, error) { return 0, nil }

func (e *deafEnv) EndTurn(context.Context, string) error { return nil }

func (e *deafEnv) Dispatch(_ context.Context, env string, cmds []oprc.Command, _ int64) error {
	if time.Now().Before(e.away) {
		return errors.New("away")
	}
	for _, c := range cmds {
		if r := e.records[c.ID]; env != "edge" || c.Generation != r.Generation || c.SpecHash != r.SpecHash || c.Type != r.Op {
			return fmt.Errorf("not what is recorded: %+v", c)
		}
		e.sent[c.ID] = append(e.sent[c.ID], time.Since(e.began).Round(100*time.Millisecond))
	}
	return nil
}

// dispatched records a unit in its next generation.
func (e *deafEnv) dispatched(id string) {
	r := e.records[id]
	r.Generation++
	r.Unit.ID, r.SpecHash, r.Op, r.DispatchedAt = id, "sha256:a", oprc.Deploy, time.Now()
	e.records[id] = r
}

// lead runs a daemon for a while.
func (e *deafEnv) lead(t *testing.T, d time.Duration, change ...func(*loop.Loop)) {
	t.Helper()
	loop := &loop.Loop{
		Reconciler: &reconcile.Reconciler{Ledger: e, Now: time.Now}, Lease: e, Store: e, Holder: "test",
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(loop)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := loop.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func withDeaf(t *testing.T, test func(t *testing.T, e *deafEnv)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, &deafEnv{
			records: map[string]oprc.UnitRecord{}, statuses: map[string]oprc.Status{}, sent: map[string][]time.Duration{},
			since: time.Now(), began: time.Now(),
		})
	})
}

// pauses are the times between sendings, from the first on.
func pauses(at []time.Duration) []time.Duration {
	out, was := []time.Duration{}, time.Duration(0)
	for _, d := range at {
		out, was = append(out, d-was), d
	}
	return out
}

// wantPauses checks that each pause is as wanted, or longer: by up to a quarter, and
// by the time that it takes to notice that the command was read.
func wantPauses(t *testing.T, got []time.Duration, want ...time.Duration) {
	t.Helper()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = got[i] >= want[i] && got[i] <= want[i]*5/4+min(want[0], 5*time.Second)
	}
	if !ok {
		t.Errorf("pauses: got %v, want %v and a little more", got, want)
	}
}

// The pauses double, up to a limit; units do not keep in step.
func TestPausesGrowToALimit(t *testing.T) {
	withDeaf(t, func(t *testing.T, e *deafEnv) {
		count := 0
		for i := range 20 {
			e.dispatched(fmt.Sprintf("shop.cart/%d/0@edge", i))
		}
		e.lead(t, 40*time.Minute, func(l *loop.Loop) { l.Resent = func(_ string, n int) { count += n } })
		s := time.Second
		firsts := map[time.Duration]bool{}
		sum := 0
		for _, at := range e.sent {
			got := pauses(at)
			wantPauses(t, got[:7], 15*s, 30*s, 60*s, 120*s, 240*s, 480*s, 600*s)
			firsts[got[0]] = true
			sum += len(at)
		}
		if len(e.sent) != 20 || len(firsts) < 10 {
			t.Errorf("%d units were sent again, after %d different first pauses: %v", len(e.sent), len(firsts), firsts)
		}
		if count != sum {
			t.Errorf("counted are %d, sent %d", count, sum)
		}
	})
}

// The pauses are set by the operator.
func TestResendIsSet(t *testing.T) {
	withDeaf(t, func(t *testing.T, e *deafEnv) {
		e.dispatched(cart)
		e.lead(t, 20*time.Second, func(l *loop.Loop) { l.Resend = loop.Resend{First: time.Second, Max: 3 * time.Second} })
		wantPauses(t, pauses(e.sent[cart])[:4], time.Second, 2*time.Second, 3*time.Second, 3*time.Second)
	})
}

// Daemons that die sooner than the first pause is over, one after the other, keep to
// the schedule of what was dispatched under the first.
func TestTheScheduleOutlivesDaemons(t *testing.T) {
	withDeaf(t, func(t *testing.T, e *deafEnv) {
		e.dispatched(cart)
		for range 40 {
			e.lead(t, 7*time.Second)
		}
		wantPauses(t, pauses(e.sent[cart]), 15*time.Second, 30*time.Second, 60*time.Second, 120*time.Second)
	})
}

// Where nobody is there to hear it nothing is sent; who comes back gets it soon, however
// long it was away.
func TestNobodyIsToldTwiceWhoIsNotThere(t *testing.T) {
	withDeaf(t, func(t *testing.T, e *deafEnv) {
		e.silent = true
		time.Sleep(time.Minute)
		e.dispatched(cart)
		e.lead(t, time.Minute, func(l *loop.Loop) { l.Resend.First = time.Second })
		time.Sleep(time.Hour)
		e.lead(t, time.Hour)
		if diff := cmp.Diff(map[string][]time.Duration{}, e.sent); diff != "" {
			t.Fatalf("sent to nobody: %s", diff)
		}
		e.silent, e.since, e.began = false, time.Now(), time.Now()
		e.skew = -3 * time.Hour // Redis' clock
		e.lead(t, time.Minute)
		wantPauses(t, pauses(e.sent[cart]), 15*time.Second, 30*time.Second)
	})
}

// What could not be written is tried at the next look, not after the next pause.
func TestAFailedResendIsTriedAgainSoon(t *testing.T) {
	withDeaf(t, func(t *testing.T, e *deafEnv) {
		e.dispatched(cart)
		e.away = time.Now().Add(25 * time.Second)
		e.lead(t, 35*time.Second)
		if got := e.sent[cart]; len(got) != 1 || got[0] > 31*time.Second {
			t.Errorf("sent again after %v, want one that is soon after 25s", got)
		}
	})
}

// With OAAS_PM_CRM_ENABLED=false nothing is dispatched, not even again.
func TestNothingIsSentAgainWhereDispatchIsOff(t *testing.T) {
	withDeaf(t, func(t *testing.T, e *deafEnv) {
		e.dispatched(cart)
		e.lead(t, time.Hour, func(l *loop.Loop) { l.Reconciler.DispatchOff = true })
		if len(e.sent) > 0 {
			t.Errorf("sent again: %v", e.sent)
		}
	})
}

const cart = "shop.cart/0/0@edge"

func only[V any](all map[string]V, ids []string) map[string]V {
	out := map[string]V{}
	for _, id := range ids {
		if v, ok := all[id]; ok {
			out[id] = v
		}
	}
	return out
}
