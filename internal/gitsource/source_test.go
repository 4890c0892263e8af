package gitsource_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/oprc"
)

func TestPollAndFilesOverHTTP(t *testing.T) {
	w := newWork(t)
	w.Write("README.md", strings.Repeat("not a package\n", 1000))
	w.Write("pkgs/b.yaml", "name: b\n")
	// What does not compress shows whether a fetch brings it again.
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	w.Write("noise.bin", string(noise))
	first := w.commit("pkgs/a.yaml", "name: a\n")
	srv := w.Serve(t)
	s := open(t, gitsource.Options{URL: srv.URL, Ref: "main"})

	rev := poll(t, s)
	want := gitsource.Revision{
		ID: first, Ref: "refs/heads/main", Author: "Ada <ada@example.org>", Message: "Change pkgs/a.yaml",
		When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	if diff := cmp.Diff(want, rev); diff != "" {
		t.Fatalf("first revision: -want +got:\n%s", diff)
	}
	files, err := s.Files(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	blob := func(name string) string { return w.Git("rev-parse", "HEAD:"+name) }
	wantFiles := []oprc.File{
		{Path: "pkgs/a.yaml", Data: []byte("name: a\n"), Blob: blob("pkgs/a.yaml"), Found: true},
		{Path: "pkgs/b.yaml", Data: []byte("name: b\n"), Blob: blob("pkgs/b.yaml"), Found: true},
	}
	if diff := cmp.Diff(wantFiles, files); diff != "" {
		t.Fatalf("first files: -want +got:\n%s", diff)
	}
	srv.Since()

	for range 3 {
		if again := poll(t, s); again != rev {
			t.Fatalf("got %v, want the same revision", again)
		}
	}
	if asked := srv.Since(); asked.Lists != 3 || asked.Fetches != 0 {
		t.Errorf("three idle polls cost %d listings and %d fetches, want 3 and 0", asked.Lists, asked.Fetches)
	}

	second := w.commit("pkgs/a.yaml", "name: a\nversion: 2\n")
	got := read(t, s)
	if diff := cmp.Diff(map[string]string{"pkgs/a.yaml": "name: a\nversion: 2\n", "pkgs/b.yaml": "name: b\n"}, got); diff != "" {
		t.Errorf("second files: -want +got:\n%s", diff)
	}
	if asked := srv.Since(); asked.Fetches != 1 || asked.Sent > 20_000 {
		t.Errorf("one commit cost %d fetches and %d bytes, want 1 and a few", asked.Fetches, asked.Sent)
	}
	if rev := poll(t, s); rev.ID != second || rev.Rewind {
		t.Errorf("got %v, want %s and no rewind", rev, second)
	}
}

func TestRestartReadsTheMirror(t *testing.T) {
	w := newWork(t)
	w.commit("a.yaml", "name: a\n")
	srv := w.Serve(t)
	o := gitsource.Options{URL: srv.URL, CacheDir: t.TempDir()}
	read(t, open(t, o))
	srv.Since()
	read(t, open(t, o))
	if asked := srv.Since(); asked.Lists != 1 || asked.Fetches != 0 {
		t.Errorf("a restart cost %d listings and %d fetches, want 1 and 0", asked.Lists, asked.Fetches)
	}
}

func TestDamagedMirrorIsReplaced(t *testing.T) {
	tests := map[string]func(t *testing.T, mirror string){
		"config cut": func(t *testing.T, m string) { overwrite(t, filepath.Join(m, "config"), "[core\n") },
		"no HEAD":    func(t *testing.T, m string) { overwrite(t, filepath.Join(m, "HEAD"), "") },
		"packs emptied": func(t *testing.T, m string) {
			for _, p := range glob(t, filepath.Join(m, "objects/pack/*")) {
				overwrite(t, p, "")
			}
		},
		"packs gone": func(t *testing.T, m string) {
			for _, p := range glob(t, filepath.Join(m, "objects/pack/*.pack")) {
				if err := os.Remove(p); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWork(t)
			w.commit("a.yaml", "name: a\n")
			o := gitsource.Options{URL: w.Serve(t).URL, CacheDir: t.TempDir()}
			read(t, open(t, o))
			damage(t, glob(t, filepath.Join(o.CacheDir, "*"))[0])
			if got := read(t, open(t, o)); got["a.yaml"] != "name: a\n" {
				t.Errorf("got %v", got)
			}
		})
	}
}

// A pack that broke off is not kept: a full disk would stay full of it.
func TestBrokenPackIsRemoved(t *testing.T) {
	w := newWork(t)
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	w.commit("noise.bin", string(noise))
	w.commit("a.yaml", "name: a\n")
	srv := w.Serve(t)
	whole := srv.Config.Handler
	var cut atomic.Bool
	broken := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && cut.Load() {
			rw = &breaking{rw, len(noise) / 2}
		}
		whole.ServeHTTP(rw, r)
	}))
	t.Cleanup(broken.Close)
	o := gitsource.Options{URL: broken.URL + "/acme/shop.git", CacheDir: t.TempDir()}

	cut.Store(true)
	if _, err := open(t, o).Poll(t.Context(), time.Now()); err == nil {
		t.Fatal("half a pack was taken")
	}
	packs := filepath.Join(glob(t, filepath.Join(o.CacheDir, "*"))[0], "objects", "pack")
	if left, err := filepath.Glob(filepath.Join(packs, "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}

	// What a process that was killed left is removed later.
	old, young := filepath.Join(packs, "tmp_pack_1"), filepath.Join(packs, "tmp_pack_2")
	for name, at := range map[string]time.Time{old: time.Now().Add(-2 * time.Hour), young: time.Now()} {
		if err := errors.Join(os.MkdirAll(packs, 0o755), os.WriteFile(name, nil, 0o600), os.Chtimes(name, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	cut.Store(false)
	if got := read(t, open(t, o)); got["a.yaml"] != "name: a\n" {
		t.Errorf("got %v", got)
	}
	if left := glob(t, filepath.Join(packs, "tmp_pack_*")); !slices.Equal(left, []string{young}) {
		t.Errorf("left: %v, want %s", left, young)
	}
}

// A breaking writer breaks the connection after so many bytes.
type breaking struct {
	http.ResponseWriter
	after int
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.after -= len(p); b.after < 0 {
		panic(http.ErrAbortHandler)
	}
	return b.ResponseWriter.Write(p)
}

func overwrite(t *testing.T, name, content string) {
	t.Helper()
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	return names
}

func TestRefs(t *testing.T) {
	w := newWork(t)
	one := w.commit("a.yaml", "1")
	w.Git("tag", "v1.0.0")
	w.Git("tag", "1.0.0") // the same version, spelt otherwise
	two := w.commit("a.yaml", "2")
	w.Git("tag", "-a", "v1.2.0", "-m", "annotated")
	w.Git("branch", "release")
	three := w.commit("a.yaml", "3")
	w.Git("tag", "v2.0.0-rc.1")
	w.Git("tag", "main") // a branch wins over a tag
	w.Git("tag", "nightly")
	four := w.commit("a.yaml", "4")

	tests := map[string]struct{ ref, commit, name string }{
		"HEAD":                 {"", four, "refs/heads/main"},
		"branch":               {"release", two, "refs/heads/release"},
		"branch before tag":    {"main", four, "refs/heads/main"},
		"full name":            {"refs/tags/main", three, "refs/tags/main"},
		"tag":                  {"nightly", three, "refs/tags/nightly"},
		"annotated tag":        {"v1.2.0", two, "refs/tags/v1.2.0"},
		"range":                {"^1", two, "refs/tags/v1.2.0"},
		"range, exact":         {"~1.0", one, "refs/tags/1.0.0"},
		"range, no prerelease": {">=1.0", two, "refs/tags/v1.2.0"},
		"range, prerelease":    {">=1.0-0", three, "refs/tags/v2.0.0-rc.1"},
		"commit":               {two, two, ""},
	}
	srv := w.Serve(t)
	for _, url := range []string{srv.URL, w.Dir, "file://" + w.Dir} {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				rev := poll(t, open(t, gitsource.Options{URL: url, Ref: test.ref}))
				if rev.ID != test.commit || rev.Ref != test.name {
					t.Errorf("%s: got %s at %s, want %s at %s", url, rev.Ref, rev.ID, test.name, test.commit)
				}
			})
		}
	}
}

func TestHigherVersionIsNoRewind(t *testing.T) {
	w := newWork(t)
	base := w.commit("a.yaml", "0")
	w.commit("a.yaml", "1")
	w.Git("tag", "v1.0.0")
	s := open(t, gitsource.Options{URL: w.Dir, Ref: "1.x"})
	poll(t, s)
	w.Git("checkout", "-q", base)
	w.commit("a.yaml", "hotfix")
	w.Git("tag", "v1.0.1")
	if rev := poll(t, s); rev.Ref != "refs/tags/v1.0.1" || rev.Rewind {
		t.Errorf("got %+v, want v1.0.1 and no rewind", rev)
	}
}

// A source that is configured otherwise is judged against what was seen before, whatever
// its new ref is.
func TestMoved(t *testing.T) {
	w := newWork(t)
	first := w.commit("a.yaml", "1")
	w.Git("tag", "v1.0.0")
	second := w.commit("a.yaml", "2")
	w.commit("a.yaml", "3")
	w.Git("tag", "v2.0.0")
	srv := w.Serve(t)
	other := newWork(t)
	other.commit("a.yaml", "1")
	tests := map[string]struct {
		url, ref string
		want     bool
	}{
		"an older tag":          {srv.URL, "v1.0.0", true},
		"an older version":      {srv.URL, "1.x", true},
		"an older commit":       {srv.URL, first, true},
		"the same commit":       {srv.URL, second, false},
		"a newer tag":           {srv.URL, "v2.0.0", false},
		"a newer version":       {srv.URL, ">=1", false},
		"a branch that goes on": {srv.URL, "main", false},
		"another repository":    {other.Serve(t).URL, "main", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, gitsource.Options{URL: test.url, Ref: test.ref, CacheDir: t.TempDir(), Last: second, Moved: true})
			for range 2 {
				if rev := poll(t, s); rev.Rewind != test.want {
					t.Errorf("got %+v, want rewind %v", rev, test.want)
				}
			}
		})
	}
}

