package crmtest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/crmtest"
	"github.com/oaas-platform/oprc/crm/sim"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startGo starts a CRM made with the SDK.
func startGo(url string, h crm.Handler) func(context.Context) (func() error, error) {
	return func(context.Context) (func() error, error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- crm.Run(ctx, crm.Options{Redis: url, Env: "conformance", ID: "go", ReportEvery: 2 * time.Second}, h)
		}()
		return func() error { cancel(); return <-done }, nil
	}
}

// startChild starts a CRM that is a program.
func startChild(t *testing.T, args ...string) func(context.Context) (func() error, error) {
	return func(context.Context) (func() error, error) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return func() error {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // as hard as it comes
			var ended *exec.ExitError
			if err := cmd.Wait(); err != nil && !errors.As(err, &ended) {
				return err
			}
			return nil
		}, nil
	}
}

func TestGo(t *testing.T) {
	for _, kind := range rdbtest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			url := rdbtest.Servers(t, kind)
			crmtest.Test(t, crmtest.Options{Redis: url, Start: startGo(url, sim.New(sim.Options{StartDelay: 20 * time.Millisecond})), Patience: patience})
		})
	}
}

// patience is more than a CRM needs on a machine that is busy with other work.
const patience = 90 * time.Second

func TestPython(t *testing.T) {
	t.Parallel()
	python := pythonWithRedis(t)
	url := rdbtest.Server(t)
	crmtest.Test(t, crmtest.Options{Redis: url, Start: startChild(t, python, "../../docs/crm/crm.py", url, "conformance", "py"), Patience: patience})
}

// pythonWithRedis finds a Python that has the redis module.
func pythonWithRedis(t *testing.T) string {
	t.Helper()
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(python, "-c", "import redis").Run() == nil {
			return python
		}
	}
	t.Fatal("no python3 has the module redis: install python3-redis (apt-get install python3-redis)")
	return ""
}

// The examples are short enough to be read.
func TestExamplesAreShort(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"../../docs/crm/crm.py", "../../docs/crm/crm.sh"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines++
			}
		}
		if lines > 65 {
			t.Errorf("%s has %d lines of code, more than 65", file, lines)
		}
	}
}

// A CRM that breaks rules is found out.
func TestBrokenRulesAreFound(t *testing.T) {
	t.Parallel()
	url := rdbtest.Server(t)
	// It reads commands, acknowledges them at once and says nothing.
	script := `redis-cli -u $0 XGROUP CREATE 'oaas.pm.{env:conformance}.commands' crm 0 MKSTREAM
while :; do for e in $(redis-cli -u $0 XREADGROUP GROUP crm mute BLOCK 100 STREAMS 'oaas.pm.{env:conformance}.commands' '>' | grep -E '^[0-9]+-[0-9]+$'); do
redis-cli -u $0 XACK 'oaas.pm.{env:conformance}.commands' crm $e; done; done`
	var out strings.Builder
	result, err := crmtest.Run(t.Context(), &out, crmtest.Options{
		Redis: url, Start: startChild(t, "bash", "-c", script, url), Patience: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range result {
		got[f.Rule] = f.Verdict
	}
	want := map[string]string{
		"join": "kept", "heartbeat": "BROKEN", "deploy": "BROKEN", "deploying": "BROKEN", "echo": "BROKEN", "ack-last": "BROKEN",
		"repeat": "BROKEN", "newer": "BROKEN", "older": "BROKEN", "undeploy": "BROKEN", "malformed": "BROKEN", "forged": "BROKEN",
		"unread": "BROKEN", "records": "BROKEN", "records-gone": "BROKEN", "own-backlog": "BROKEN", "abandoned": "BROKEN", "loss": "BROKEN", "well-formed": "kept",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("verdicts (-got +want):\n%s\n%s", diff, out.String())
	}
	if !strings.Contains(out.String(), "19 rules, 14 broken") {
		t.Errorf("summary: got\n%s", out.String())
	}
}
