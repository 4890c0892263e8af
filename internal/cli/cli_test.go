package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/cli"
	"github.com/oaas-platform/oprc/internal/manual"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// A user runs oprc in a home of their own.
type user struct {
	t    *testing.T
	home string
	env  []string
}

func newUser(t *testing.T) *user {
	t.Helper()
	return &user{t: t, home: t.TempDir()}
}

type result struct {
	code     int
	out, err string
}

func (u *user) run(args ...string) result {
	u.t.Helper()
	return u.runContext(u.t.Context(), "", args...)
}

func (u *user) runContext(ctx context.Context, stdin string, args ...string) result {
	u.t.Helper()
	var out, errs bytes.Buffer
	code := cli.Run(ctx, cli.Process{
		Args: args, In: strings.NewReader(stdin), Out: &out, Err: &errs, Now: time.Now,
		Environ: append([]string{"HOME=" + u.home, "USER=ada"}, u.env...),
	})
	return result{code, out.String(), errs.String()}
}

// must runs a command that is to succeed and returns its output.
func (u *user) must(args ...string) string {
	u.t.Helper()
	r := u.run(args...)
	if r.code != 0 {
		u.t.Fatalf("oprc %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

func (u *user) file(name, content string) string {
	u.t.Helper()
	path := filepath.Join(u.home, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		u.t.Fatal(err)
	}
	return path
}

func TestExitCodes(t *testing.T) {
	tests := map[string]struct {
		err  error
		want int
	}{
		"nothing":        {nil, 0},
		"anything":       {errors.New("disk full"), 1},
		"changes":        {cli.ErrChanges, 2},
		"invalid":        {fmt.Errorf("plan: %w", &oprc.InvalidError{}), 3},
		"conflict":       {fmt.Errorf("apply: %w", &oprc.ConflictError{Reason: "x"}), 4},
		"held":           {oprc.ErrHeld, 5},
		"not found":      {oprc.ErrNotFound, 6},
		"not converged":  {cli.ErrNotConverged, 7},
		"unavailable":    {fmt.Errorf("list: %w", rdb.ErrUnavailable), 8},
		"denied":         {rdb.ErrDenied, 9},
		"interrupted":    {cli.ErrInterrupted, 130},
		"several, worst": {errors.Join(errors.New("x"), rdb.ErrUnavailable), 8},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := cli.ExitCode(tt.err); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestWrongUsage(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string // in stderr
	}{
		"unknown command":       {[]string{"aply"}, "did you mean apply?"},
		"unknown subcommand":    {[]string{"env", "lst"}, `unknown command "lst" for "oprc env": did you mean list?`},
		"unknown flag":          {[]string{"plan", "--fast"}, "--fast"},
		"too many arguments":    {[]string{"plan", "x"}, "oprc plan"},
		"no files":              {[]string{"validate"}, "-f PATH"},
		"unknown format":        {[]string{"get", "units", "-o", "xml"}, `unknown output format "xml"`},
		"a format of others":    {[]string{"get", "units", "-o", "sarif"}, "sarif"},
		"unknown kind":          {[]string{"get", "pods"}, `unknown kind "pods"`},
		"unknown colour":        {[]string{"version", "--color", "blue"}, "blue"},
		"files and a plan file": {[]string{"apply", "-f", "x", "y"}, "cannot be combined with -f"},
		"deleting a class":      {[]string{"delete", "class", "x"}, "delete their package"},
		"nothing to delete":     {[]string{"delete"}, "nothing to delete"},
		"a context of nothing":  {[]string{"context", "set", "x"}, "--server URL or --redis URL"},
		"unknown shell":         {[]string{"completion", "tcsh"}, "tcsh"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := newUser(t).run(tt.args...)
			if got.code != 64 || got.out != "" || !strings.Contains(got.err, tt.want) {
				t.Errorf("got exit %d, stdout %q, stderr %q, want exit 64 and %q", got.code, got.out, got.err, tt.want)
			}
			if n := strings.Count(got.err, "Error:"); n != 1 {
				t.Errorf("the error is printed %d times: %s", n, got.err)
			}
		})
	}
}

func TestContexts(t *testing.T) {
	u := newUser(t)
	u.must("context", "set", "lab", "--redis", "redis://ada:s3cr3t@lab:6379/0")
	u.must("context", "set", "prod", "--server", "https://oprc.example.com")
	want := `CURRENT   NAME   SERVER                     REDIS
*         lab    -                          redis://ada:xxxxx@lab:6379/0
          prod   https://oprc.example.com   -
`
	if diff := cmp.Diff(u.must("context", "list"), want); diff != "" {
		t.Errorf("-got +want\n%s", diff)
	}
	u.must("context", "use", "prod")
	if got := u.must("context", "list", "-o", "json"); !strings.Contains(got, `"name": "prod",
      "current": true`) {
		t.Errorf("prod is not current:\n%s", got)
	}
	if got := u.run("context", "use", "nowhere"); got.code != 6 {
		t.Errorf("an unknown context: got exit %d: %s", got.code, got.err)
	}
	u.must("context", "use", "--none")
	u.must("context", "delete", "prod")
	if got := u.must("context", "list", "-o", "name"); got != "lab\n" {
		t.Errorf("got %q", got)
	}
	path := filepath.Join(u.home, ".config", "oprc", "contexts.yaml")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file holds passwords: got %v, %v, want mode 0600", info.Mode(), err)
	}
}

func TestQuoteAndRedact(t *testing.T) {
	for in, want := range map[string]string{"a/b-1.yaml": "a/b-1.yaml", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'", "*.yaml": "'*.yaml'"} {
		if got := cli.Quote(in); got != want {
			t.Errorf("quote %q: got %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"redis://:pw@h:1/0":           "redis://:xxxxx@h:1/0",
		"redis://u:p@ss@h1:1,h2:2/0":  "redis://u:xxxxx@h1:1,h2:2/0",
		"h1:1,h2:2":                   "h1:1,h2:2",
		"https://token@example.com/x": "https://xxxxx@example.com/x",
	} {
		if got := cli.Redacted(in); got != want {
			t.Errorf("redact %q: got %s, want %s", in, got, want)
		}
	}
}

// Every command has a description that lists its exit codes.
func TestHelp(t *testing.T) {
	u := newUser(t)
	for _, words := range []string{
		"validate", "plan", "show", "apply", "delete", "env", "env create", "env list", "env describe", "env delete", "env acl", "dead", "dead list", "dead retry", "dead drop", "get", "describe",
		"tree", "history", "events", "context", "context list", "context set", "context use", "context delete", "completion", "version",
		"explain", "fmt", "convert", "schema", "schema export", "crm", "crm run", "crm test", "serve", "dev",
	} {
		got := u.must(append(strings.Fields(words), "--help")...)
		if !strings.Contains(got, "Exit codes:") || !strings.Contains(got, "oprc "+words) {
			t.Errorf("oprc %s --help:\n%s", words, got)
		}
	}
}

func TestCompletion(t *testing.T) {
	u := newUser(t)
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := u.must("completion", shell); !strings.Contains(got, "oprc") {
			t.Errorf("%s: got %q", shell, got)
		}
	}
	if got := u.must("__complete", "get", "dep"); !strings.Contains(got, "deployments") {
		t.Errorf("kinds: got %q", got)
	}
	if got := u.must("__complete", "plan", "-o", ""); !strings.Contains(got, "markdown") {
		t.Errorf("formats: got %q", got)
	}
	if got := u.must("__complete", "describe", "env", ""); !strings.Contains(got, "local") {
		t.Errorf("names: got %q", got)
	}
}

func TestManualPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	if err := manual.Write(cli.Root(cli.Process{}), dir, "v1.2.3", time.Unix(86400, 0)); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "oprc-plan.1"))
	for _, want := range []string{"Jan 1970", "v1.2.3", "*PASSWORD*"} { // the last: the default of --mask is whole
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("no %q, %v:\n%.200s", want, err, page)
		}
	}
}
