package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// bin is the directory of the real binary, which is built once for all tests,
// unless $OPRC_BIN names a directory with one: a release, say.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("E2E_CRM_DIR") != "" { // this is a child of a test Killed…
		if err := runDiskCRM(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	flag.Parse()
	if at := flag.Lookup("test.parallel"); at.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := at.Value.Set(strconv.Itoa(4 * runtime.GOMAXPROCS(0))); err != nil { // mostly they wait
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if bin = os.Getenv("OPRC_BIN"); bin != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "oprc-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, program), "../cmd/oprc")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build oprc: %v\n%s", err, out)
		return 1
	}
	bin = dir
	return m.Run()
}

var program = map[bool]string{true: "oprc.exe", false: "oprc"}[runtime.GOOS == "windows"]
