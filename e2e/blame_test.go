//go:build endurance

package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

// A blameRepo is a repository of a parent package and two that inherit from it. Each line
// that is judged sets one field, and is the only line of its file that reads so.
type blameRepo struct {
	*gittest.Repo
	rng      *rand.Rand
	packages []string
	file     map[string]string // package -> its file now
	funcs    map[string][]int  // package -> numbers of its functions, in the file's order
	image    map[string]int    // package/number -> version of the image
	bound    [2]int            // of the parent's bindings
	notes    map[string]int    // package -> lines of comment at the file's head
	moves    int
}

func newBlameRepo(t *testing.T, seed uint64) *blameRepo {
	r := &blameRepo{
		Repo: gittest.New(t), rng: rand.New(rand.NewPCG(seed, 1)), packages: []string{"base", "east", "west"},
		file: map[string]string{}, funcs: map[string][]int{}, image: map[string]int{}, notes: map[string]int{},
	}
	for _, p := range r.packages {
		r.file[p], r.funcs[p] = p+".yaml", []int{0, 1, 2, 3, 4, 5}
		r.write(p)
	}
	return r
}

func (r *blameRepo) write(p string) {
	var b strings.Builder
	for i := range r.notes[p] {
		fmt.Fprintf(&b, "# note %d of package %s\n", i, p)
	}
	fmt.Fprintf(&b, "name: %s\nfunctions:\n", p)
	for _, i := range r.funcs[p] {
		fmt.Fprintf(&b, "  - name: f%d\n    provision:\n      knative:\n        image: registry.example/%s/function-%[1]d:%[3]d\n", i, p, r.image[fmt.Sprint(p, "/", i)])
	}
	b.WriteString("classes:\n  - name: c\n")
	if p == "base" { // its first two functions are always there
		for i, n := range r.bound {
			fmt.Fprintf(&b, "%s      - name: b%d\n        function: .f%d\n", map[bool]string{true: "    functions:\n"}[i == 0], i, 2*n+i)
		}
	} else {
		b.WriteString("    parents: [base.c]\n")
	}
	r.Write(r.file[p], b.String())
}

// step changes something, and commits it as somebody.
func (r *blameRepo) step(n int) {
	p := r.packages[r.rng.IntN(len(r.packages))]
	what := ""
	switch k := r.rng.IntN(20); {
	case k < 8: // an image, or several
		for range 1 + r.rng.IntN(3) {
			i := r.funcs[p][r.rng.IntN(len(r.funcs[p]))]
			r.image[fmt.Sprint(p, "/", i)] = r.rng.IntN(4)
			what += fmt.Sprintf("image of %s.f%d; ", p, i)
		}
	case k < 11:
		p, what = "base", "another function bound by the parent"
		b := r.rng.IntN(2)
		r.bound[b] = 1 - r.bound[b]
	case k < 13:
		what = "a comment that moves all lines of " + p
		r.notes[p] += r.rng.IntN(3) - min(1, r.notes[p])
	case k < 15:
		r.moves++
		to := fmt.Sprintf("d%d/%s-%d.yaml", r.moves%3, p, r.moves)
		r.Git("rm", "-q", "--cached", r.file[p])
		if err := os.Remove(filepath.Join(r.Dir, r.file[p])); err != nil {
			panic(err)
		}
		r.file[p], what = to, p+" moves to "+to
	case k < 17 && p != "base":
		what = "a function comes or goes in " + p
		if i := slices.Index(r.funcs[p], 5); i >= 0 {
			r.funcs[p] = slices.Delete(r.funcs[p], i, i+1)
		} else {
			r.funcs[p] = slices.Insert(r.funcs[p], r.rng.IntN(len(r.funcs[p])+1), 5)
		}
	default:
		what = "the version of " + p + " goes back"
		for _, i := range r.funcs[p] {
			r.image[fmt.Sprint(p, "/", i)] = 0
		}
	}
	r.write(p)
	r.Git("add", "-A")
	author := []string{"Ann <ann@example.org>", "Bob <bob@example.org>", "Cy <cy@example.org>"}[n%3]
	r.Git("commit", "-q", "--allow-empty", "--author", author, "-m", what)
}

// A claim is what blame says of a field, or git blame of its line.
type claim struct{ Value, Commit, Author, File, Line string }

var (
	judged     = regexp.MustCompile(`^ +(image|function): (\S+)$`)
	blamedLine = regexp.MustCompile(`^([0-9a-f]{40}) (\d+) (\d+)`)
)

// oracle asks git blame for each judged line of a file, by the field's value.
func (r *blameRepo) oracle(file string) map[string]claim {
	out := map[string]claim{}
	authors, files := map[string]string{}, map[string]string{}
	var commit, line string
	for l := range strings.SplitSeq(r.Git("blame", "--line-porcelain", file), "\n") {
		if m := blamedLine.FindStringSubmatch(l); m != nil {
			commit, line = m[1], m[2]
		} else if name, ok := strings.CutPrefix(l, "author "); ok {
			authors[commit] = name
		} else if name, ok := strings.CutPrefix(l, "filename "); ok {
			files[commit] = name
		} else if text, ok := strings.CutPrefix(l, "\t"); ok {
			if m := judged.FindStringSubmatch(text); m != nil {
				out[m[2]] = claim{m[2], commit, authors[commit], files[commit], line}
			}
		}
	}
	return out
}