func TestRewind(t *testing.T) {
	tests := map[string]struct {
		move func(w work, first string)
		want bool
	}{
		"another branch, with the same history":     {func(w work, _ string) { w.Git("checkout", "-q", "-b", "next"); w.commit("a.yaml", "3") }, false},
		"another branch, with a history of its own": {func(w work, _ string) { w.Git("checkout", "-q", "--orphan", "next"); w.commit("a.yaml", "3") }, true},
		"a commit on top":                           {func(w work, _ string) { w.commit("a.yaml", "3") }, false},
		"a merge": {func(w work, first string) {
			w.Git("checkout", "-q", "-b", "side", first)
			w.commit("b.yaml", "side")
			w.Git("checkout", "-q", "main")
			w.Git("merge", "-q", "--no-ff", "side", "-m", "Merge")
		}, false},
		"reset":   {func(w work, first string) { w.Git("reset", "-q", "--hard", first) }, true},
		"amended": {func(w work, _ string) { w.Git("commit", "-q", "--amend", "-m", "again") }, true},
		"another history": {func(w work, _ string) {
			w.Git("checkout", "-q", "--orphan", "o")
			w.Commit("o")
			w.Git("branch", "-f", "main")
		}, true},
	}
	for name, test := range tests {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", name, restart), func(t *testing.T) {
				w := newWork(t)
				first := w.commit("a.yaml", "1")
				w.commit("a.yaml", "2")
				o := gitsource.Options{URL: w.Serve(t).URL, Ref: "main", CacheDir: t.TempDir()}
				if strings.HasPrefix(name, "another branch") {
					o.Ref = "" // that which the server calls its default
				}
				s := open(t, o)
				before := poll(t, s)
				if before.Rewind {
					t.Error("the first revision is a rewind")
				}
				test.move(w, first)
				if restart {
					o.Last = before.ID
					s = open(t, o)
				}
				if rev := poll(t, s); rev.Rewind != test.want || rev.ID == before.ID {
					t.Errorf("got %+v, want rewind %v", rev, test.want)
				}
				if rev := poll(t, s); rev.Rewind != test.want {
					t.Error("a second poll forgot it")
				}
			})
		}
	}
}

