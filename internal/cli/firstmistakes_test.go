package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What somebody types who comes from another tool, or mistypes, is answered with the
// command that does it.
func TestFirstMistakes(t *testing.T) {
	u := newUser(t)
	file := u.file("shop.yaml", "name: shop\n")
	for line, want := range map[string]string{
		"apply " + file: "oprc apply -f " + file, "plan " + u.home: "oprc plan -f " + u.home, "validate " + file: "oprc validate -f " + file, "delete " + file: "oprc delete -f " + file,
		"delete shop": "oprc delete package shop", "valdate": "did you mean validate", "rollback shop": "oprc undo PACKAGE", "destroy": "oprc delete package NAME", "lint": "oprc validate -f PATH",
		"help X": `unknown command "X"`, "help valdate": "did you mean validate", "help source aprove": "did you mean approve", "get pakages": "did you mean packages", "fmt": "-f PATH",
		"create -f " + file: "oprc apply -f PATH", "source aprove x --hard": "did you mean approve", "pods": `unknown command "pods"`, "units": "oprc get units", "edit package shop": "oprc export PACKAGE",
		"deploy -f " + file: "oprc apply -f PATH", "get pods": "did you mean units", "describe node x": "did you mean environments", "apply --wiat -f " + file: "did you mean --wait",
		"history package shop": "without the kind: oprc history shop", "diff -f " + file: "oprc plan -f PATH", "-v": "oprc version", "get units -n shop": "--package", "rollout undo shop": "oprc undo PACKAGE",
		"crm run": "For example: oprc crm run --env", "source aprove": "oprc source --help lists the commands",
		"status": "oprc status takes PACKAGE | DEPLOYMENT: none is given", "history a b": "oprc history takes PACKAGE, got a b", "version x": `oprc version takes no argument, got "x"`, "blame package": "oprc blame package NAME",
	} {
		if got := u.run(strings.Fields(line)...); got.code != 64 || !strings.Contains(got.err, want) {
			t.Errorf("%s: got %+v, want exit 64 and %q", line, got, want)
		}
	}
	if got := u.must("--version"); got != u.must("version") {
		t.Errorf("--version prints\n%s", got)
	}
	for _, line := range []string{"help apply", "apply --help"} {
		got := u.must(strings.Fields(line)...)
		usage, examples, codes := strings.Index(got, "Usage:"), strings.Index(got, "Examples:"), strings.Index(got, "Exit codes:")
		if usage < 0 || examples < usage || codes < examples || strings.Index(got, "--wait") > codes {
			t.Errorf("%s: usage, examples, flags and exit codes are not in that order:\n%s", line, got)
		}
	}
}

func TestPipesAndDevices(t *testing.T) {
	u := newUser(t)
	data := "name: shop\nclasses: [{name: c}]\n"
	file := u.file("shop.yaml", data)
	pipe := filepath.Join(u.home, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { _ = os.WriteFile(pipe, []byte(data), 0) }() // the reader says what is wrong
	if got := u.run("validate", "-f", pipe); got.code != 0 {
		t.Errorf("a pipe: %+v", got)
	}
	device := u.file("target", "")
	link := filepath.Join(u.home, "out")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	u.must("plan", "-f", file, "--out", link)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("--out replaced a link to a device: %v %v", info, err)
	}
	u.must("plan", "-f", file, "--out", device)
	if got := u.run("plan", "-f", file, "--out", "-"); got.code != 0 || !strings.HasPrefix(got.out, "{") {
		t.Errorf("--out -: %+v", got)
	}
}
