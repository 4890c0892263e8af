package rdb_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/rdb"
)

// What an operator wants to know is asked of each master: the one that is set up
// otherwise shows.
func TestServerIsTheWorstOfItsMasters(t *testing.T) {
	onServers(t, func(t *testing.T, url string) { // of miniredis nobody asks it
		db, c := open(t, url), raw(t, url)
		var masters atomic.Int64
		err := rdb.EachMaster(t.Context(), c, func(ctx context.Context, c *redis.Client) error {
			if masters.Add(1) > 1 {
				return nil
			}
			return c.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = rdb.EachMaster(context.Background(), c, func(ctx context.Context, c *redis.Client) error {
				return c.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err()
			})
		})
		if _, _, err := db.Acquire(t.Context(), "ann", time.Minute); err != nil {
			t.Fatal(err)
		}
		got := must(db.Server(t.Context()))(t)
		if got.Version == "" {
			t.Error("no version")
		}
		equal(t, got, rdb.Server{Masters: int(masters.Load()), Version: got.Version, Took: got.Took, Evicts: "allkeys-lru", Leader: "ann"})
	})
}
