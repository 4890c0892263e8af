//go:build endurance

package e2e_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

var (
	faults = flag.Int("faults", 0, "how many processes the tests Killed… kill; 0: 200 with one Redis, fewer with several")
	seed   = flag.Uint64("seed", 0, "of the tests Killed…; 0 takes one from the clock")
)

// A victim is a process that is killed and started again. One that ends by itself,
// for instance because Redis did not answer when it started, is started again at
// once, as an init system does.
type victim struct {
	name  string
	start func() *exec.Cmd

	mu  sync.Mutex
	cmd *exec.Cmd // nil: it is meant to be dead
	end sync.WaitGroup
}

func (v *victim) kill() {
	v.mu.Lock()
	cmd := v.cmd
	v.cmd = nil
	v.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill() // it may have ended by itself
	}
	v.end.Wait()
}

func (v *victim) run(t *testing.T) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.launch(); err != nil {
		t.Fatal(err)
	}
}

// launch starts the process and watches over it; v.mu is held.
func (v *victim) launch() error {
	cmd := v.start()
	if err := cmd.Start(); err != nil {
		return err
	}
	v.cmd = cmd
	v.end.Go(func() {
		_ = cmd.Wait() // killed, mostly
		time.Sleep(100 * time.Millisecond)
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.cmd == cmd {
			_ = v.launch()
		}
	})
	return nil
}

// Under a stream of changes the daemon, the CRMs and Redis are killed at random
// instants, while somebody takes commands from the streams and throws them away. In the
// end every environment runs exactly what is asked for, no effect happened twice, and
// nothing is pending.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	store := rdbtest.Start(t, t.TempDir())
	c := &chaos{t: t, url: store.URL(), c: chaosClient(t, store.URL()), redises: 1, killRedis: func(_ int, dead time.Duration) {
		store.Kill()
		time.Sleep(dead)
		store.Restart()
	}}
	c.run(200)
	c.judgeEffects()
}

// The same with a Cluster of three masters, which keep what they acknowledged: as strict.
func TestKilledAtRandomOnACluster(t *testing.T) {
	t.Parallel()
	g := rdbtest.Cluster(t, "--appendonly", "yes", "--appendfsync", "always")
	var addrs []string
	for _, p := range g.Servers {
		addrs = append(addrs, p.Addr())
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = client.Close() })
	c := &chaos{t: t, url: g.URL, c: client, redises: 3, killRedis: func(i int, dead time.Duration) {
		g.Servers[i].Kill()
		time.Sleep(dead)
		g.Servers[i].Restart()
	}}
	c.run(12)
	c.judgeEffects()
}

// The same with a master that its replica replaces each time that it is killed. What the
// replica has not got yet is lost, although it was acknowledged: records and reports of
// the last instant. So a generation may be counted twice, with another spec the second
// time, and be carried out twice, rightly so: nobody knows of the first. What holds is
// that all is repaired: the environments run what is asked for, the ledger says the
// same and knows that it is so, and nothing is pending.
func TestKilledAtRandomWithSentinels(t *testing.T) {
	t.Parallel()
	g := rdbtest.Sentinels(t, "--appendonly", "yes", "--appendfsync", "always")
	sentinels, _, _ := strings.Cut(strings.TrimPrefix(g.URL, "sentinel://"), "/")
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "oprc", SentinelAddrs: strings.Split(sentinels, ",")})
	t.Cleanup(func() { _ = client.Close() })
	c := &chaos{t: t, url: g.URL, c: client, redises: 1, killRedis: func(int, time.Duration) { g.FailOver() }}
	c.run(8)
	c.judgeRepair()
}

// A chaos is a daemon, its CRMs and its Redis, in a bad time.
type chaos struct {
	t         *testing.T
	url       string
	c         redis.UniversalClient
	redises   int                                 // which of them killRedis may be told to kill
	killRedis func(which int, dead time.Duration) // and to bring back

	worlds string // what the CRMs keep on disk
	wishes []wish
	stolen atomic.Int64
}

