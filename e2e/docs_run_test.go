//go:build endurance

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// What the documentation shows works as it is written, page by page, for somebody with an
// empty HOME who has the examples, a repository of them, and a daemon that follows it.
func TestSnippetsOfDocs(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "openssl", "git"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	w := newDocsWorld(t)
	for _, page := range pagesRun {
		dir, home := t.TempDir(), t.TempDir()
		w.furnish(dir)
		for _, s := range snippets(t, page) {
			switch {
			case s.reason != "" || s.by != "":
			case lasting.MatchString(s.text):
				w.started(s, dir, home)
			default:
				before, approval, holds := strings.Cut(s.text, "oprc source approve ")
				w.run(s, dir, home, before)
				if holds {
					_, after, _ := strings.Cut(approval, " ")
					w.run(s, dir, home, "oprc source approve "+w.hold()+" "+after)
				}
			}
		}
	}
}

// lasting are commands that run until they are interrupted.
var lasting = regexp.MustCompile(`(?m)^(\w+=\S+ )*oprc (dev|serve)\b`)

type docsWorld struct {
	t       *testing.T
	repo    *gittest.Repo
	redis   string
	d       *daemonProcess
	sources string // of the configuration
}

func newDocsWorld(t *testing.T) *docsWorld {
	t.Helper()
	w := &docsWorld{t: t, repo: gittest.New(t), redis: rdbtest.Server(t)}
	for _, name := range []string{"environments/production.yaml", "environments/staging.yaml", "packages/shop/shop.yaml", "packages/loyalty/loyalty.yaml"} {
		text, err := os.ReadFile(filepath.Join("../examples/05-gitops", name))
		if err != nil {
			t.Fatal(err)
		}
		w.repo.Write(filepath.Join("packages", filepath.Base(name)), string(text))
	}
	first := w.repo.Commit("the examples")
	w.repo.Git("branch", "next")
	w.sources = "sources: [{name: main, url: " + w.repo.Serve(t).URL + ", ref: main, interval: 1h, maxDelete: 0, maxDeletePercent: 0, webhookSecretEnv: WEBHOOK_SECRET}]\n"
	w.d = serve(t, "redis: {url: "+w.redis+"}\n"+w.sources, "WEBHOOK_SECRET=hush")
	w.d.ready("main", "True "+first)
	return w
}

// furnish copies what the pages suppose to be there.
func (w *docsWorld) furnish(dir string) {
	w.t.Helper()
	for to, from := range map[string]string{"examples": "../examples", "packages": filepath.Join(w.repo.Dir, "packages")} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(from)); err != nil {
			w.t.Fatal(err)
		}
	}
	policy, err := os.ReadFile("../examples/policies/deletions.cue")
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "policy"), 0o700)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	write(w.t, filepath.Join(dir, "policy"), "deletions.cue", string(policy))
	write(w.t, dir, "oprc.yaml", "port: 0\nredis: {url: "+w.redis+"}\n"+w.sources)
}

// hold has the source hold a plan, whose id it returns.
func (w *docsWorld) hold() string {
	w.t.Helper()
	w.repo.Git("rm", "-q", "packages/loyalty.yaml")
	w.repo.Commit("without loyalty")
	if out, code := w.shell("", w.t.TempDir(), w.t.TempDir(), "oprc source reconcile main --redis URL"); code != 5 {
		w.t.Fatalf("the plan is not held: exit %d\n%s", code, out)
	}
	return w.d.source("main").PlanID
}

func (w *docsWorld) run(s snippet, dir, home, text string) {
	w.t.Helper()
	if out, code := w.shell(s.file, dir, home, text); code != 0 {
		w.t.Errorf("%v ends with %d:\n%s\n%s", s, code, text, out)
	}
}

// setting is how the pages' names of servers and variables are understood. With
// --detailed-exitcode 2 is no failure.
const setting = `set -euo pipefail
oprc() { command oprc "$@" || { code=$?; [[ $code = 2 && " $* " = *" --detailed-exitcode "* ]] || return $code; }; }
curl() { command curl -sS --fail-with-body "$@"; }
`

