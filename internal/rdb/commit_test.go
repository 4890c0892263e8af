package rdb_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

func record(name string, rev int64, version string) oprc.PackageRecord {
	spec := oprc.Package{Name: name, Version: version, Classes: []oprc.Class{{Name: "record"}}}
	return oprc.PackageRecord{
		Spec: spec, Digest: oprc.Digest(spec), Rev: rev, Origin: oprc.OriginCLI, AppliedAt: at(1), AppliedBy: "ann",
	}
}

// shop is a commit that creates package shop with one object of each kind.
func shop() reconcile.Commit {
	env := oprc.EnvironmentRecord{
		Spec: oprc.Environment{Kind: oprc.KindEnvironment, Name: "edge", Availability: 0.9}, Rev: 1, AppliedAt: at(1),
	}
	rec := record("shop", 1, "1.0.0")
	return reconcile.Commit{
		Packages:     map[string]oprc.PackageRecord{"shop": rec},
		Environments: map[string]oprc.EnvironmentRecord{"edge": env},
		Classes:      map[string]oprc.Class{"shop.record": {Key: "shop.record", Name: "record", Pkg: "shop"}},
		Functions:    map[string]oprc.Function{"shop.pay": {Key: "shop.pay", Name: "pay", Pkg: "shop"}},
		Deployments:  map[string]oprc.Deployment{"shop.record": {Key: "shop.record", TargetEnvs: []string{"edge"}}},
		History:      map[string]oprc.HistoryEntry{"shop": {Time: at(1), Rev: 1, Action: "create", PlanID: "sha256:p", Origin: "cli", Spec: &rec.Spec}},
		Events:       []oprc.Event{{Time: at(1), Type: "applied", Kind: oprc.KindPackage, Key: "shop"}},
	}
}

func TestCommitIsReadBack(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, c := open(t, url), shop()
		if err := write(t, db, c); err != nil {
			t.Fatal(err)
		}
		live := must(db.Live(t.Context()))(t)
		equal(t, live, plan.Live{
			Version:  1,
			Packages: c.Packages,
			Environments: map[string]oprc.EnvironmentState{
				"edge": {EnvironmentRecord: c.Environments["edge"], Health: oprc.HealthUnknown, Availability: 0.9},
			},
			Deployments: c.Deployments,
			Digests: map[string]oprc.ObjectDigest{
				"package/shop":           {Rev: 1, Hash: c.Packages["shop"].Digest},
				"environment/edge":       {Rev: 1, Hash: oprc.Digest(c.Environments["edge"].Spec)},
				"class/shop.record":      {Rev: 1, Hash: oprc.Digest(c.Classes["shop.record"])},
				"function/shop.pay":      {Rev: 1, Hash: oprc.Digest(c.Functions["shop.pay"])},
				"deployment/shop.record": {Rev: 1, Hash: oprc.Digest(c.Deployments["shop.record"])},
			},
		})
		equal(t, must(db.Classes(t.Context()))(t), c.Classes)
		equal(t, must(db.Functions(t.Context()))(t), c.Functions)
		equal(t, must(db.Deployments(t.Context()))(t), c.Deployments)
		equal(t, must(db.EnvironmentNames(t.Context()))(t), []string{"edge"})
	})
}

func TestCommitDeletes(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		if err := write(t, db, shop()); err != nil {
			t.Fatal(err)
		}
		must(db.Live(t.Context()))(t) // fills the cache
		err := write(t, db, reconcile.Commit{
			Delete: []reconcile.Ref{
				{Kind: oprc.KindPackage, Key: "shop"},
				{Kind: oprc.KindClass, Key: "shop.record"},
				{Kind: oprc.KindFunction, Key: "shop.pay"},
				{Kind: oprc.KindDeployment, Key: "shop.record"},
				{Kind: oprc.KindEnv, Key: "edge"},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, must(db.Live(t.Context()))(t), plan.Live{Version: 2})
		equal(t, must(db.Gone(t.Context(), []string{"package/shop", "environment/edge", "package/new"}))(t), map[string]int64{"package/shop": 2, "environment/edge": 2, "package/new": 0})
		equal(t, must(db.Classes(t.Context()))(t), map[string]oprc.Class{})
	})
}

func TestCommitCountsRevisions(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, c := open(t, url), shop()
		for rev := range int64(3) {
			c.Packages["shop"] = record("shop", rev+1, fmt.Sprint(rev))
			c.Environments["edge"] = oprc.EnvironmentRecord{Spec: c.Environments["edge"].Spec, Rev: rev + 1, AppliedAt: at(1)}
			if err := write(t, db, c); err != nil {
				t.Fatal(err)
			}
		}
		live := must(db.Live(t.Context()))(t)
		got := map[string]int64{}
		for name, d := range live.Digests {
			got[name] = d.Rev
		}
		equal(t, got, map[string]int64{
			"package/shop": 3, "environment/edge": 3, "class/shop.record": 3, "function/shop.pay": 3, "deployment/shop.record": 3,
		})
		equal(t, live.Packages["shop"], record("shop", 3, "2"))
	})
}

