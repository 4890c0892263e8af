package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	"github.com/oaas-platform/oprc/internal/rdb"
)

// What the tests of faults share: a daemon that is a process of its own, CRMs that
// remember what they were asked, and questions about the end.

// A daemonProcess is oprc serve.
type daemonProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *logBuffer
	addr string
}

// startDaemon serves the directory files from the Redis at url.
func startDaemon(t *testing.T, url, files string) *daemonProcess {
	t.Helper()
	return serve(t, fmt.Sprintf("redis: {url: %q}\nsources: [{name: files, url: %q, interval: 1s, maxDelete: 1000}]\n", url, files))
}

// serve starts a daemon with a configuration, on a free port, with more variables.
func serve(t *testing.T, text string, environ ...string) *daemonProcess {
	t.Helper()
	home := t.TempDir()
	config := filepath.Join(home, "oprc.yaml")
	if err := os.WriteFile(config, []byte("port: 0\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemonProcess{t: t, log: &logBuffer{}}
	d.cmd = exec.Command(filepath.Join(bin, program), "serve", "--config", config)
	d.cmd.Env, d.cmd.Stderr = append(append(os.Environ(), emptyHome(home)...), environ...), d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("last of a daemon's log:\n%s", d.log.last(4000))
		}
	})
	serving := regexp.MustCompile(`msg=serving address=\S*:(\d+)`)
	within(t, patience, "the daemon serves", func() string {
		m := serving.FindStringSubmatch(d.log.last(1 << 20))
		if m == nil {
			return "no address in its log"
		}
		d.addr = "127.0.0.1:" + m[1]
		return ""
	})
	return d
}

func (d *daemonProcess) kill() {
	if d.cmd.ProcessState == nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
	}
}

func (d *daemonProcess) pause()  { d.signal(syscall.SIGSTOP) }
func (d *daemonProcess) resume() { d.signal(syscall.SIGCONT) }

func (d *daemonProcess) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// metric is one value of /metrics.
func (d *daemonProcess) metric(name string) float64 {
	d.t.Helper()
	res, err := http.Get("http://" + d.addr + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				d.t.Fatal(err)
			}
			return v
		}
	}
	d.t.Fatalf("no %s in the metrics", name)
	return 0
}

// A logBuffer may be written by one and read by others.
type logBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *logBuffer) last(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	data := b.all.Bytes()
	return string(data[max(0, len(data)-n):])
}

// A memoryCRM makes units real in a map, and counts what it was asked.
type memoryCRM struct {
	mu       sync.Mutex
	world    map[string]crm.Command
	deploys  map[string]int
	undeploy map[string]int
}

func (m *memoryCRM) Deploy(_ context.Context, c crm.Command, _ crm.Reporter) (crm.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.world[c.ID] = c
	m.deploys[c.ID]++
	return crm.State{}, nil
}

func (m *memoryCRM) Undeploy(_ context.Context, c crm.Command) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.world, c.ID)
	m.undeploy[c.ID]++
	return nil
}

// runs lists "package.class/partition image" of what runs, as [units] does.
func (m *memoryCRM) runs() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for id, c := range m.world {
		out = append(out, unitLine(id, c.Unit.Functions[0].Image))
	}
	slices.Sort(out)
	return out
}

// calls returns how often Deploy and Undeploy were called, by unit.
func (m *memoryCRM) calls() (deploys, undeploys map[string]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.deploys), maps.Clone(m.undeploy)
}

// startCRM serves an environment until the test ends or stop is called.
func startCRM(t *testing.T, url, env string, o crm.Options) (m *memoryCRM, stop func()) {
	t.Helper()
	m = &memoryCRM{world: map[string]crm.Command{}, deploys: map[string]int{}, undeploy: map[string]int{}}
	o.Redis, o.Env, o.ID = url, env, "memory"
	ctx, cancel := context.WithCancel(t.Context()) // ends for all CRMs of a test at once
	done := make(chan error, 1)
	go func() { done <- crm.Run(ctx, o, m) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("CRM of %s: %v", env, err)
		}
	})
	t.Cleanup(stop)
	return m, stop
}

