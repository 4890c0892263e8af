package e2e_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// What people do to the file of a package that runs. s is what the file said.
var waysToBreak = map[string]func(dir, s string) (file string, ok bool){
	"key misspelt":        rewrite("name:", "nmae:"),
	"key capital":         rewrite("name:", "Name:"),
	"key gone":            rewrite("name: NAME\n", ""),
	"name with blanks":    rewrite("name: NAME\n", "name: \" NAME \"\n"),
	"name empty":          rewrite("name: NAME\n", "name: \"\"\n"),
	"name null":           rewrite("name: NAME\n", "name:\n"),
	"name a list":         rewrite("name: NAME\n", "name: [NAME]\n"),
	"name and a typo":     rewrite("name: NAME\nfunctions:", "name: other\nfuntions:"),
	"name and a dangling": rewrite("name: NAME\nfunctions:", "name: other\nrequired: [nowhere]\nfunctions:"),
	"name and a binding":  rewrite("name: NAME\n", "name: other\n", "function: .f", "function: .g"),
	"field unknown":       rewrite("functions:", "funtions:"),
	"reference dangling":  rewrite("function: .f", "function: .g"),
	"environment unknown": rewrite("targetEnvs: [edge]", "targetEnvs: [mars]"),
	"split in two":        rewrite("deployments:", "---\ndeployments:"),
	"second document bad": rewrite("deployments:", "deployments: []\n---\nname: more\nclases: []\nx:"),
	"bracket open":        rewrite("[edge]", "[edge"),
	"tab":                 rewrite("  - name: f", "\t- name: f"),
	"conflict markers":    rewrite("functions:", "<<<<<<< HEAD\nfunctions:"),
	"a list":              rewrite("name: NAME\n", "- name: NAME\n"),
	"half of it":          func(_, s string) (string, bool) { return s[:len(s)/2] + "\n  {", true },
	"empty":               func(_, _ string) (string, bool) { return "", true },
	"comments":            func(_, s string) (string, bool) { return "# " + strings.ReplaceAll(s, "\n", "\n# "), true },
	"a Kubernetes object": func(_, _ string) (string, bool) {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", true
	},
	"a large-file pointer": func(_, _ string) (string, bool) {
		return "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", true
	},
	"conflict in full": func(_, s string) (string, bool) {
		return "<<<<<<< HEAD\n" + s + "=======\n" + newer(s) + ">>>>>>> other\n", true
	},
	"UTF-16": func(_, s string) (string, bool) {
		out := "\xff\xfe"
		for _, r := range s {
			out += string(r) + "\x00"
		}
		return out, true
	},
	"alias of nothing":           rewrite("[edge]", "*envs"),
	"alias in itself":            rewrite("functions:", "functions: &a\n  - *a"),
	"no-break space":             rewrite("name: ", "name:\u00a0"),
	"twice in one file":          func(_, s string) (string, bool) { return s + "---\n" + s, true },
	"beside a dangling one":      func(_, s string) (string, bool) { return newer(s) + "---\nname: more\nrequired: [nowhere]\n", true },
	"behind a misspelt one":      func(_, s string) (string, bool) { return "name: more\nclases: []\n---\n" + newer(s), true },
	"dashes":                     func(_, _ string) (string, bool) { return "---\n---\n...\n", true },
	"a template":                 rewrite("name: NAME\n", "name: {{ .Values.name }}\n"),
	"encrypted":                  func(_, _ string) (string, bool) { return "\x00GITCRYPT\x00\x01\x02", true },
	"an environment of its kind": func(_, s string) (string, bool) { return "kind: Environment\n" + s, true },
	"a link":                     func(dir, _ string) (string, bool) { return "", link(dir) == nil },
	"bytes that are no text":     func(_, s string) (string, bool) { return s + "\x00\xff", true },
}

// newer is the file with another image.
func newer(s string) string { return strings.Replace(s, ":1\"", ":2\"", 1) }

