//go:build endurance

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A fleet is many environments that run the same package.
type fleetWorld struct {
	t       *testing.T
	files   string
	envs    []string
	c       *redis.Client
	db      *rdb.DB
	version int
}

// change asks every environment for something else, and waits until the living
// have reported it. It returns how long after the commit each of their commands was
// queued: both are stamped by Redis.
func (f *fleetWorld) change(living []string) []time.Duration {
	f.t.Helper()
	f.version++
	text := fmt.Sprintf(`name: fleet
functions:
  - name: f
    provision: {knative: {image: "registry.example/f:%d"}}
classes:
  - name: c
    functions: [{name: f, function: .f}]
deployments:
  - {_key: .c, partitionCount: 2, replicaCount: %d, targetEnvs: [%s]}
`, f.version, len(f.envs), strings.Join(f.envs, ", "))
	at := filepath.Join(f.files, "fleet.yaml")
	if err := os.WriteFile(at+".new", []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(at+".new", at); err != nil {
		f.t.Fatal(err)
	}
	image := fmt.Sprintf("registry.example/f:%d", f.version)
	within(f.t, patience, "the living run "+image, func() string {
		for _, env := range living {
			runs, open := ledgerRuns(f.t.Context(), f.db, env)
			if open != "" {
				return open
			}
			if len(runs) != 2 || !strings.HasSuffix(runs[0], image) || !strings.HasSuffix(runs[1], image) {
				return fmt.Sprintf("%s: %v", env, runs)
			}
		}
		return ""
	})
	committed := f.lastStamp("oaas_pm:{catalog}:history:fleet")
	var out []time.Duration
	for _, env := range living {
		out = append(out, f.lastStamp("oaas.pm.{env:"+env+"}.commands")-committed)
	}
	return out
}

// lastStamp is when the last entry of a stream was added.
func (f *fleetWorld) lastStamp(stream string) time.Duration {
	f.t.Helper()
	info, err := f.c.XInfoStream(f.t.Context(), stream).Result()
	if err != nil {
		f.t.Fatal(err)
	}
	ms, _, _ := strings.Cut(info.LastGeneratedID, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return time.Duration(n) * time.Millisecond
}

// measure makes changes and returns the median and the worst latency.
func (f *fleetWorld) measure(changes int, living []string) (median, worst time.Duration) {
	f.t.Helper()
	var all []time.Duration
	for range changes {
		all = append(all, f.change(living)...)
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1]
}

// flood fills an environment's reports with poison until the function that it
// returns is called, which tells how much it was.
func flood(t *testing.T, c *redis.Client, env string) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	var writer sync.WaitGroup
	writer.Go(func() {
		forged := map[string]string{
			"type": "status", "crm": "evil", "ts": "2026-01-01T00:00:00Z", "id": "evil.c/0/0@" + env,
			"generation": "1", "specHash": "sha256:0", "condition": "RUNNING",
		}
		for ctx.Err() == nil {
			_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for i := range 100 {
					values := forged
					if i%2 == 0 {
						values = map[string]string{"hello": "world"}
					}
					p.XAdd(ctx, &redis.XAddArgs{Stream: "oaas.pm.{env:" + env + "}.reports", Values: values})
				}
				return nil
			})
			if err == nil {
				n += 100
			}
			time.Sleep(25 * time.Millisecond) // some 4000 a second
		}
	})
	return func() int {
		cancel()
		writer.Wait()
		return n
	}
}