// startCRMs serves all of [chaosEnvs].
func startCRMs(t *testing.T, url string, o crm.Options) map[string]*memoryCRM {
	t.Helper()
	out := map[string]*memoryCRM{}
	for _, env := range chaosEnvs {
		out[env], _ = startCRM(t, url, env, o)
	}
	return out
}

// newFiles is a source that declares [chaosEnvs].
func newFiles(t *testing.T) string {
	t.Helper()
	files := t.TempDir()
	declare(t, files, chaosEnvs...)
	return files
}

func declare(t *testing.T, files string, envs ...string) {
	t.Helper()
	var text strings.Builder
	for _, env := range envs {
		fmt.Fprintf(&text, "---\n{kind: Environment, name: %s}\n", env)
	}
	if err := os.WriteFile(filepath.Join(files, "environments.yaml"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// patience is how long tests wait for what must come to pass. It judges nothing: what
// must be quick is measured and judged by its own bound, and the machine may be busy.
const patience = 2 * time.Minute

// within asks again and again what is still wrong, until nothing is; it returns
// how long that took.
func within(t *testing.T, limit time.Duration, what string, wrong func() string) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		is := wrong()
		if is == "" {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %s: %s", what, limit, is)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// runsWhatIsAsked waits until the CRMs run what the wishes ask for.
func runsWhatIsAsked(t *testing.T, limit time.Duration, crms map[string]*memoryCRM, wishes []wish) time.Duration {
	t.Helper()
	want := units(wishes)
	return within(t, limit, "environments run what is asked for", func() string {
		got := map[string][]string{}
		for env, m := range crms {
			got[env] = m.runs()
		}
		return cmp.Diff(got, want)
	})
}

// recorded waits until the ledger says what the wishes ask for, and that every unit
// has reported that it is so.
func recorded(t *testing.T, limit time.Duration, db *rdb.DB, wishes []wish) time.Duration {
	t.Helper()
	want := units(wishes)
	return within(t, limit, "the ledger knows what runs", func() string {
		got := map[string][]string{}
		for _, env := range chaosEnvs {
			runs, open := ledgerRuns(t.Context(), db, env)
			if open != "" {
				return open
			}
			got[env] = runs
		}
		return cmp.Diff(got, want)
	})
}

// ledgerRuns lists, as [units] does, what an environment was told to run; open says
// which unit has not reported so.
func ledgerRuns(ctx context.Context, db *rdb.DB, env string) (runs []string, open string) {
	records, err := db.UnitRecords(ctx, env)
	if err != nil {
		return nil, err.Error()
	}
	statuses, err := db.Statuses(ctx, env)
	if err != nil {
		return nil, err.Error()
	}
	for id, rec := range records {
		want := map[core.Op]core.Condition{core.Deploy: core.Running, core.Undeploy: core.Deleted}[rec.Op]
		if st := statuses[id]; st.Generation != rec.Generation || st.Condition != want {
			return nil, fmt.Sprintf("%s: generation %d is dispatched to %s, reported is %d %s", id, rec.Generation, rec.Op, st.Generation, st.Condition)
		}
		if rec.Op == core.Deploy {
			runs = append(runs, unitLine(id, rec.Unit.Functions[0].Image))
		}
	}
	slices.Sort(runs)
	return runs, ""
}

// unitLine is a unit without its replica and environment, with its image.
func unitLine(id, image string) string {
	unit, _, _ := strings.Cut(id, "@")
	return unit[:strings.LastIndex(unit, "/")] + " " + image
}

func openLedger(t *testing.T, url string) *rdb.DB {
	t.Helper()
	db, err := rdb.Open(t.Context(), rdb.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
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

// nothingPending waits until every command and report is acknowledged.
func nothingPending(t *testing.T, limit time.Duration, c redis.UniversalClient) {
	t.Helper()
	within(t, limit, "nothing is pending", func() string {
		for _, env := range chaosEnvs {
			for stream, group := range map[string]string{".commands": "crm", ".reports": "package-manager"} {
				p, err := c.XPending(t.Context(), "oaas.pm.{env:"+env+"}"+stream, group).Result()
				if err != nil {
					return err.Error()
				}
				if p.Count > 0 {
					return fmt.Sprintf("%d in %s of %s", p.Count, stream, env)
				}
			}
		}
		return ""
	})
}
