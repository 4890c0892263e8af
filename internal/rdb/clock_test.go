package rdb_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// Whether a CRM is alive is judged by the server's clock, by which it was stamped:
// a command on a machine whose clock is an hour off must not take all for dead.
func TestHealthIsJudgedByTheServersClock(t *testing.T) {
	server := miniredis.RunT(t)
	theirs := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	server.SetTime(theirs)
	db, err := rdb.Open(t.Context(), rdb.Options{URL: "redis://" + server.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	_, now, err := db.Beats(t.Context(), "edge")
	if err != nil || !now.Equal(theirs) {
		t.Fatalf("heartbeats are stamped with %s (%v), want %s", now, err, theirs)
	}
	health := func(last time.Time) oprc.Health {
		t.Helper()
		server.HDel("oaas_pm:{env:edge}:crms", "a")
		if err := db.Heartbeat(t.Context(), "edge", []oprc.Heartbeat{{CRM: "a", Time: last}}); err != nil {
			t.Fatal(err)
		}
		return must(db.Live(t.Context()))(t).Environments["edge"].Health
	}
	equal(t, health(theirs.Add(-time.Second)), oprc.Healthy)
	equal(t, health(theirs.Add(-oprc.HeartbeatTimeout-time.Second)), oprc.EnvDown)
}

// An environment that nobody declared is listed while something is left of it, also
// when all its CRMs are silent.
func TestUndeclaredEnvironmentsStayWhileSomethingIsLeft(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		listed := func() bool {
			t.Helper()
			_, is := must(db.Live(t.Context()))(t).Environments["edge"]
			return is
		}
		beat := func(age time.Duration) {
			t.Helper()
			if err := raw(t, url).Del(t.Context(), "oaas_pm:{env:edge}:crms").Err(); err != nil {
				t.Fatal(err)
			}
			if err := db.Heartbeat(t.Context(), "edge", []oprc.Heartbeat{{CRM: "a", Time: time.Now().Add(-age)}}); err != nil {
				t.Fatal(err)
			}
		}
		beat(time.Minute)
		equal(t, listed(), true)
		beat(time.Hour)
		equal(t, listed(), false)
		dispatch(t, db, "edge", command(unit("shop.cart", 0, 0, "edge"), oprc.Deploy, 1))
		equal(t, listed(), true)
	})
}

// The clocks of a Cluster's masters differ: each environment has that of its own.
func TestAnEnvironmentHasOneClock(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		db, c, ctx := open(t, url), raw(t, url), t.Context()
		if err := db.Heartbeat(ctx, "edge", []oprc.Heartbeat{{CRM: "a", Time: epoch}}); err != nil {
			t.Fatal(err)
		}
		var asked atomic.Int64
		each := func(do func(ctx context.Context, c *redis.Client) error) {
			t.Helper()
			if err := rdb.EachMaster(ctx, c, do); err != nil {
				t.Fatal(err)
			}
		}
		each(func(ctx context.Context, c *redis.Client) error { return c.ConfigResetStat(ctx).Err() })
		for range 9 {
			beats(t, db)
			must(db.Live(ctx))(t)
		}
		each(func(ctx context.Context, c *redis.Client) error {
			stats, err := c.Info(ctx, "commandstats").Result()
			if strings.Contains(stats, "cmdstat_time:") {
				asked.Add(1)
			}
			return err
		})
		equal(t, asked.Load(), int64(1))
	})
}
