package crm_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// These rules of the protocol cannot be seen from outside, or only after long.

func TestHeartbeatsGoOnWhileItDeploys(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{block: make(chan struct{})}
		defer close(h.block)
		w.run(crm.Options{}, h)
		u := unit(0, "a")
		w.dispatch(command(oprc.Deploy, 1, u))
		w.saysLast(u.ID, "1 DEPLOYING crm-1")
		w.forget()
		eventually(t, "heartbeats", func() int64 { return w.c.XLen(t.Context(), w.stream("reports")).Val() }, func(n int64) bool { return n >= 2 })
	})
}

// A command that takes longer than the lease time does not look abandoned.
func TestLongWorkIsKeptFresh(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		const lease = 3 * time.Second
		h := &recorder{block: make(chan struct{})}
		defer close(h.block)
		w.run(crm.Options{LeaseTime: lease}, h)
		first := unit(0, "a")
		w.dispatch(command(oprc.Deploy, 1, first))
		w.saysLast(first.ID, "1 DEPLOYING crm-1")
		var was time.Duration
		fresh := 0
		eventually(t, "kept fresh", func() int {
			pending, err := w.c.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: w.stream("commands"), Group: "crm", Start: "-", End: "+", Count: 1}).Result()
			if err != nil || len(pending) == 0 {
				return fresh
			}
			if idle := pending[0].Idle; idle < was && was < lease {
				fresh++
			}
			was = pending[0].Idle
			return fresh
		}, func(n int) bool { return n >= 2 })
	})
}

// Everything is said again at once to a Redis that lost its data, and nothing is
// stopped because there are no records.
func TestEmptyLedgerIsNoOrderToStop(t *testing.T) {
	t.Parallel()
	alone(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{ReportEvery: time.Hour}, h)
		u := unit(0, "a")
		w.deploys(u)
		rdbtest.Flush(t, w.c)
		w.saysLast(u.ID, "1 RUNNING crm-1")

		patient, other := worldAt(t, w.url, rdb.Keys{N: "m", T: "u"}), &recorder{}
		patient.run(crm.Options{ReportEvery: 100 * time.Millisecond, LeaseTime: 300 * time.Millisecond}, other)
		patient.dispatch(command(oprc.Deploy, 1, u))
		patient.saysLast(u.ID, "1 RUNNING crm-1")
		rdbtest.Flush(t, patient.c)
		for range 10 { // looks at the records, several times as long as it waits for what they do not know
			patient.saysLast(u.ID, "1 RUNNING crm-1")
			patient.forget()
		}
		if !other.runs(u.ID) {
			t.Errorf("it was stopped: %v", other.did())
		}
	})
}

// A CRM learns from its own report that a colleague has the unit: the report is not
// written, and the unit is stopped without a word.
func TestReportOnAColleaguesUnitIsNotWritten(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{ReportEvery: time.Hour}, h)
		u := unit(0, "a")
		w.deploys(u)
		w.c.HSet(t.Context(), w.hash("leases"), "crm-2", time.Now().UnixMilli())
		w.c.HSet(t.Context(), w.hash("owners"), u.ID, "crm-2")
		h.report(u.ID, crm.State{Condition: crm.Down})
		eventually(t, "unit", func() bool { return h.runs(u.ID) }, func(runs bool) bool { return !runs })
		w.saysLast(u.ID, "1 RUNNING crm-1")
	})
}
