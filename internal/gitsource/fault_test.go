package gitsource_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
)

func runGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// What stays wrong until somebody acts is said to, in words of ours.
func TestLastingFaults(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!DOCTYPE html><html><body>Log in</body></html>"))
	}))
	t.Cleanup(page.Close)
	repo := gittest.New(t)
	repo.Write("a.yaml", "1")
	repo.Commit("first")
	private := repo.Serve(t)
	private.Ask("ada", "s3cret")
	moved := httptest.NewServer(http.RedirectHandler(private.URL+"/info/refs?service=git-upload-pack", http.StatusMovedPermanently))
	t.Cleanup(moved.Close)
	moved.URL += "/r.git"

	long := t.TempDir()
	runGit(t, long, "init", "-q", "-b", "main", "--object-format=sha256")
	if err := os.WriteFile(filepath.Join(long, "a.yaml"), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	runGit(t, long, "add", ".")
	runGit(t, long, "commit", "-qm", "x")
	holder := gittest.New(t)
	if err := os.RemoveAll(filepath.Join(holder.Dir, ".git")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(long, ".git"), filepath.Join(holder.Dir, ".git")); err != nil {
		t.Fatal(err)
	}
	long = holder.Dir
	longServed := holder.Serve(t)
	odd := t.TempDir()
	runGit(t, odd, "init", "-q")
	runGit(t, odd, "config", "core.repositoryformatversion", "1")
	runGit(t, odd, "config", "extensions.partialClone", "origin")
	blob := gittest.New(t)
	blob.Write("a.yaml", "1")
	blob.Commit("first")
	blob.Git("tag", "blob", "HEAD:a.yaml")
	blob.Git("tag", "-am", "x", "annotated", "HEAD:a.yaml")
	blobServed := blob.Serve(t)

	for name, test := range map[string]struct {
		o    gitsource.Options
		want string
	}{
		"login page":          {gitsource.Options{URL: page.URL + "/r.git"}, "login page"},
		"redirect":            {gitsource.Options{URL: moved.URL, Username: "ada", Password: "s3cret"}, "asks for a password or token"},
		"sha256":              {gitsource.Options{URL: longServed.URL}, "SHA-256"},
		"sha256 here":         {gitsource.Options{URL: long}, "SHA-256"},
		"extension":           {gitsource.Options{URL: odd}, `not supported: "partialclone"`},
		"blob":                {gitsource.Options{URL: blobServed.URL, Ref: "blob"}, "no commit"},
		"blob here":           {gitsource.Options{URL: blob.Dir, Ref: "blob"}, "no commit"},
		"annotated blob":      {gitsource.Options{URL: blobServed.URL, Ref: "annotated"}, "no commit"},
		"annotated blob here": {gitsource.Options{URL: blob.Dir, Ref: "annotated"}, "no commit"},
		"no key":              {gitsource.Options{URL: "ssh://git@127.0.0.1:1/r.git", SSHKeyFile: "/nowhere/key", KnownHosts: []string{os.DevNull}}, "/nowhere/key"},
		"no known hosts":      {gitsource.Options{URL: "ssh://git@127.0.0.1:1/r.git", SSHKeyFile: "/nowhere/key", KnownHosts: []string{"/nowhere/known"}}, "/nowhere/known"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, test.o).Poll(t.Context(), time.Now())
			f, is := errors.AsType[*gitsource.Fault](err)
			if !is || !f.Lasting() || !strings.Contains(f.Cause, test.want) || !errors.Is(err, gitsource.ErrUnavailable) {
				t.Errorf("got %v (%+v), want a lasting fault with %q", err, f, test.want)
			}
		})
	}
}

// A mirror is thrown away only when it is proven to be damaged.
func TestMirrorsAreKept(t *testing.T) {
	w := newWork(t)
	w.commit("a.yaml", "1")
	w.Git("tag", "odd", "HEAD:a.yaml")
	srv, cache := w.Serve(t), t.TempDir()
	hub := &gitsource.Hub{}
	at := func(ref string) (*gitsource.Source, error) {
		return hub.Open(gitsource.Options{Name: "x", URL: srv.URL, Ref: ref, CacheDir: cache})
	}
	good, err := at("main")
	if err != nil {
		t.Fatal(err)
	}
	poll(t, good)
	odd, err := at("odd")
	if err != nil {
		t.Fatal(err)
	}
	srv.Since()
	for range 3 {
		if _, err := odd.Poll(t.Context(), time.Now()); err == nil {
			t.Fatal("a tag of a file is taken for a commit")
		}
	}
	if asked := srv.Since(); asked.Fetches > 1 {
		t.Errorf("%d fetches for a tag that no fetch helps", asked.Fetches)
	}
	dirs, _ := filepath.Glob(filepath.Join(cache, "*.git", "refs", "oprc", "heads", "main"))
	if len(dirs) != 1 {
		t.Errorf("the mirror that sources share was thrown away: %v", dirs)
	}
}

// A server that asks to be left alone is.
func TestRetryAfterIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		header string
		want   time.Duration
	}{
		"seconds": {"90", 90 * time.Second},
		"a date":  {"Sun, 01 Mar 2026 12:02:00 GMT", 2 * time.Minute},
		"a year":  {"31536000", time.Hour},
		"zero":    {"0", 0},
		"none":    {"", 0},
		"nothing": {"soon", 0},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", "Sun, 01 Mar 2026 12:00:00 GMT")
				if test.header != "" {
					w.Header().Set("Retry-After", test.header)
				}
				w.WriteHeader(http.StatusTooManyRequests)
			}))
			t.Cleanup(srv.Close)
			_, err := open(t, gitsource.Options{URL: srv.URL + "/r.git"}).Poll(t.Context(), time.Now())
			f, is := errors.AsType[*gitsource.Fault](err)
			if !is || f.RetryAfter() != test.want || f.Lasting() {
				t.Errorf("got %+v (%v), want %s", f, err, test.want)
			}
		})
	}
}

// Repositories that stall are not in the way of others on their host.
func TestStalledRepositories(t *testing.T) {
	w := newWork(t)
	w.commit("a.yaml", "1")
	srv := w.Serve(t)
	stuck := make(chan struct{})
	handler := srv.Config.Handler
	srv.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/stalled") {
			rw.WriteHeader(http.StatusOK)
			rw.(http.Flusher).Flush()
			select {
			case <-stuck:
			case <-r.Context().Done():
			}
			return
		}
		handler.ServeHTTP(rw, r)
	})
	hub, cache := &gitsource.Hub{}, t.TempDir()
	var stalled sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 6 {
		s, err := hub.Open(gitsource.Options{Name: "stalled", URL: fmt.Sprintf("%s/stalled%d/r.git", srv.Server.URL, i), CacheDir: cache})
		if err != nil {
			t.Fatal(err)
		}
		stalled.Go(func() {
			for ctx.Err() == nil {
				bounded, end := context.WithTimeout(ctx, 3*time.Second)
				_, _ = s.Poll(bounded, time.Now()) // it will not
				end()
			}
		})
	}
	t.Cleanup(stalled.Wait)
	t.Cleanup(cancel)
	t.Cleanup(func() { close(stuck) })
	time.Sleep(100 * time.Millisecond) // all slots are theirs; if not yet, the test is easier
	s, err := hub.Open(gitsource.Options{Name: "good", URL: srv.URL, CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		began := time.Now()
		if _, err := s.Poll(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		t.Logf("beside six that stall it takes %s", took.Round(time.Millisecond))
		if took > 20*time.Second { // they would hold it up for ever
			t.Errorf("it took %s", took)
		}
	}
}
