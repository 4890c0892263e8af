package crm_test

import (
	"testing"
	"time"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// While no control plane reads, the reports of a CRM are bounded by what changes, not
// by time; and once it reads, everything is said again and is true.
func TestReportsThatNobodyReadsAreNotRepeated(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		const units, every = 30, 100 * time.Millisecond
		h := &recorder{}
		w.run(crm.Options{ReportEvery: every}, h)
		length := func() (n int) { // of reports on units: heartbeats follow time
			for _, e := range w.c.XRange(t.Context(), w.stream("reports"), "-", "+").Val() {
				if e.Values["type"] != "heartbeat" {
					n++
				}
			}
			return n
		}
		for i := range units {
			w.dispatch(command(oprc.Deploy, 1, unit(i, "a")))
		}
		w.saysLast(unit(units-1, "").ID, "1 RUNNING crm-1")
		w.settles()
		for range 20 { // as when it is asked again and again
			w.inject(entry(command(oprc.Deploy, 1, unit(0, "a"))))
		}
		w.settles()
		time.Sleep(20 * every)
		const most = 2*units + 4 // DEPLOYING and RUNNING, and what was repeated before a report was seen to be there
		if n := length(); n > most {
			t.Errorf("%d reports after 20 repetitions, want at most %d", n, most)
		}
		h.report(unit(0, "").ID, crm.State{Condition: crm.Down, ErrorMsg: "what changes is said"})
		h.report(unit(0, "").ID, crm.State{Replicas: []string{"r2"}})
		w.saysLast(unit(0, "").ID, "1 RUNNING crm-1")
		if n := length(); n > most+2 {
			t.Errorf("%d reports after two changes, want at most %d", n, most+2)
		}

		last := map[string]oprc.Report{}
		read := func() {
			t.Helper()
			entries, err := w.db.Reports(t.Context(), env, "daemon", 1000, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				last[e.Report.ID] = e.Report
				if err := w.db.Ack(t.Context(), env, e.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		read()
		for i := range units {
			r := last[unit(i, "").ID]
			if replica := map[bool]string{true: "r2", false: "r1"}[i == 0]; r.Condition != oprc.Running || len(r.Replicas) != 1 || r.Replicas[0] != replica {
				t.Errorf("unit %d: last report is %+v", i, r)
			}
		}
		clear(last)
		eventually(t, "units said again", func() int { read(); return len(last) }, func(n int) bool { return n >= units })
	})
}

// What a CRM believes to wait in the stream may have been lost with it.
func TestReportsThatWereLostAreRepeated(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{ReportEvery: 100 * time.Millisecond}, h)
		u := unit(0, "a")
		w.deploys(u)
		w.forget()
		w.saysLast(u.ID, "1 RUNNING crm-1")
	})
}

// A colleague that had the unit for a while has said something else about it since.
func TestReportIsRepeatedAfterTheLeaseWasLost(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{ReportEvery: time.Hour}, h)
		u := unit(0, "a")
		w.deploys(u)
		c := command(oprc.Deploy, 1, u)
		down := oprc.Report{
			Type: oprc.ReportStatus, CRM: "crm-0", Time: time.Now(), ID: u.ID, Generation: 1, SpecHash: c.SpecHash, Condition: oprc.Down,
		}
		if _, err := w.db.Report(t.Context(), env, down, ""); err != nil {
			t.Fatal(err)
		}
		w.c.HDel(t.Context(), w.hash("leases"), "crm-1")
		w.saysLast(u.ID, "1 RUNNING crm-1")
	})
}

// Who asks again has heard nothing.
func TestRepeatedCommandIsAnswered(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		h := &recorder{}
		w.run(crm.Options{ReportEvery: time.Hour}, h)
		c := command(oprc.Deploy, 1, unit(0, "a"))
		w.dispatch(c)
		w.saysLast(c.ID, "1 RUNNING crm-1")
		w.settles()
		w.forget()
		w.inject(entry(c))
		w.saysLast(c.ID, "1 RUNNING crm-1")
	})
}

// forget drops the reports, as if they had been taken in.
func (w *world) forget() {
	w.t.Helper()
	if err := w.c.XTrimMaxLen(w.t.Context(), w.stream("reports"), 0).Err(); err != nil {
		w.t.Fatal(err)
	}
}
