package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// source asks the daemon for the status of a source.
func (d *daemonProcess) source(name string) (s core.SourceStatus) {
	d.t.Helper()
	res, err := http.Get("http://" + d.addr + "/sources/" + name)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusOK {
		if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
			d.t.Fatal(err)
		}
	}
	return s
}

// ready waits until the condition Ready of a source is so: "True REVISION", or
// "False REASON" with words in its message.
func (d *daemonProcess) ready(name, want string, words ...string) core.SourceStatus {
	d.t.Helper()
	var s core.SourceStatus
	within(d.t, patience, name+" is "+want, func() string {
		s = d.source(name)
		for _, c := range s.Conditions {
			if c.Type != "Ready" {
				continue
			}
			is := "False " + c.Reason
			if c.Status {
				is = "True " + s.Applied
			}
			if is != want {
				return is + ": " + c.Message
			}
			for _, w := range words {
				if !strings.Contains(c.Message, w) {
					return fmt.Sprintf("no %q in %q", w, c.Message)
				}
			}
			return ""
		}
		return "no condition"
	})
	return s
}

// A hostile is a repository on a server and a daemon that follows it.
type hostile struct {
	t    *testing.T
	repo *gittest.Repo
	srv  *gittest.Server
	d    *daemonProcess
	c    *redis.Client
	good string // the commit that everything began with
}

const hostilePackages = 12 // more than the guard lets go at once

func newHostile(t *testing.T) *hostile {
	t.Helper()
	store := rdbtest.Start(t, "")
	h := &hostile{t: t, repo: gittest.New(t), c: chaosClient(t, store.URL())}
	h.srv = h.repo.Serve(t)
	h.repo.Write("edge.yaml", "kind: Environment\nname: edge\n")
	for i := range hostilePackages {
		h.repo.Write(fmt.Sprintf("p%04d.yaml", i), numbered(i, 1))
	}
	h.good = h.repo.Commit("good")
	h.d = serve(t, fmt.Sprintf("redis: {url: %q}\nsources: [{name: main, url: %q, ref: main, interval: 1s}]\n", store.URL(), h.srv.URL))
	h.d.ready("main", "True "+h.good)
	h.intact()
	return h
}

// intact fails unless every package and unit is there.
func (h *hostile) intact() {
	h.t.Helper()
	packages, units := h.c.HLen(h.t.Context(), "oaas_pm:{catalog}:packages").Val(), h.c.HLen(h.t.Context(), "oaas_pm:{env:edge}:units").Val()
	if packages < hostilePackages || units < hostilePackages {
		h.t.Fatalf("%d packages and %d units are left", packages, units)
	}
}

// recovers brings the good commit back, and with it peace.
func (h *hostile) recovers() {
	h.t.Helper()
	h.repo.Git("checkout", "-qf", "main")
	h.repo.Git("reset", "-q", "--hard", h.good)
	h.d.ready("main", "True "+h.good)
	h.intact()
}

// orphan begins an empty branch that has nothing in common with what there was.
func (h *hostile) orphan(branch string) {
	h.repo.Git("checkout", "-q", "--orphan", branch)
	h.repo.Git("rm", "-rqf", ".")
}

// Whatever a repository does, nothing is deleted that should not be, and the source
// says what is wrong.
func TestHostileRepositories(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	for _, story := range []struct {
		name string
		tell func(t *testing.T, h *hostile)
	}{
		{"answers 500", func(t *testing.T, h *hostile) {
			h.srv.Fail(http.StatusInternalServerError)
			h.d.ready("main", "False Unreachable", "500 Internal Server Error", "next try at")
			h.srv.Since()
			time.Sleep(5 * time.Second)
			if asked := h.srv.Since(); asked.Lists > 4 { // after 2 s, 4 s …, but for what was under way
				t.Errorf("a server in trouble was asked %d times in 5 s", asked.Lists)
			}
			if s := h.d.source("main"); s.Failures < 2 || s.NextTry.IsZero() {
				t.Errorf("%d failures, next try %s", s.Failures, s.NextTry)
			}
			h.intact()
			h.srv.Fail(0)
		}},
		{"is deleted", func(_ *testing.T, h *hostile) {
			git, gone := filepath.Join(h.repo.Dir, ".git"), filepath.Join(h.repo.Dir, "gone")
			if err := os.Rename(git, gone); err != nil {
				h.t.Fatal(err)
			}
			h.d.ready("main", "False Unreachable", "no such repository")
			h.intact()
			if err := os.Rename(gone, git); err != nil {
				h.t.Fatal(err)
			}
		}},
		{"is pushed over with an empty branch", func(_ *testing.T, h *hostile) {
			h.orphan("empty")
			h.repo.Git("commit", "-q", "--allow-empty", "-m", "empty")
			h.repo.Git("branch", "-f", "main")
			h.d.ready("main", "False ApprovalNeeded", fmt.Sprintf("%d of %[1]d packages", hostilePackages))
			h.intact()
		}},
		{"is pushed over with something else", func(t *testing.T, h *hostile) {
			h.orphan("other")
			h.repo.Write("other.yaml", "name: other\nclasses: [{name: c}]\n")
			h.repo.Commit("something else")
			h.repo.Git("branch", "-f", "main")
			s := h.d.ready("main", "False ApprovalNeeded", strconv.Itoa(hostilePackages))
			if !slices.ContainsFunc(s.Conditions, func(c core.SourceCondition) bool { return c.Type == "Rewound" && c.Status }) {
				t.Errorf("the rewind is not shown: %+v", s.Conditions)
			}
			h.intact()
		}},
		{"loses its branch", func(_ *testing.T, h *hostile) {
			h.repo.Git("branch", "-m", "main", "trunk")
			h.d.ready("main", "False RevisionNotFound", `"main"`, "trunk")
			h.intact()
			h.repo.Git("branch", "main", h.good)
		}},
		{"holds odd files", oddFiles},
	} {
		if !t.Run(story.name, func(t *testing.T) {
			h.t, h.d.t = t, t
			story.tell(t, h)
			h.recovers()
		}) {
			break // the next ones begin where this one should have ended
		}
	}
	h.d.t = t
}

