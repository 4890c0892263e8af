package rdb_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// spread dispatches to eight environments, whose slots lie on all masters of a Cluster.
func spread(t *testing.T, db *rdb.DB, fence int64) (units map[string]map[string]oprc.UnitDigest) {
	t.Helper()
	units = map[string]map[string]oprc.UnitDigest{}
	for i := range 8 {
		env := fmt.Sprintf("env-%d", i)
		u := unit("shop.record", 0, 0, env)
		cmd := command(u, oprc.Deploy, 1)
		if err := db.Dispatch(t.Context(), env, []oprc.Command{cmd}, fence); err != nil {
			t.Fatal(err)
		}
		units[env] = map[string]oprc.UnitDigest{u.ID: {Generation: 1, SpecHash: cmd.SpecHash}}
	}
	return units
}

// What reads and writes several environments at once, or several histories.
func TestManySlots(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, ctx := open(t, url), t.Context()
		old, _, err := db.Acquire(ctx, "a", time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		units := spread(t, db, old)
		time.Sleep(5 * time.Millisecond)
		token := must(func() (int64, error) { n, _, err := db.Acquire(ctx, "b", time.Minute); return n, err }())(t)
		if err := db.Fence(ctx, token); err != nil {
			t.Fatal(err)
		}
		var names []string
		for env := range units {
			names = append(names, env)
			late := []oprc.Command{command(unit("shop.record", 0, 0, env), oprc.Deploy, 2)}
			if err := rdb.DispatchOnly(db, ctx, env, late, old); !errors.Is(err, oprc.ErrFenced) {
				t.Errorf("%s: got %v, want fenced", env, err)
			}
			if _, err := db.Report(ctx, "heard-of-"+env, oprc.Report{Type: oprc.ReportHeartbeat, CRM: "x", Time: at(1)}, ""); err != nil {
				t.Fatal(err)
			}
			names = append(names, "heard-of-"+env)
		}
		c := shop()
		c.Fence = token
		c.History["other"] = c.History["shop"]
		if err := write(t, db, c); err != nil {
			t.Fatal(err)
		}
		equal(t, must(db.Live(ctx))(t).Units, units)
		equal(t, len(must(db.History(ctx, "other", 10))(t)), 1)
		slices.Sort(names)
		equal(t, must(db.EnvironmentNames(ctx))(t), append([]string{"edge"}, names...))
	})
}

func TestCluster(t *testing.T) {
	g := rdbtest.Cluster(t)
	spread(t, open(t, g.URL), 0)
	t.Run("one address is enough", func(t *testing.T) {
		db := open(t, g.Servers[2].URL()+"?cluster=true")
		equal(t, len(must(db.Live(t.Context()))(t).Units), 8)
	})
	t.Run("a master dies", func(t *testing.T) {
		db := open(t, g.URL)
		g.Servers[1].Kill()
		failed := 0
		for i := range 8 {
			env := fmt.Sprintf("env-%d", i)
			u := unit("shop.record", 0, 0, env)
			start := time.Now()
			err := db.Dispatch(t.Context(), env, []oprc.Command{command(u, oprc.Deploy, 2)}, 0)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s: took %v", env, took)
			}
			switch {
			case err == nil || errors.Is(err, oprc.ErrConflict):
			case errors.Is(err, rdb.ErrUnavailable):
				failed++
			default:
				t.Errorf("%s: got %v, want unavailable", env, err)
			}
		}
		if failed == 0 {
			t.Error("no environment was on the master that died")
		}
	})
}

func TestSentinelFailover(t *testing.T) {
	g := rdbtest.Sentinels(t)
	db := open(t, g.URL)
	if err := write(t, db, shop()); err != nil {
		t.Fatal(err)
	}
	crmURL := strings.Replace(g.URL, "://", "://edge:secret@", 1)
	for _, p := range g.Servers { // a user is not replicated
		asCRM(t, p.URL())
	}
	crm := open(t, crmURL)
	if n := must(raw(t, g.URL).Do(t.Context(), "WAIT", 1, 60_000).Int())(t); n != 1 {
		t.Fatalf("%d replicas have the commit", n)
	}
	g.Expect()
	g.Servers[0].Kill()
	start := time.Now()
	again := func(do func() error) {
		t.Helper()
		for err := do(); err != nil; err = do() {
			if !errors.Is(err, rdb.ErrUnavailable) {
				t.Fatalf("during failover: got %v, want unavailable", err)
			}
			if time.Since(start) > 2*time.Minute {
				t.Fatalf("no failover: %v", err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	again(func() error { return db.PutSource(t.Context(), oprc.SourceStatus{Name: "main"}, nil, 0) })
	t.Logf("writing again after %v", time.Since(start).Round(10*time.Millisecond))
	equal(t, must(db.Live(t.Context()))(t).Packages, shop().Packages)
	// Its client may hear of the new master a moment later. That one knows its user, too.
	again(func() error { return crm.Join(t.Context(), "edge") })
}