// run kills so many processes, or as many as was asked for, and waits until the
// environments run what the files ask for in the end, and nothing is pending.
func (c *chaos) run(count int) {
	t := c.t
	t.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	count = cmp.Or(*faults, count)
	t.Logf("repeat with -seed %d -faults %d", s, count)
	rng := rand.New(rand.NewPCG(s, s))

	files, home := newFiles(t), t.TempDir()
	c.worlds = t.TempDir()
	config := filepath.Join(home, "oprc.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "port: 0\nredis: {url: %q}\nsources: [{name: files, url: %q, interval: 1s, maxDelete: 1000}]\n"+
		"resend: {first: 1s, max: 5s}\n", c.url, files), 0o600); err != nil {
		t.Fatal(err)
	}
	victims := chaosProcesses(t, c.url, home, config, c.worlds)
	for _, v := range victims {
		v.run(t)
		t.Cleanup(v.kill)
	}
	stop := c.steal(s)
	killed := map[string]int{}
	c.wishes = make([]wish, 10)
	change := func(i, version, partitions int) {
		c.wishes[i] = wish{version, partitions}
		c.wishes[i].write(t, files, i)
	}
	var order []int // each of them once, then each of them again
	for n := range count {
		for range 2 {
			change(rng.IntN(len(c.wishes)), n+1, rng.IntN(4)) // 0: the package goes
		}
		time.Sleep(time.Duration(rng.IntN(250)) * time.Millisecond)
		dead := time.Duration(rng.IntN(100)) * time.Millisecond
		if len(order) == 0 {
			order = rng.Perm(len(victims) + 1)
		}
		i := order[0]
		if order = order[1:]; i < len(victims) {
			victims[i].kill()
			time.Sleep(dead)
			victims[i].run(t)
			killed[victims[i].name]++
		} else {
			c.killRedis(rng.IntN(c.redises), dead)
			killed["redis"]++
		}
	}
	calm := time.Now()
	converge(t, patience, units(c.wishes), c.worlds)
	t.Logf("converged %s after the last of %d faults: %v", time.Since(calm).Round(time.Millisecond), count, killed)
	for i := range c.wishes { // what is taken away now nobody repairs by being started again
		change(i, count+1, 3)
		time.Sleep(200 * time.Millisecond)
	}
	stop()
	converge(t, patience, units(c.wishes), c.worlds)
	nothingPending(t, patience, c.c)
}

// steal takes commands out of the streams now and then and throws them away, as somebody
// does who looks at one with the wrong tool. Only sending them again helps.
func (c *chaos) steal(s uint64) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var thieves sync.WaitGroup
	for i, env := range chaosEnvs {
		rng := rand.New(rand.NewPCG(s, uint64(i)))
		thieves.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				got, _ := c.c.XReadGroup(ctx, &redis.XReadGroupArgs{ // there may be none, and no Redis
					Group: "crm", Consumer: "thief", Streams: []string{"oaas.pm.{env:" + env + "}.commands", ">"},
					Count: 1, Block: time.Second, NoAck: true,
				}).Result()
				c.stolen.Add(int64(len(got)))
			}
		})
	}
	return func() { cancel(); thieves.Wait() }
}

func chaosProcesses(t *testing.T, redisURL, home, config, worlds string) []*victim {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	environ := append(os.Environ(), emptyHome(home)...)
	log, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			data, _ := os.ReadFile(log.Name())
			t.Logf("last of the logs:\n%s", data[max(0, len(data)-8000):])
		}
		_ = log.Close()
	})
	out := []*victim{{name: "daemon", start: func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, program), "serve", "--config", config)
		cmd.Env, cmd.Stderr = environ, log
		return cmd
	}}}
	for _, env := range chaosEnvs {
		out = append(out, &victim{name: "crm " + env, start: func() *exec.Cmd {
			cmd := exec.Command(self)
			cmd.Stderr = log
			cmd.Env = append(slices.Clone(environ), "E2E_CRM_ENV="+env, "E2E_CRM_REDIS="+redisURL, "E2E_CRM_DIR="+filepath.Join(worlds, env))
			return cmd
		}})
	}
	return out
}