// One environment of fifty loses its CRM; then its reports are poisoned without end;
// then not even commands can be queued there. The others notice nothing.
func TestOneDeadEnvironmentOfFifty(t *testing.T) {
	t.Parallel()
	const changes = 3
	store := rdbtest.Server(t)
	f := &fleetWorld{t: t, files: t.TempDir(), c: chaosClient(t, store), db: openLedger(t, store)}
	for i := range 50 {
		f.envs = append(f.envs, fmt.Sprintf("e%02d", i))
	}
	declare(t, f.files, f.envs...)
	startDaemon(t, store, f.files)
	living, dead := f.envs[:49], f.envs[49]
	for _, env := range living {
		startCRM(t, store, env, crm.Options{})
	}
	_, die := startCRM(t, store, dead, crm.Options{})
	f.change(f.envs)
	healthy, worst := f.measure(changes, living)
	t.Logf("50 of 50 alive: from commit to command %s in the median, at most %s", healthy, worst)
	bound := 3*healthy + time.Second // who waited for the dead one would wait three seconds

	check := func(what string) {
		t.Helper()
		// Who waits for the dead one waits each time; other tests beside this one end.
		for range 3 {
			median, worst := f.measure(changes, living)
			t.Logf("%s: %s in the median, at most %s", what, median, worst)
			if median <= bound {
				return
			}
		}
		t.Errorf("%s: three times it took more than %s from commit to command", what, bound)
	}
	die()
	check("49 of 50 alive, no CRM in the other")
	stop := flood(t, f.c, dead)
	check("its reports are poisoned meanwhile")
	t.Logf("%d poisoned reports", stop())
	if err := f.c.Set(t.Context(), "oaas.pm.{env:"+dead+"}.commands", "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	check("its commands cannot be queued")
}

// More environments than anybody had so far, with a reader for each: all are heard at
// once, and connections are kept, not made anew for every look.
func TestSixHundredEnvironments(t *testing.T) {
	t.Parallel()
	const count = 600
	store := rdbtest.Server(t)
	c := chaosClient(t, store)
	f := &fleetWorld{t: t, files: t.TempDir(), c: c, db: openLedger(t, store)}
	for i := range count {
		f.envs = append(f.envs, fmt.Sprintf("e%03d", i))
	}
	declare(t, f.files, f.envs...)
	d := startDaemon(t, store, f.files)
	within(t, patience, "all are declared", func() string {
		names, err := f.db.EnvironmentNames(t.Context())
		if err != nil || len(names) < count {
			return fmt.Sprint(len(names), err)
		}
		return ""
	})
	// heard sends a heartbeat to each and returns how long it takes until all were read.
	heard := func() time.Duration {
		began := time.Now()
		if _, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for _, env := range f.envs {
				p.XAdd(t.Context(), &redis.XAddArgs{Stream: "oaas.pm.{env:" + env + "}.reports", Values: map[string]string{
					"type": "heartbeat", "crm": "x", "ts": time.Now().UTC().Format(time.RFC3339Nano),
				}})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		within(t, patience, "all heartbeats are taken", func() string {
			answers, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error {
				for _, env := range f.envs {
					p.XInfoGroups(t.Context(), "oaas.pm.{env:"+env+"}.reports")
				}
				return nil
			})
			if err != nil {
				return err.Error()
			}
			open := 0
			for _, a := range answers {
				if g := a.(*redis.XInfoGroupsCmd).Val(); len(g) != 1 || g[0].Lag != 0 || g[0].Pending != 0 {
					open++
				}
			}
			if open > 0 {
				return fmt.Sprintf("%d are not", open)
			}
			return ""
		})
		return time.Since(began)
	}
	t.Logf("the first heartbeats were taken in %s", heard().Round(time.Millisecond))
	before, at := connections(t, c), time.Now()
	worst := time.Duration(0)
	for range 5 {
		time.Sleep(time.Second)
		worst = max(worst, heard())
	}
	after := connections(t, c)
	made := float64(after.ever-before.ever) / time.Since(at).Seconds()
	t.Logf("later ones within %s; %d connections, %.1f new ones a second; the daemon has %.0f MB",
		worst.Round(time.Millisecond), after.now, made, d.metric("process_resident_memory_bytes")/1e6)
	if after.now < count {
		t.Error("readers wait for each other's connections")
	}
	if made > count/10 {
		t.Errorf("%.1f new connections a second", made)
	}
}

// connections are those that Redis has, and has ever had.
func connections(t *testing.T, c *redis.Client) (n struct{ now, ever int }) {
	t.Helper()
	info, err := c.Info(t.Context(), "clients", "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		_, _ = fmt.Sscanf(line, "connected_clients:%d", &n.now) // others do not match
		_, _ = fmt.Sscanf(line, "total_connections_received:%d", &n.ever)
	}
	return n
}