func TestWhatIsMissing(t *testing.T) {
	w := newWork(t)
	w.commit("pkgs/a.yaml", "1")
	w.Git("branch", "other")
	empty := newWork(t)
	orphan := newWork(t)
	orphan.commit("README.md", "nothing else")
	absent := strings.Repeat("1234", 10)
	tests := map[string]struct {
		w    work
		o    gitsource.Options
		want string
	}{
		"branch":           {w, gitsource.Options{Ref: "mian"}, "branches: main, other"},
		"range":            {w, gitsource.Options{Ref: "^1"}, "branches: main, other"},
		"commit":           {w, gitsource.Options{Ref: absent}, absent},
		"path":             {w, gitsource.Options{Path: "deploy"}, `"deploy"`},
		"empty repository": {empty, gitsource.Options{}, "empty"},
		"no package file":  {orphan, gitsource.Options{}, "no package file"},
	}
	for name, test := range tests {
		for _, url := range []string{test.w.Serve(t).URL, test.w.Dir} {
			t.Run(name, func(t *testing.T) {
				test.o.URL = url
				s := open(t, test.o)
				rev, err := s.Poll(t.Context(), time.Now())
				if err == nil {
					_, err = s.Files(t.Context(), rev)
				}
				if !errors.Is(err, oprc.ErrNotFound) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), url) {
					t.Errorf("got %v, want not found with %q and %q", err, test.want, url)
				}
			})
		}
	}
}

