package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

var servers rdbtest.Shared

// process is a reconciler with a connection of its own, as another process has.
func process(t testing.TB, url string) (*reconcile.Reconciler, *rdb.DB) {
	t.Helper()
	db, err := rdb.Open(t.Context(), rdb.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &reconcile.Reconciler{Ledger: db, Load: schema.Load, Now: time.Now}, db
}

func asks(text string) reconcile.Request {
	return reconcile.Request{Files: []oprc.File{{Path: "p.yaml", Data: []byte(text)}}, Scope: plan.Scope{Origin: oprc.OriginCLI}}
}

var free = reconcile.Conditions{AnyRemovals: true}

const local = "kind: Environment\nname: local\navailability: 0.99\ndefault: true\n"

// Many writers of one package all succeed, each in its history, and the last one is live.
func TestManyWritersOfOnePackage(t *testing.T) {
	url := servers.Empty(t, rdbtest.Kinds[0])
	r, db := process(t, url)
	if _, err := r.Apply(t.Context(), asks(local), free, reconcile.Actor{}); err != nil {
		t.Fatal(err)
	}
	const writers = 20
	var all sync.WaitGroup
	errs := make([]error, writers)
	revs := make([]int64, writers)
	for i := range writers {
		w, _ := process(t, url)
		text := fmt.Sprintf("name: a\nversion: 1.0.%d\nfunctions: [{name: f, provision: {knative: {image: 'i:%d'}}}]\n"+
			"classes: [{name: C, functions: [{function: .f}]}]\ndeployments: [{_key: .C}]\n", i, i)
		all.Go(func() {
			var res *reconcile.Result
			if res, errs[i] = w.Apply(t.Context(), asks(text), reconcile.Conditions{}, reconcile.Actor{Name: fmt.Sprint(i)}); errs[i] == nil {
				revs[i] = res.Records["a"].Rev
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	history, err := db.History(t.Context(), "a", 2*writers)
	if err != nil || len(history) != writers {
		t.Fatalf("history has %d entries (%v), want %d", len(history), err, writers)
	}
	for _, h := range history {
		if i := slices.Index(revs, h.Rev); h.Actor != fmt.Sprint(i) {
			t.Errorf("revision %d is by %s in the history, writer %d was told it is theirs", h.Rev, h.Actor, i)
		}
	}
	live, err := db.Live(t.Context())
	if err != nil || len(live.Unsent(map[string]bool{"a.C": true})) > 0 || live.Packages["a"].Digest != history[0].Digest {
		t.Errorf("live %v (%v), the last revision is %v", live.Packages["a"].Spec.Version, err, history[0].Spec.Version)
	}
}

// Of several clients with one precondition, one wins.
func TestOnePreconditionOneWinner(t *testing.T) {
	url := servers.Empty(t, rdbtest.Kinds[0])
	var all sync.WaitGroup
	var mu sync.Mutex
	won, lost := 0, 0
	for i := range 8 {
		w, _ := process(t, url)
		all.Go(func() {
			cond := reconcile.Conditions{If: map[string][]int64{"package/a": {reconcile.Absent}}}
			_, err := w.Apply(t.Context(), asks(fmt.Sprintf("name: a\nversion: 1.0.%d\n", i)), cond, reconcile.Actor{})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.As(err, new(*reconcile.PreconditionError)):
				lost++
			}
		})
	}
	all.Wait()
	if won != 1 || lost != 7 {
		t.Errorf("%d won, %d were refused by the precondition; want 1 and 7", won, lost)
	}
}

// Nothing more is removed than was agreed to, also where that comes up only when somebody
// else has written; and what Review refuses is not carried out.
func TestConsentCoversTheDecision(t *testing.T) {
	url := servers.Empty(t, rdbtest.Kinds[0])
	r, db := process(t, url)
	two := "name: a\nfunctions: [{name: f, type: LOGICAL}, {name: g, type: LOGICAL}]\n"
	if _, err := r.Apply(t.Context(), asks(two), free, reconcile.Actor{}); err != nil {
		t.Fatal(err)
	}
	one := asks("name: a\nfunctions: [{name: f, type: LOGICAL}]\n")
	refused := errors.New("refused")
	for name, tc := range map[string]struct {
		cond reconcile.Conditions
		want error
	}{
		"nobody agreed":  {reconcile.Conditions{}, oprc.ErrHeld},
		"review refuses": {reconcile.Conditions{AnyRemovals: true, Review: func(context.Context, *plan.Plan) error { return refused }}, refused},
		"another ledger": {reconcile.Conditions{AnyRemovals: true, Ledger: "other"}, oprc.ErrConflict},
		"another plan":   {reconcile.Conditions{AnyRemovals: true, PlanID: "sha256:other"}, oprc.ErrConflict},
	} {
		if _, err := r.Apply(t.Context(), one, tc.cond, reconcile.Actor{}); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	if live, err := db.Live(t.Context()); err != nil || live.Packages["a"].Rev != 1 {
		t.Fatalf("it was written all the same: %v %v", live.Packages["a"], err)
	}
	for range 2 { // the second time nothing is left to remove
		if _, err := r.Apply(t.Context(), one, reconcile.Conditions{Removals: []string{"function/a.g"}}, reconcile.Actor{}); err != nil {
			t.Fatal(err)
		}
	}
}