func (w *docsWorld) command(page, dir, home, text string) *exec.Cmd {
	text = strings.NewReplacer("https://oprc.example", "http://"+w.d.addr, "--server URL", "--server http://"+w.d.addr,
		"--redis URL", "--redis "+w.redis, "redis://localhost:6379/0", w.redis).Replace(text)
	cmd := exec.CommandContext(w.t.Context(), "bash", "-c", text)
	cmd.Dir, cmd.WaitDelay = dir, time.Minute
	cmd.Env = append(emptyHome(home), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "WEBHOOK_SECRET=hush", "body={}", "BRANCH=next")
	if page == "docs/operate.md" { // which is for those who have a Redis
		cmd.Env = append(cmd.Env, "OPRC_REDIS_URL="+w.redis)
	}
	return cmd
}

func (w *docsWorld) shell(page, dir, home, text string) (string, int) {
	w.t.Helper()
	cmd := w.command(page, dir, home, setting+text)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// started runs a command that lasts, waits until it says that it serves, and interrupts it.
func (w *docsWorld) started(s snippet, dir, home string) {
	w.t.Helper()
	if runtime.GOOS == "windows" {
		w.t.Skip("nothing interrupts a process there")
	}
	cmd := w.command(s.file, dir, home, "trap '' HUP\n"+regexp.MustCompile(`(?m)^((?:\w+=\S+ )*)oprc `).ReplaceAllString(s.text, "exec env $1 oprc "))
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	within(w.t, patience, s.String()+" serves", func() string {
		select {
		case err := <-ended:
			w.t.Fatalf("%v ended: %v\n%s", s, err, log.last(4000))
		default:
		}
		if said := log.last(1 << 20); strings.Contains(said, "msg=serving") || strings.Contains(said, "RUNNING") {
			return ""
		}
		return "it says: " + log.last(4000)
	})
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		w.t.Fatal(err)
	}
	<-ended
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != 130 {
		w.t.Errorf("%v ends with %d after an interrupt:\n%s", s, code, log.last(4000))
	}
}

// What the README begins with works in a fresh checkout and an empty HOME: make run, and
// in another terminal the commands that follow it.
func TestMakeRun(t *testing.T) {
	blocks := runBy(t, "README.md", "TestMakeRun")
	if len(blocks) != 2 {
		t.Fatalf("%d blocks: %v", len(blocks), blocks)
	}
	dir, home := t.TempDir(), t.TempDir()
	if out, err := exec.Command("git", "-C", "..", "archive", "--output", filepath.Join(dir, "all.tar"), "HEAD").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	in := func(text string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "bash", "-euc", text)
		cmd.Dir, cmd.WaitDelay, cmd.Env = dir, time.Minute, append(emptyHome(home), "PATH="+os.Getenv("PATH"), "GOFLAGS=-buildvcs=false")
		for _, name := range []string{"GOCACHE", "GOMODCACHE"} {
			value, err := exec.Command("go", "env", name).Output()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Env = append(cmd.Env, name+"="+strings.TrimSpace(string(value)))
		}
		return cmd
	}
	if out, err := in("tar xf all.tar").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log := &logBuffer{}
	dev := in(blocks[0].text)
	dev.Stdout, dev.Stderr, dev.SysProcAttr = log, log, &syscall.SysProcAttr{Setpgid: true} // make, go and oprc
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- dev.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-dev.Process.Pid, syscall.SIGINT) // as Ctrl-C does
		<-ended
	})
	within(t, 10*time.Minute, "make run has the examples running", func() string {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("make run ended: %v\n%s", err, log.last(4000))
		default:
		}
		if said := log.last(1 << 20); !strings.Contains(said, "RUNNING") {
			return "it says: " + said
		}
		return ""
	})
	out, err := in(blocks[1].text).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "payments.ledger") {
		t.Errorf("%v: %v\n%s\nmake run says:\n%s", blocks[1], err, out, log.last(4000))
	}
}
