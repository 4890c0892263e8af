package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every example is validated without a warning, and settles: plan, apply, plan
// ends with nothing to do.
func TestExamples(t *testing.T) {
	all, err := filepath.Glob("../examples/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Fatalf("%d examples, want at least 5", len(all))
	}
	for _, dir := range append(all, "../examples") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			summary := struct {
				Summary struct{ Files, Packages, Errors, Warnings int }
			}{}
			decodeJSON(t, expect(t, 0, home, "validate", "-f", dir, "-o", "json"), &summary)
			if s := summary.Summary; s.Packages == 0 || s.Errors+s.Warnings > 0 {
				t.Errorf("validate: %+v", s)
			}
			expect(t, 0, home, "fmt", "--check", dir)
			expect(t, 2, home, "plan", "-f", dir, "--detailed-exitcode")
			expect(t, 0, home, "apply", "-f", dir)
			planned := struct {
				Changes []json.RawMessage
				Summary struct{ Unchanged int }
			}{}
			decodeJSON(t, expect(t, 0, home, "plan", "-f", dir, "--detailed-exitcode", "-o", "json"), &planned)
			if len(planned.Changes) > 0 || planned.Summary.Unchanged == 0 {
				t.Errorf("plan after apply: %d changes, %d unchanged", len(planned.Changes), planned.Summary.Unchanged)
			}
			if out := expect(t, 0, home, "apply", "-f", dir, "--dry-run"); strings.Contains(out, "create") {
				t.Errorf("apply again would create:\n%s", out)
			}
		})
	}
}

// Real package files, where they are at hand beside the repository.
func TestCorpus(t *testing.T) {
	corpus := "../../shared/corpus"
	if _, err := os.Stat(corpus); err != nil {
		t.Skipf("no real package files beside the repository: %v", err)
	}
	tests := map[string]struct {
		args   []string
		code   int
		strict int
		codes  []string // of the diagnostics, in any order
		says   string
	}{
		"tutorial.yml":         {nil, 0, 0, nil, ""},
		"image.yml":            {nil, 0, 3, nil, ""},
		"record.yml":           {nil, 0, 3, []string{"W101", "W102"}, ""},
		"text.yml":             {nil, 0, 3, []string{"W101", "W104"}, "chain-concat"},
		"guide-deployment.yml": {nil, 0, 3, []string{"W104"}, ""},
		"echo.yml":             {nil, 0, 3, []string{"W101"}, ""},
		"echo-misspelt.yml":    {nil, 3, 3, []string{"E002"}, "targetEnvs"},
		"cyclic.yml":           {nil, 3, 3, []string{"E001"}, ""},
		"rust-e2e.yaml":        {nil, 3, 3, []string{"E019"}, "oprc convert"},
		"bad-syntax.yaml":      {nil, 3, 3, []string{"E020"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home, file := t.TempDir(), filepath.Join(corpus, name)
			out := expect(t, tt.code, home, "validate", "-f", file, "-o", "json")
			findings := struct {
				Diagnostics []struct {
					Code, Severity, File, Message, Hint string
					Line, Column                        int
				}
			}{}
			decodeJSON(t, out, &findings)
			got := map[string]bool{}
			for _, d := range findings.Diagnostics {
				if d.Severity == "info" {
					continue
				}
				got[d.Code] = true
				if d.File != file || d.Line == 0 || d.Column == 0 {
					t.Errorf("%s at %s:%d:%d has no full position", d.Code, d.File, d.Line, d.Column)
				}
			}
			for _, code := range tt.codes {
				if !got[code] {
					t.Errorf("no %s in %s", code, out)
				}
				delete(got, code)
			}
			for code := range got {
				if strings.HasPrefix(code, "E") || tt.codes == nil {
					t.Errorf("unexpected %s in %s", code, out)
				}
			}
			if !strings.Contains(out, tt.says) {
				t.Errorf("%q is not in %s", tt.says, out)
			}
			expect(t, tt.strict, home, "validate", "--strict", "-f", file)
		})
	}
	t.Run("cyclic with a name", func(t *testing.T) {
		out := expect(t, 3, t.TempDir(), "validate", "--pkg", "test", "-f", filepath.Join(corpus, "cyclic.yml"), "-o", "json")
		if !strings.Contains(out, "E006") || !strings.Contains(out, "c1 -> c3 -> c2 -> c1") {
			t.Errorf("the cycle is not printed: %s", out)
		}
	})
	t.Run("echo plans for cloud-1", func(t *testing.T) {
		home, file := t.TempDir(), filepath.Join(corpus, "echo.yml")
		if out := expect(t, 3, home, "plan", "-f", file, "-o", "json"); !strings.Contains(out, "E009") || !strings.Contains(out, "cloud-1") {
			t.Errorf("the unknown environment is not named: %s", out)
		}
		expect(t, 0, home, "env", "create", "cloud-1", "--availability", "0.99")
		out := expect(t, 2, home, "plan", "-f", file, "-o", "json", "--detailed-exitcode")
		for _, want := range []string{"example.record/0/0@cloud-1", "example.record/1/0@cloud-1", "example.record/2/0@cloud-1", `"raft"`} {
			if !strings.Contains(out, want) {
				t.Errorf("%s is not in the plan: %s", want, out)
			}
		}
	})
}

// expect runs oprc, checks its exit code and returns its output.
func expect(t *testing.T, code int, home string, args ...string) string {
	t.Helper()
	out, errOut, got := oprc(t, home, args...)
	if got != code {
		t.Fatalf("oprc %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errOut)
	}
	return out
}

func decodeJSON(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
