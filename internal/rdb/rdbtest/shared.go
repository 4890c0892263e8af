package rdbtest

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/rdb"
)

// A Kind is a way in which operators run Redis.
type Kind string

// Kinds are all of them.
var Kinds = []Kind{"redis-server", "cluster", "sentinel"}

// Servers starts servers of a kind and returns their URL.
func Servers(t testing.TB, kind Kind) string {
	t.Helper()
	switch kind {
	case "cluster":
		return Cluster(t).URL
	case "sentinel":
		return Sentinels(t).URL
	default:
		return Server(t)
	}
}

// Shared are servers that the tests of a package share, because starting them takes
// longer than most tests: one set of each kind. A test that harms its servers, or
// changes how they are set up, starts its own.
type Shared struct {
	mu   sync.Mutex
	urls map[Kind]string
	ends []func()
}

// Run runs the tests of a package, and ends the servers behind them. It is what
// TestMain calls.
func (s *Shared) Run(m interface{ Run() int }) int {
	code := m.Run()
	for _, end := range slices.Backward(s.ends) {
		end()
	}
	return code
}

// URL returns the URL of the servers of a kind, as other tests left them.
func (s *Shared) URL(t testing.TB, kind Kind) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if url, ok := s.urls[kind]; ok {
		return url
	}
	if s.urls == nil {
		s.urls = map[Kind]string{}
	}
	s.urls[kind] = Servers(outliving{t, s}, kind)
	return s.urls[kind]
}

// Empty returns the URL of the servers of a kind after all data was deleted from
// them: for tests that run one after the other.
func (s *Shared) Empty(t testing.TB, kind Kind) string {
	t.Helper()
	url := s.URL(t, kind)
	Flush(t, Client(t, url))
	return url
}

// An outliving is a test whose servers stay for the next one.
type outliving struct {
	testing.TB
	s *Shared
}

func (o outliving) Cleanup(f func()) { o.s.ends = append(o.s.ends, f) }

func (o outliving) TempDir() string {
	dir, err := os.MkdirTemp("", "rdbtest-")
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Client connects to the Redis at url, of whatever kind, to look behind the
// ledger's back.
func Client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	c, err := rdb.Client(rdb.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Flush deletes all data, on each master that there is.
func Flush(t testing.TB, c redis.UniversalClient) {
	t.Helper()
	err := rdb.EachMaster(t.Context(), c, func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
	if err != nil {
		t.Errorf("flush: %v", err) // may be called by any goroutine
	}
}