// converge waits until what runs on disk is what is asked for.
func converge(t *testing.T, limit time.Duration, want map[string][]string, worlds string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		got := map[string][]string{}
		for _, env := range chaosEnvs {
			world, err := diskCRM{filepath.Join(worlds, env)}.world()
			if err != nil {
				t.Fatal(err)
			}
			for id, c := range world {
				unit, _, _ := strings.Cut(id, "@")
				got[env] = append(got[env], unit[:strings.LastIndex(unit, "/")]+" "+c.Unit.Functions[0].Image)
			}
			slices.Sort(got[env])
		}
		d := gocmp.Diff(got, want)
		if d == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what runs differs from what is asked for after %s: -got +want\n%s", limit, d)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// judgeEffects holds what was carried out against what was dispatched, and prints
// what the run amounted to. Of each unit the last generation had its effect, as it was
// dispatched; none had two; none came after a later one; none was made up. One that a
// newer one overtook may have had none.
func (c *chaos) judgeEffects() {
	t := c.t
	t.Helper()
	generations, effects := int64(0), 0
	for _, env := range chaosEnvs {
		digests, done := c.outcome(env)
		for id, list := range done {
			effects += len(list)
			if _, dispatched := digests[id]; !dispatched {
				t.Errorf("%s was carried out, and never dispatched", id)
			}
		}
		for id, digest := range digests {
			gen, hash, _ := strings.Cut(digest, " ")
			n, err := strconv.ParseInt(gen, 10, 64)
			if err != nil {
				t.Fatalf("digest of %s: %q", id, digest)
			}
			generations += n
			last := int64(0)
			for _, e := range done[id] {
				if e.Generation <= last || e.Generation > n {
					t.Errorf("%s generation %d was carried out after generation %d; the last that was dispatched is %d", id, e.Generation, last, n)
				}
				last = e.Generation
				if last == n && runs(e) != hash {
					t.Errorf("%s generation %d: carried out is %s, dispatched %s", id, n, runs(e), hash)
				}
			}
			if last != n {
				t.Errorf("%s generation %d was never carried out", id, n)
			}
		}
	}
	t.Logf("generations %d, effects %d, overtaken by a newer one %d", generations, effects, generations-int64(effects))
	c.tell(generations)
}

// judgeRepair checks that what was carried out last is what the ledger says in the
// end, and that the ledger knows so.
func (c *chaos) judgeRepair() {
	t := c.t
	t.Helper()
	recorded(t, patience, openLedger(t, c.url), c.wishes)
	generations, effects, again := int64(0), 0, 0
	for _, env := range chaosEnvs {
		digests, done := c.outcome(env)
		for id, digest := range digests {
			gen, hash, _ := strings.Cut(digest, " ")
			n, _ := strconv.ParseInt(gen, 10, 64)
			generations += n
			if list := done[id]; len(list) == 0 || runs(list[len(list)-1]) != hash {
				t.Errorf("%s: dispatched is %s, carried out was last %+v", id, digest, list)
			}
		}
		for _, list := range done {
			effects += len(list)
			for i, e := range list {
				if i > 0 && e.Generation <= list[i-1].Generation {
					again++
				}
			}
		}
	}
	t.Logf("generations %d, effects %d, of them under a generation that was lost %d", generations, effects, again)
	c.tell(generations)
}

// outcome is what was dispatched to an environment, and what was carried out there.
func (c *chaos) outcome(env string) (digests map[string]string, done map[string][]crm.Command) {
	c.t.Helper()
	digests, err := c.c.HGetAll(c.t.Context(), "oaas_pm:{env:"+env+"}:digests").Result()
	if err != nil {
		c.t.Fatal(err)
	}
	done, err = diskCRM{filepath.Join(c.worlds, env)}.effects()
	if err != nil {
		c.t.Fatal(err)
	}
	return digests, done
}

// runs is the digest of what runs after an effect, as the ledger writes it.
func runs(c crm.Command) string {
	if c.Type == core.Undeploy {
		return "-"
	}
	return core.Digest(c.Unit)
}

// tell prints what the run amounted to.
func (c *chaos) tell(generations int64) {
	c.t.Helper()
	commands, repeated := int64(0), 0
	events := map[string]int{}
	for _, env := range chaosEnvs {
		info, err := c.c.XInfoStream(c.t.Context(), "oaas.pm.{env:"+env+"}.commands").Result()
		if err != nil {
			c.t.Fatal(err)
		}
		commands += info.EntriesAdded
		at := filepath.Join(c.worlds, env)
		repeated += len(names(c.t, filepath.Join(at, "repeated")))
		for _, name := range names(c.t, filepath.Join(at, "events")) {
			what, _, _ := strings.Cut(name, " ")
			events[what]++
		}
	}
	c.t.Logf("commands %d, taken away by a thief %d, sent again %d; duplicates absorbed: %d commands by the SDK, %d calls by the world; %d outdated commands dropped",
		commands, c.stolen.Load(), commands-generations, events[crm.EventRepeated], repeated, events[crm.EventStale])
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
