package rdb_test

import (
	"errors"
	"fmt"
	"net"
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
		if answer := rdb.Answer(err); answer == "" || strings.Contains(err.Error(), answer) {
			t.Errorf("writing: %v shows what Redis answered, or loses it: %q", err, answer)
		}
	}
	reads(open(t, replica.URL()), "replica")
	if err := raw(t, server.URL()).ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	reads(db, "maxmemory")
}

// A key of another type stops only the environment that it belongs to, and is named. Who
// knew the environment goes on with what it was.
func TestOneDamagedEnvironment(t *testing.T) {
	server := rdbtest.Start(t, "")
	db := open(t, server.URL())
	units := spread(t, db, 0)
	equal(t, must(db.Live(t.Context()))(t).Units, units)
	key := "oaas_pm:{env:env-3}:digests"
	if err := raw(t, server.URL()).Set(t.Context(), key, "oops", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		live := must(db.Live(t.Context()))(t)
		equal(t, live.Units, units)
		for name, e := range live.Environments {
			if got := e.Unreadable; strings.Contains(got, key) != (name == "env-3") {
				t.Errorf("%s: unreadable: %q", name, got)
			}
		}
		db.Afresh()
	}
	fresh := open(t, server.URL())
	live, err := fresh.Live(t.Context())
	if _, some := errors.AsType[*oprc.UnreadableError](err); !some || !strings.Contains(err.Error(), key) {
		t.Errorf("got %v, want the key named", err)
	}
	if _, there := live.Units["env-3"]; there || len(live.Units) != 7 {
		t.Errorf("units of %d environments, want the 7 others", len(live.Units))
	}
	if _, err := fresh.Damage(t.Context()); err != nil {
		t.Errorf("damage: %v", err)
	}
	if err := raw(t, server.URL()).Del(t.Context(), key).Err(); err != nil {
		t.Fatal(err)
	}
	if got := must(db.Live(t.Context()))(t).Environments["env-3"].Unreadable; got != "" {
		t.Errorf("healed: unreadable: %q", got)
	}
}

// A master without a replica dies: what lives on the others is read, and the message
// names the node.
func TestOneDeadMaster(t *testing.T) {
	g := rdbtest.Cluster(t, "--cluster-require-full-coverage", "no")
	db := open(t, g.URL)
	units := spread(t, db, 0)
	equal(t, must(db.Live(t.Context()))(t).Units, units)
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{g.Servers[0].Addr()}})
	defer func() { _ = cluster.Close() }()
	master := func(key string) string {
		t.Helper()
		node, err := cluster.MasterForKey(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return node.Options().Addr
	}
	catalogue, dead := master("{catalog}"), ""
	lost := map[string]bool{}
	for env := range units { // some environment lives elsewhere than the catalogue
		if at := master("{env:" + env + "}"); dead == "" && at != catalogue || at == dead {
			dead = at
		}
	}
	for env := range units {
		lost[env] = master("{env:"+env+"}") == dead
	}
	for _, p := range g.Servers {
		if p.Addr() == dead {
			p.Kill()
		}
	}
	began := time.Now()
	live, err := db.Live(t.Context())
	if took := time.Since(began); err != nil || took > 5*time.Second {
		t.Fatalf("after %s: %v", took, err)
	}
	equal(t, live.Units, units)
	for env, lost := range lost {
		if got := live.Environments[env].Unreadable; strings.Contains(got, "node "+dead) != lost {
			t.Errorf("%s: unreadable: %q, lost: %v", env, got, lost)
		}
	}
}

// A slot that is moved half-way stops writing to the environment that lives there, with
// the right advice, and reading nothing. It works again once the slot is moved.
func TestHalfMigratedSlot(t *testing.T) {
	g := rdbtest.Cluster(t)
	db := open(t, g.URL)
	units := spread(t, db, 0)
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{g.Servers[0].Addr()}})
	defer func() { _ = cluster.Close() }()
	const env, moved = "env-0", "oaas_pm:{env:env-0}:digests"
	from, err := cluster.MasterForKey(t.Context(), moved)
	if err != nil {
		t.Fatal(err)
	}
	slot := must(from.ClusterKeySlot(t.Context(), moved).Result())(t)
	to := raw(t, g.Servers[0].URL())
	if g.Servers[0].Addr() == from.Options().Addr {
		to = raw(t, g.Servers[1].URL())
	}
	do := func(c redis.UniversalClient, args ...any) any {
		t.Helper()
		return must(c.Do(t.Context(), args...).Result())(t)
	}
	host, port, err := net.SplitHostPort(to.(*redis.Client).Options().Addr)
	if err != nil {
		t.Fatal(err)
	}
	fromID, toID := do(from, "CLUSTER", "MYID"), do(to, "CLUSTER", "MYID")
	do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	do(from, "MIGRATE", host, port, moved, 0, 5000)

	second := []oprc.Command{command(unit("shop.record", 0, 0, env), oprc.Deploy, 2)}
	began := time.Now()
	err = db.Dispatch(t.Context(), env, second, 0)
	if took := time.Since(began); !errors.Is(err, rdb.ErrUnavailable) || !strings.Contains(err.Error(), "slot is being moved") || took > 5*time.Second {
		t.Errorf("writing: got %v after %s, want that a slot is being moved", err, took)
	}
	equal(t, must(open(t, g.URL).Live(t.Context()))(t).Units, units)
	if misplaced, aside, err := db.Strange(t.Context()); err != nil || len(misplaced)+len(aside) > 0 {
		t.Errorf("looking for strange keys: %v, %v, %v", misplaced, aside, err)
	}

	for _, key := range must(from.ClusterGetKeysInSlot(t.Context(), int(slot), 100).Result())(t) {
		do(from, "MIGRATE", host, port, key, 0, 5000)
	}
	for _, p := range g.Servers {
		do(raw(t, p.URL()), "CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
	if err := db.Dispatch(t.Context(), env, second, 0); err != nil {
		t.Errorf("after the slot was moved: %v", err)
	}
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

// Who makes several calls to a Redis that hangs, while others wait for it too, does not wait
// the whole time for each of them; and all is as before when it answers.
func TestManyCallsToAHungRedis(t *testing.T) {
	server := rdbtest.Start(t, "")
	db := open(t, server.URL())
	if err := write(t, db, shop()); err != nil {
		t.Fatal(err)
	}
	calls := func() (failed int) {
		for range 3 {
			if _, err := db.Sources(t.Context()); errors.Is(err, rdb.ErrUnavailable) {
				failed++
			} else if err != nil {
				t.Error(err)
			}
			if _, err := db.Live(t.Context()); errors.Is(err, rdb.ErrUnavailable) {
				failed++
			} else if err != nil {
				t.Error(err)
			}
		}
		return failed
	}
	server.Pause()
	time.Sleep(100 * time.Millisecond) // what it answered before is no news
	began := time.Now()
	if n := calls(); n != 6 {
		t.Errorf("%d of 6 calls failed", n)
	}
	if took := time.Since(began); took > 20*time.Second { // each for itself: over a minute
		t.Errorf("six calls took %s", took)
	}
	server.Resume()
	if n := calls(); n != 0 {
		t.Errorf("%d of 6 calls failed when it answered again", n)
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
