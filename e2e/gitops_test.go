package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

var idle = flag.Int("idle", 5, "how many intervals TestGitOps leaves a repository alone")

// A forge is a Git repository and a server of it, over HTTP by git's own program,
// that counts what it is asked.
type forge struct {
	t              *testing.T
	dir, url       string
	lists, fetches atomic.Int64
}

func newForge(t *testing.T) *forge {
	t.Helper()
	f := &forge{t: t, dir: t.TempDir()}
	f.git("init", "-q", "-b", "main")
	backend := &cgi.Handler{
		Path: filepath.Join(f.git("--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + f.dir, "GIT_HTTP_EXPORT_ALL=1"},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/info/refs"):
			f.lists.Add(1)
		case strings.HasSuffix(r.URL.Path, "/git-upload-pack") && r.Header.Get("Git-Protocol") == "":
			f.fetches.Add(1)
		}
		r.URL.Path = strings.Replace(r.URL.Path, "/acme/shop.git", "/.git", 1) // as forges call it
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	f.url = s.URL + "/.git"
	return f
}

func (f *forge) git(args ...string) string {
	f.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (f *forge) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *forge) commit(message string) string {
	f.t.Helper()
	f.git("add", "-A")
	f.git("commit", "-qm", message)
	return f.git("rev-parse", "HEAD")
}

func numbered(i, version int) string {
	return fmt.Sprintf(`name: p%04d
functions:
  - name: f
    provision: {knative: {image: "registry.example/f:%d"}}
classes:
  - name: c
    functions: [{name: f, function: .f}]
deployments:
  - {_key: .c, targetEnvs: [edge]}
`, i, version)
}

// A repository of a thousand packages costs one listing per interval while nothing
// moves; a commit that changes one of them costs one fetch and the reading of one
// file, and a webhook brings it to the CRM's stream at once.
func TestGitOps(t *testing.T) {
	const packages, secret = 1000, "hook-secret"
	store := rdbtest.Start(t, "")
	f := newForge(t)
	f.write("edge.yaml", "kind: Environment\nname: edge\n")
	for i := range packages {
		f.write(fmt.Sprintf("p%04d.yaml", i), numbered(i, 1))
	}
	f.commit("a thousand packages")
	d := serve(t, fmt.Sprintf("redis: {url: %q}\nsources: [{name: main, url: %q, interval: 1s, webhookSecretEnv: HOOK}]\n", store.URL(), f.url), "HOOK="+secret)
	c := chaosClient(t, store.URL())
	took := within(t, 60*time.Second, "all commands are queued", func() string {
		if n := c.XLen(t.Context(), commandsOfEdge).Val(); n != packages {
			return fmt.Sprintf("%d commands", n)
		}
		return ""
	})
	t.Logf("%d packages were read, planned and dispatched after %s", packages, took.Round(time.Millisecond))
	time.Sleep(time.Second) // the tick that finds nothing left to do

	lists, fetches, plans := f.lists.Load(), f.fetches.Load(), d.metric(`oprc_reconcile_duration_seconds_count{result="applied",source="main"}`)
	began := time.Now()
	time.Sleep(time.Duration(*idle) * time.Second)
	lists, fetches = f.lists.Load()-lists, f.fetches.Load()-fetches
	t.Logf("idle for %s at an interval of 1s: %d listings, %d fetches", time.Since(began).Round(time.Second), lists, fetches)
	if most := int64(*idle)*10/9 + 2; lists < int64(*idle)-1 || lists > most || fetches != 0 {
		t.Errorf("%d listings and %d fetches in %d idle intervals, want one and none for each", lists, fetches, *idle)
	}
	if more := d.metric(`oprc_reconcile_duration_seconds_count{result="applied",source="main"}`) - plans; more != 0 {
		t.Errorf("%v plans were applied meanwhile", more)
	}

	var latencies []time.Duration
	for version := 2; version <= 6; version++ {
		time.Sleep(500 * time.Millisecond) // whatever the commit before caused has come to rest
		fetches := f.fetches.Load()
		f.write("p0500.yaml", numbered(500, version))
		f.commit("another image")
		latencies = append(latencies, hook(t, d, c, secret, fmt.Sprintf("registry.example/f:%d", version)))
		if n := f.fetches.Load() - fetches; n != 1 {
			t.Errorf("a commit took %d fetches", n)
		}
	}
	// The tick is counted after its commands are in the stream.
	within(t, 5*time.Second, "the histogram counts every commit", func() string {
		if n := d.metric(`oprc_commit_to_command_seconds_count{after="commit"}`); n != float64(len(latencies)) {
			return fmt.Sprint(n)
		}
		return ""
	})
	// A poll may have seen a commit before its webhook came.
	if n := d.metric(`oprc_commit_to_command_seconds_count{after="wake"}`); n < 3 {
		t.Errorf("only %v commits were heard of by webhook", n)
	}
	t.Logf("the histogram: %v of them within 0.25s", d.metric(`oprc_commit_to_command_seconds_bucket{after="wake",le="0.25"}`))
	slices.Sort(latencies)
	t.Logf("from the webhook to the CRM's stream: %v", latencies)
	if worst := latencies[len(latencies)-1]; worst > 5*time.Second {
		t.Errorf("the slowest took %s", worst)
	}
}

// Forges and webhooks hear what became of each commit.
func TestNotifications(t *testing.T) {
	type told struct{ path, state, auth string }
	var mu sync.Mutex
	var statuses []told
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ State, Description string }
		data, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(data, &body)
		auth := r.Header.Get("Authorization")
		if signature := r.Header.Get("X-Oprc-Signature"); signature != "" {
			mac := hmac.New(sha256.New, []byte("sh"))
			mac.Write(data)
			auth = fmt.Sprint("signed ", signature == "sha256="+hex.EncodeToString(mac.Sum(nil)))
		}
		mu.Lock()
		defer mu.Unlock()
		statuses = append(statuses, told{r.URL.Path, body.State, auth})
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(sink.Close)
	heard := func(want told) {
		t.Helper()
		within(t, 20*time.Second, fmt.Sprint(want), func() string {
			mu.Lock()
			defer mu.Unlock()
			if slices.Contains(statuses, want) {
				return ""
			}
			return fmt.Sprint(statuses)
		})
	}
	store := rdbtest.Start(t, "")
	f := newForge(t)
	f.write("edge.yaml", "kind: Environment\nname: edge\n")
	f.write("p0001.yaml", numbered(1, 1))
	good := f.commit("good")
	// The repository's path on the server is the last two parts of its URL.
	serve(t, fmt.Sprintf(`redis: {url: %q}
sources:
  - name: main
    url: %q
    interval: 1s
    notify:
      - {type: gitea, url: %q, tokenEnv: TOKEN}
      - {type: webhook, url: %q, secretEnv: SECRET}
`, store.URL(), strings.TrimSuffix(f.url, "/.git")+"/acme/shop.git", sink.URL+"/api/v1", sink.URL+"/hook"), "TOKEN=t0ken", "SECRET=sh")
	path := "/api/v1/repos/acme/shop/statuses/"
	heard(told{path + good, "success", "token t0ken"})
	heard(told{"/hook", "success", "signed true"})
	f.write("p0001.yaml", "name: p0001\nfunctoins: []\n")
	bad := f.commit("bad")
	heard(told{path + bad, "failure", "token t0ken"})
	heard(told{"/hook", "failure", "signed true"})
}

const commandsOfEdge = "oaas.pm.{env:edge}.commands"

// hook calls the webhook of source main, and returns how long it took until a
// command with the image was in the stream of edge.
func hook(t *testing.T, d *daemonProcess, c *redis.Client, secret, image string) time.Duration {
	t.Helper()
	info, err := c.XInfoStream(t.Context(), commandsOfEdge).Result()
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"ref":"refs/heads/main"}`)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.addr+"/api/hooks/main", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Oprc-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	began := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("webhook: %s", res.Status)
	}
	streams, err := c.XRead(t.Context(), &redis.XReadArgs{Streams: []string{commandsOfEdge, info.LastGeneratedID}, Block: 20 * time.Second}).Result()
	if err != nil {
		t.Fatalf("no command: %v", err)
	}
	took := time.Since(began)
	if unit := fmt.Sprint(streams[0].Messages[0].Values["unit"]); !strings.Contains(unit, image) {
		t.Errorf("the command is about %s, want %s", unit, image)
	}
	return took
}
