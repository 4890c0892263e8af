package e2e_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// This file makes the arrows of the house executable: which room may import
// which, where each third-party module lives, and what the pure rooms must not
// reach for. A new arrow is drawn here first, in a commit of its own.

const module = "github.com/oaas-platform/oprc"

var (
	pure     = []string{"internal/oprc", "internal/resolve", "internal/placement", "internal/plan"}
	inward   = append(slices.Clone(pure), "internal/reconcile", "internal/loop", "internal/ingest", "internal/trace")
	adapters = []string{"internal/schema", "internal/rdb", "internal/gitsource", "internal/dirsource", "internal/notify", "internal/rest", "internal/rpc", "internal/view", "internal/embedded", "internal/console", "internal/otlp"}
)

// arrows: room -> rooms that it may import. A room that is missing here is an error.
var arrows = map[string][]string{
	"cmd/oprc":                    {"internal/cli"},
	"cmd/oprc-crm":                {"crm", "crm/classruntime", "crm/docker", "crm/kubernetes"}, // the one program that links engines' libraries
	"internal/oprc":               {},
	"internal/resolve":            {"internal/oprc"},
	"internal/placement":          {"internal/oprc"},
	"internal/plan":               {"internal/oprc", "internal/resolve", "internal/placement"},
	"internal/trace":              {}, // docs/adr/0084: the one room of the core that knows a library of the outside
	"internal/otlp":               {"internal/trace"},
	"internal/reconcile":          append(slices.Clone(pure), "internal/trace"),
	"internal/loop":               append(slices.Clone(pure), "internal/reconcile", "internal/trace"),
	"internal/ingest":             append(slices.Clone(pure), "internal/reconcile", "internal/trace"),
	"internal/lazyregexp":         {},
	"internal/schema":             append(slices.Clone(inward), "internal/lazyregexp", "schema"),
	"internal/rdb":                append(slices.Clone(inward), "internal/lazyregexp"),
	"internal/ignore":             {},
	"internal/gitsource":          append(slices.Clone(inward), "internal/ignore", "internal/lazyregexp"),
	"internal/notify":             inward,
	"internal/dirsource":          append(slices.Clone(inward), "internal/ignore"),
	"internal/rest":               append(slices.Clone(inward), "internal/lazyregexp"),
	"internal/rpc":                {"proto/oprc/v1", "proto/oprc/v1/oprcv1connect"}, // docs/adr/0074: it asks the HTTP API, not the state
	"internal/view":               append(slices.Clone(inward), "internal/lazyregexp"),
	"internal/console":            append(slices.Clone(inward), "internal/view"), // docs/adr/0058: a plan looks the same everywhere
	"internal/embedded":           inward,
	"internal/cli":                slices.Concat(inward, adapters, []string{"internal/lazyregexp", "schema", "crm"}),
	"crm":                         {"internal/oprc", "internal/rdb"},
	"crm/classruntime":            {"crm", "crm/kubernetes"},
	"crm/docker":                  {"crm"},
	"crm/kubernetes":              {"crm", "internal/oprc"},
	"internal/manual":             {},
	"tools/man":                   {"internal/cli", "internal/manual"},
	"schema":                      {},
	"proto/oprc/v1":               {},
	"proto/oprc/v1/oprcv1connect": {"proto/oprc/v1"},
	"examples":                    {}, // functions that a user can copy: the standard library only
	"e2e":                         {},
}

