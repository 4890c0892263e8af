package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/process"
	"github.com/oaas-platform/oprc/crm/workload"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// The test binary is the function, and the CRM that is killed, as ROLE says.
func TestMain(m *testing.M) {
	switch os.Getenv("ROLE") {
	case "function":
		function()
	case "driver":
		driver()
	default:
		goleak.VerifyTestMain(m)
	}
}

// function answers /health, and dies or falls silent on request.
func function() {
	if text := os.Getenv("PRINT"); text != "" {
		fmt.Print(strings.Repeat(text, 5000) + "\nlast words")
		os.Exit(3)
	}
	if os.Getenv("BROKEN") != "" {
		fmt.Fprintln(os.Stderr, "cannot find my database")
		os.Exit(3)
	}
	silent := false
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if silent {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/silence", func(http.ResponseWriter, *http.Request) { silent = true })
	http.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	http.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(os.Environ()) })
	fmt.Println("ready")
	_ = http.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv("PORT")), nil)
	os.Exit(1)
}

// driver deploys one unit, says where it is, and waits to be killed.
func driver() {
	d := process.New(process.Options{Images: images(nil)})
	st, err := d.Deploy(context.Background(), command("a"), func(crm.State) bool { return true })
	fmt.Println(url(st), err)
	select {}
}

func images(env map[string]string) process.Images {
	role := map[string]string{"ROLE": "function"}
	for k, v := range env {
		role[k] = v
	}
	return process.Images{"test/*": {Command: []string{os.Args[0]}, Env: role}}
}

func command(key string) crm.Command {
	u := crm.Unit{
		ID: oprc.UnitID("p.c", 0, 1, "edge"), ClsKey: "p.c", TargetEnv: "edge", PartitionInfo: oprc.PartitionInfo{ReplicaID: 1},
		Functions: []crm.Function{{Key: key, Image: "test/fn:1", Config: oprc.FunctionConfig{Env: oprc.Env{"GREETING": {Text: "hi"}}}}},
	}
	return crm.Command{Type: oprc.Deploy, ID: u.ID, Generation: 1, Unit: u}
}

func url(st crm.State) string {
	for _, f := range st.Functions {
		return f.InvocationURL
	}
	return ""
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close(); http.DefaultClient.CloseIdleConnections() }()
	var b strings.Builder
	_, _ = bufio.NewReader(resp.Body).WriteTo(&b)
	return b.String()
}

// states collects what is reported.
type states struct {
	mu  sync.Mutex
	all []crm.State
}

func (s *states) report(st crm.State) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, st)
	return true
}

func (s *states) await(t *testing.T, after int, c crm.Condition) (crm.State, int) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		s.mu.Lock()
		for i := after; i < len(s.all); i++ {
			if s.all[i].Condition == c {
				st := s.all[i]
				s.mu.Unlock()
				return st, i + 1
			}
		}
		s.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never %s: %v", c, s.all)
	return crm.State{}, 0
}

func TestRunningMeansThatSomethingAnswers(t *testing.T) {
	t.Setenv("OPRC_REDIS_URL", "redis://:secret@host")
	d, s := process.New(process.Options{Images: images(nil)}), &states{}
	st, err := d.Deploy(t.Context(), command("p.f"), s.report)
	if err != nil || st.Condition != crm.Running {
		t.Fatalf("got %v, %v", st, err)
	}
	env := get(t, url(st)+"/env")
	for _, want := range []string{"GREETING=hi", "OPRC_UNIT=p.c/0/1@edge", "OPRC_FUNCTION=p.f", "OPRC_REPLICA=1"} {
		if !strings.Contains(env, want) {
			t.Errorf("%s is not in its environment", want)
		}
	}
	if strings.Contains(env, "secret") {
		t.Error("the CRM's password is in the function's environment")
	}
	if len(st.Replicas) != 1 || !strings.HasPrefix(st.Replicas[0], "pid-") {
		t.Errorf("replicas: %v", st.Replicas)
	}
	if err := d.Undeploy(t.Context(), command("p.f")); err != nil {
		t.Fatal(err)
	}
	if got := get(t, url(st)+"/health"); !strings.Contains(got, "refused") {
		t.Errorf("after undeploying: %s", got)
	}
}

