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
	within(f.t, 60*time.Second, "the living run "+image, func() string {
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
	bound := 3*healthy + 100*time.Millisecond

	check := func(what string) {
		t.Helper()
		median, worst := f.measure(changes, living)
		t.Logf("%s: %s in the median, at most %s", what, median, worst)
		if median > bound {
			t.Errorf("%s: from commit to command it takes %s, more than %s", what, median, bound)
		}
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
