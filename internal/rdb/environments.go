package rdb

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// discoverEvery is how often EnvironmentNames looks for environments that only
// their CRMs have announced so far.
const discoverEvery = 10 * time.Second

// EnvironmentNames returns every environment that is declared, was dispatched to,
// or was heard of, sorted. Every ten seconds it also looks for streams of CRMs
// that nobody has listened to yet; where that fails, because a node of a Cluster is
// away or Redis takes no writes, the next time has to do.
func (d *DB) EnvironmentNames(ctx context.Context) ([]string, error) {
	names, err := d.knownEnvironments(ctx)
	if err != nil || !d.discovery.due(time.Now()) {
		return names, err
	}
	found, err := d.DiscoverEnvironments(ctx)
	if err != nil && !errors.Is(err, ErrUnavailable) {
		return nil, err
	}
	names = slices.Concat(names, found)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// knownEnvironments returns every environment that is declared or known, sorted.
func (d *DB) knownEnvironments(ctx context.Context) ([]string, error) {
	var declared, known *redis.StringSliceCmd
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		declared = p.HKeys(bounded, d.k.environments())
		known = p.SMembers(bounded, d.k.known())
		return nil
	})
	if err := d.wrap(ctx, err); err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, name := range slices.Concat(declared.Val(), known.Val()) {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all)), nil
}

// A discovery remembers when it was done last.
type discovery struct {
	mu   sync.Mutex
	last time.Time
}

// due reports whether it is time, and counts as done.
func (s *discovery) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && now.Sub(s.last) < discoverEvery && !now.Before(s.last) {
		return false
	}
	s.last = now
	return true
}

// DiscoverEnvironments makes those environments known whose CRMs have reported,
// although nobody declared them or dispatched to them. A CRM can write in its own
// slot alone, so it cannot do this itself. The whole key space is looked through. It
// returns what it found, also where it failed half-way.
func (d *DB) DiscoverEnvironments(ctx context.Context) ([]string, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	var mu sync.Mutex
	found := map[string]bool{}
	err := EachMaster(bounded, d.c, func(ctx context.Context, c *redis.Client) error {
		for cursor := uint64(0); ; {
			keys, next, err := c.ScanType(ctx, cursor, d.k.anyReports(), 1000, "stream").Result()
			if err != nil {
				return err
			}
			mu.Lock()
			for _, key := range keys {
				if name := d.k.envOf(key); oprc.ValidName(name) {
					found[name] = true
				}
			}
			mu.Unlock()
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
	names := slices.Sorted(maps.Keys(found))
	return names, cmp.Or(d.wrap(ctx, err), d.know(ctx, 0, names...))
}

// anyReports is the pattern of all environments' reports.
func (k Keys) anyReports() string {
	return pattern(k.T) + ".{env:*}.reports"
}

// envOf is the inverse of reports; "" for anything else.
func (k Keys) envOf(key string) string {
	rest, ok := strings.CutPrefix(key, k.T+".{env:")
	if !ok {
		return ""
	}
	name, ok := strings.CutSuffix(rest, "}.reports")
	if !ok {
		return ""
	}
	return name
}