func oddFiles(t *testing.T, h *hostile) {
	for name, target := range map[string]string{"passwd.yaml": "../../../etc/passwd", "up": ".."} {
		if err := os.Symlink(target, filepath.Join(h.repo.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	h.repo.Write("lfs.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n")
	other := gittest.New(t)
	other.Write("sub.yaml", "name: sub\nclasses: [{name: c}]\n")
	other.Commit("sub")
	h.repo.Git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", other.Dir, "sub")
	h.repo.Write("p0000.yaml", numbered(0, 2))
	odd := h.repo.Commit("odd")
	s := h.d.ready("main", "False InvalidPackages")
	want := []string{
		"lfs.yaml: is a Git LFS pointer; packages belong into the repository itself",
		`passwd.yaml: is a symbolic link to "../../../etc/passwd", which is not followed`,
		"sub: is a submodule, which is not read",
		"up: is a symbolic link, which is not followed",
	}
	slices.Sort(s.Notes)
	if !slices.Equal(s.Notes, want) {
		t.Errorf("notes: %q", s.Notes)
	}
	if s.Applied != odd {
		t.Errorf("applied is %s: what is good did not go out", s.Applied)
	}
	if found := fmt.Sprint(s.Findings); strings.Contains(found, "passwd.yaml") || !strings.Contains(found, "lfs.yaml") {
		t.Errorf("findings: %s", found)
	}
	h.intact()
	h.repo.Git("submodule", "--quiet", "deinit", "-f", "--all")
}

// proxyTo is an HTTP proxy that knows where git.invalid is.
func proxyTo(t *testing.T, srv *gittest.Server) (url string, passed *atomic.Int64) {
	t.Helper()
	passed = new(atomic.Int64)
	target, err := neturl.Parse(srv.Server.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		if r.In.URL.Host == "git.invalid" {
			passed.Add(1)
			r.SetURL(target)
		}
	}})
	t.Cleanup(proxy.Close)
	return proxy.URL, passed
}

// agentWith starts an ssh-agent that holds a key, and returns its socket.
func agentWith(t *testing.T, key string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	agent := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	within(t, patience, "the agent takes the key", func() string {
		add := exec.Command("ssh-add", "-q", key)
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
		out, err := add.CombinedOutput()
		if err != nil {
			return string(out)
		}
		return ""
	})
	return socket
}

// One daemon follows repositories by every way in, and every kind of ref; those that
// it cannot get into say why, and hold up nobody.
func TestWaysIn(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	for _, dir := range []string{"basic", "token", "proxy", "key", "agent", "file", "branch", "tag", "range", "commit"} {
		repo.Write(dir+"/p.yaml", fmt.Sprintf("name: %s\nversion: 1.0.0\nclasses: [{name: c}]\n", dir))
	}
	repo.Write("glob/a/deep/p.yaml", "name: globbed\nclasses: [{name: c}]\n")
	repo.Write("glob/a/deep/p.draft.yaml", "name: drafted\nclasses: [{name: c}]\n")
	repo.Write("glob/b/p.yaml", "name: beside\nclasses: [{name: c}]\n")
	first := repo.Commit("first")
	repo.Git("tag", "v1.0.0")
	repo.Git("branch", "stage")
	for _, dir := range []string{"branch", "tag", "range", "commit"} {
		repo.Write(dir+"/p.yaml", fmt.Sprintf("name: %s\nversion: 1.5.0\nclasses: [{name: c}]\n", dir))
	}
	second := repo.Commit("second")
	repo.Git("tag", "-a", "-m", "higher", "v1.5.0")
	repo.Git("tag", "v2.0.0-rc.1")

	open := repo.Serve(t)
	proxy, passed := proxyTo(t, open)
	locked, ca := repo.ServeTLS(t)
	locked.Ask("ann", "s3cret")
	tokens := repo.Serve(t)
	tokens.Ask("oauth2", "t0ken")
	mine, mineFile := gittest.Key(t)
	_, strangerFile := gittest.Key(t)
	other, _ := gittest.Key(t)
	ssh := gittest.ServeSSH(t, mine.PublicKey())

	sources := map[string]string{
		"basic":  fmt.Sprintf("url: %q, username: ann, passwordEnv: PASSWORD, caFile: %q, path: basic", locked.URL, ca),
		"token":  fmt.Sprintf("url: %q, tokenEnv: TOKEN, path: token", tokens.URL),
		"proxy":  fmt.Sprintf("url: 'http://git.invalid/acme/shop.git', proxy: %q, path: proxy", proxy),
		"key":    fmt.Sprintf("url: %q, sshKeyFile: %q, knownHosts: [%q], path: key", ssh.URL(repo), mineFile, ssh.KnownHosts()),
		"agent":  fmt.Sprintf("url: %q, knownHosts: [%q], path: agent", ssh.URL(repo), ssh.KnownHosts()),
		"file":   fmt.Sprintf("url: 'file://%s', path: file", repo.Dir),
		"branch": fmt.Sprintf("url: %q, ref: stage, path: branch", open.URL),
		"tag":    fmt.Sprintf("url: %q, ref: v1.0.0, path: tag", open.URL),
		"range":  fmt.Sprintf("url: %q, ref: '^1.0', path: range", open.URL),
		"commit": fmt.Sprintf("url: %q, ref: %q, path: commit", open.URL, first),
		"glob":   fmt.Sprintf("url: %q, path: 'glob/*/deep/*.yaml', ignore: ['*.draft.yaml']", open.URL),

		"bad-password": fmt.Sprintf("url: %q, username: ann, passwordEnv: TOKEN, caFile: %q", locked.URL, ca),
		"bad-ca":       fmt.Sprintf("url: %q, username: ann, passwordEnv: PASSWORD", locked.URL),
		"bad-host":     fmt.Sprintf("url: %q, sshKeyFile: %q, knownHosts: [%q]", ssh.URL(repo), mineFile, ssh.KnownAs(other.PublicKey())),
		"bad-key":      fmt.Sprintf("url: %q, sshKeyFile: %q, knownHosts: [%q]", ssh.URL(repo), strangerFile, ssh.KnownHosts()),
		"bad-ref":      fmt.Sprintf("url: %q, ref: nowhere", open.URL),
		"bad-range":    fmt.Sprintf("url: %q, ref: '^7'", open.URL),
	}
	store := rdbtest.Start(t, "")
	var config strings.Builder
	fmt.Fprintf(&config, "redis: {url: %q}\nsources:\n", store.URL())
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		fmt.Fprintf(&config, "  - {name: %s, interval: 1m, %s}\n", name, sources[name])
	}
	d := serve(t, config.String(), "PASSWORD=s3cret", "TOKEN=t0ken", "SSH_AUTH_SOCK="+agentWith(t, mineFile))

	for name, message := range map[string]string{
		"bad-password": "refuses the user, password or token", "bad-ca": "caFile", "bad-host": "somebody is in between", "bad-key": "does not accept the ssh key",
	} {
		d.ready(name, "False Unreachable", message)
	}
	d.ready("bad-ref", "False RevisionNotFound", `"nowhere"`)
	d.ready("bad-range", "False RevisionNotFound", `"^7"`, "tags: v2.0.0-rc.1, v1.5.0, v1.0.0")
	packages := map[string]string{"globbed": ""}
	for name := range sources {
		if strings.HasPrefix(name, "bad-") {
			continue
		}
		follows := second
		if name == "branch" || name == "tag" || name == "commit" {
			follows = first
		}
		d.ready(name, "True "+follows)
		if name != "glob" {
			packages[name] = "1.0.0"
		}
	}
	packages["range"] = "1.5.0"
	got := map[string]string{}
	for name, record := range chaosClient(t, store.URL()).HGetAll(t.Context(), "oaas_pm:{catalog}:packages").Val() {
		var r struct{ Spec struct{ Version string } }
		if err := json.Unmarshal([]byte(record), &r); err != nil {
			t.Fatal(err)
		}
		got[name] = r.Spec.Version
	}
	if diff := cmp.Diff(packages, got); diff != "" {
		t.Errorf("packages and their versions: -want +got:\n%s", diff)
	}
	if passed.Load() == 0 {
		t.Error("nothing went through the proxy")
	}
	if log := d.log.last(1 << 20); strings.Contains(log, "s3cret") || strings.Contains(log, "t0ken") {
		t.Error("the log holds a secret")
	}
}
