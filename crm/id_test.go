package crm_test

import (
	"errors"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/sim"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// Two processes that call themselves the same would take each other's commands. The
// second does not start; when the first has ended it does, at once.
func TestSecondProcessUnderOneIDIsRefused(t *testing.T) {
	t.Parallel()
	w := worldAt(t, servers.URL(t, rdbtest.Kinds[0]), rdb.Keys{N: t.Name(), T: t.Name()})
	joined := make(chan struct{}, 1)
	stop := w.run(crm.Options{Process: "one", OnEvent: func(e crm.Event) {
		if e.Type == crm.EventJoined {
			joined <- struct{}{}
		}
	}}, sim.New(sim.Options{}))
	<-joined
	err := crm.Run(t.Context(), crm.Options{
		Redis: w.url, Env: env, ID: "crm-1", Process: "two", Database: w.keys.N, Topic: w.keys.T,
	}, sim.New(sim.Options{}))
	if !errors.Is(err, oprc.ErrConflict) {
		t.Errorf("the second process: got %v, want a conflict", err)
	}
	stop()
	began := time.Now()
	w.run(crm.Options{Process: "two", OnEvent: func(e crm.Event) {
		if e.Type == crm.EventJoined {
			joined <- struct{}{}
		}
	}}, sim.New(sim.Options{}))
	<-joined
	t.Logf("its successor serves after %s", time.Since(began).Round(time.Millisecond))
}
