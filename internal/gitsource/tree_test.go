package gitsource_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/oprc"
)

func blockUntil(release <-chan struct{}, then http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		then.ServeHTTP(w, r)
	})
}

func TestPaths(t *testing.T) {
	w := newWork(t)
	for _, name := range []string{
		"root.yaml", "oprc.yaml", ".github/ci.yaml", "apps/shop/a.yaml", "apps/shop/deep/b.json", "apps/shop/c.md",
		"apps/blog/d.yml", "apps/test/t.yaml", "apps/blog/IMAGES.JSON",
	} {
		w.Write(name, name)
	}
	w.Commit("Everything")
	tests := map[string]struct {
		path   string
		ignore []string
		want   []string
	}{
		"everything":   {"", nil, []string{"apps/blog/IMAGES.JSON", "apps/blog/d.yml", "apps/shop/a.yaml", "apps/shop/deep/b.json", "apps/test/t.yaml", "root.yaml"}},
		"a dot":        {"./", nil, []string{"apps/blog/IMAGES.JSON", "apps/blog/d.yml", "apps/shop/a.yaml", "apps/shop/deep/b.json", "apps/test/t.yaml", "root.yaml"}},
		"a directory":  {"apps/shop/", nil, []string{"apps/shop/a.yaml", "apps/shop/deep/b.json"}},
		"a file":       {"apps/shop/a.yaml", nil, []string{"apps/shop/a.yaml"}},
		"directories":  {"apps/*o*", nil, []string{"apps/blog/IMAGES.JSON", "apps/blog/d.yml", "apps/shop/a.yaml", "apps/shop/deep/b.json"}},
		"files":        {"apps/*/*.yaml", nil, []string{"apps/shop/a.yaml", "apps/test/t.yaml"}},
		"any depth":    {"**/*.json", nil, []string{"apps/shop/deep/b.json"}},
		"ignored":      {"", []string{"test/", "*.json", "*.JSON", "/root.yaml"}, []string{"apps/blog/d.yml", "apps/shop/a.yaml"}},
		"ignored back": {"apps", []string{"*.y*ml", "!a.yaml"}, []string{"apps/blog/IMAGES.JSON", "apps/shop/a.yaml", "apps/shop/deep/b.json"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, gitsource.Options{URL: w.Dir, Path: test.path, Ignore: test.ignore})
			files, err := s.Files(t.Context(), poll(t, s))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range files {
				got = append(got, f.Path)
				if string(f.Data) != f.Path {
					t.Errorf("%s: got content %q", f.Path, f.Data)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What .oprcignore names is not read, and is known to be there.
func TestIgnoreFiles(t *testing.T) {
	w := newWork(t)
	for _, name := range []string{"a.yaml", "chart/values.yaml", "team/b.yaml", "team/local.yaml", "team/keep.json", "other/local.yaml"} {
		w.Write(name, name)
	}
	w.Write(".oprcignore", "# not ours\r\nchart/\r\n*.json\r\n")
	w.Write("team/.oprcignore", "local.yaml\n!keep.json\n")
	w.Commit("Everything")
	s := open(t, gitsource.Options{URL: w.Dir})
	files, err := s.Files(t.Context(), poll(t, s))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Path)
	}
	if diff := cmp.Diff([]string{"a.yaml", "other/local.yaml", "team/b.yaml", "team/keep.json"}, got); diff != "" {
		t.Errorf("read: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"chart", "team/local.yaml"}, s.Unread()); diff != "" {
		t.Errorf("passed over: -want +got:\n%s", diff)
	}
}

func TestOddFilesAreNeverSilentlyLeftOut(t *testing.T) {
	w := newWork(t)
	w.Write("pkgs/good.yaml", "name: good")
	w.Write("pkgs/lfs.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n")
	w.Write("pkgs/big.yaml", strings.Repeat("#", oprc.MaxFileSize+2))
	w.Write("pkgs/limit.yaml", strings.Repeat("#", oprc.MaxFileSize))
	for name, target := range map[string]string{
		"pkgs/secret.yaml": "../../../etc/passwd", "pkgs/dir": "../elsewhere", "outside.yaml": "pkgs/good.yaml",
	} {
		if err := os.Symlink(target, filepath.Join(w.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	other := newWork(t)
	other.commit("sub.yaml", "name: sub")
	w.Git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", other.Dir, "pkgs/sub")
	w.Commit("Everything")
	s := open(t, gitsource.Options{URL: w.Dir, Path: "pkgs"})
	got := read(t, s)
	if n := len(got["pkgs/big.yaml"]); n != oprc.MaxFileSize+1 {
		t.Errorf("big.yaml: got %d bytes, want %d", n, oprc.MaxFileSize+1)
	}
	if n := len(got["pkgs/limit.yaml"]); n != oprc.MaxFileSize {
		t.Errorf("limit.yaml: got %d bytes, want all %d", n, oprc.MaxFileSize)
	}
	delete(got, "pkgs/big.yaml")
	delete(got, "pkgs/limit.yaml")
	want := map[string]string{
		"pkgs/good.yaml": "name: good",
		"pkgs/lfs.yaml":  "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files: -want +got:\n%s", diff)
	}
	notes := s.Notes()
	slices.Sort(notes)
	wantNotes := []string{
		"pkgs/big.yaml: is too large to be read",
		"pkgs/dir: is a symbolic link, which is not followed",
		"pkgs/lfs.yaml: is a Git LFS pointer; packages belong into the repository itself",
		`pkgs/secret.yaml: is a symbolic link to "../../../etc/passwd", which is not followed`,
		"pkgs/sub: is a submodule, which is not read",
	}
	if diff := cmp.Diff(wantNotes, notes); diff != "" {
		t.Errorf("notes: -want +got:\n%s", diff)
	}
}

func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	w := newWork(t)
	w.Write("a/a.yaml", "a")
	w.commit("b/b.yaml", "b")
	s := open(t, gitsource.Options{URL: w.Dir})
	first, err := s.Files(t.Context(), poll(t, s))
	if err != nil {
		t.Fatal(err)
	}
	w.commit("b/b.yaml", "changed")
	second, err := s.Files(t.Context(), poll(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if &first[0].Data[0] != &second[0].Data[0] {
		t.Error("a.yaml did not change, and was read again")
	}
	if string(second[1].Data) != "changed" {
		t.Errorf("b.yaml: got %q", second[1].Data)
	}
}

func TestRepackedLocalRepository(t *testing.T) {
	w := newWork(t)
	w.commit("a.yaml", "1")
	s := open(t, gitsource.Options{URL: w.Dir})
	read(t, s)
	w.commit("a.yaml", "2")
	w.Git("gc", "-q", "--prune=now")
	if got := read(t, s); got["a.yaml"] != "2" {
		t.Errorf("got %v", got)
	}
}

// A few objects that unfold to millions of files are refused in little time.
func TestATreeThatUnfoldsIsRefused(t *testing.T) {
	w := newWork(t)
	blob := w.GitWith("name: a\n", "hash-object", "-w", "--stdin")
	entry := "100644 blob " + blob + "\tf%d.yaml\n"
	for range 9 {
		var tree strings.Builder
		for i := range 10 {
			fmt.Fprintf(&tree, entry, i)
		}
		entry = "040000 tree " + w.GitWith(tree.String(), "mktree") + "\td%d\n"
	}
	top := w.GitWith(fmt.Sprintf(entry, 0), "mktree")
	w.Git("update-ref", "refs/heads/main", w.Git("commit-tree", "-m", "bomb", top))
	s := open(t, gitsource.Options{URL: w.Serve(t).URL})
	began := time.Now()
	_, err := s.Files(t.Context(), poll(t, s))
	if !errors.Is(err, oprc.ErrInvalid) || !strings.Contains(err.Error(), "more than 1000000 files") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

// Git does not make such names, but a repository may hold them.
func TestNamesThatNoFileMayHave(t *testing.T) {
	w := newWork(t)
	w.commit("good.yaml", "name: good\n")
	blob := w.Git("rev-parse", "HEAD:good.yaml")
	id, err := hex.DecodeString(blob)
	if err != nil {
		t.Fatal(err)
	}
	tree := ""
	for _, name := range []string{"../../evil.yaml", "..", "good.yaml"} {
		tree += "100644 " + name + "\x00" + string(id)
	}
	top := w.GitWith(tree, "hash-object", "-t", "tree", "-w", "--stdin", "--literally")
	w.Git("update-ref", "refs/heads/main", w.Git("commit-tree", "-m", "evil", top))
	s := open(t, gitsource.Options{URL: w.Dir})
	if got := read(t, s); len(got) != 1 || got["good.yaml"] == "" {
		t.Errorf("got %v", got)
	}
	want := []string{`"../../evil.yaml" in /: is a name that no file may have; it is not read`, `".." in /: is a name that no file may have; it is not read`}
	if diff := cmp.Diff(want, s.Notes()); diff != "" {
		t.Errorf("notes: -want +got:\n%s", diff)
	}
}

// However many files are odd, the notes stay few.
func TestManyOddFiles(t *testing.T) {
	w := newWork(t)
	w.Write("a.yaml", "name: a\n")
	for i := range 70 {
		if err := os.Symlink("a.yaml", filepath.Join(w.Dir, fmt.Sprintf("link%d.yaml", i))); err != nil {
			t.Fatal(err)
		}
	}
	w.Commit("links")
	s := open(t, gitsource.Options{URL: w.Dir})
	rev, err := s.Poll(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Files(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	if notes := s.Notes(); len(notes) != 51 || notes[50] != "and 20 more files are odd" {
		t.Errorf("%d notes: %q", len(notes), notes)
	}
}
