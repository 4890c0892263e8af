package reconcile_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

// attempts is a ledger that says when a commit was tried.
type attempts struct {
	*rdb.DB
	tried chan<- struct{}
}

func (l attempts) Commit(ctx context.Context, c reconcile.Commit) (int64, error) {
	version, err := l.DB.Commit(ctx, c)
	select {
	case l.tried <- struct{}{}:
	default:
	}
	return version, err
}

func only(name, version string) reconcile.Request {
	return reconcile.Request{
		Files: []oprc.File{{Path: name + ".yaml", Data: []byte(fmt.Sprintf("name: %s\nversion: %q\nclasses: [{name: c}]\n", name, version))}},
		Scope: plan.Scope{Origin: oprc.OriginCLI},
	}
}

// A decision that takes long loses to a rival who writes each time it is made. It takes its
// turn, and both end well: also where the rival writes the same package, and each decision
// is another one that has to be reviewed.
func TestSlowDecisionsAreCarriedOut(t *testing.T) {
	url := rdbtest.Server(t)
	for name, contested := range map[string]string{"another package": "small", "the same package": "big"} {
		t.Run(name, func(t *testing.T) { slowBesideRival(t, url, strings.ReplaceAll(name, " ", "-"), contested) })
	}
}

func slowBesideRival(t *testing.T, url, ledger, contested string) {
	t.Helper()
	connect := func() *rdb.DB {
		db, err := open(t.Context(), url, ledger)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	tried, more := make(chan struct{}, 1), make(chan struct{}, 1)
	rival := reconcile.Reconciler{Ledger: attempts{connect(), tried}, Load: schema.Load, Now: time.Now}
	var ended sync.WaitGroup
	wrote := 0
	ended.Go(func() {
		for range more {
			wrote++
			if _, err := rival.Apply(t.Context(), only(contested, fmt.Sprintf("1.0.%d", wrote)), reconcile.Conditions{}, reconcile.Actor{Name: "rival"}); err != nil {
				t.Error("the rival:", err)
			}
		}
	})
	decided := 0
	slow := reconcile.Reconciler{Ledger: connect(), Load: schema.Load, Now: time.Now, Judge: func(context.Context, []reconcile.Transition) ([]reconcile.Denial, error) {
		decided++
		select {
		case more <- struct{}{}: // the rival writes, or tries to
			<-tried
		default: // it waits for its turn since the last time
		}
		return nil, nil
	}}
	if _, err := slow.Apply(t.Context(), only("big", "2.0.0"), reconcile.Conditions{Review: func(context.Context, *plan.Plan) error { return nil }}, reconcile.Actor{Name: "slow"}); err != nil {
		t.Error("the slow one:", err)
	}
	close(more)
	ended.Wait()
	t.Logf("decided %d times, the rival wrote %d times", decided, wrote)
	live, err := connect().Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	revs := map[string]int64{"big": 1}
	revs[contested] += int64(wrote)
	for pkg, want := range revs {
		if got := live.Packages[pkg].Rev; got != want {
			t.Errorf("package %s has revision %d, want %d", pkg, got, want)
		}
	}
	if ahead, err := connect().AwaitTurn(t.Context(), "next", true); ahead != 0 || err != nil {
		t.Errorf("%d places were not given up: %v", ahead, err)
	}
}