func TestFunctionThatExitsIsDownAndStartedAgain(t *testing.T) {
	d, s := process.New(process.Options{Images: images(nil)}), &states{}
	defer func() { _ = d.Drain(context.Background()) }()
	st, err := d.Deploy(t.Context(), command("p.f"), s.report)
	if err != nil {
		t.Fatal(err)
	}
	get(t, url(st)+"/exit")
	down, i := s.await(t, 0, crm.Down)
	if !strings.Contains(down.ErrorMsg, "exit status 7") {
		t.Errorf("message: %q", down.ErrorMsg)
	}
	again, _ := s.await(t, i, crm.Running)
	if got := get(t, url(again)+"/health"); got != "" {
		t.Errorf("after the restart: %s", got)
	}
}

func TestFunctionThatFallsSilentIsDownAndStartedAgain(t *testing.T) {
	d, s := process.New(process.Options{Images: images(nil), Probe: 20 * time.Millisecond}), &states{}
	defer func() { _ = d.Drain(context.Background()) }()
	st, err := d.Deploy(t.Context(), command("p.f"), s.report)
	if err != nil {
		t.Fatal(err)
	}
	get(t, url(st)+"/silence")
	down, i := s.await(t, 0, crm.Down)
	if !strings.Contains(down.ErrorMsg, "503") {
		t.Errorf("message: %q", down.ErrorMsg)
	}
	s.await(t, i, crm.Running)
}

func TestFunctionThatCannotStartIsDownWithWhatItSaid(t *testing.T) {
	var log strings.Builder
	d, s := process.New(process.Options{Images: images(map[string]string{"BROKEN": "1"}), Log: &log}), &states{}
	st, err := d.Deploy(t.Context(), command("p.f"), s.report)
	if err != nil {
		t.Fatal(err)
	}
	_ = d.Drain(context.Background())
	want := crm.State{
		Condition: crm.Down, ErrorMsg: "p.f: exited: exit status 3: cannot find my database",
		Functions: map[string]crm.FunctionStatus{"p.f": {Condition: crm.Down, ErrorMsg: "exited: exit status 3: cannot find my database"}},
	}
	if diff := cmp.Diff(st, want); diff != "" {
		t.Errorf("state (-got +want):\n%s", diff)
	}
	if !strings.HasPrefix(log.String(), "p.f: cannot find my database\n") {
		t.Errorf("log: %q", log.String())
	}
}

func TestImageWithoutCommandIsRefused(t *testing.T) {
	d := process.New(process.Options{Images: process.Images{"other/*": {}}})
	_, err := d.Deploy(t.Context(), command("p.f"), nil)
	if err == nil || !strings.Contains(err.Error(), `"test/fn:1"`) {
		t.Errorf("got %v, want the image named", err)
	}
}

// A driver that is killed takes everything that it started with it.
func TestNothingOutlivesAKilledDriver(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ROLE=driver")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	base, _, _ := strings.Cut(line, " ")
	if got := get(t, base+"/health"); got != "" {
		t.Fatalf("it does not run: %s %s", line, got)
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	deadline := time.Now().Add(2 * time.Minute)
	for !strings.Contains(get(t, base+"/health"), "refused") {
		if time.Now().After(deadline) {
			t.Fatal("the function outlived the driver by 5 s")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestLoadImages(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		text string
		want process.Images
		err  string
	}{
		"relative to the file": {
			`{"images":{"a/*":{"command":["x"],"dir":"d","startTime":"3s"}}}`,
			process.Images{"a/*": {Command: []string{"x"}, Dir: filepath.Join(dir, "d"), StartTime: process.Duration(3 * time.Second)}},
			"",
		},
		"unknown field": {`{"images":{"a":{"cmd":["x"]}}}`, nil, `"cmd"`},
		"other case":    {`{"images":{"a":{"Command":["x"]}}}`, nil, `1:17: unknown field "Command"`},
		"twice":         {"{\"images\":{\"a\":{\"command\":[\"x\"]},\n\"a\":{\"command\":[\"y\"]}}}", nil, `2:1: "a" stands here again`},
		"two documents": {`{"images":{}} {}`, nil, "something follows"},
		"at the top":    {`{"image":{}}`, nil, `"image"`},
		"in an env":     {`{"images":{"a":{"command":["x"],"env":{"A":"1","A":"2"}}}}`, nil, `"A" stands here again`},
		"no command":    {`{"images":{"a":{}}}`, nil, "no command"},
		"bad pattern":   {`{"images":{"a[":{"command":["x"]}}}`, nil, "syntax error"},
		"bad path":      {`{"images":{"a":{"command":["x"],"healthPath":"health"}}}`, nil, "slash"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, "images.json")
			if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := process.LoadImages(file)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), file) {
					t.Errorf("got %v, want %q and the file's name", err, tc.err)
				}
				return
			}
			if diff := cmp.Diff(got, tc.want); err != nil || diff != "" {
				t.Errorf("%v (-got +want):\n%s", err, diff)
			}
		})
	}
}

