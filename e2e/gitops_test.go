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
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

var idle = flag.Int("idle", 5, "how many intervals TestGitOps leaves a repository alone")

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
	t.Parallel()
	t.Run("HTTP", func(t *testing.T) {
		t.Parallel()
		repo := gittest.New(t)
		srv := repo.Serve(t)
		gitOps(t, repo, srv.Since, fmt.Sprintf("url: %q", srv.URL))
	})
	t.Run("SSH", func(t *testing.T) {
		t.Parallel()
		repo := gittest.New(t)
		key, file := gittest.Key(t)
		srv := gittest.ServeSSH(t, key.PublicKey())
		gitOps(t, repo, srv.Since, fmt.Sprintf("url: %q, sshKeyFile: %q, knownHosts: [%q]", srv.URL(repo), file, srv.KnownHosts()))
	})
}

func gitOps(t *testing.T, repo *gittest.Repo, since func() gittest.Count, source string) {
	const packages, secret = 1000, "hook-secret"
	store := rdbtest.Start(t, "")
	repo.Write("edge.yaml", "kind: Environment\nname: edge\n")
	for i := range packages {
		repo.Write(fmt.Sprintf("p%04d.yaml", i), numbered(i, 1))
	}
	first := repo.Commit("a thousand packages")
	d := serve(t, fmt.Sprintf("redis: {url: %q}\nsources: [{name: main, interval: 1s, webhookSecretEnv: HOOK, %s}]\n", store.URL(), source), "HOOK="+secret)
	c := chaosClient(t, store.URL())
	took := within(t, patience, "all commands are queued", func() string {
		if n := c.XLen(t.Context(), commandsOfEdge).Val(); n != packages {
			return fmt.Sprintf("%d commands", n)
		}
		return ""
	})
	t.Logf("%d packages were read, planned and dispatched after %s", packages, took.Round(time.Millisecond))
	d.ready("main", "True "+first)

	plans := d.metric(`oprc_reconcile_duration_seconds_count{result="applied",source="main"}`)
	since()
	began := time.Now()
	asked := listings(t, since, *idle)
	took = time.Since(began)
	t.Logf("idle for %s at an interval of 1s: %d listings, %d fetches", took.Round(time.Second), asked.Lists, asked.Fetches)
	if most := int(took.Seconds()/0.9) + 2; asked.Lists > most || asked.Fetches != 0 { // an interval is up to a tenth shorter
		t.Errorf("%d listings and %d fetches in %s, want at most %d and none", asked.Lists, asked.Fetches, took, most)
	}
	if more := d.metric(`oprc_reconcile_duration_seconds_count{result="applied",source="main"}`) - plans; more != 0 {
		t.Errorf("%v plans were applied meanwhile", more)
	}

	var latencies []time.Duration
	for version := 2; version <= 6; version++ {
		since()
		listings(t, since, 1) // the next one comes after the webhook
		before := newest(t, c)
		repo.Write("p0500.yaml", numbered(500, version))
		repo.Commit("another image")
		latencies = append(latencies, hook(t, d, c, secret, before, fmt.Sprintf("registry.example/f:%d", version)))
		if asked := since(); asked.Fetches != 1 {
			t.Errorf("a commit took %d fetches", asked.Fetches)
		}
	}
	t.Logf("from the webhook to the CRM's stream: %v", latencies)
	if worst := slices.Max(latencies); worst > 5*time.Second {
		t.Errorf("the slowest took %s", worst)
	}
	counted(t, d, len(latencies), packages+1)
}

// listings waits until a server was asked for its refs so many times more, and returns
// what it was asked meanwhile.
func listings(t *testing.T, since func() gittest.Count, times int) (asked gittest.Count) {
	t.Helper()
	within(t, patience, "listings", func() string {
		more := since()
		if asked.Lists, asked.Fetches = asked.Lists+more.Lists, asked.Fetches+more.Fetches; asked.Lists < times {
			return fmt.Sprint(asked.Lists)
		}
		return ""
	})
	return asked
}

