package rdb

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Server is what a Redis says of itself: of a Cluster, the worst of its masters.
type Server struct {
	Masters int
	Version string        // as in "7.0.15"; where masters differ, each
	Took    time.Duration // of one answer
	Durable bool          // it keeps an append-only file
	Evicts  string        // the policy by which it drops keys when memory runs out; "" if it drops none
	Leader  string        // who holds the lease, or ""
}

// Server asks Redis what an operator wants to know of it. A user who may not ask gets
// an [ErrDenied].
func (d *DB) Server(ctx context.Context) (Server, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	s := Server{Durable: true}
	var mu sync.Mutex
	versions := map[string]bool{}
	err := EachMaster(bounded, d.c, func(ctx context.Context, c *redis.Client) error {
		start := time.Now()
		if err := c.Ping(ctx).Err(); err != nil && noWrites(err) == nil { // that is an answer, too
			return err
		}
		took := time.Since(start)
		info, err := c.Info(ctx).Result()
		if err != nil {
			return err
		}
		facts := parseInfo(info)
		mu.Lock()
		defer mu.Unlock()
		s.Masters++
		versions[facts["redis_version"]] = true
		s.Took, s.Durable = max(s.Took, took), s.Durable && facts["aof_enabled"] == "1"
		if policy := facts["maxmemory_policy"]; policy != "noeviction" {
			s.Evicts = policy
		}
		return nil
	})
	if err != nil {
		return Server{}, d.wrap(ctx, err)
	}
	s.Version = strings.Join(slices.Sorted(maps.Keys(versions)), ", ")
	s.Leader, err = d.Leader(bounded)
	return s, err
}

// holder reads who has the lease, if it is not over.
//
//	KEYS  1 lease
//	      -> holder or ""
var holder = redis.NewScript(`
local t = redis.call("TIME")
local expires = tonumber(redis.call("HGET", KEYS[1], "expires") or "0") or 0
if expires <= tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000 then return "" end
return redis.call("HGET", KEYS[1], "holder") or ""`)

// Leader names the daemon that has the lease; "" if none has.
func (d *DB) Leader(ctx context.Context) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	name, err := holder.Run(bounded, d.c, []string{d.k.lease()}).Text()
	return name, d.wrap(ctx, err)
}

// parseInfo reads the lines "name:value" of an INFO.
func parseInfo(info string) map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			facts[name] = value
		}
	}
	return facts
}
