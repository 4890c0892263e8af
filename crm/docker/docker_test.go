//go:build containers

package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/crmtest"
	"github.com/oaas-platform/oprc/crm/docker"
	"github.com/oaas-platform/oprc/crm/workload"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// An engine is Podman's service, with storage of its own.
type engine struct {
	dir, host string
	cmd       *exec.Cmd
}

var podman engine

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "oprc-podman-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	podman = engine{dir: dir}
	for name, text := range map[string]string{
		"containers.conf": "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1000:1000\"]\n[network]\nnetwork_backend=\"netavark\"\n" +
			"network_config_dir=\"" + dir + "/networks\"\n[engine]\nruntime=\"runc\"\ncgroup_manager=\"cgroupfs\"\ntmp_dir=\"" + dir + "/tmp\"\n",
		"storage.conf":  "[storage]\ndriver=\"vfs\"\ngraphroot=\"" + dir + "/graph\"\nrunroot=\"" + dir + "/run\"\n",
		"Containerfile": "FROM scratch\nCOPY echo /function\nARG VERSION=1\nENV VERSION=$VERSION\nENTRYPOINT [\"/function\"]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			panic(err)
		}
	}
	_ = os.Setenv("CONTAINERS_CONF", filepath.Join(dir, "containers.conf"))
	_ = os.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(dir, "storage.conf"))
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "echo"), "../../examples/functions/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	must(build)
	for _, version := range []string{"1", "2"} {
		must(exec.Command("podman", "build", "-q", "--build-arg", "VERSION="+version, "-t", "registry.example/echo:"+version, dir))
	}
	defer func() { _ = exec.Command("podman", "rm", "-af").Run() }()
	podman.start()
	defer podman.kill()
	return m.Run()
}

func must(cmd *exec.Cmd) {
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %v\n%s", cmd.Args, err, out))
	}
}

// start starts the service, at the same address again.
func (e *engine) start() {
	if e.host == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		e.host = "tcp://" + l.Addr().String()
		_ = l.Close()
	}
	e.cmd = exec.Command("podman", "system", "service", "-t", "0", e.host)
	if err := e.cmd.Start(); err != nil {
		panic(err)
	}
	for range 600 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(e.host, "tcp://"))
		if err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	panic("podman's service does not listen")
}

func (e *engine) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