// Whatever was written since it was decided on refuses a commit: another commit, an
// observation, another ledger. Nothing of it is written then.
func TestCommitIsComparedAndSet(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		if err := write(t, db, shop()); err != nil {
			t.Fatal(err)
		}
		up := oprc.Observation{Health: oprc.Healthy}
		for name, move := range map[string]func(plan.Live) (plan.Live, error){
			"another commit": func(live plan.Live) (plan.Live, error) {
				return live, write(t, db, reconcile.Commit{Classes: map[string]oprc.Class{"a.b": {Key: "a.b"}}})
			},
			"an observation": func(live plan.Live) (plan.Live, error) {
				up.Availability += 0.1
				_, err := db.Observe(t.Context(), live.Version, map[string]*oprc.Observation{"edge": &up}, 0, "")
				return live, err
			},
			"another ledger": func(live plan.Live) (plan.Live, error) {
				live.Ledger = "other"
				return live, nil
			},
		} {
			live, err := move(must(db.Live(t.Context()))(t))
			if err != nil {
				t.Fatal(name, err)
			}
			before := must(db.Live(t.Context()))(t)
			c := shop()
			c.Ledger, c.Version, c.Packages["new"] = live.Ledger, live.Version, record("new", 1, "1")
			if _, err := db.Commit(t.Context(), c); !errors.Is(err, oprc.ErrConflict) {
				t.Errorf("%s: got %v, want a conflict", name, err)
			}
			equal(t, must(db.Live(t.Context()))(t), before)
		}
	})
}

// The version moves when an observation does, and only then.
func TestObserve(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		most := 0
		seen := map[string]*oprc.Observation{"edge": {Health: oprc.Degraded, Units: &most}, "gone": nil}
		for i, want := range []int64{1, 1} {
			if got := must(db.Observe(t.Context(), int64(i), seen, 0, ""))(t); got != want {
				t.Errorf("%d: version %d, want %d", i, got, want)
			}
		}
		equal(t, must(db.Live(t.Context()))(t).Observed, map[string]oprc.Observation{"edge": *seen["edge"]})
		if _, err := db.Observe(t.Context(), 0, seen, 0, ""); !errors.Is(err, oprc.ErrConflict) {
			t.Errorf("on an old version: got %v, want a conflict", err)
		}
		if _, err := db.Observe(t.Context(), 1, seen, 7, ""); !errors.Is(err, oprc.ErrFenced) {
			t.Errorf("without the lease: got %v, want fenced", err)
		}
		seen["edge"] = nil
		if got := must(db.Observe(t.Context(), 1, seen, 0, ""))(t); got != 2 {
			t.Errorf("gone: version %d, want 2", got)
		}
		equal(t, must(db.Live(t.Context()))(t).Observed, nil)
	})
}

func TestConcurrentCommitsOnOneVersion(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		const rivals = 8
		var wg sync.WaitGroup
		errs := make([]error, rivals)
		live := must(open(t, url).Live(t.Context()))(t)
		for i := range rivals {
			db := open(t, url)
			wg.Go(func() {
				_, errs[i] = db.Commit(t.Context(), reconcile.Commit{
					Ledger: live.Ledger, Version: live.Version,
					Packages: map[string]oprc.PackageRecord{"shop": record("shop", 1, fmt.Sprint(i))},
				})
			})
		}
		wg.Wait()
		won := -1
		for i, err := range errs {
			switch {
			case err == nil && won >= 0:
				t.Fatalf("both %d and %d won", won, i)
			case err == nil:
				won = i
			case !errors.Is(err, oprc.ErrConflict):
				t.Fatal(err)
			}
		}
		got := must(open(t, url).Live(t.Context()))(t)
		equal(t, got.Packages["shop"], record("shop", 1, fmt.Sprint(won)))
	})
}

