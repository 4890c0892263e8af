package e2e_test

import (
	"bytes"
	"fmt"
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
	file string
	line int // of its first command
	text string
}

func (s snippet) String() string { return fmt.Sprintf("%s:%d", s.file, s.line) }

// snippets reads the blocks that begin with "```sh", in order.
func snippets(t *testing.T, file string) []snippet {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	var all []snippet
	open := false
	for i, line := range strings.Split(string(raw), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			if open = line == "```sh"; open {
				all = append(all, snippet{file: file, line: i + 2})
			}
		case open:
			all[len(all)-1].text += line + "\n"
		}
	}
	return all
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
	files := []string{"README.md", "docs/README.md", "docs/ci.md", "docs/operate.md", "docs/protocol.md", "docs/performance.md", "docs/crm/kubernetes.md", "examples/README.md"}
	seen := 0
	for _, file := range files {
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
// Its last block needs a Redis and a repository; gitops_test.go has both.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	var tour []snippet
	for _, s := range snippets(t, "README.md") {
		if strings.HasPrefix(s.text, "oprc ") {
			tour = append(tour, s)
		}
	}
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
