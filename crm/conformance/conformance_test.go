package conformance_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/conformance"
	"github.com/oaas-platform/oprc/crm/crmtest"
	"github.com/oaas-platform/oprc/crm/sim"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "mini" {
		fmt.Fprintln(os.Stderr, runMini(os.Args[2], os.Args[3], os.Args[4]))
		os.Exit(1)
	}
	if len(os.Args) == 2 && os.Args[1] == "workload" {
		fmt.Fprintln(os.Stderr, runWorkload())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runWorkload is a function that says what it is.
func runWorkload() error {
	delay, _ := strconv.Atoi(os.Getenv("CONFORMANCE_START_DELAY"))
	time.Sleep(time.Duration(delay) * time.Second)
	what := conformance.Witness{Instance: rand.Text(), Env: map[string]string{}}
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "CONFORMANCE_") {
			what.Env[name] = value
		}
	}
	http.HandleFunc("GET /conformance", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(what) })
	return http.ListenAndServe(net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")), nil) //nolint:gosec // a test
}

// patience is more than a CRM needs on a machine that is busy with other work.
const patience = 90 * time.Second

// child starts a CRM that is a program, and kills it as hard as it comes.
func child(out io.Writer, args ...string) func(context.Context) (func() error, error) {
	return func(context.Context) (func() error, error) {
		cmd := exec.Command(args[0], args[1:]...) //nolint:gosec // a test
		cmd.Stdout, cmd.Stderr = out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return func() error {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			if _, killed := errors.AsType[*exec.ExitError](cmd.Wait()); !killed {
				return errors.New("it had ended by itself")
			}
			return nil
		}, nil
	}
}

// wrong are CRMs with one mistake each, and the rule that finds it.
var wrong = map[string]struct{ rule, seen string }{
	"acknowledges first":              {"ack-last", "acknowledged"},
	"ignores generations":             {"older", "of generation 1 after generation 2"},
	"reads no records":                {"records", "there is no report on it"},
	"never claims":                    {"abandoned", "not acknowledged"},
	"claims at its start alone":       {"abandoned", "not acknowledged"},
	"stops everything after a loss":   {"loss-keeps", "DEPLOYING after RUNNING"},
	"disbelieves generation 1":        {"loss", "no report of RUNNING or DOWN"},
	"keeps nothing fresh":             {"fresh", "was not touched for"},
	"no heartbeat while it deploys":   {"heartbeat-deploying", "no heartbeat for"},
	"is always DOWN":                  {"deploy", "no report of RUNNING"},
	"restarts on a repeat":            {"repeat", "the workload is another one"},
	"takes another spec for a repeat": {"identity", "no report of RUNNING or DOWN"},
	"forgets refused reports":         {"refused", "after Redis had refused reports"},
	"echoes what it did not deploy":   {"identity", "the old workload answers"},
	"reports no URL":                  {"url", "no invocationUrl"},
}