// counted checks what the daemon's metrics and log tell of commits that changed a
// file each, after a first one of many files.
func counted(t *testing.T, d *daemonProcess, commits, files int) {
	t.Helper()
	// The tick is counted after its commands are in the stream.
	within(t, patience, "the histogram counts every commit", func() string {
		if n := d.metric(`oprc_commit_to_command_seconds_count{after="commit"}`); n != float64(commits) {
			return fmt.Sprint(n)
		}
		return ""
	})
	t.Logf("the histogram: %v of them within 0.25s", d.metric(`oprc_commit_to_command_seconds_bucket{after="wake",le="0.25"}`))
	// On a slow machine a poll may see a commit before its webhook comes.
	if n := d.metric(`oprc_commit_to_command_seconds_count{after="wake"}`); n < float64(commits)/2 {
		t.Errorf("only %v commits were heard of by webhook", n)
	}
	if n := d.metric(`oprc_source_files_read_total{source="main"}`); n != float64(files+commits) {
		t.Errorf("%v files were read, want %d and then one for each of %d commits", n, files, commits)
	}
	for line, want := range map[string]int{fmt.Sprintf(" files=%d read=%[1]d ", files): 1, fmt.Sprintf(" files=%d read=1 ", files): commits} {
		if n := strings.Count(d.log.last(1<<20), line); n != want {
			t.Errorf("the log says%s%d times, want %d", line, n, want)
		}
	}
}

// Forges and webhooks hear what became of each commit.
func TestNotifications(t *testing.T) {
	t.Parallel()
	type told struct{ path, state, auth string }
	var mu sync.Mutex
	var statuses []told
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ State, Description string }
		data, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(data, &body)
		auth := r.Header.Get("Authorization") + r.Header.Get("Private-Token")
		if signature := r.Header.Get("X-Oprc-Signature"); signature != "" {
			mac := hmac.New(sha256.New, []byte("sh"))
			mac.Write(data)
			auth = fmt.Sprint("signed ", signature == "sha256="+hex.EncodeToString(mac.Sum(nil)))
		}
		mu.Lock()
		defer mu.Unlock()
		statuses = append(statuses, told{r.URL.EscapedPath(), body.State, auth})
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(sink.Close)
	heard := func(want told) {
		t.Helper()
		within(t, patience, fmt.Sprint(want), func() string {
			mu.Lock()
			defer mu.Unlock()
			if slices.Contains(statuses, want) {
				return ""
			}
			return fmt.Sprint(statuses)
		})
	}
	store := rdbtest.Start(t, "")
	f := gittest.New(t)
	srv := f.Serve(t)
	f.Write("edge.yaml", "kind: Environment\nname: edge\n")
	f.Write("p0001.yaml", numbered(1, 1))
	good := f.Commit("good")
	// The repository's path on the server is the last two parts of its URL.
	serve(t, fmt.Sprintf(`redis: {url: %q}
sources:
  - name: main
    url: %q
    interval: 1s
    notify:
      - {type: gitea, url: %q, tokenEnv: TOKEN}
      - {type: github, url: %q, tokenEnv: TOKEN}
      - {type: gitlab, url: %q, tokenEnv: TOKEN}
      - {type: webhook, url: %q, secretEnv: SECRET}
`, store.URL(), srv.URL, sink.URL+"/api/v1", sink.URL+"/github", sink.URL+"/api/v4", sink.URL+"/hook"), "TOKEN=t0ken", "SECRET=sh")
	path := "/api/v1/repos/acme/shop/statuses/"
	github, gitlab := "/github/repos/acme/shop/statuses/", "/api/v4/projects/acme%2Fshop/statuses/"
	heard(told{path + good, "success", "token t0ken"})
	heard(told{github + good, "success", "Bearer t0ken"})
	heard(told{gitlab + good, "success", "t0ken"})
	heard(told{"/hook", "success", "signed true"})
	f.Write("p0001.yaml", "name: p0001\nfunctoins: []\n")
	bad := f.Commit("bad")
	heard(told{path + bad, "failure", "token t0ken"})
	heard(told{github + bad, "failure", "Bearer t0ken"})
	heard(told{gitlab + bad, "failed", "t0ken"})
	heard(told{"/hook", "failure", "signed true"})
}

const commandsOfEdge = "oaas.pm.{env:edge}.commands"

// newest is the id of the last entry in the stream of edge.
func newest(t *testing.T, c *redis.Client) string {
	t.Helper()
	info, err := c.XInfoStream(t.Context(), commandsOfEdge).Result()
	if err != nil {
		t.Fatal(err)
	}
	return info.LastGeneratedID
}