// rewrite replaces texts of the file, in pairs.
func rewrite(pairs ...string) func(string, string) (string, bool) {
	return func(dir, s string) (string, bool) {
		for i := range pairs {
			pairs[i] = strings.ReplaceAll(pairs[i], "NAME", filepath.Base(dir))
		}
		out := s
		for i := 0; i < len(pairs); i += 2 {
			out = strings.Replace(out, pairs[i], pairs[i+1], 1)
		}
		return out, out != s
	}
}

// link puts a link to nowhere in the place of the file.
func link(dir string) error {
	name := filepath.Join(dir, "shop.yaml")
	return errors.Join(os.Remove(name), os.Symlink("../nowhere.yaml", name))
}

// Whatever becomes of its file, what runs goes on, and nothing is stored or deployed
// that validate refuses.
func TestWaysToBreakTheFileOfARunningPackage(t *testing.T) {
	t.Parallel()
	store := rdbtest.Server(t)
	repo := gittest.New(t)
	repo.Write("env/edge.yaml", "kind: Environment\nname: edge\n")
	config := fmt.Sprintf("redis: {url: %q}\nsources:\n", store)
	names := map[string]string{}
	srv := repo.Serve(t)
	add := func(name string) {
		config += fmt.Sprintf("  - {name: %s, interval: 1h, path: %s, url: %q}\n", name, name, srv.URL)
	}
	add("env")
	for i, way := range slices.Sorted(maps.Keys(waysToBreak)) {
		name := fmt.Sprintf("p%04d", i)
		names[way] = name
		repo.Write(name+"/shop.yaml", numbered(i, 1))
		repo.Write(name+"/beside.yaml", fmt.Sprintf("name: beside%d\n", i))
		add(name)
	}
	first := repo.Commit("first")
	d := serve(t, config)
	for _, name := range names {
		d.ready(name, "True "+first)
	}
	c := chaosClient(t, store)
	stored := func() map[string]string {
		out := map[string]string{}
		for _, key := range []string{"oaas_pm:{catalog}:packages", "oaas_pm:{env:edge}:digests"} {
			all, err := c.HGetAll(t.Context(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(out, all)
		}
		return out
	}
	within(t, patience, "every package runs", func() string {
		if n := len(stored()); n != 3*len(names) {
			return fmt.Sprintf("%d objects", n)
		}
		return ""
	})
	before := stored()
	for way, name := range names {
		dir := filepath.Join(repo.Dir, name)
		s, err := os.ReadFile(filepath.Join(dir, "shop.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		broken, ok := waysToBreak[way](dir, string(s))
		if !ok {
			t.Fatalf("%s: nothing was broken", way)
		}
		if way != "a link" {
			repo.Write(name+"/shop.yaml", broken)
		}
	}
	second := repo.Commit("broken")
	for _, name := range names {
		res, err := http.Post("http://"+d.addr+"/sources/"+name+"/reconcile", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	for way, name := range names {
		within(t, patience, way+" is seen", func() string {
			if s := d.source(name); s.Revision != second || s.Receipt == nil || s.Receipt.Revision != second {
				return s.Revision
			}
			return ""
		})
		validate := exec.CommandContext(t.Context(), filepath.Join(bin, "oprc"), "validate", "-f", filepath.Join(repo.Dir, name))
		validate.Env = []string{"HOME=" + t.TempDir()}
		said, _ := validate.CombinedOutput()
		refused := validate.ProcessState.ExitCode() == 3
		s := d.source(name)
		i := slices.IndexFunc(s.Conditions, func(c core.SourceCondition) bool { return c.Type == "Ready" })
		ready := s.Conditions[i]
		switch {
		case refused && ready.Status && way != "a link" && way != "environment unknown":
			t.Errorf("%s: validate refuses it, the source says %s\n%s", way, ready.Message, said)
		case !refused && !strings.Contains(ready.Message, "shop.yaml"):
			t.Errorf("%s: validate takes it, and nothing is said of the file: %s\n%s", way, ready.Message, said)
		}
	}
	if diff := cmp.Diff(before, stored()); diff != "" {
		t.Errorf("something was deployed, pruned or stored: -before +after\n%s", diff)
	}
}