func TestUnavailable(t *testing.T) {
	w := newWork(t)
	w.commit("a.yaml", "1")
	srv := w.Serve(t)
	srv.Ask("ada", "s3cret")
	host := strings.TrimPrefix(srv.Server.URL, "http://")
	tests := map[string]struct {
		o    gitsource.Options
		want string
	}{
		"nothing listens":   {gitsource.Options{URL: "http://x:s3cret@127.0.0.1:1/r.git"}, "127.0.0.1:1"},
		"wrong password":    {gitsource.Options{URL: srv.URL, Username: "ada", Password: "S3CRET"}, "refuses"},
		"in the URL":        {gitsource.Options{URL: "http://ada:wr0ng@" + host + "/.git"}, "refuses"},
		"no password":       {gitsource.Options{URL: srv.URL}, "refuses"},
		"no repository":     {gitsource.Options{URL: "http://ada:s3cret@" + host + "/nothing"}, "no such repository"},
		"no local one":      {gitsource.Options{URL: filepath.Join(w.Dir, "nothing")}, "nothing"},
		"deleted directory": {gitsource.Options{URL: "file://" + w.Dir + "/gone.git"}, "gone.git"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, test.o).Poll(t.Context(), time.Now())
			if !errors.Is(err, gitsource.ErrUnavailable) || errors.Is(err, oprc.ErrNotFound) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want unavailable with %q", err, test.want)
			}
			for _, secret := range []string{"s3cret", "S3CRET", "wr0ng"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%v tells the password", err)
				}
			}
		})
	}
	for name, o := range map[string]gitsource.Options{
		"in the URL": {URL: "http://ada:s3cret@" + host + "/.git"},
		"beside it":  {URL: srv.URL, Username: "ada", Password: "s3cret"},
		"a token":    {URL: srv.URL, Username: "ada", Token: "s3cret"},
	} {
		s := open(t, o)
		if got := read(t, s); got["a.yaml"] != "1" {
			t.Errorf("%s: got %v", name, got)
		}
		if strings.Contains(s.URL(), "s3cret") {
			t.Errorf("%s: %s shows the password", name, s.URL())
		}
	}
}

func TestOutageIsSurvived(t *testing.T) {
	w := newWork(t)
	w.commit("a.yaml", "1")
	srv := w.Serve(t)
	s := open(t, gitsource.Options{URL: srv.URL})
	rev := poll(t, s)
	srv.Fail(500)
	if _, err := s.Poll(t.Context(), time.Now()); !errors.Is(err, gitsource.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	if _, err := s.Files(t.Context(), rev); err != nil {
		t.Errorf("what is in the mirror: %v", err)
	}
	w.commit("a.yaml", "2")
	srv.Fail(0)
	if got := read(t, s); got["a.yaml"] != "2" {
		t.Errorf("after the outage: got %v", got)
	}
}

func TestTimeoutAndCancel(t *testing.T) {
	w := newWork(t)
	srv := w.Serve(t)
	stuck := make(chan struct{})
	handler := srv.Config.Handler
	srv.Config.Handler = blockUntil(stuck, handler)
	t.Cleanup(func() { close(stuck) })
	_, err := open(t, gitsource.Options{URL: srv.URL, Timeout: 50 * time.Millisecond}).Poll(t.Context(), time.Now())
	if !errors.Is(err, gitsource.ErrUnavailable) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("got %v, want unavailable: no answer in time", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, gitsource.Options{URL: srv.URL}).Poll(ctx, time.Now()); !errors.Is(err, context.Canceled) || errors.Is(err, gitsource.ErrUnavailable) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]gitsource.Options{
		"no URL":           {},
		"git protocol":     {URL: "git://host/r.git", CacheDir: "x"},
		"no cache":         {URL: "https://host/r.git"},
		"path outside":     {URL: "/r", Path: "../other"},
		"path absolute":    {URL: "/r", Path: "/etc"},
		"path backslashes": {URL: "/r", Path: `a\b`},
		"path malformed":   {URL: "/r", Path: "a/[b"},
	} {
		if _, err := new(gitsource.Hub).Open(o); !errors.Is(err, oprc.ErrInvalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
}