func driver(t *testing.T, o docker.Options) *docker.Driver {
	t.Helper()
	o.Host, o.Env = podman.host, "edge"
	if o.CRM == "" {
		o.CRM = strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	}
	o.Patience.Probe, o.Patience.Linger = 100*time.Millisecond, 500*time.Millisecond
	d, err := docker.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func command(t *testing.T, generation int64, image string) crm.Command {
	id := "shop." + strings.ToLower(t.Name()) + "/0/0@edge"
	env := crm.Env{"GREETING": {Text: "hi"}}
	return crm.Command{Type: crm.OpDeploy, ID: id, Generation: generation, SpecHash: fmt.Sprint("sha256:", generation), Unit: crm.Unit{
		ID: id, ClsKey: "shop.c", TargetEnv: "edge",
		Functions: []crm.Function{{Key: "shop.f", Image: image, Config: crm.FunctionConfig{Env: env, Custom: map[string]string{"healthPath": "/health"}}}},
		Provision: map[string]crm.Provision{"shop.f": {Knative: &crm.Knative{Image: image, CPU: "500m", Memory: "64Mi"}}},
	}}
}

// call posts to the function; the answer, or an error.
func call(url string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Post(url, "application/json", strings.NewReader(`{"n":1}`))
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

func urlOf(st crm.State) string { return st.Functions["shop.f"].InvocationURL }

// await reads states until one is as wanted.
func await(t *testing.T, states <-chan crm.State, what string, ok func(crm.State) bool) crm.State {
	t.Helper()
	limit := time.After(2 * time.Minute)
	for {
		select {
		case st := <-states:
			if ok(st) {
				return st
			}
		case <-limit:
			t.Fatalf("never %s", what)
		}
	}
}

func inspect(t *testing.T, format string) string {
	t.Helper()
	ids, err := exec.Command("podman", "ps", "-q", "--filter", "label=oprc.crm="+strings.ToLower(t.Name())).Output()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, id := range strings.Fields(string(ids)) {
		text, err := exec.Command("podman", "inspect", "--format", format, id).Output()
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	return out.String()
}

// The image is replaced, and no call is refused; then the container is killed, the
// engine is restarted, and the CRM is replaced by another: each time it is right again
// and nothing is doubled.
func TestLifeOfAUnit(t *testing.T) {
	d := driver(t, docker.Options{})
	states := make(chan crm.State, 999)
	report := func(st crm.State) bool { states <- st; return true }
	st, err := d.Deploy(t.Context(), command(t, 1, "registry.example/echo:1"), report)
	if err != nil || st.Condition != crm.Running {
		t.Fatalf("got %+v, %v", st, err)
	}
	if answer, err := call(urlOf(st)); err != nil || !strings.Contains(answer, `"function":"shop.f"`) {
		t.Fatalf("answer %q, %v", answer, err)
	}
	limits := "{{.HostConfig.Memory}} {{.HostConfig.ReadonlyRootfs}} {{.EffectiveCaps}} {{.Config.User}}"
	if got, want := strings.TrimSpace(inspect(t, limits)), "67108864 true [] 65532:65532"; got != want {
		t.Errorf("memory, read-only root, capabilities, user: got %q, want %q", got, want)
	}

	var url atomic.Value
	url.Store(urlOf(st))
	ctx, cancel := context.WithCancel(t.Context())
	calls, refused := 0, make(chan error, 1)
	go func() {
		defer close(refused)
		for ctx.Err() == nil {
			if _, err := call(url.Load().(string)); err != nil {
				refused <- err
				return
			}
			calls++
		}
	}()
	next, err := d.Deploy(t.Context(), command(t, 2, "registry.example/echo:2"), report)
	if err != nil || next.Condition != crm.Running || urlOf(next) == urlOf(st) {
		t.Fatalf("got %+v, %v", next, err)
	}
	url.Store(urlOf(next))
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := call(urlOf(st)); err != nil {
			break // the first container is gone
		}
		if time.Now().After(deadline) {
			t.Fatal("the replaced container still answers after a minute")
		}
	}
	cancel()
	if err := <-refused; err != nil {
		t.Errorf("after %d calls one was refused while the image was replaced: %v", calls, err)
	}
	if got := inspect(t, "{{.ImageName}}"); got != "registry.example/echo:2\n" {
		t.Errorf("images: got %q", got)
	}

	for len(states) > 0 {
		<-states
	}
	must(exec.Command("podman", "kill", strings.TrimPrefix(next.Replicas[0], "docker/")))
	await(t, states, "DOWN after the kill", func(st crm.State) bool {
		return st.Condition == crm.Down && strings.Contains(st.ErrorMsg, "137")
	})
	again := await(t, states, "RUNNING after the kill", func(st crm.State) bool { return st.Condition == crm.Running })

	podman.kill()
	if _, err := call(urlOf(again)); err != nil {
		t.Errorf("without the engine: %v", err)
	}
	podman.start()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := call(urlOf(again)); err != nil {
		t.Errorf("without the CRM: %v", err)
	}

	d = driver(t, docker.Options{})
	defer func() { _ = d.Close() }()
	adopted := 0
	err = d.Resume(t.Context(), func(c crm.Command, st crm.State) crm.Reporter {
		adopted++
		if c.ID != command(t, 2, "").ID || c.Generation != 2 || c.SpecHash != "sha256:2" || urlOf(st) != urlOf(again) || st.Condition != crm.Running {
			t.Errorf("adopted %+v as %+v", c, st)
		}
		return report
	})
	if err != nil || adopted != 1 {
		t.Fatalf("%d adopted, %v", adopted, err)
	}
	same, err := d.Deploy(t.Context(), command(t, 3, "registry.example/echo:2"), report)
	if err != nil || urlOf(same) != urlOf(again) {
		t.Errorf("a new generation of the same workload: got %+v, %v, want that it goes on", same, err)
	}
	if err := d.Undeploy(t.Context(), command(t, 3, "")); err != nil {
		t.Fatal(err)
	}
	if got := inspect(t, "{{.Name}}"); got != "" {
		t.Errorf("left over: %s", got)
	}
}

func TestSecretsAndReasons(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "shop"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "shop", "pw"), []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := driver(t, docker.Options{Secrets: workload.SecretDir(dir)})
	defer func() { _ = d.Close() }()
	c := command(t, 1, "registry.example/echo:1")
	c.Unit.Functions[0].Config.Env["PW"] = crm.EnvValue{Secret: crm.SecretKeyRef{Name: "shop", Key: "pw"}}
	st, err := d.Deploy(t.Context(), c, func(crm.State) bool { return true })
	if err != nil || st.Condition != crm.Running {
		t.Fatalf("got %+v, %v", st, err)
	}
	if env := inspect(t, "{{.Config.Env}}"); !strings.Contains(env, "PW=hunter2") {
		t.Errorf("environment: %s", env)
	}
	if labels := inspect(t, "{{.Config.Labels}}"); strings.Contains(labels, "hunter2") {
		t.Errorf("the secret is in the labels: %s", labels)
	}
	absent := command(t, 2, "registry.example/nothing:1")
	absent.Unit.Provision["shop.f"].Knative.PullPolicy = "Never"
	st, err = d.Deploy(t.Context(), absent, func(crm.State) bool { return true })
	if err != nil || st.Condition != crm.Down || !strings.Contains(st.ErrorMsg, "is not on this machine") || !strings.HasSuffix(st.ErrorMsg, "the version before still serves") {
		t.Errorf("got %+v, %v", st, err)
	}
	if err := d.Undeploy(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	url := rdbtest.Server(t)
	crmtest.Test(t, crmtest.Options{Redis: url, Image: "registry.example/echo:1", Patience: time.Minute, Start: func(context.Context) (func() error, error) {
		d, err := docker.New(context.Background(), docker.Options{Host: podman.host, Env: "conformance", CRM: "docker"})
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- crm.Run(ctx, crm.Options{Redis: url, Env: "conformance", ID: "docker", ReportEvery: 2 * time.Second}, d)
		}()
		return func() error { cancel(); return errors.Join(<-done, d.Close()) }, nil
	}})
}
