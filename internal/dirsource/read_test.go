package dirsource_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// tree writes files below a new directory and makes it the working directory.
func tree(t *testing.T, names ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, n := range names {
		write(t, n, "content of "+n)
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	files := []string{
		"a.yaml", "pkgs/b.yml", "pkgs/c.json", "pkgs/deep/d.yaml", "pkgs/README.md", "pkgs/oprc.yaml", "pkgs/images.json",
		"pkgs/.hidden/e.yaml", "pkgs/.f.yaml", "pkgs/deep/package.json", "pkgs/E.YAML", "plain", "empty/README.md",
	}
	all := []string{"+pkgs/E.YAML", "+pkgs/b.yml", "+pkgs/c.json", "+pkgs/deep/d.yaml", "+pkgs/deep/package.json", "+pkgs/images.json"}
	tests := map[string]struct {
		paths []string
		want  []string // "+" before what was found, and not named itself
	}{
		"a file":                        {[]string{"a.yaml"}, []string{"a.yaml"}},
		"a file of any name":            {[]string{"plain"}, []string{"plain"}},
		"a named file that is not read": {[]string{"pkgs/oprc.yaml"}, []string{"pkgs/oprc.yaml"}},
		"a directory":                   {[]string{"pkgs"}, all},
		"a directory, with a slash":     {[]string{"pkgs/"}, all},
		"the working directory":         {[]string{"."}, append([]string{"+a.yaml"}, all...)},
		"a glob of files":               {[]string{"pkgs/*.y*ml"}, []string{"+pkgs/b.yml"}},
		"a glob of everything":          {[]string{"pkgs/*"}, all},
		"once, however often named":     {[]string{"pkgs", "pkgs/c.json", "pkgs/*.json", "./pkgs"}, []string{"+pkgs/E.YAML", "+pkgs/b.yml", "+pkgs/c.json", "+pkgs/deep/d.yaml", "+pkgs/deep/package.json", "+pkgs/images.json"}},
		"sorted":                        {[]string{"pkgs/c.json", "a.yaml"}, []string{"a.yaml", "pkgs/c.json"}},
		"standard input":                {[]string{"-", "a.yaml", "-"}, []string{"<stdin>", "a.yaml"}},
		"nothing":                       {nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tree(t, files...)
			got, err := dirsource.Read(test.paths, strings.NewReader("content of <stdin>"))
			if err != nil {
				t.Fatal(err)
			}
			var want []oprc.File
			for _, n := range test.want {
				n, found := strings.CutPrefix(n, "+")
				want = append(want, oprc.File{Path: n, Data: []byte("content of " + n), Found: found})
			}
			if diff := cmp.Diff(want, got.Files); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestReadPassesOverWhatIsIgnored(t *testing.T) {
	tree(t, "pkgs/a.yaml", "pkgs/chart/values.yaml", "pkgs/team/local.yaml", "pkgs/team/b.yaml")
	write(t, "pkgs/.oprcignore", "chart/\n")
	write(t, "pkgs/team/.oprcignore", "/local.yaml\n")
	read, err := dirsource.ReadAll([]string{"pkgs", "pkgs/chart/values.yaml"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range read.Files {
		got = append(got, f.Path)
	}
	if diff := cmp.Diff([]string{"pkgs/a.yaml", "pkgs/chart/values.yaml", "pkgs/team/b.yaml"}, got); diff != "" { // what is named is read
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"pkgs/chart", "pkgs/team/local.yaml"}, read.Unread); diff != "" {
		t.Errorf("passed over: -want +got:\n%s", diff)
	}
}

func TestReadNamesWhatIsMissing(t *testing.T) {
	tests := map[string]struct{ path, why string }{
		"no such file":          {"nowhere.yaml", "no such file or directory"},
		"no such directory":     {"nowhere/", "no such file or directory"},
		"nothing in it":         {"empty", "holds no *.yaml"},
		"a glob matches none":   {"pkgs/*.toml", "matches no"},
		"a glob matches others": {"empty/*", "matches no"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tree(t, "a.yaml", "pkgs/b.yaml", "empty/README.md")
			_, err := dirsource.Read([]string{"a.yaml", test.path}, nil)
			if !errors.Is(err, oprc.ErrNotFound) || !strings.Contains(err.Error(), test.path) || !strings.Contains(err.Error(), test.why) {
				t.Errorf("got %v, want a not-found error with %q and %q", err, test.path, test.why)
			}
		})
	}
}

func TestReadFollowsNoLinkOutOfTheDirectory(t *testing.T) {
	tree(t, "secret.yaml", "out/o.yaml", "pkgs/..data/cm.yaml", "pkgs/a.yaml")
	links := map[string]string{
		"pkgs/secret.yaml":  "../secret.yaml",
		"pkgs/out":          "../out",
		"pkgs/loop":         ".",
		"pkgs/dangling.yml": "nowhere",
		"pkgs/..was":        "../out",         // hidden, as what Kubernetes mounts beside it
		"pkgs/again.yaml":   "a.yaml",         // read under its own name
		"pkgs/cm.yaml":      "..data/cm.yaml", // how Kubernetes mounts a ConfigMap
		"mount":             "pkgs",           // the named path itself may be a link
	}
	for name, target := range links {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, root := range []string{"pkgs", "mount"} {
		got, err := dirsource.ReadAll([]string{root}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{root + "/dangling.yml", root + "/loop", root + "/out", root + "/secret.yaml"}, got.Unread); diff != "" {
			t.Errorf("%s: passed over: -want +got:\n%s", root, diff)
		}
		want := []oprc.File{
			{Path: root + "/a.yaml", Data: []byte("content of pkgs/a.yaml"), Found: true},
			{Path: root + "/cm.yaml", Data: []byte("content of pkgs/..data/cm.yaml"), Found: true},
		}
		wantLinks := []string{
			root + "/dangling.yml (a link to nowhere, which does not exist)",
			root + "/loop (a link to ., which is a directory)",
			root + "/out (a link to ../out, which is a directory)",
			root + "/secret.yaml (a link to ../secret.yaml, which leads out of the directory)",
		}
		if diff := cmp.Diff(wantLinks, got.Links); diff != "" {
			t.Errorf("%s: links: -want +got:\n%s", root, diff)
		}
		if diff := cmp.Diff(want, got.Files); diff != "" {
			t.Errorf("%s: -want +got:\n%s", root, diff)
		}
	}
}

func TestReadStopsAByteAfterTheLimit(t *testing.T) {
	tree(t)
	write(t, "big.yaml", "")
	if err := os.Truncate("big.yaml", 3*oprc.MaxFileSize); err != nil {
		t.Fatal(err)
	}
	got, err := dirsource.Read([]string{"big.yaml"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Files[0].Data); n != oprc.MaxFileSize+1 {
		t.Errorf("got %d bytes, want %d", n, oprc.MaxFileSize+1)
	}
}