// What ships with the examples runs.
func TestExampleImages(t *testing.T) {
	m, err := process.LoadImages("../../examples/images.json")
	if err != nil {
		t.Fatal(err)
	}
	d, s := process.New(process.Options{Images: m}), &states{}
	defer func() { _ = d.Drain(context.Background()) }()
	c := command("p.f")
	c.Unit.Functions[0].Image = "registry.example/shop/price:5.2.0"
	st, err := d.Deploy(t.Context(), c, s.report)
	if err != nil || st.Condition != crm.Running {
		t.Fatalf("got %v, %v", st, err)
	}
	resp, err := http.Post(url(st), "application/json", strings.NewReader(`{"n":1}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close(); http.DefaultClient.CloseIdleConnections() }()
	var got map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"echo": map[string]any{"n": 1.0}, "function": "p.f", "unit": c.ID}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("answer (-got +want):\n%s", diff)
	}
}

// Nothing of what a function prints is lost: no byte of a line without an end, and not
// the last line for want of a newline.
func TestEveryByteIsPassedOn(t *testing.T) {
	var log strings.Builder
	dir := t.TempDir()
	d, s := process.New(process.Options{Images: images(map[string]string{"PRINT": "0123456789"}), Log: &log, LogDir: dir}), &states{}
	st, err := d.Deploy(t.Context(), command("p.f"), s.report)
	if err != nil || !strings.HasSuffix(st.ErrorMsg, "last words") {
		t.Fatalf("got %v, %v", st, err)
	}
	_ = d.Drain(context.Background())
	once, _, _ := strings.Cut(log.String(), "last words\n")
	if got, want := strings.ReplaceAll(strings.ReplaceAll(once, "p.f: ", ""), "\n", ""), strings.Repeat("0123456789", 5000); got != want {
		t.Errorf("%d of %d bytes, or others", len(got), len(want))
	}
	file, err := os.ReadFile(filepath.Join(dir, process.LogName(command("p.f").ID, "p.f")))
	if err != nil || !strings.Contains(string(file), "\nlast words\n") {
		t.Errorf("file: %v, it ends in %q", err, file[max(0, len(file)-40):])
	}
}

// A new generation that runs the same workload, because only a peer moved, is no reason
// to stop anything.
func TestSameWorkloadGoesOn(t *testing.T) {
	d, s := process.New(process.Options{Images: images(nil)}), &states{}
	defer func() { _ = d.Drain(context.Background()) }()
	first, err := d.Deploy(t.Context(), command("p.f"), s.report)
	if err != nil {
		t.Fatal(err)
	}
	c := command("p.f")
	c.Generation, c.Unit.Peers = 2, []crm.Peer{{Env: "cloud", MemberID: 2}}
	second, err := d.Deploy(t.Context(), c, s.report)
	if diff := cmp.Diff(first, second); err != nil || diff != "" {
		t.Errorf("%v: state (-first +second):\n%s", err, diff)
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "shop"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "shop", "password"), []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := command("p.f")
	c.Unit.Functions[0].Config.Env["PASSWORD"] = crm.EnvValue{Secret: crm.SecretKeyRef{Name: "shop", Key: "password"}}
	d, s := process.New(process.Options{Images: images(nil), Secrets: workload.SecretDir(dir)}), &states{}
	defer func() { _ = d.Drain(context.Background()) }()
	st, err := d.Deploy(t.Context(), c, s.report)
	if err != nil || st.Condition != crm.Running {
		t.Fatalf("got %v, %v", st, err)
	}
	if env := get(t, url(st)+"/env"); !strings.Contains(env, "PASSWORD=hunter2\"") {
		t.Errorf("environment: %s", env)
	}
	c.Unit.Functions[0].Config.Env["PASSWORD"] = crm.EnvValue{Secret: crm.SecretKeyRef{Name: "shop", Key: "missing"}}
	st, err = d.Deploy(t.Context(), c, s.report)
	if want := "p.f: environment variable PASSWORD: secret shop has no key missing; the version before still serves"; err != nil || st.ErrorMsg != want {
		t.Errorf("got %q, %v, want %q", st.ErrorMsg, err, want)
	}
}
