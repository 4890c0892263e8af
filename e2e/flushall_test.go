package e2e_test

import (
	"testing"
	"time"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// Redis forgets everything, while changes are under way, several times. Desired
// state returns from the files, runtime state from the CRMs. What ran and is still
// asked for goes on running, untouched; what nobody asks for any more is stopped.
func TestAllDataLostInMidFlight(t *testing.T) {
	t.Parallel()
	store := rdbtest.Server(t)
	files := newFiles(t)
	const steady, packages, losses = 2, 5, 3 // packages 0 and 1 never change after the start
	wishes := make([]wish, packages)
	for i := range wishes {
		wishes[i] = wish{version: 1, partitions: 3}
		wishes[i].write(t, files, i)
	}
	daemon := startDaemon(t, store, files)
	crms := startCRMs(t, store, crm.Options{ReportEvery: time.Second})
	runsWhatIsAsked(t, patience, crms, wishes)
	c, db := chaosClient(t, store), openLedger(t, store)

	for n := range losses {
		for step := range 3 { // generations of these move on, so that their count is behind after the loss
			if step > 0 {
				time.Sleep(time.Second)
			}
			for i := steady; i < packages; i++ {
				wishes[i] = wish{version: 10*n + step + 2, partitions: 1 + (n+step+i)%4}
				wishes[i].write(t, files, i)
			}
		}
		time.Sleep(time.Duration(n) * 500 * time.Millisecond)
		if n == losses-1 { // asked for no more, and nobody is left who could tell
			wishes[packages-1] = wish{}
			wishes[packages-1].write(t, files, packages-1)
		}
		if n == 1 { // and this time the CRMs look at an empty ledger for long
			daemon.pause()
		}
		if err := c.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			time.Sleep(4 * time.Second)
			daemon.resume()
		}
		lost := time.Now()
		runsWhatIsAsked(t, patience, crms, wishes)
		desired := time.Since(lost)
		recorded(t, patience, db, wishes)
		what := "while the daemon was at work"
		if n == 1 {
			what = "and the daemon came back 4s later"
		}
		t.Logf("loss %d, %s: environments run what is asked for after %s, all of it is known again after %s",
			n+1, what, desired.Round(time.Millisecond), time.Since(lost).Round(time.Millisecond))
	}
	for env, m := range crms {
		deploys, undeploys := m.calls()
		kept := 0
		for id, n := range deploys {
			if id[:3] != "p0." && id[:3] != "p1." {
				continue
			}
			kept++
			if n != 1 || undeploys[id] != 0 {
				t.Errorf("%s was deployed %d times and undeployed %d times, want once and never", id, n, undeploys[id])
			}
		}
		if kept != steady*3 {
			t.Errorf("%s: %d steady units", env, kept)
		}
		t.Logf("%s: %d units that nobody changed were left alone through %d losses", env, kept, losses)
	}
}