// homes: third-party module -> rooms that may import it. A module that is missing
// here is an error. Tests may import any.
var homes = map[string][]string{
	"cel.dev/cel-go":                        {"internal/resolve"},
	"charm.land/lipgloss":                   {"internal/view"},
	"connectrpc.com/connect":                {"internal/rpc", "proto/oprc/v1/oprcv1connect"},
	"connectrpc.com/grpchealth":             {"internal/rpc"},
	"connectrpc.com/grpcreflect":            {"internal/rpc"},
	"google.golang.org/protobuf":            {"internal/rpc", "proto/oprc/v1"},
	"cuelang.org/go":                        {"internal/schema"},
	"github.com/Masterminds/semver":         {"internal/resolve", "internal/gitsource"},
	"github.com/alicebob/miniredis":         {"internal/embedded"},
	"github.com/aymanbagabas/go-udiff":      {"internal/view"},
	"github.com/cenkalti/backoff":           {"internal/notify"},
	"github.com/charmbracelet/colorprofile": {"internal/view"},
	"github.com/charmbracelet/x/term":       {"internal/cli", "internal/view"},
	"github.com/coder/websocket":            {"internal/rest"},
	"github.com/coreos/go-oidc":             {"internal/rest"},
	"github.com/danielgtaylor/huma":         {"internal/rest"},
	"github.com/go-viper/mapstructure":      {"internal/cli"},
	"github.com/fsnotify/fsnotify":          {"internal/dirsource"},
	"github.com/go-git/go-billy":            {"internal/gitsource"},
	"golang.org/x/crypto":                   {"internal/gitsource"},
	"github.com/go-git/go-git":              {"internal/gitsource", "internal/ignore"},
	"github.com/gofrs/flock":                {"internal/embedded"},
	"github.com/ProtonMail/go-crypto":       {"internal/gitsource"},
	"github.com/hiddeco/sshsig":             {"internal/gitsource"},
	"github.com/google/renameio":            {"internal/cli"},
	"github.com/gowebpki/jcs":               {"internal/oprc"},
	"github.com/knadh/koanf":                {"internal/cli"},
	"github.com/prometheus/client_golang":   {"internal/rest"},
	"github.com/redis/go-redis":             {"internal/rdb"},
	"github.com/santhosh-tekuri/jsonschema": {"internal/schema"},
	"github.com/containerd/errdefs":         {"crm/docker"},
	"github.com/distribution/reference":     {"crm/docker"},
	"github.com/moby/moby":                  {"crm/docker"},
	"github.com/spf13/cobra":                {"internal/cli", "internal/manual", "cmd/oprc-crm"},
	"github.com/spf13/pflag":                {"internal/cli", "internal/manual"},
	"github.com/wI2L/jsondiff":              {"internal/plan"},
	"go.opentelemetry.io/otel/exporters":    {"internal/otlp"},
	"go.opentelemetry.io/otel/sdk":          {"internal/otlp"},
	"go.opentelemetry.io/otel/attribute":    {"internal/otlp", "internal/trace"},
	"go.opentelemetry.io/otel/codes":        {"internal/trace"},
	"go.opentelemetry.io/otel/propagation":  {"internal/trace"},
	"go.opentelemetry.io/otel/trace":        {"internal/trace"},
	"go.yaml.in/yaml":                       {"internal/schema", "internal/view", "internal/cli"},
	"golang.org/x/oauth2":                   {"internal/rest"},
	"golang.org/x/sync":                     {"internal/cli", "internal/schema", "internal/gitsource", "internal/rest", "internal/reconcile", "internal/loop", "internal/ingest", "internal/notify", "crm"},
	"golang.org/x/time":                     {"internal/gitsource", "internal/rest"},
	"k8s.io/apimachinery/pkg/api/resource":  {"internal/resolve", "crm", "crm/kubernetes"},
	"k8s.io/apimachinery/pkg/labels":        {"internal/cli"},
	"k8s.io/client-go/util/jsonpath":        {"internal/view"},
	"k8s.io/apimachinery/pkg/api/errors":    {"crm/classruntime", "crm/kubernetes"},
	"k8s.io/apimachinery/pkg/apis/meta":     {"crm/kubernetes"},
	"k8s.io/apimachinery/pkg/runtime":       {"crm/classruntime", "crm/kubernetes"},
	"k8s.io/apimachinery/pkg/types":         {"crm/kubernetes"},
	"k8s.io/apimachinery/pkg/watch":         {"crm/kubernetes"},
	"k8s.io/client-go/dynamic":              {"crm/kubernetes"},
	"k8s.io/client-go/rest":                 {"crm/kubernetes"},
	"k8s.io/client-go/tools":                {"crm/kubernetes"},
	"k8s.io/client-go/util/workqueue":       {"crm/classruntime", "crm/kubernetes"},
}

// Calls that only some rooms may make: the clock, the environment, the root
// context, identities by chance.
var calls = map[string][]string{
	"time.Now":           {"internal/cli", "internal/rdb", "crm", "crm/docker", "crm/classruntime", "examples"},
	"time.Since":         {"internal/cli", "internal/rdb", "internal/gitsource", "crm", "crm/docker", "crm/classruntime", "examples"},
	"time.Until":         {"internal/cli", "internal/rdb", "crm", "crm/docker", "crm/classruntime", "examples"},
	"os.Getenv":          {"internal/cli", "cmd/oprc-crm", "examples"},
	"os.LookupEnv":       {"internal/cli", "examples"},
	"os.Environ":         {"internal/cli", "crm", "examples"},
	"context.Background": {"internal/cli", "cmd/oprc", "cmd/oprc-crm", "examples"},
	"context.TODO":       {},
}

// What a pure room may not import at all.
var impure = []string{"os", "io/fs", "net", "log", "math/rand", "crypto/rand", "context", "sync", "runtime", "syscall", "unsafe"}

func TestArrows(t *testing.T) {
	root := ".."
	var found []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "bin", "build", "dist", "testdata"}, d.Name()) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f, err := inspect(filepath.ToSlash(rel), src)
		found = append(found, f...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// inspect returns what a file does that its room may not, as file:line: what.
func inspect(name string, src []byte) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	say := func(at ast.Node, format string, args ...any) {
		found = append(found, fmt.Sprintf("%s:%d: %s", name, fset.Position(at.Pos()).Line, fmt.Sprintf(format, args...)))
	}
	room, known := roomOf(path.Dir(name))
	if !known {
		say(file, "the room %s has no arrows in e2e/imports_test.go", path.Dir(name))
		return found, nil
	}
	// A package that imports testing is for tests: only the arrows bind it.
	forTests := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing"` })
	for _, imp := range file.Imports {
		target, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return nil, err
		}
		if forTests && !strings.HasPrefix(target, module) {
			continue
		}
		if problem := judge(room, target); problem != "" {
			say(imp, "%s", problem)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if slices.Contains(pure, room) {
				say(n, "%s is pure: no goroutines", room)
			}
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" && !strings.HasSuffix(name, ".pb.go") { // protoc-gen-go writes one
				say(n, "init functions are not used")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			call := x.Name + "." + n.Sel.Name
			if rooms, ruled := calls[call]; ruled && !forTests && !slices.Contains(rooms, room) {
				say(n, "%s is not for %s", call, room)
			}
		}
		return true
	})
	return found, nil
}