// Who set what is live is who git says last wrote its line: through moves of files, values
// that went and came back, comments, and inheritance.
func TestBlameIsGitBlame(t *testing.T) {
	t.Parallel()
	const commits, seed = 200, 16
	store := rdbtest.Start(t, "")
	repo := newBlameRepo(t, seed)
	db, err := rdb.Open(t.Context(), rdb.Options{URL: store.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r := &reconcile.Reconciler{Ledger: db, Load: schema.Load, Now: time.Now}
	repo.Commit("first")
	apply := func() {
		head := strings.Split(repo.Git("log", "-1", "--format=%H%n%an%n%s"), "\n")
		var files []core.File
		for _, p := range repo.packages {
			data, err := os.ReadFile(filepath.Join(repo.Dir, repo.file[p]))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, core.File{Path: repo.file[p], Data: data, Found: true})
		}
		req := reconcile.Request{Files: files, KeepGoing: true, Heal: true, Actor: head[1], Scope: plan.Scope{Origin: "git:main", Complete: true}}
		if _, err := r.Apply(t.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Name: head[1], Revision: head[0], Message: head[2]}); err != nil {
			t.Fatalf("%s: %v", head[2], err)
		}
	}
	apply()
	for n := range commits {
		repo.step(n)
		if n%20 == 19 && repo.Git("diff", "--name-only", "HEAD~1") != "" {
			apply()
			repo.Git("revert", "--no-edit", "HEAD")
			repo.reread()
		}
		apply()
	}

	home := t.TempDir()
	url := store.URL()
	asked := 0
	for _, p := range repo.packages {
		direct, stderr, code := oprc(t, home, "--redis", url, "blame", "package", p, "-o", "json")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		got, want := claims(t, direct, "image"), repo.oracle(repo.file[p])
		maps.DeleteFunc(want, func(value string, _ claim) bool { return !strings.HasPrefix(value, "registry") })
		asked += len(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("package %s (-git blame +oprc blame):\n%s", p, diff)
		}
	}
	inherited, _, _ := oprc(t, home, "--redis", url, "blame", "class", "east.c", "functions", "-o", "json")
	want := repo.oracle(repo.file["base"])
	maps.DeleteFunc(want, func(value string, _ claim) bool { return strings.HasPrefix(value, "registry") })
	if diff := cmp.Diff(want, claims(t, inherited, "function")); diff != "" || len(want) != 2 {
		t.Errorf("what class east.c inherits (-git blame +oprc blame):\n%s", diff)
	}
	if !strings.Contains(inherited, `"from": "class base.c"`) {
		t.Errorf("it does not say where that comes from:\n%s", inherited)
	}
	if asked < 15 {
		t.Errorf("only %d lines were judged", asked)
	}

	d := serve(t, fmt.Sprintf("redis: {url: %q}\n", url))
	remote, stderr, code := oprc(t, home, "--server", "http://"+d.addr, "blame", "class", "east.c", "functions", "-o", "json")
	if code != 0 || remote != inherited {
		t.Errorf("over a server: exit code %d, %s\n%s", code, stderr, cmp.Diff(inherited, remote))
	}
}

// reread takes the model from the worktree, after a revert.
func (r *blameRepo) reread() {
	for _, p := range r.packages {
		files := strings.Fields(r.Git("ls-files", p+".yaml", "d*/"+p+"-*.yaml"))
		if len(files) != 1 {
			r.fail("package %s is in %q", p, files)
		}
		r.file[p], r.funcs[p], r.notes[p] = files[0], nil, 0
		data, err := os.ReadFile(filepath.Join(r.Dir, files[0]))
		if err != nil {
			r.fail("%v", err)
		}
		for l := range strings.Lines(string(data)) {
			l = strings.TrimSpace(l)
			if strings.HasPrefix(l, "# note") {
				r.notes[p]++
			} else if rest, ok := strings.CutPrefix(l, "image: registry.example/"+p+"/function-"); ok {
				number, version, _ := strings.Cut(rest, ":")
				i := r.number(number)
				r.funcs[p] = append(r.funcs[p], i)
				r.image[fmt.Sprint(p, "/", i)] = r.number(version)
			} else if rest, ok := strings.CutPrefix(l, "function: .f"); ok {
				n := r.number(rest)
				r.bound[n%2] = n / 2
			}
		}
	}
}

func (r *blameRepo) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		r.fail("%v", err)
	}
	return n
}

func (r *blameRepo) fail(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// claims reads what blame printed of the fields that end so, by value.
func claims(t *testing.T, text, field string) map[string]claim {
	t.Helper()
	var doc struct {
		Fields []struct {
			Path, Author, Commit, File string
			Line                       int
			Value                      any
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out := map[string]claim{}
	for _, f := range doc.Fields {
		if strings.HasSuffix(f.Path, "/"+field) {
			value := fmt.Sprint(f.Value)
			out[value] = claim{value, f.Commit, f.Author, f.File, strconv.Itoa(f.Line)}
		}
	}
	return out
}
