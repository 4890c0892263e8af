package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

var (
	faults = flag.Int("faults", 200, "how many processes TestKilledAtRandom kills")
	seed   = flag.Uint64("seed", 0, "of TestKilledAtRandom; 0 takes one from the clock")
)

// A diskCRM keeps its world on disk, as a real one does in a cluster: what it has
// made real outlives kill -9. An effect is a file that can be made only once and is
// there whole or not at all, and what runs is what the last effect on each unit says:
// no instant lies between the two. It judges nobody by what the SDK believes.
type diskCRM struct{ dir string }

// runDiskCRM is the main program of a CRM process.
func runDiskCRM() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	w := diskCRM{os.Getenv("E2E_CRM_DIR")}
	for _, sub := range []string{"effects", "repeated", "disorder", "events"} {
		if err := os.MkdirAll(filepath.Join(w.dir, sub), 0o700); err != nil {
			return err
		}
	}
	return crm.Run(ctx, crm.Options{
		Redis: os.Getenv("E2E_CRM_REDIS"), Env: os.Getenv("E2E_CRM_ENV"), ID: "disk",
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, nil)),
		OnEvent: func(e crm.Event) { _ = w.note("events", e.Type) },
	}, w)
}

// note leaves a sign that something happened.
func (w diskCRM) note(dir, what string) error {
	f, err := os.CreateTemp(filepath.Join(w.dir, dir), url.PathEscape(what)+" *")
	if err != nil {
		return err
	}
	return f.Close()
}

