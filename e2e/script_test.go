package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Scripts run the real binary with a HOME that holds nothing. Besides what
// testscript brings they may say:
//
//	redis start|stop         a real redis-server; $REDIS_URL, $REDIS_PORT; stop and start keep the port
//	code N PROGRAM ARG...    the program must end with exit code N
//	under D code N ...       and take less than D
//	until D RE PROGRAM ARG...  run it again and again until its output, without the
//	                         headers of tables, matches RE; fail after D
//
// $EXAMPLES is the directory of the examples, $DOCS that of the documentation, $ACTION
// that of the scripts for CI.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, emptyHome(env.WorkDir)...)
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
			env.Setenv("EXAMPLES", filepath.Join(root, "examples"))
			env.Setenv("DOCS", filepath.Join(root, "docs"))
			env.Setenv("ACTION", filepath.Join(root, "action"))
			return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"redis": redisCommand,
			"code":  codeCommand,
			"under": underCommand,
			"until": untilCommand,
		},
	})
}

// emptyHome is the environment of somebody who has just arrived.
func emptyHome(dir string) []string {
	return []string{
		"HOME=" + filepath.Join(dir, "home"), "USER=ann", "NO_COLOR=1",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=init.defaultBranch", "GIT_CONFIG_VALUE_0=main",
	}
}

func redisCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: redis start|stop")
	}
	pidFile := ts.MkAbs("redis/pid")
	switch args[0] {
	case "start":
		if ts.Getenv("REDIS_PORT") == "" {
			port := freePort(ts)
			ts.Setenv("REDIS_PORT", port)
			ts.Setenv("REDIS_URL", "redis://127.0.0.1:"+port+"/0")
		}
		startRedis(ts, ts.Getenv("REDIS_PORT"), filepath.Dir(pidFile), pidFile)
	case "stop":
		ts.Check(ts.Exec("redis-cli", "-p", ts.Getenv("REDIS_PORT"), "shutdown", "save"))
	default:
		ts.Fatalf("usage: redis start|stop")
	}
}

func freePort(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// startRedis returns once the server answers.
func startRedis(ts *testscript.TestScript, port, dir, pidFile string) {
	ts.Check(os.MkdirAll(dir, 0o700))
	server := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--pidfile", pidFile,
		"--logfile", filepath.Join(dir, "log"), "--save", "", "--appendonly", "no")
	ts.Check(server.Start())
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	ts.Defer(func() {
		_ = server.Process.Kill() // it may have ended already
		<-ended
	})
	for start := time.Now(); exec.Command("redis-cli", "-p", port, "ping").Run() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > patience {
			ts.Fatalf("redis-server on port %s does not answer", port)
		}
	}
}

func codeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARG...")
	}
	got := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want, err := strconv.Atoi(args[0]); err != nil || got != want {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func underCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 || args[1] != "code" {
		ts.Fatalf("usage: under DURATION code N PROGRAM ARG...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	start := time.Now()
	codeCommand(ts, false, args[2:])
	if took := time.Since(start); took > limit {
		ts.Fatalf("it took %s, want less than %s", took, limit)
	}
}

func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: until DURATION REGEXP PROGRAM ARG...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	deadline := time.Now().Add(limit)
	for {
		err := ts.Exec(args[2], args[3:]...)
		out := tableHeader.ReplaceAllString(ts.ReadFile("stdout"), "")
		if err == nil && want.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %s, %s still does not print %q (last: %v)", limit, strings.Join(args[2:], " "), args[1], err)
		}
		time.Sleep(500 * time.Millisecond) // a start of the program costs more than a late look
	}
}

// tableHeader is a line of capitals alone, as "KEY  CONDITION  RUNNING": a wait that
// matched it would never wait.
var tableHeader = regexp.MustCompile(`(?m)^[A-Z][A-Z-]+( +[A-Z][A-Z-]+)+ *$`)

// oprc runs the program outside of a script and returns what it printed and its
// exit code.
func oprc(t *testing.T, home string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, program), args...)
	cmd.Env = append(emptyHome(home), "PATH="+os.Getenv("PATH"))
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errOut.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(fmt.Errorf("oprc %s: %w", strings.Join(args, " "), err))
	}
	return out.String(), errOut.String(), 0
}
