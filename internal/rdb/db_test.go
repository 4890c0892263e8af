package rdb_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

var _ reconcile.Ledger = (*rdb.DB)(nil)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func open(t testing.TB, url string) *rdb.DB {
	t.Helper()
	db, err := rdb.Open(t.Context(), rdb.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// raw looks behind the ledger's back.
func raw(t testing.TB, url string) redis.UniversalClient { return rdbtest.Client(t, url) }

var servers rdbtest.Shared

func TestMain(m *testing.M) { os.Exit(servers.Run(m)) }

// onEveryRedis runs a test on miniredis, which is what comes with the binary, and on
// Redis in each way in which operators run it. It finds them empty.
func onEveryRedis(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) { test(t, "redis://"+miniredis.RunT(t).Addr()) })
	onServers(t, test)
}

// onServers is onEveryRedis for what miniredis cannot do.
func onServers(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	for _, kind := range rdbtest.Kinds {
		t.Run(string(kind), func(t *testing.T) { test(t, servers.Empty(t, kind)) })
	}
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// beats reads the heartbeats of "edge".
func beats(t testing.TB, db *rdb.DB) []oprc.Heartbeat {
	t.Helper()
	all, now, err := db.Beats(t.Context(), "edge")
	if off := time.Since(now); err != nil || off.Abs() > time.Minute { // Redis is on this machine
		t.Fatalf("it is %s: %v", now, err)
	}
	return all
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(oprc.EnvironmentState{}, "Read"), cmpopts.IgnoreFields(plan.Live{}, "Ledger", "Reading")); diff != "" {
		t.Errorf("got other than wanted (-want +got):\n%s", diff)
	}
}

func unit(cls string, partition, replica int, env string) oprc.DeploymentUnit {
	return oprc.DeploymentUnit{
		ID: oprc.UnitID(cls, partition, replica, env), ClsKey: cls, TargetEnv: env, MemberID: 1, Primary: true,
		PartitionInfo: oprc.PartitionInfo{PartitionID: partition, ReplicaID: replica},
		Functions:     []oprc.UnitFunction{{Key: "shop.pay", Image: "registry.example/pay:1"}},
	}
}

func command(u oprc.DeploymentUnit, op oprc.Op, generation int64) oprc.Command {
	return oprc.Command{
		Type: op, ID: u.ID, Generation: generation, SpecHash: oprc.Digest(u), Revision: "abc123", Time: at(0), Unit: u,
	}
}

// write commits on live state as it is now.
func write(t testing.TB, db *rdb.DB, c reconcile.Commit) error {
	t.Helper()
	live, err := db.Live(t.Context())
	if err != nil {
		return err
	}
	c.Ledger, c.Version = live.Ledger, live.Version
	_, err = db.Commit(t.Context(), c)
	return err
}

func dispatch(t testing.TB, db *rdb.DB, env string, cmds ...oprc.Command) {
	t.Helper()
	if err := db.Dispatch(t.Context(), env, cmds, 0); err != nil {
		t.Fatal(err)
	}
}

// short gives up on what should come at once.
func short(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
