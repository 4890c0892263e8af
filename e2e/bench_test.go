//go:build bench && unix

package e2e_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// make bench measures the program beside floors: what any program has to do that does
// this work. The figures to quote are ratios of processor time in one run.

var (
	benchSizes  = flag.String("bench.sizes", "", "numbers of packages that TestBench measures with, such as 1000,10000")
	benchRounds = flag.Int("bench.rounds", 5, "rounds of which TestBench takes medians")
	benchSeed   = flag.Uint64("bench.seed", 1, "of the packages that TestBench makes")
)

// benchPackage is a package of three functions, two classes of four bindings each, and a
// deployment.
func benchPackage(r *rand.Rand, i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: shop%05d\nversion: 1.%d.0\nfunctions:\n", i, r.IntN(20))
	for f := range 3 {
		fmt.Fprintf(&b, "  - name: f%d\n    description: function %d of package %d\n    type: TASK\n    provision:\n      knative:\n        image: registry.example/shop/f%d:1.%d\n"+
			"        requestsCpu: %dm\n        limitsMemory: %dMi\n    config:\n      env: {MODE: fast, LEVEL: \"%d\"}\n", f, f, i, f, r.IntN(50), 100+r.IntN(900), 64+r.IntN(400), r.IntN(9))
	}
	b.WriteString("classes:\n")
	for c := range 2 {
		fmt.Fprintf(&b, "  - name: c%d\n    stateSpec:\n      keySpecs: [{name: image}, {name: text}]\n    functions:\n", c)
		for f := range 4 {
			fmt.Fprintf(&b, "      - name: b%d\n        function: .f%d\n        access: PUBLIC\n", f, (f+c)%3)
		}
	}
	fmt.Fprintf(&b, "deployments:\n  - key: .c0\n    partitionCount: %d\n    replicaCount: 1\n    targetEnvs: [edge]\n", 1+r.IntN(3))
	return b.String()
}

