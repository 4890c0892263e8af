package e2e_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A snippet is a block of shell commands of a Markdown file.
type snippet struct {
	file   string
	line   int // of its first command
	text   string
	reason string // why no test runs it
	by     string // the test that runs it
}

func (s snippet) String() string { return fmt.Sprintf("%s:%d", s.file, s.line) }

// snippets reads the blocks that begin with "```sh" or "```console", in order.
func snippets(t *testing.T, file string) []snippet {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	var all []snippet
	var next snippet // what is said above it
	open := false
	for i, line := range strings.Split(string(raw), "\n") {
		switch m := notice.FindStringSubmatch(line); {
		case m != nil && m[1] == "run":
			next.by = m[2]
		case m != nil:
			next.reason = m[2]
		case strings.HasPrefix(line, "```"):
			if open = line == "```sh" || line == "```console"; open {
				next.file, next.line = file, i+2
				all = append(all, next)
			}
			next = snippet{}
		case open:
			all[len(all)-1].text += line + "\n"
		}
	}
	return all
}

var notice = regexp.MustCompile(`^<!-- (run|not run): (.+) -->$`)

// pagesRun are the pages whose snippets TestSnippetsOfDocs runs, in order. Others have a
// test of their own, or say with each snippet why it is not run.
var pagesRun = []string{"docs/README.md", "docs/ci.md", "docs/operate.md", "README.md", "examples/05-gitops/README.md"}

// Each shell snippet of the documentation is run by a test, or says why it is not, in a
// comment above it: "<!-- not run: REASON -->", or "<!-- run: TEST -->" if not by
// TestSnippetsOfDocs.
func TestEachSnippetIsAccountedFor(t *testing.T) {
	t.Parallel()
	run := map[string]bool{"docs/api.md": true} // by TestDocsOfTheAPI of internal/rest
	for _, page := range pagesRun {
		run[page] = true
	}
	tests := sources(t, ".")
	seen := 0
	for _, page := range markdown(t) {
		for _, s := range snippets(t, page) {
			seen++
			if s.by != "" && !strings.Contains(tests, "func "+s.by+"(") {
				t.Errorf("%v: there is no test %s", s, s.by)
			}
			if !run[page] && s.by == "" && s.reason == "" {
				t.Errorf("%v is neither run nor says why not", s)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d snippets were found", seen)
	}
}

// markdown lists the documentation: what is read by those who use the program.
func markdown(t *testing.T) (pages []string) {
	t.Helper()
	pages, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"docs", "examples", "action", "deploy"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && filepath.Ext(path) == ".md" {
				pages = append(pages, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, page := range pages {
		pages[i] = filepath.ToSlash(strings.TrimPrefix(page, ".."+string(filepath.Separator)))
	}
	return pages
}

// Measurements in docs/performance.md name tests and benchmarks that exist.
func TestMeasurementsOfDocsExist(t *testing.T) {
	t.Parallel()
	measured := regexp.MustCompile(`go test \./(\S+) .*?(?:-run|-bench) '?(\w+)`)
	for _, page := range markdown(t) {
		for _, s := range snippets(t, page) {
			for _, m := range measured.FindAllStringSubmatch(strings.ReplaceAll(s.text, "-run '^$' ", ""), -1) {
				if tests := sources(t, filepath.Join("..", m[1])); !strings.Contains(tests, "func "+m[2]) && !strings.Contains(tests, "func Benchmark"+m[2]) {
					t.Errorf("%v: %s has no test %s", s, m[1], m[2])
				}
			}
		}
	}
}

// sources is the text of the tests of a directory.
func sources(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return string(all)
}

// What docs show of oprc exists: each command line is parsed by the program, with its flags.
func TestCommandsInDocsExist(t *testing.T) {
	t.Parallel()
	if _, err := parses(t, "oprc plann -f x"); err == nil {
		t.Error("a command that does not exist was accepted")
	}
	if _, err := parses(t, "oprc plan -f x --outt y"); err == nil {
		t.Error("a flag that does not exist was accepted")
	}
	seen := 0
	for _, file := range markdown(t) {
		for _, s := range snippets(t, file) {
			for i, line := range strings.Split(strings.ReplaceAll(s.text, "\\\n", " "), "\n") {
				if !shown.MatchString(line) {
					continue
				}
				seen++
				if out, err := parses(t, line); err != nil {
					t.Errorf("%s:%d: %s\n%v\n%s", file, s.line+i, line, err, out)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d command lines were found", seen)
	}
}

var shown = regexp.MustCompile(`^\s*(\w+=\S+ )*(\./)?oprc `)

// parses asks the program for the help of a command line, which it parses first.
func parses(t *testing.T, line string) ([]byte, error) {
	t.Helper()
	line = strings.Replace(line, "./oprc ", "oprc ", 1)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `oprc() { "$OPRC" "$@" --help; }`+"\n"+line)
	cmd.Dir, cmd.Env = dir, append(emptyHome(dir), "PATH="+os.Getenv("PATH"), "OPRC="+filepath.Join(bin, program), "BRANCH=next")
	return cmd.CombinedOutput()
}

// The README's tour works as it is written, block by block, for somebody who has nothing.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	tour := runBy(t, "README.md", "TestReadmeTour")
	if len(tour) != 2 {
		t.Fatalf("the tour has %d blocks: %v", len(tour), tour)
	}
	dir, home := t.TempDir(), t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS("../examples")); err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, s := range tour {
		for line := range strings.Lines(s.text) {
			command, wait := strings.TrimSpace(line), false
			if strings.HasPrefix(command, "oprc crm run") { // until Ctrl-C, says the comment
				command, _, _ = strings.Cut(command, " #")
				command, wait = `{ trap '' INT; `+command+` & }; crm=$!; oprc status hello --wait --timeout 2m; kill -INT $crm; wait $crm`, true
			}
			out, err := tourist(t, dir, home, command)
			if err != nil {
				t.Fatalf("%v: %s\n%v\n%s", s, line, err, out)
			}
			if said += out; wait && !strings.Contains(out, "RUNNING") {
				t.Errorf("%v: nothing came to run:\n%s", s, out)
			}
		}
	}
	for _, want := range []string{"OK: ", "No changes", "PENDING"} {
		if !strings.Contains(said, want) {
			t.Errorf("the tour never shows %q:\n%s", want, said)
		}
	}
}

// runBy are the snippets of a file that say that a test runs them.
func runBy(t *testing.T, file, test string) (mine []snippet) {
	t.Helper()
	for _, s := range snippets(t, file) {
		if s.by == test {
			mine = append(mine, s)
		}
	}
	return mine
}

// tourist runs a line of a shell in dir, with nothing but the program.
func tourist(t *testing.T, dir, home, command string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", command)
	cmd.Dir, cmd.WaitDelay = dir, time.Minute
	cmd.Env = append(emptyHome(home), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