// A ledger has an identity from the first time it is opened, another one after FLUSHALL,
// and a format that a program must know.
func TestLedgerIdentity(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		first := must(db.Live(t.Context()))(t).Ledger
		if second := must(open(t, url).Live(t.Context()))(t).Ledger; first == "" || second != first {
			t.Errorf("the ledger is %q, and %q", first, second)
		}
		rdbtest.Flush(t, raw(t, url))
		if gone := must(db.Live(t.Context()))(t).Ledger; gone != "" {
			t.Errorf("after FLUSHALL it is %q", gone)
		}
		if err := write(t, db, shop()); err != nil {
			t.Fatal(err)
		}
		if again := must(db.Live(t.Context()))(t).Ledger; again == "" || again == first {
			t.Errorf("a new ledger is %q, the old one was %q", again, first)
		}
		if err := raw(t, url).HSet(t.Context(), "oaas_pm:{catalog}:ledger", "format", "7").Err(); err != nil {
			t.Fatal(err)
		}
		_, opened := rdb.Open(t.Context(), rdb.Options{URL: url})
		_, read := db.Live(t.Context())
		for what, err := range map[string]error{"open": opened, "read": read} {
			if !errors.Is(err, oprc.ErrInvalid) || !strings.Contains(err.Error(), "its format is 7, this program knows 1") {
				t.Errorf("%s: got %v, want both formats", what, err)
			}
		}
	})
}

// A reading that falls into commits shows one of them, never half of two.
func TestLiveIsNeverTorn(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		writer, reader := open(t, url), open(t, url)
		const names = 40
		commit := func(rev int64) error {
			c := reconcile.Commit{Packages: map[string]oprc.PackageRecord{}}
			for i := range names {
				name := fmt.Sprintf("p%d", i)
				c.Packages[name] = record(name, rev, fmt.Sprint(rev))
			}
			return write(t, writer, c)
		}
		if err := commit(1); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			for rev := int64(2); rev < 60; rev++ {
				if err := commit(rev); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for {
			live := must(reader.Live(t.Context()))(t)
			for name, rec := range live.Packages {
				if d := live.Digests["package/"+name]; d.Hash != rec.Digest || d.Rev != rec.Rev {
					t.Fatalf("%s: got record %d %s with digest %v", name, rec.Rev, rec.Digest, d)
				}
				if rec.Rev != live.Packages["p0"].Rev {
					t.Fatalf("%s is at %d, p0 at %d", name, rec.Rev, live.Packages["p0"].Rev)
				}
			}
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				return
			default:
			}
		}
	})
}

func TestCommitOfThousands(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		c := reconcile.Commit{
			Packages: map[string]oprc.PackageRecord{},
			Classes:  map[string]oprc.Class{}, History: map[string]oprc.HistoryEntry{},
		}
		const n = 5000
		for i := range n {
			name := fmt.Sprintf("p%d", i)
			c.Packages[name] = record(name, 1, "1")
			c.Classes[name+".record"] = oprc.Class{Key: name + ".record", Name: "record", Pkg: name}
			c.History[name] = oprc.HistoryEntry{Time: at(0), Rev: 1, Action: "create", Origin: "cli"}
			c.Events = append(c.Events, oprc.Event{Time: at(0), Type: "applied", Key: name})
		}
		if err := write(t, db, c); err != nil {
			t.Fatal(err)
		}
		live := must(db.Live(t.Context()))(t)
		if diff := cmp.Diff(c.Packages, live.Packages); diff != "" {
			t.Error(diff)
		}
		if len(live.Digests) != 2*n {
			t.Errorf("got %d digests, want %d", len(live.Digests), 2*n)
		}
	})
}

// After FLUSHALL the same names come back with the same revisions; nothing of
// what was remembered may be shown.
func TestCacheEndsWithTheCatalogue(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		if err := write(t, db, shop()); err != nil {
			t.Fatal(err)
		}
		must(db.Live(t.Context()))(t)
		rdbtest.Flush(t, raw(t, url))
		equal(t, must(db.Live(t.Context()))(t), plan.Live{})
		c := shop()
		rec := c.Packages["shop"]
		rec.Origin = "git:main"
		c.Packages["shop"] = rec
		if err := write(t, db, c); err != nil {
			t.Fatal(err)
		}
		equal(t, must(db.Live(t.Context()))(t).Packages["shop"], rec)
	})
}

// A record that somebody broke by hand is no record; its revision stays, so that the next
// plan can replace it.
func TestBrokenRecordCanBeReplaced(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		if err := write(t, db, shop()); err != nil {
			t.Fatal(err)
		}
		if err := raw(t, url).HSet(t.Context(), "oaas_pm:{catalog}:packages", "shop", "{").Err(); err != nil {
			t.Fatal(err)
		}
		live := must(db.Live(t.Context()))(t)
		if _, shown := live.Packages["shop"]; shown || !live.Damaged["package/shop"] || live.Revision("package/shop") != 1 {
			t.Errorf("shown %t, damaged %v, revision %d", shown, live.Damaged, live.Revision("package/shop"))
		}
		err := write(t, db, reconcile.Commit{
			Packages: map[string]oprc.PackageRecord{"shop": record("shop", 2, "2")},
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, must(db.Live(t.Context()))(t).Packages["shop"], record("shop", 2, "2"))
	})
}
