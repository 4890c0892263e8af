package rdb_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

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