// hook calls the webhook of source main, and returns how long it took until a
// command with the image was in the stream of edge after another entry.
func hook(t *testing.T, d *daemonProcess, c *redis.Client, secret, after, image string) time.Duration {
	t.Helper()
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
	streams, err := c.XRead(t.Context(), &redis.XReadArgs{Streams: []string{commandsOfEdge, after}, Block: patience}).Result()
	if err != nil {
		t.Fatalf("no command: %v", err)
	}
	took := time.Since(began)
	if unit := fmt.Sprint(streams[0].Messages[0].Values["unit"]); !strings.Contains(unit, image) {
		t.Errorf("the command is about %s, want %s", unit, image)
	}
	return took
}

// However many sources a repository has, it is asked once in an interval, and fetched
// once when it moves.
func TestSourcesOfOneRepository(t *testing.T) {
	t.Parallel()
	const sources = 20
	store := rdbtest.Start(t, "")
	repo := gittest.New(t)
	srv := repo.Serve(t)
	config := fmt.Sprintf("redis: {url: %q}\nsources:\n", store.URL())
	for i := range sources {
		repo.Write(fmt.Sprintf("team%d/p.yaml", i), fmt.Sprintf("name: p%d\nclasses: [{name: c}]\n", i))
		config += fmt.Sprintf("  - {name: team%d, url: %q, path: team%d, interval: 1s}\n", i, srv.URL, i)
	}
	first := repo.Commit("first")
	d := serve(t, config)
	for i := range sources {
		d.ready(fmt.Sprintf("team%d", i), "True "+first)
	}
	srv.Since()
	began := time.Now()
	asked := listings(t, srv.Since, 4)
	took := time.Since(began)
	t.Logf("%d sources, an interval of 1s: in %s %d listings, %d fetches", sources, took.Round(time.Millisecond), asked.Lists, asked.Fetches)
	if most := int(took.Seconds()/0.9) + 2; asked.Lists > most || asked.Fetches != 0 {
		t.Errorf("%d listings and %d fetches in %s, want at most %d and none", asked.Lists, asked.Fetches, took, most)
	}
	repo.Write("team0/p.yaml", "name: p0\nversion: 2.0.0\nclasses: [{name: c}]\n")
	second := repo.Commit("second")
	for i := range sources {
		d.ready(fmt.Sprintf("team%d", i), "True "+second)
	}
	if asked := srv.Since(); asked.Fetches != 1 {
		t.Errorf("a commit took %d fetches", asked.Fetches)
	}
}

// A CRM that never does as it is told is put right a few times, then named and left;
// the rest of the source goes on.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	store := rdbtest.Start(t, "")
	repo := gittest.New(t)
	repo.Write("edge.yaml", "kind: Environment\nname: edge\n")
	repo.Write("p0001.yaml", numbered(1, 1))
	repo.Commit("first")
	d := serve(t, fmt.Sprintf("redis: {url: %q}\nsources: [{name: main, url: %q, interval: 1s}]\n", store.URL(), repo.Serve(t).URL))
	c := chaosClient(t, store.URL())
	go func() { // the CRM
		last := "0-0"
		for {
			streams, err := c.XRead(t.Context(), &redis.XReadArgs{Streams: []string{commandsOfEdge, last}, Block: time.Second}).Result()
			if t.Context().Err() != nil {
				return
			}
			if err != nil {
				continue
			}
			for _, m := range streams[0].Messages {
				last = m.ID
				c.XAdd(t.Context(), &redis.XAddArgs{Stream: "oaas.pm.{env:edge}.reports", Values: map[string]any{
					"type": "status", "crm": "stubborn", "ts": time.Now().UTC().Format(time.RFC3339), "id": m.Values["id"],
					"generation": m.Values["generation"], "specHash": "sha256:" + strings.Repeat("0", 64), "condition": "RUNNING",
				}})
			}
		}
	}()
	d.ready("main", "False Fight", "p0001.c/0/0@edge", "CRM stubborn", "reverted 5 times")
	sent := c.XInfoStream(t.Context(), commandsOfEdge).Val().EntriesAdded
	if sent > 7 {
		t.Errorf("%d commands for one unit", sent)
	}
	repo.Write("more.yaml", "name: more\nclasses: [{name: c}]\n")
	repo.Commit("second")
	within(t, patience, "the rest goes on", func() string {
		if !c.HExists(t.Context(), "oaas_pm:{catalog}:packages", "more").Val() {
			return "no package more"
		}
		return ""
	})
}
