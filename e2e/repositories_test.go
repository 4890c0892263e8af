package e2e_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
	within(d.t, 60*time.Second, name+" is "+want, func() string {
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

// peakMemory is the most that the daemon's process ever had resident, in MiB.
func (d *daemonProcess) peakMemory() int {
	d.t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	kib, err := strconv.Atoi(regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindStringSubmatch(string(data))[1])
	if err != nil {
		d.t.Fatal(err)
	}
	return kib >> 10
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
			h.d.ready("main", "False RevisionNotFound", "no package file")
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
		{"holds 100 MB that are no package", hugeFiles},
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
	if found := fmt.Sprint(s.Findings); !strings.Contains(found, "passwd.yaml") || !strings.Contains(found, "lfs.yaml") {
		t.Errorf("findings: %s", found)
	}
	h.intact()
	h.repo.Git("submodule", "--quiet", "deinit", "-f", "--all")
}

func hugeFiles(t *testing.T, h *hostile) {
	for name, size := range map[string]int{"huge.bin": 100 << 20, "huge.yaml": 17 << 20} {
		noise := make([]byte, size)
		if _, err := rand.Read(noise); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.repo.Dir, name), noise, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := h.d.peakMemory()
	h.repo.Commit("huge")
	s := h.d.ready("main", "False InvalidPackages", "E021")
	if !slices.Contains(s.Notes, "huge.yaml: is too large to be read") {
		t.Errorf("notes: %q", s.Notes)
	}
	after := h.d.peakMemory()
	t.Logf("memory at its peak: %d MiB before, %d MiB after", before, after)
	if after > before+150 {
		t.Errorf("a file of 100 MB that nobody reads took %d MiB", after-before)
	}
}

// A commit that changes five thousand packages goes out whole, in bounded memory.
func TestFiveThousandChangedPackages(t *testing.T) {
	const packages = 5000
	store := rdbtest.Start(t, "")
	repo := gittest.New(t)
	repo.Write("edge.yaml", "kind: Environment\nname: edge\n")
	write := func(version int) string {
		for i := range packages {
			repo.Write(fmt.Sprintf("p%04d.yaml", i), numbered(i, version))
		}
		return repo.Commit(fmt.Sprint("version ", version))
	}
	first := write(1)
	d := serve(t, fmt.Sprintf("redis: {url: %q}\nsources: [{name: main, url: %q, interval: 1s}]\n", store.URL(), repo.Serve(t).URL))
	c := chaosClient(t, store.URL())
	d.ready("main", "True "+first)
	before := d.peakMemory()
	second := write(2)
	began := time.Now()
	d.ready("main", "True "+second)
	took := time.Since(began)
	within(t, 60*time.Second, "all commands are queued", func() string {
		if n := c.XLen(t.Context(), commandsOfEdge).Val(); n != 2*packages {
			return fmt.Sprintf("%d commands", n)
		}
		return ""
	})
	if n := c.HLen(t.Context(), "oaas_pm:{env:edge}:units").Val(); n != packages {
		t.Errorf("%d units", n)
	}
	after := d.peakMemory()
	t.Logf("%d packages changed and dispatched after %s; memory at its peak: %d MiB before, %d MiB after", packages, took.Round(time.Millisecond), before, after)
	if after > 1024 {
		t.Errorf("the daemon took %d MiB", after)
	}
}