// Each is found by the rule that names its mistake. Patience is short: what is waited
// for never comes.
func TestEachMistakeIsFound(t *testing.T) {
	t.Parallel()
	for mistake, want := range wrong {
		t.Run(strings.ReplaceAll(mistake, " ", "-"), func(t *testing.T) {
			t.Parallel()
			url := rdbtest.Server(t)
			const lease = 3 * time.Second
			result, err := conformance.Run(t.Context(), conformance.Options{
				Redis: url, Start: child(t.Output(), miniArgs(url, mistake, lease)...), Rules: []string{want.rule},
				Patience: 6 * time.Second, Lease: lease,
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(result) != 1 || result[0].Rule != want.rule || result[0].Verdict != conformance.Broken {
				t.Fatalf("got %+v, want %s to be broken", result, want.rule)
			}
			if !strings.Contains(result[0].Seen, want.seen) {
				t.Errorf("it was seen that %q, want %q", result[0].Seen, want.seen)
			}
		})
	}
}

// The same CRM without a mistake keeps the rules that find them.
func TestNoMistakeIsFoundWhereNoneIs(t *testing.T) {
	t.Parallel()
	rules := []string{"environment", "reread", "static-url", "echo", "well-formed"}
	for _, w := range wrong {
		if !slices.Contains(timed, w.rule) {
			rules = append(rules, w.rule)
		}
	}
	crmtest.Test(t, right(t, rules...))
}

// timed are the rules that a machine can break which stands still for seconds.
var timed = []string{"heartbeat", "heartbeat-deploying", "fresh"}

func TestNoDelayIsFoundWhereNoneIs(t *testing.T) {
	t.Parallel()
	isInTime(t, right(t, timed...))
}

// isInTime expects the timed rules to be kept, at one of some tries.
func isInTime(t *testing.T, o conformance.Options) {
	t.Helper()
	o.Rules = timed
	for try := 1; ; try++ {
		result, err := conformance.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		late := result.Broken()
		if len(late) == 0 {
			return
		}
		t.Logf("try %d: %+v", try, late)
		if try == 5 {
			t.Fatal("a CRM without a mistake is found to be late each time")
		}
	}
}

func right(t *testing.T, rules ...string) conformance.Options {
	url := rdbtest.Server(t)
	const lease = 12 * time.Second
	return conformance.Options{Redis: url, Start: child(t.Output(), miniArgs(url, "", lease)...), Rules: rules, Patience: patience, Lease: lease}
}

// client is one of the Redis at url.
func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(options)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A CRM without scripts needs no more than the user that oprc env acl prints.
func TestTheUserWithoutScriptsIsEnough(t *testing.T) {
	t.Parallel()
	url := rdbtest.Server(t)
	c := client(t, url)
	if err := c.ACLSetUser(t.Context(), "crm", append([]string{"on", ">secret"}, rdb.Keys{}.ACL("conformance", false)...)...).Err(); err != nil {
		t.Fatal(err)
	}
	asUser := strings.Replace(url, "://", "://crm:secret@", 1)
	crmtest.Test(t, conformance.Options{
		Redis: url, Start: child(t.Output(), miniArgs(asUser, "", 20*time.Second)...), Patience: patience,
		Rules: []string{"join", "deploy", "malformed", "abandoned", "undeploy", "loss"},
	})
	user := redis.NewClient(&redis.Options{Addr: c.Options().Addr, Username: "crm", Password: "secret"})
	defer func() { _ = user.Close() }()
	for _, args := range [][]any{
		{"EVAL", "return 1", 0},
		{"XTRIM", "oaas.pm.{env:conformance}.reports", "MAXLEN", 0},
		{"XGROUP", "CREATE", "oaas.pm.{env:conformance}.reports", "mine", "0", "MKSTREAM"},
		{"XREADGROUP", "GROUP", "package-manager", "me", "STREAMS", "oaas.pm.{env:conformance}.reports", ">"},
		{"HSET", "oaas_pm:{env:conformance}:units", "x", "y"},
	} {
		if err := user.Do(t.Context(), args...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%v: got %v, want NOPERM", args, err)
		}
	}
}

// startGo starts a CRM made with the SDK.
func startGo(url string, handler func() crm.Handler) func(context.Context) (func() error, error) {
	return func(context.Context) (func() error, error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- crm.Run(ctx, crm.Options{Redis: url, Env: "conformance", ID: "go", ReportEvery: 2 * time.Second, LeaseTime: 10 * time.Second}, handler())
		}()
		return func() error { cancel(); return <-done }, nil
	}
}

func simulator() crm.Handler { return sim.New(sim.Options{StartDelay: 20 * time.Millisecond}) }

func simulated(url string) conformance.Options {
	return conformance.Options{Redis: url, Start: startGo(url, simulator), Patience: patience, Lease: 10 * time.Second}
}

// All rules but those that take long: make test-conformance has them.
func TestGo(t *testing.T) {
	t.Parallel()
	o := simulated(rdbtest.Server(t))
	o.Rules = untimed("unread")
	crmtest.Test(t, o)
}

// untimed are all rules but the timed and those named.
func untimed(without ...string) []string {
	var names []string
	for _, r := range conformance.Rules() {
		if !slices.Contains(timed, r.Rule) && !slices.Contains(without, r.Rule) {
			names = append(names, r.Rule)
		}
	}
	return names
}

// The suite deletes everything in its environment.
func TestAnEnvironmentInUseIsLeftAlone(t *testing.T) {
	t.Parallel()
	url := rdbtest.Server(t)
	c := client(t, url)
	if err := c.HSet(t.Context(), "oaas_pm:{env:conformance}:digests", "shop.cart/0/0@conformance", "1 sha256:0").Err(); err != nil {
		t.Fatal(err)
	}
	_, err := conformance.Run(t.Context(), simulated(url))
	if err == nil || !strings.Contains(err.Error(), `environment "conformance" is in use: it has unit shop.cart/0/0@conformance`) {
		t.Errorf("got %v", err)
	}
}

// Each rule stands in docs/protocol.md, and each section that a verdict names is there.
func TestRulesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var anchors []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		anchors = append(anchors, strings.ReplaceAll(strings.ToLower(m[1]), " ", "-"))
	}
	for _, r := range conformance.Rules() {
		if !strings.Contains(string(text), "`"+r.Rule+"`") {
			t.Errorf("docs/protocol.md has no rule %s", r.Rule)
		}
		if !slices.Contains(anchors, r.Section) {
			t.Errorf("docs/protocol.md has no section %s, which rule %s names", r.Section, r.Rule)
		}
	}
}

// The examples are short enough to be read.
func TestExamplesAreShort(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"crm.py", "crm.sh", "crm.js"} {
		text, err := os.ReadFile("../../docs/crm/" + file)
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "//") {
				lines++
			}
		}
		if lines > 82 {
			t.Errorf("%s has %d lines of code, more than 82", file, lines)
		}
	}
}