func benchFiles(t *testing.T, n int) string {
	dir, r := t.TempDir(), rand.New(rand.NewPCG(*benchSeed, uint64(n)))
	for i := range n {
		team := filepath.Join(dir, fmt.Sprintf("team%03d", i/100))
		if i%100 == 0 {
			if err := os.Mkdir(team, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(team, fmt.Sprintf("shop%05d.yaml", i)), []byte(benchPackage(r, i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFloor does what a validator cannot do without, in a process of its own.
func TestFloor(t *testing.T) {
	dir := os.Getenv("E2E_FLOOR")
	if dir == "" {
		t.Skip("for TestBench")
	}
	if err := readAll(dir); err != nil {
		t.Fatal(err)
	}
}

func readAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_ = sha256.Sum256(raw)
		var node yaml.Node
		return yaml.Unmarshal(raw, &node)
	})
}

// A cost is what one run of a program took.
type cost struct {
	cpu, wall time.Duration
	memory    int64 // at most, in MB
}

type contestant struct {
	name string
	cmd  func() *exec.Cmd
	runs []cost
}

func (c *contestant) run(t *testing.T) {
	cmd := c.cmd()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", c.name, err, out.String())
	}
	took := cost{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall: time.Since(start)}
	if use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		took.memory = use.Maxrss >> 10
	}
	c.runs = append(c.runs, took)
}

func (c *contestant) median() cost {
	mid := func(of func(cost) int64) int64 {
		var all []int64
		for _, r := range c.runs {
			all = append(all, of(r))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return cost{
		time.Duration(mid(func(c cost) int64 { return int64(c.cpu) })), time.Duration(mid(func(c cost) int64 { return int64(c.wall) })),
		mid(func(c cost) int64 { return c.memory }),
	}
}

// compete runs contestants in turn and prints a table; the first is the floor.
func compete(t *testing.T, title string, all ...*contestant) {
	for range *benchRounds {
		for _, c := range all {
			c.run(t)
		}
	}
	floor := all[0].median()
	fmt.Printf("\n| %s | processor time | ratio | clock | ratio | memory |\n|---|---|---|---|---|---|\n", title)
	for _, c := range all {
		m := c.median()
		fmt.Printf("| %s | %.3f s | %.2f | %.3f s | %.2f | %d MB |\n", c.name,
			m.cpu.Seconds(), m.cpu.Seconds()/floor.cpu.Seconds(), m.wall.Seconds(), m.wall.Seconds()/floor.wall.Seconds(), m.memory)
	}
}

// TestBench is `make bench`: it prints docs/performance.md's tables.
func TestBench(t *testing.T) {
	if *benchSizes == "" {
		t.Skip("make bench")
	}
	home := t.TempDir()
	oprc := func(args ...string) func() *exec.Cmd {
		return func() *exec.Cmd {
			cmd := exec.Command(filepath.Join(bin, program), args...)
			cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home+"/cache", "XDG_STATE_HOME="+home+"/state", "XDG_CONFIG_HOME="+home+"/config", "NO_COLOR=1")
			return cmd
		}
	}
	floor := func(dir string) func() *exec.Cmd {
		return func() *exec.Cmd {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestFloor$")
			cmd.Env = append(os.Environ(), "E2E_FLOOR="+dir, "OPRC_BIN="+bin)
			return cmd
		}
	}
	nothing := filepath.Join(home, "nothing")
	if err := os.WriteFile(nothing+".go", []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", nothing, nothing+".go").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	fmt.Printf("%s %s/%s, %d processors, load before: %s; medians of %d rounds, seed %d\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		strings.TrimSpace(string(load)), *benchRounds, *benchSeed)
	compete(t, "start", &contestant{name: "a Go program that does nothing", cmd: func() *exec.Cmd { return exec.Command(nothing) }},
		&contestant{name: "`oprc version`", cmd: oprc("version")})
	for text := range strings.SplitSeq(*benchSizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		dir := benchFiles(t, n)
		all := []*contestant{
			{name: "floor: read, YAML nodes, SHA-256", cmd: floor(dir)},
			{name: "`oprc validate --no-cache`", cmd: oprc("validate", "--no-cache", "-f", dir)},
			{name: "`oprc validate`, the same files again", cmd: oprc("validate", "-f", dir)},
		}
		if peer, err := exec.LookPath("cue"); err == nil && n <= 1000 {
			all = append(all, &contestant{name: "`cue vet`", cmd: func() *exec.Cmd {
				cmd := exec.Command("sh", "-c", `exec "$0" vet -c -d '#CompatiblePackage' . $(find "$1" -name '*.yaml')`, peer, dir)
				cmd.Dir = "../schema"
				return cmd
			}})
		}
		compete(t, fmt.Sprintf("%d files", n), all...)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	benchServer(t, home)
}

// benchServer measures what requests cost the server, by the processor time that it says
// itself, beside its answer to /health.
func benchServer(t *testing.T, home string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir := benchFiles(t, 1000)
	if err := os.WriteFile(filepath.Join(dir, "edge.yaml"), []byte("kind: Environment\nname: edge\navailability: 0.99\ndefault: true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(home, "oprc.yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:%d\nlimits: {rate: -1}\nsources: [{name: all, url: %s}]\n", port, dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, program), "serve", "--config", config)
	cmd.Env = append(os.Environ(), "HOME="+home, "OPRC_REDIS_URL="+rdbtest.Server(t))
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	body := func(path string) string {
		res, err := http.Get(url + path)
		if err != nil {
			return ""
		}
		defer res.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(res.Body)
		if res.StatusCode != http.StatusOK {
			return ""
		}
		return b.String()
	}
	for end := time.Now().Add(5 * time.Minute); !strings.Contains(body("/packages?limit=1"), `"total":1000`); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("1,000 packages are not there:\n%s", log.String())
		}
	}
	cpu := func() float64 {
		for line := range strings.Lines(body("/metrics")) {
			if rest, ok := strings.CutPrefix(line, "process_cpu_seconds_total "); ok {
				s, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
		}
		t.Fatal("no process_cpu_seconds_total in /metrics")
		return 0
	}
	fmt.Print("\n| one request at 1,000 packages | the server's processor time | ratio |\n|---|---|---|\n")
	first := 0.0
	for _, path := range []string{"/health", "/packages/shop00500", "/classes/shop00500.c0", "/packages", "/units?offset=500", "/metrics"} {
		const requests = 500
		before := cpu()
		for range requests {
			if body(path) == "" {
				t.Fatal(path)
			}
		}
		each := (cpu() - before) / requests
		first = cmp.Or(first, each)
		fmt.Printf("| `GET %s` | %.2f ms | %.1f |\n", path, each*1e3, each/first)
	}
}