// effect carries a command out, or finds that it was so before. A command that
// comes after a later one had its effect is out of order.
func (w diskCRM) effect(c crm.Command) error {
	was, err := w.effects()
	if err != nil {
		return err
	}
	for _, e := range was[c.ID] {
		if e.Generation > c.Generation {
			return w.note("disorder", fmt.Sprintf("%s %d after %d", c.ID, c.Generation, e.Generation))
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(w.dir, "new")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	err = os.Link(f.Name(), filepath.Join(w.dir, "effects", url.PathEscape(fmt.Sprintf("%s %d %s", c.ID, c.Generation, c.Type))))
	if errors.Is(err, fs.ErrExist) {
		return w.note("repeated", c.ID)
	}
	return err
}

func (w diskCRM) Deploy(_ context.Context, c crm.Command, _ crm.Reporter) (crm.State, error) {
	return crm.State{Condition: crm.Running}, w.effect(c)
}

func (w diskCRM) Undeploy(_ context.Context, c crm.Command) error { return w.effect(c) }

// Resume hands over what was running before the process died.
func (w diskCRM) Resume(_ context.Context, adopt func(crm.Command, crm.State) crm.Reporter) error {
	world, err := w.world()
	for _, c := range world {
		adopt(c, crm.State{Condition: crm.Running})
	}
	return err
}

// effects returns what was carried out, by unit, in order of generations.
func (w diskCRM) effects() (map[string][]crm.Command, error) {
	out := map[string][]crm.Command{}
	files, err := filepath.Glob(filepath.Join(w.dir, "effects", "*"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		var c crm.Command
		data, err := os.ReadFile(name)
		if err := errors.Join(err, json.Unmarshal(data, &c)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[c.ID] = append(out[c.ID], c)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b crm.Command) int { return int(a.Generation - b.Generation) })
	}
	return out, nil
}

// world returns what runs.
func (w diskCRM) world() (map[string]crm.Command, error) {
	effects, err := w.effects()
	out := map[string]crm.Command{}
	for id, list := range effects {
		if last := list[len(list)-1]; last.Type == core.Deploy {
			out[id] = last
		}
	}
	return out, err
}

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

// A wish is what the files ask of one package in the end.
type wish struct{ version, partitions int }

var chaosEnvs = []string{"east", "west"}

func (w wish) write(t *testing.T, dir string, i int) {
	t.Helper()
	at := filepath.Join(dir, fmt.Sprintf("p%d.yaml", i))
	if w.partitions == 0 {
		_ = os.Remove(at) // it may be gone already
		return
	}
	text := fmt.Sprintf(`name: p%d
functions:
  - name: f
    provision: {knative: {image: "registry.example/f:%d"}}
classes:
  - name: c
    functions: [{name: f, function: .f}]
deployments:
  - {_key: .c, partitionCount: %d, replicaCount: 2, targetEnvs: [east, west]}
`, i, w.version, w.partitions)
	if err := os.WriteFile(at+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".new", at); err != nil {
		t.Fatal(err)
	}
}

// units is what must run in the end, by environment: unit without its replica
// number -> image. Written out here on purpose, not asked of the planner.
func units(wishes []wish) map[string][]string {
	out := map[string][]string{}
	for i, w := range wishes {
		for part := range w.partitions {
			for _, env := range chaosEnvs {
				out[env] = append(out[env], fmt.Sprintf("p%d.c/%d registry.example/f:%d", i, part, w.version))
			}
		}
	}
	for _, env := range chaosEnvs {
		slices.Sort(out[env])
	}
	return out
}

// Under a stream of changes the daemon, the CRMs and Redis are killed at random
// instants. In the end every environment runs exactly what is asked for, no effect
// happened twice, and nothing is pending.
func TestKilledAtRandom(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed %d -faults %d", s, *faults)
	rng := rand.New(rand.NewPCG(s, s))

	store := rdbtest.Start(t, t.TempDir())
	files, home, worlds := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "environments.yaml"),
		[]byte("{kind: Environment, name: east}\n---\n{kind: Environment, name: west}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(home, "oprc.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "port: 0\nredis: {url: %q}\nsources: [{name: files, url: %q, interval: 1s, maxDelete: 1000}]\n",
		store.URL(), files), 0o600); err != nil {
		t.Fatal(err)
	}
	victims := chaosProcesses(t, store.URL(), home, config, worlds)
	for _, v := range victims {
		v.run(t)
		t.Cleanup(v.kill)
	}

	const packages = 6
	wishes := make([]wish, packages)
	killed := map[string]int{}
	for n := range *faults {
		for range 2 {
			i := rng.IntN(packages)
			wishes[i] = wish{version: n + 1, partitions: rng.IntN(4)} // 0: the package goes
			wishes[i].write(t, files, i)
		}
		time.Sleep(time.Duration(rng.IntN(250)) * time.Millisecond)
		if i := rng.IntN(len(victims) + 1); i < len(victims) {
			victims[i].kill()
			time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
			victims[i].run(t)
			killed[victims[i].name]++
		} else {
			store.Kill()
			time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
			store.Restart()
			killed["redis"]++
		}
	}
	calm := time.Now()
	converge(t, 90*time.Second, units(wishes), worlds)
	t.Logf("converged %s after the last of %d faults: %v", time.Since(calm).Round(time.Millisecond), *faults, killed)
	nothingPending(t, store.URL(), 60*time.Second)
	judgeEffects(t, store.URL(), worlds)
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
		d := cmp.Diff(got, want)
		if d == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what runs differs from what is asked for after %s: -got +want\n%s", limit, d)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// nothingPending waits until every command and report is acknowledged.
func nothingPending(t *testing.T, redisURL string, limit time.Duration) {
	t.Helper()
	c := chaosClient(t, redisURL)
	deadline := time.Now().Add(limit)
	for {
		left := int64(0)
		for _, env := range chaosEnvs {
			for stream, group := range map[string]string{".commands": "crm", ".reports": "package-manager"} {
				p, err := c.XPending(t.Context(), "oaas.pm.{env:"+env+"}"+stream, group).Result()
				if err != nil {
					t.Fatal(err)
				}
				left += p.Count
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d entries are pending after %s", left, limit)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func chaosClient(t *testing.T, redisURL string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// judgeEffects holds what was carried out against what was dispatched, and prints
// what the run amounted to. Of each unit the last generation had its effect, as it was
// dispatched; none had two; none came after a later one; none was made up. One that a
// newer one overtook may have had none.
func judgeEffects(t *testing.T, redisURL, worlds string) {
	t.Helper()
	c := chaosClient(t, redisURL)
	commands, generations := int64(0), int64(0)
	effects, repeated := 0, 0
	events := map[string]int{}
	for _, env := range chaosEnvs {
		at := filepath.Join(worlds, env)
		info, err := c.XInfoStream(t.Context(), "oaas.pm.{env:"+env+"}.commands").Result()
		if err != nil {
			t.Fatal(err)
		}
		commands += info.EntriesAdded
		repeated += len(names(t, filepath.Join(at, "repeated")))
		for _, name := range names(t, filepath.Join(at, "events")) {
			what, _, _ := strings.Cut(name, " ")
			events[what]++
		}
		if disorder := names(t, filepath.Join(at, "disorder")); len(disorder) > 0 {
			t.Errorf("%s: carried out after a later one: %v", env, disorder)
		}
		digests, err := c.HGetAll(t.Context(), "oaas_pm:{env:"+env+"}:digests").Result()
		if err != nil {
			t.Fatal(err)
		}
		done, err := diskCRM{at}.effects()
		if err != nil {
			t.Fatal(err)
		}
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
			seen := map[int64]bool{}
			for _, e := range done[id] {
				if seen[e.Generation] || e.Generation < 1 || e.Generation > n {
					t.Errorf("%s generation %d: carried out twice, or never dispatched (the last is %d)", id, e.Generation, n)
				}
				seen[e.Generation] = true
				ran := "-"
				if e.Type == core.Deploy {
					ran = core.Digest(e.Unit)
				}
				if e.Generation == n && ran != hash {
					t.Errorf("%s generation %d: carried out is %s, dispatched %s", id, n, ran, hash)
				}
			}
			if !seen[n] {
				t.Errorf("%s generation %d was never carried out", id, n)
			}
		}
	}
	t.Logf("commands %d, of them sent again %d; generations %d, effects %d, overtaken by a newer one %d", commands, commands-generations, generations, effects, generations-int64(effects))
	t.Logf("duplicates absorbed: %d commands by the SDK, %d calls by the world; %d outdated commands dropped", events[crm.EventRepeated], repeated, events[crm.EventStale])
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
