package crm_test

import (
	"context"
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

// What somebody writes over the name of a CRM's process, which cannot be a successor's
// while the lease holds, ends nothing: the name is restored. A process that was paused for
// longer than its lease may end, as nobody can tell, and is started again here.
func TestOverwrittenProcessIsRestored(t *testing.T) {
	t.Parallel()
	w := worldAt(t, servers.URL(t, rdbtest.Kinds[0]), rdb.Keys{N: t.Name(), T: t.Name()})
	for range 5 {
		joined, ended := make(chan struct{}, 9), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			ended <- crm.Run(ctx, crm.Options{
				Redis: w.url, Env: env, ID: "crm-1", Process: "one", Database: w.keys.N, Topic: w.keys.T,
				OnEvent: func(e crm.Event) {
					if e.Type == crm.EventJoined {
						joined <- struct{}{}
					}
				},
			}, sim.New(sim.Options{}))
		}()
		<-joined
		if err := w.c.HSet(t.Context(), w.hash("processes"), "crm-1", "junk").Err(); err != nil {
			t.Fatal(err)
		}
		restored := false
		for len(ended) == 0 && !restored {
			time.Sleep(50 * time.Millisecond)
			restored = w.c.HGet(t.Context(), w.hash("processes"), "crm-1").Val() == "one"
		}
		cancel()
		err := <-ended
		if restored && err == nil {
			return
		}
		t.Logf("restored: %v; %v", restored, err)
	}
	t.Error("the CRM ends each time")
}
