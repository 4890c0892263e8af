package gitsource_test

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// A work is a repository with a worktree, made by the git program.
type work struct {
	t   *testing.T
	dir string
}

func newWork(t *testing.T) work {
	t.Helper()
	w := work{t, t.TempDir()}
	w.git("init", "-q", "-b", "main")
	return w
}

func (w work) git(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w work) write(name, content string) {
	w.t.Helper()
	full := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// commit writes name and commits everything; it returns the commit.
func (w work) commit(name, content string) string {
	w.t.Helper()
	w.write(name, content)
	return w.commitAll("Change " + name)
}

func (w work) commitAll(message string) string {
	w.t.Helper()
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", message)
	return w.git("rev-parse", "HEAD")
}

// A server serves a repository over HTTP with git's own backend.
type server struct {
	*httptest.Server
	url string

	mu       sync.Mutex
	lists    int // ref listings
	fetches  int
	received int64 // bytes sent to clients by fetches
	status   int   // answered instead, when not 0
	user     string
	password string
}

func serve(t *testing.T, w work) *server {
	t.Helper()
	backend := filepath.Join(w.git("--exec-path"), "git-http-backend")
	s := &server{}
	h := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + w.dir, "GIT_HTTP_EXPORT_ALL=1"}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		status, user, password := s.status, s.user, s.password
		switch {
		case strings.HasSuffix(r.URL.Path, "/info/refs"):
			s.lists++
		case strings.HasSuffix(r.URL.Path, "/git-upload-pack"):
			s.fetches++
		}
		s.mu.Unlock()
		u, p, _ := r.BasicAuth()
		switch {
		case status != 0:
			http.Error(rw, "told to", status)
		case u != user || p != password:
			rw.Header().Set("WWW-Authenticate", "Basic")
			http.Error(rw, "who are you", http.StatusUnauthorized)
		default:
			h.ServeHTTP(&counter{rw, s, r.Method == http.MethodPost}, r)
		}
	}))
	t.Cleanup(s.Close)
	s.url = s.Server.URL + "/.git"
	return s
}

type counter struct {
	http.ResponseWriter
	s     *server
	count bool
}

func (c *counter) Write(p []byte) (int, error) {
	if c.count {
		c.s.mu.Lock()
		c.s.received += int64(len(p))
		c.s.mu.Unlock()
	}
	return c.ResponseWriter.Write(p)
}

// since returns the listings, fetches and bytes since the last call.
func (s *server) since() (lists, fetches int, received int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lists, fetches, received = s.lists, s.fetches, s.received
	s.lists, s.fetches, s.received = 0, 0, 0
	return lists, fetches, received
}

func (s *server) set(change func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func open(t *testing.T, o gitsource.Options) *gitsource.Source {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	s, err := gitsource.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func poll(t *testing.T, s *gitsource.Source) gitsource.Revision {
	t.Helper()
	rev, err := s.Poll(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// read polls and returns the files by path.
func read(t *testing.T, s *gitsource.Source) map[string]string {
	t.Helper()
	files, err := s.Files(t.Context(), poll(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return contents(files)
}

func contents(files []oprc.File) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		out[f.Path] = string(f.Data)
	}
	return out
}
