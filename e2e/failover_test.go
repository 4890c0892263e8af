//go:build endurance

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

const loaded = 3 // packages that load changes

// load changes the files again and again until stop is called, which returns what
// they ask for in the end.
func load(t *testing.T, files string, every time.Duration) (stop func() []wish) {
	t.Helper()
	wishes := make([]wish, loaded)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			for i := range wishes {
				wishes[i] = wish{version: n, partitions: 1 + (n+i)%3}
				wishes[i].write(t, files, i)
			}
			select {
			case <-quit:
				return
			case <-time.After(every):
			}
		}
	}()
	return func() []wish {
		close(quit)
		<-done
		return wishes
	}
}

// generations adds up how often the units of all environments were dispatched.
func generations(t *testing.T, db *rdb.DB) int64 {
	t.Helper()
	sum := int64(0)
	for _, env := range chaosEnvs {
		digests, err := db.UnitDigests(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range digests {
			sum += d.Generation
		}
	}
	return sum
}

// The master dies with changes that its replica never saw, although they were
// carried out. After the failover the next ticks make up for what is lost.
func TestSentinelFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	g := rdbtest.Sentinels(t)
	master, replica := g.Servers[0], g.Servers[1]
	files := newFiles(t)
	stop := load(t, files, 500*time.Millisecond)
	startDaemon(t, g.URL, files)
	crms, db := startCRMs(t, g.URL, crm.Options{}), openLedger(t, g.URL)
	within(t, patience, "the load is carried out", func() string {
		if n := generations(t, db); n < 30 {
			return fmt.Sprintf("%d generations", n)
		}
		return ""
	})

	// The replica is kept from the master, which goes on acknowledging writes.
	for _, do := range [][]any{{"CONFIG", "SET", "masteruser", "nobody"}, {"CONFIG", "SET", "masterauth", "wrong"}} {
		if err := chaosClient(t, replica.URL()).Do(t.Context(), do...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := chaosClient(t, master.URL()).Do(t.Context(), "CLIENT", "KILL", "TYPE", "replica").Err(); err != nil {
		t.Fatal(err)
	}
	kept := generations(t, db)
	once := wish{version: 1, partitions: 3} // never touched again: nothing but a repair brings it back
	once.write(t, files, loaded)
	within(t, patience, "the master's last changes are carried out", func() string {
		for env, m := range crms {
			if !slices.ContainsFunc(m.runs(), func(line string) bool { return strings.HasPrefix(line, fmt.Sprintf("p%d.", loaded)) }) {
				return env
			}
		}
		return ""
	})
	time.Sleep(time.Second)
	lost := generations(t, db) - kept
	g.Expect()
	master.Kill()
	killed := time.Now()
	within(t, patience, "the replica is promoted", func() string {
		role, err := chaosClient(t, replica.URL()).Do(t.Context(), "ROLE").Slice()
		if err != nil || role[0] != "master" {
			return fmt.Sprint(role, err)
		}
		return ""
	})
	promoted := time.Since(killed)
	time.Sleep(time.Second) // the load goes on
	wishes := append(stop(), once)
	calm := runsWhatIsAsked(t, patience, crms, wishes)
	known := recorded(t, patience, db, wishes)
	t.Logf("%d generations were acknowledged and lost; failover took %s; all was made up for %s after the last change, and known %s later",
		lost, promoted.Round(time.Millisecond), calm.Round(time.Millisecond), known.Round(time.Millisecond))
	if lost == 0 {
		t.Error("nothing was lost: the test did not test")
	}
}

// A master of a cluster dies with all that it held and comes back empty: first the
// one with the catalogue, then those with the environments.
func TestClusterMastersDeathUnderLoad(t *testing.T) {
	t.Parallel()
	g := rdbtest.Cluster(t)
	files := newFiles(t)
	stop := load(t, files, 500*time.Millisecond)
	startDaemon(t, g.URL, files)
	crms, db := startCRMs(t, g.URL, crm.Options{ReportEvery: 2 * time.Second}), openLedger(t, g.URL)
	within(t, patience, "the load is carried out", func() string {
		if n := generations(t, db); n < 20 {
			return fmt.Sprintf("%d generations", n)
		}
		return ""
	})
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{g.Servers[0].Addr()}})
	t.Cleanup(func() { _ = cluster.Close() })
	for _, key := range []string{"oaas_pm:{catalog}:lease", "oaas_pm:{env:east}:units", "oaas_pm:{env:west}:units"} {
		holder := holderOf(t, g, cluster, key)
		before := generations(t, db)
		holder.Kill()
		time.Sleep(500 * time.Millisecond) // longer, and the others would say that the cluster is down
		holder.Restart()
		back := time.Now()
		within(t, patience, "the load is carried out again", func() string {
			digests, err := db.UnitDigests(t.Context(), "east")
			if err != nil || len(digests) == 0 {
				return fmt.Sprint(digests, err)
			}
			if digests, err = db.UnitDigests(t.Context(), "west"); err != nil || len(digests) == 0 {
				return fmt.Sprint(digests, err)
			}
			return ""
		})
		t.Logf("the master with %s died at %d generations; commands go out again %s after it is back", key, before, time.Since(back).Round(time.Millisecond))
		time.Sleep(time.Second)
	}
	wishes := stop()
	calm := runsWhatIsAsked(t, patience, crms, wishes)
	known := recorded(t, patience, db, wishes)
	t.Logf("all was made up for %s after the last change, and known %s later", calm.Round(time.Millisecond), known.Round(time.Millisecond))
}

// holderOf returns the master that holds a key.
func holderOf(t *testing.T, g *rdbtest.Group, c *redis.ClusterClient, key string) *rdbtest.Process {
	t.Helper()
	node, err := c.MasterForKey(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range g.Servers {
		if p.Addr() == node.Options().Addr {
			return p
		}
	}
	t.Fatalf("%s is held by %s, which is none of ours", key, node.Options().Addr)
	return nil
}
