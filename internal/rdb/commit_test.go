package rdb_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

func record(name string, rev int64, version string) oprc.PackageRecord {
	spec := oprc.Package{Name: name, Version: version, Classes: []oprc.Class{{Name: "record"}}}
	return oprc.PackageRecord{
		Spec: spec, Digest: oprc.Digest(spec), Rev: rev, Origin: oprc.OriginCLI, AppliedAt: at(1), AppliedBy: "ann",
	}
}

func base(packages map[string]int64) plan.Base {
	return plan.Base{Packages: packages, Environments: map[string]int64{}}
}

// shop is a commit that creates package shop with one object of each kind.
func shop() reconcile.Commit {
	env := oprc.EnvironmentRecord{
		Spec: oprc.Environment{Kind: oprc.KindEnvironment, Name: "edge", Availability: 0.9}, Rev: 1, AppliedAt: at(1),
	}
	rec := record("shop", 1, "1.0.0")
	return reconcile.Commit{
		Base:         plan.Base{Packages: map[string]int64{"shop": 0}, Environments: map[string]int64{"edge": 0}},
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
		if err := db.Commit(t.Context(), c); err != nil {
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
		if err := db.Commit(t.Context(), shop()); err != nil {
			t.Fatal(err)
		}
		must(db.Live(t.Context()))(t) // fills the cache
		err := db.Commit(t.Context(), reconcile.Commit{
			Base: base(map[string]int64{"shop": 1}),
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
			c.Base = plan.Base{Packages: map[string]int64{"shop": rev}, Environments: map[string]int64{"edge": rev}}
			c.Packages["shop"] = record("shop", rev+1, fmt.Sprint(rev))
			if err := db.Commit(t.Context(), c); err != nil {
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

func TestCommitRefusesWhatMoved(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		if err := db.Commit(t.Context(), shop()); err != nil {
			t.Fatal(err)
		}
		before := must(db.Live(t.Context()))(t)
		c := shop()
		c.Base = plan.Base{
			Packages:     map[string]int64{"shop": 7, "new": 0, "gone": 2},
			Environments: map[string]int64{"edge": 0},
		}
		c.Packages["new"] = record("new", 1, "1")
		err := db.Commit(t.Context(), c)
		var conflict *oprc.ConflictError
		if !errors.As(err, &conflict) {
			t.Fatalf("got %v, want a conflict", err)
		}
		equal(t, conflict.Objects, []string{
			"environment/edge: absent, now revision 1", "package/gone: revision 2, now absent", "package/shop: revision 7, now revision 1",
		})
		equal(t, must(db.Live(t.Context()))(t), before)
	})
}

func TestConcurrentCommitsOnOneBase(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		const rivals = 8
		var wg sync.WaitGroup
		errs := make([]error, rivals)
		for i := range rivals {
			db := open(t, url)
			wg.Go(func() {
				errs[i] = db.Commit(t.Context(), reconcile.Commit{
					Base:     base(map[string]int64{"shop": 0}),
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
		live := must(open(t, url).Live(t.Context()))(t)
		equal(t, live.Packages["shop"], record("shop", 1, fmt.Sprint(won)))
	})
}

// A reading that falls into commits shows one of them, never half of two.
func TestLiveIsNeverTorn(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		writer, reader := open(t, url), open(t, url)
		const names = 40
		commit := func(rev int64) error {
			c := reconcile.Commit{Base: base(map[string]int64{}), Packages: map[string]oprc.PackageRecord{}}
			for i := range names {
				name := fmt.Sprintf("p%d", i)
				c.Base.Packages[name], c.Packages[name] = rev-1, record(name, rev, fmt.Sprint(rev))
			}
			return writer.Commit(t.Context(), c)
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
			Base: base(map[string]int64{}), Packages: map[string]oprc.PackageRecord{},
			Classes: map[string]oprc.Class{}, History: map[string]oprc.HistoryEntry{},
		}
		const n = 5000
		for i := range n {
			name := fmt.Sprintf("p%d", i)
			c.Base.Packages[name], c.Packages[name] = 0, record(name, 1, "1")
			c.Classes[name+".record"] = oprc.Class{Key: name + ".record", Name: "record", Pkg: name}
			c.History[name] = oprc.HistoryEntry{Time: at(0), Rev: 1, Action: "create", Origin: "cli"}
			c.Events = append(c.Events, oprc.Event{Time: at(0), Type: "applied", Key: name})
		}
		if err := db.Commit(t.Context(), c); err != nil {
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
		if err := db.Commit(t.Context(), shop()); err != nil {
			t.Fatal(err)
		}
		must(db.Live(t.Context()))(t)
		rdbtest.Flush(t, raw(t, url))
		equal(t, must(db.Live(t.Context()))(t), plan.Live{})
		c := shop()
		rec := c.Packages["shop"]
		rec.Origin = "git:main"
		c.Packages["shop"] = rec
		if err := db.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		equal(t, must(db.Live(t.Context()))(t).Packages["shop"], rec)
	})
}

// A record that somebody broke by hand is shown under its revision, so that the
// next plan can replace it.
func TestBrokenRecordCanBeReplaced(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		if err := db.Commit(t.Context(), shop()); err != nil {
			t.Fatal(err)
		}
		if err := raw(t, url).HSet(t.Context(), "oaas_pm:{catalog}:packages", "shop", "{").Err(); err != nil {
			t.Fatal(err)
		}
		live := must(db.Live(t.Context()))(t)
		equal(t, live.Packages["shop"], oprc.PackageRecord{Spec: oprc.Package{Name: "shop"}, Rev: 1})
		err := db.Commit(t.Context(), reconcile.Commit{
			Base:     base(map[string]int64{"shop": 1}),
			Packages: map[string]oprc.PackageRecord{"shop": record("shop", 2, "2")},
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, must(db.Live(t.Context()))(t).Packages["shop"], record("shop", 2, "2"))
	})
}
