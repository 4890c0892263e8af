package rdb_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// With a Redis that takes no writes, everything that only reads still reads, and a write
// says what to do.
func TestReadingWhereNothingCanBeWritten(t *testing.T) {
	server := rdbtest.Start(t, "")
	replica := rdbtest.Start(t, "", "--replicaof", strings.Replace(server.Addr(), ":", " ", 1), "--repl-diskless-sync-delay", "0")
	db := open(t, server.URL())
	if err := write(t, db, shop()); err != nil {
		t.Fatal(err)
	}
	if err := raw(t, server.URL()).Do(t.Context(), "WAIT", 1, 60_000).Err(); err != nil {
		t.Fatal(err)
	}
	reads := func(db *rdb.DB, hint string) {
		t.Helper()
		live, err := db.Live(t.Context())
		if err != nil {
			t.Fatalf("reading: %v", err)
		}
		equal(t, live.Packages, shop().Packages)
		if _, err := db.Leader(t.Context()); err != nil {
			t.Errorf("who leads: %v", err)
		}
		if _, err := db.Server(t.Context()); err != nil {
			t.Errorf("what doctor asks: %v", err)
		}
		if _, _, err := db.Beats(t.Context(), "edge"); err != nil {
			t.Errorf("heartbeats: %v", err)
		}
		err = db.PutSource(t.Context(), oprc.SourceStatus{Name: "main"}, nil, 0)
		if !errors.Is(err, rdb.ErrUnavailable) || !strings.Contains(err.Error(), hint) {
			t.Errorf("writing: got %v, want unavailable with %q", err, hint)
		}
	}
	reads(open(t, replica.URL()), "replica")
	if err := raw(t, server.URL()).ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	reads(db, "maxmemory")
}

// A Redis that hangs is given up by all that read at once, not by one after the other.
func TestParallelReadsOfAHungRedis(t *testing.T) {
	server := rdbtest.Start(t, "")
	db := open(t, server.URL())
	if _, err := db.Live(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	defer server.Resume()
	began := time.Now()
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if _, err := db.Live(t.Context()); !errors.Is(err, rdb.ErrUnavailable) {
				t.Errorf("got %v, want unavailable", err)
			}
		})
	}
	readers.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the last of eight readers waited %s", took)
	}
}

// A Cluster's master is killed. As soon as its replica has taken over, so has the client.
func TestClusterFailover(t *testing.T) {
	g := rdbtest.Cluster(t)
	db := open(t, g.URL)
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{g.Servers[0].Addr()}})
	defer func() { _ = cluster.Close() }()
	node, err := cluster.MasterForKey(t.Context(), "oaas_pm:{env:edge}:units")
	if err != nil {
		t.Fatal(err)
	}
	which := 0
	for i, p := range g.Servers {
		if p.Addr() == node.Options().Addr {
			which = i
		}
	}
	replica := g.Replicate(which)
	generation := int64(0)
	write := func() error {
		generation++
		return db.Heartbeat(t.Context(), "edge", []oprc.Heartbeat{{CRM: fmt.Sprint(generation), Time: time.Now()}})
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	g.Servers[which].Kill()
	killed := time.Now()
	named := false
	var promoted, written time.Duration
	for promoted == 0 || written == 0 {
		if promoted == 0 {
			if role, err := raw(t, replica.URL()).Do(t.Context(), "ROLE").Slice(); err == nil && role[0] == "master" {
				promoted = time.Since(killed)
			}
		}
		switch err := write(); {
		case err == nil:
			if promoted != 0 && written == 0 {
				written = time.Since(killed)
			}
		case !errors.Is(err, rdb.ErrUnavailable):
			t.Fatalf("meanwhile: got %v, want unavailable", err)
		default:
			named = named || strings.Contains(err.Error(), "node "+g.Servers[which].Addr())
		}
		if time.Since(killed) > 2*time.Minute {
			t.Fatalf("promoted after %s, written after %s", promoted, written)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("promoted after %s, written to after %s", promoted.Round(time.Millisecond), written.Round(time.Millisecond))
	if written > 2*promoted+time.Second {
		t.Errorf("the client took %s, Redis' own failover %s", written, promoted)
	}
	if !named {
		t.Error("no message named the node that is gone")
	}
}