// roomOf returns the longest room that dir is, or lies in.
func roomOf(dir string) (string, bool) {
	for d := dir; d != "."; d = path.Dir(d) {
		if _, ok := arrows[d]; ok {
			return d, true
		}
	}
	return "", false
}

// judge says what is wrong with an import, or nothing.
func judge(room, target string) string {
	if inside, ok := strings.CutPrefix(target, module+"/"); ok {
		to, known := roomOf(inside)
		if known && (to == room || slices.Contains(arrows[room], to)) {
			return ""
		}
		return fmt.Sprintf("there is no arrow from %s to %s", room, inside)
	}
	if !strings.Contains(strings.Split(target, "/")[0], ".") { // standard library
		if slices.Contains(pure, room) && slices.ContainsFunc(impure, func(p string) bool { return under(target, p) }) {
			return fmt.Sprintf("%s is pure: it may not import %s", room, target)
		}
		return ""
	}
	for home, rooms := range homes {
		if !under(target, home) {
			continue
		}
		if slices.Contains(rooms, room) {
			return ""
		}
		return fmt.Sprintf("%s lives in %s, not in %s", home, strings.Join(rooms, " and "), room)
	}
	return fmt.Sprintf("%s has no home in e2e/imports_test.go", target)
}

func under(target, p string) bool { return target == p || strings.HasPrefix(target, p+"/") }

// Most users plan and apply without a container engine or a cluster at hand.
func TestOprcLinksNoEngine(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../cmd/oprc").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, dep := range strings.Fields(string(out)) {
		if under(dep, "github.com/moby/moby") || under(dep, "k8s.io/client-go/dynamic") || under(dep, "k8s.io/client-go/rest") || under(dep, module+"/crm/docker") || under(dep, module+"/crm/kubernetes") {
			t.Errorf("oprc links %s, which belongs into oprc-crm", dep)
		}
	}
}

func TestTheRulesBite(t *testing.T) {
	tests := map[string]struct {
		file string
		body string
		want []string
	}{
		"allowed arrow":      {"internal/plan/a.go", `import _ "` + module + `/internal/resolve"`, nil},
		"arrow backwards":    {"internal/oprc/a.go", `import _ "` + module + `/internal/plan"`, []string{"internal/oprc/a.go:2: there is no arrow from internal/oprc to internal/plan"}},
		"adapter to adapter": {"internal/view/a.go", `import _ "` + module + `/internal/rdb"`, []string{"internal/view/a.go:2: there is no arrow from internal/view to internal/rdb"}},
		"sub-room":           {"internal/view/table/a.go", `import _ "` + module + `/internal/rdb"`, []string{"internal/view/table/a.go:2: there is no arrow from internal/view to internal/rdb"}},
		"unknown room":       {"internal/utils/a.go", ``, []string{"internal/utils/a.go:1: the room internal/utils has no arrows in e2e/imports_test.go"}},
		"at home":            {"internal/rdb/a.go", `import _ "github.com/redis/go-redis/v9"`, nil},
		"away from home":     {"internal/cli/a.go", `import _ "github.com/redis/go-redis/v9"`, []string{"internal/cli/a.go:2: github.com/redis/go-redis lives in internal/rdb, not in internal/cli"}},
		"homeless":           {"internal/cli/a.go", `import _ "example.org/x"`, []string{"internal/cli/a.go:2: example.org/x has no home in e2e/imports_test.go"}},
		"logger in the core": {"internal/plan/a.go", `import _ "log/slog"`, []string{"internal/plan/a.go:2: internal/plan is pure: it may not import log/slog"}},
		"clock in the core":  {"internal/plan/a.go", "import \"time\"\nvar _ = time.Now", []string{"internal/plan/a.go:3: time.Now is not for internal/plan"}},
		"clock at the edge":  {"internal/cli/a.go", "import \"time\"\nvar _ = time.Now", nil},
		"environment":        {"internal/rest/a.go", "import \"os\"\nvar _ = os.Getenv", []string{"internal/rest/a.go:3: os.Getenv is not for internal/rest"}},
		"for tests":          {"internal/rdb/rdbtest/a.go", "import (\"os\"; _ \"testing\")\nvar _ = os.Getenv", nil},
		"goroutine":          {"internal/resolve/a.go", "func f() { go f() }", []string{"internal/resolve/a.go:2: internal/resolve is pure: no goroutines"}},
		"init":               {"internal/cli/a.go", "func init() {}", []string{"internal/cli/a.go:2: init functions are not used"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := inspect(tt.file, []byte("package p\n"+tt.body+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
