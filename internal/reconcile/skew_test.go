package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

var servers rdbtest.Shared

func TestMain(m *testing.M) { os.Exit(servers.Run(m)) }

// writer is a reconciler with a connection of its own, as another process has.
func writer(t testing.TB, url string) (*reconcile.Reconciler, *rdb.DB) {
	t.Helper()
	db, err := rdb.Open(t.Context(), rdb.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &reconcile.Reconciler{Ledger: db, Reader: db, Load: schema.Load, Now: time.Now}, db
}

func asks(text string) reconcile.Request {
	return reconcile.Request{Files: []oprc.File{{Path: "p.yaml", Data: []byte(text)}}, Scope: plan.Scope{Origin: oprc.OriginCLI}}
}

var free = reconcile.Conditions{AnyRemovals: true}

// skews are pairs of requests on one base, each of which reads what the other one writes.
var skews = map[string]struct{ base, one, two string }{
	"a parent drops a binding, a child's macro calls it": {
		"name: b\nfunctions: [{name: f, type: LOGICAL}, {name: g, type: LOGICAL}]\nclasses: [{name: P, functions: [{function: .f}, {function: .g}]}]\n",
		"name: b\nfunctions: [{name: f, type: LOGICAL}, {name: g, type: LOGICAL}]\nclasses: [{name: P, functions: [{function: .f}]}]\n",
		"name: a\nfunctions: [{name: m, type: MACRO, macro: {steps: [{function: g, target: '@', as: x}], output: x}}]\n" +
			"classes: [{name: C, parents: [b.P], functions: [{function: .m}]}]\ndeployments: [{_key: .C}]\n",
	},
	"a version, a range": {
		"name: b\nversion: 1.0.0\n", "name: b\nversion: 2.0.0\n", "name: a\nrequired: ['b@^1']\n",
	},
	"an image, a binding of another package": {
		"name: b\nfunctions: [{name: f, provision: {knative: {image: 'i:1'}}}]\n",
		"name: b\nfunctions: [{name: f, provision: {knative: {image: 'i:2'}}}]\n",
		"name: a\nclasses: [{name: C, functions: [{function: b.f}]}]\ndeployments: [{_key: .C}]\n",
	},
	"a function that is disabled, a child": {
		"name: b\nfunctions: [{name: f, provision: {knative: {image: 'i:1'}}}]\nclasses: [{name: P, functions: [{function: .f}]}]\n",
		"name: b\nfunctions: [{name: f, state: DISABLED, provision: {knative: {image: 'i:1'}}}]\nclasses: [{name: P, functions: [{function: .f}]}]\n",
		"name: a\nclasses: [{name: C, parents: [b.P]}]\ndeployments: [{_key: .C}]\n",
	},
	"an access, a child": {
		"name: b\nfunctions: [{name: g, type: LOGICAL}]\nclasses: [{name: P, functions: [{function: .g}]}]\n",
		"name: b\nfunctions: [{name: g, type: LOGICAL}]\nclasses: [{name: P, functions: [{function: .g, access: PRIVATE}]}]\n",
		"name: a\nclasses: [{name: C, parents: [b.P]}]\n",
	},
	"room for one": {
		"kind: Environment\nname: small\navailability: 0.9\ncapacity: {units: 1}\n",
		"name: a\nclasses: [{name: C}]\ndeployments: [{_key: .C, targetEnvs: [small], partitionCount: 1, replicaCount: 1}]\n",
		"name: b\nclasses: [{name: C}]\ndeployments: [{_key: .C, targetEnvs: [small], partitionCount: 1, replicaCount: 1}]\n",
	},
	"two defaults": {
		"kind: Environment\nname: plain\n", "kind: Environment\nname: one\ndefault: true\n", "kind: Environment\nname: two\ndefault: true\n",
	},
}

// outcome is what live state amounts to, without what counts writes.
func outcome(t testing.TB, db *rdb.DB) map[string]string {
	t.Helper()
	live, err := db.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for object, d := range live.Digests {
		out[object] = d.Hash
	}
	for env, units := range live.Units {
		for id, u := range units {
			if u.Runs() {
				out[env+" "+id] = u.SpecHash
			}
		}
	}
	return out
}

const local = "kind: Environment\nname: local\navailability: 0.99\ndefault: true\n"

func (s skew) start(t testing.TB, url string, db *rdb.DB, r *reconcile.Reconciler) {
	t.Helper()
	rdbtest.Flush(t, rdbtest.Client(t, url))
	files := []string{s.base}
	if s.name != "two defaults" {
		files = append(files, local)
	}
	for _, text := range files {
		if _, err := r.Apply(t.Context(), asks(text), free, reconcile.Actor{}); err != nil {
			t.Fatal(err)
		}
	}
}

type skew struct{ name, base, one, two string }

// Whatever two writers do at once, what comes out is what one of their orders gives: with
// requests that are applied at the same moment, and with plans that were saved before.
func TestNoWriteSkew(t *testing.T) {
	url := servers.Empty(t, rdbtest.Kinds[0])
	one, db := writer(t, url)
	two, _ := writer(t, url)
	for name, texts := range skews {
		s := skew{name, texts.base, texts.one, texts.two}
		t.Run(name, func(t *testing.T) {
			var orders []map[string]string
			for _, order := range [][]string{{s.one, s.two}, {s.two, s.one}} {
				s.start(t, url, db, one)
				for _, text := range order {
					_, err := one.Apply(t.Context(), asks(text), free, reconcile.Actor{})
					if err != nil && !errors.Is(err, oprc.ErrInvalid) {
						t.Fatal(err)
					}
				}
				orders = append(orders, outcome(t, db))
			}
			check := func(how string, errs ...error) {
				t.Helper()
				got := outcome(t, db)
				if !slices.ContainsFunc(orders, func(o map[string]string) bool { return cmp.Equal(o, got) }) {
					t.Fatalf("%s (%v): no order gives\n%s", how, errs, cmp.Diff(orders[0], got))
				}
			}
			for range 10 {
				s.start(t, url, db, one)
				var errs [2]error
				var both sync.WaitGroup
				both.Go(func() { _, errs[0] = one.Apply(t.Context(), asks(s.one), free, reconcile.Actor{}) })
				both.Go(func() { _, errs[1] = two.Apply(t.Context(), asks(s.two), free, reconcile.Actor{}) })
				both.Wait()
				check("at once", errs[:]...)
			}
			s.start(t, url, db, one)
			var saved []reconcile.PlanFile
			for _, text := range []string{s.one, s.two} {
				p, err := one.Plan(t.Context(), asks(text))
				if err != nil {
					t.Fatal(err)
				}
				saved = append(saved, reconcile.PlanFile{Request: asks(text), Plan: p})
			}
			var errs []error
			for _, f := range saved {
				_, err := two.Apply(t.Context(), f.Request, f.Conditions(), reconcile.Actor{})
				errs = append(errs, err)
			}
			if errs[0] != nil {
				t.Fatal(errs[0])
			}
			if !errors.Is(errs[1], oprc.ErrConflict) {
				t.Errorf("the second plan: got %v, want a conflict", errs[1])
			}
		})
	}
}

// Many writers of one package all succeed, each in its history, and the last one is live.
func TestManyWritersOfOnePackage(t *testing.T) {
	url := servers.Empty(t, rdbtest.Kinds[0])
	r, db := writer(t, url)
	if _, err := r.Apply(t.Context(), asks(local), free, reconcile.Actor{}); err != nil {
		t.Fatal(err)
	}
	const writers = 20
	var all sync.WaitGroup
	errs := make([]error, writers)
	revs := make([]int64, writers)
	for i := range writers {
		w, _ := writer(t, url)
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
		w, _ := writer(t, url)
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
	r, db := writer(t, url)
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
