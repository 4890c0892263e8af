package rdb_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// everyCall uses every operation once, over several environments, so that keys of
// different slots in one command would show.
func everyCall(t *testing.T, db *rdb.DB) {
	t.Helper()
	ctx := t.Context()
	token, ok, err := db.Acquire(ctx, "a", time.Minute)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	c := shop()
	c.Fence = token
	c.History["other"] = c.History["shop"]
	do := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	do("commit", db.Commit(ctx, c))
	want := map[string]map[string]oprc.UnitDigest{}
	for i := range 8 {
		env := fmt.Sprintf("env-%d", i)
		u := unit("shop.record", 0, 0, env)
		cmd := command(u, oprc.Deploy, 1)
		want[env] = map[string]oprc.UnitDigest{u.ID: {Generation: 1, SpecHash: cmd.SpecHash}}
		do("dispatch", db.Dispatch(ctx, env, []oprc.Command{cmd}, token))
		_, err := db.Report(ctx, env, oprc.Report{
			Type: oprc.ReportStatus, CRM: "x", Time: at(1), ID: u.ID, Generation: 1, SpecHash: cmd.SpecHash, Condition: oprc.Running,
		}, "")
		do("report", err)
		_, err = db.Report(ctx, env, oprc.Report{Type: oprc.ReportHeartbeat, CRM: "x", Time: at(1), Availability: 7}, "")
		do("report", err)
		entries, err := db.Reports(ctx, env, "one", 10, 0)
		do("reports", err)
		equal(t, len(entries), 2)
		rt := runtime(at(1), "a")
		rt.Env = env
		_, err = db.Fold(ctx, env, []reconcile.StatusWrite{{ID: u.ID, New: status(1, oprc.Running, entries[0].ID)}}, []oprc.ClassRuntime{rt}, nil)
		do("fold", err)
		do("heartbeat", db.Heartbeat(ctx, env, []oprc.Heartbeat{{CRM: "x", Time: at(1)}}))
		do("bury", db.Bury(ctx, env, entries[1], "seven is too much"))
		do("ack", db.Ack(ctx, env, entries[0].ID))
		do("forget", db.Forget(ctx, env, map[string]int64{u.ID: 9}, token))
		do("trim", db.Trim(ctx, env))
		dead, err := db.Dead(ctx, env, 1)
		do("dead", err)
		do("retry", db.RetryDead(ctx, env, dead[0].ID))
		_, err = db.DropDead(ctx, env, dead[0].ID)
		do("drop", err)
		_, _, err = db.MergeRuntime(ctx, rt)
		do("merge", err)
		_, err = db.Runtimes(ctx, env)
		do("runtimes", err)
		_, err = db.UnitRecords(ctx, env)
		do("records", err)
	}
	live := must(db.Live(ctx))(t)
	equal(t, live.Units, want)
	equal(t, live.Packages, c.Packages)
	equal(t, len(live.Statuses), 8)
	do("discover", db.DiscoverEnvironments(ctx))
	equal(t, len(must(db.EnvironmentNames(ctx))(t)), 9)
	do("emit", db.Emit(ctx, []oprc.Event{{Type: "x"}, {Type: "y"}}, token))
	equal(t, len(must(db.Events(ctx, "", 10))(t)), 3)
	_, err = db.WatchEvents(ctx, "", 0)
	do("watch", err)
	equal(t, len(must(db.History(ctx, "other", 10))(t)), 1)
	do("source", db.PutSource(ctx, oprc.SourceStatus{Name: "main"}, nil, token))
	do("sources", db.DropSources(ctx, []string{"gone"}, token))
	equal(t, len(must(db.Sources(ctx))(t)), 1)
	do("fence", db.Fence(ctx, token))
	do("release", db.Release(ctx, "a", token))
}

func TestEveryCall(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) { everyCall(t, open(t, url)) })
}

func TestCluster(t *testing.T) {
	g := rdbtest.Cluster(t)
	everyCall(t, open(t, g.URL))
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
	if err := db.Commit(t.Context(), shop()); err != nil {
		t.Fatal(err)
	}
	g.Servers[0].Kill()
	start := time.Now()
	for {
		err := db.PutSource(t.Context(), oprc.SourceStatus{Name: "main"}, nil, 0)
		if err == nil {
			break
		}
		if !errors.Is(err, rdb.ErrUnavailable) {
			t.Fatalf("during failover: got %v, want unavailable", err)
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("no failover: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("writing again after %v", time.Since(start).Round(10*time.Millisecond))
	equal(t, must(db.Live(t.Context()))(t).Packages, shop().Packages)
}
