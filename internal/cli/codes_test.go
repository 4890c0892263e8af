package cli_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

// Every example of `oprc explain CODE` is run as a user would.
func TestExplainedCodes(t *testing.T) {
	for _, doc := range view.Codes() {
		t.Run(string(doc.Code), func(t *testing.T) {
			t.Parallel()
			if doc.Code == oprc.CodeDamage { // no file gives it
				findsDamage(t)
				return
			}
			if got := found(t, doc, doc.Fails); !slices.Equal(got, []oprc.Code{doc.Code}) {
				t.Errorf("the example that fails gives %v", got)
			}
			for _, c := range found(t, doc, doc.Passes) {
				if c == doc.Code || c[0] == 'E' {
					t.Errorf("the example that passes gives %s", c)
				}
			}
		})
	}
}

// findsDamage loses a record of one package: a plan of another one names it, as do why and
// doctor, and a plan of its own writes it again.
func findsDamage(t *testing.T) {
	u, m := newUser(t), miniredis.RunT(t)
	u.env = []string{"OPRC_REDIS_URL=redis://" + m.Addr()}
	lost := u.file("lost.yaml", "name: lost\nclasses: [{name: C}, {name: D}]\n")
	other := u.file("other.yaml", "name: other\nclasses: [{name: C}]\n")
	u.must("apply", "-f", lost, "-f", other)
	codes := func(file string) (out []string) {
		var p struct {
			Diagnostics oprc.Diagnostics
			Changes     []struct{ Kind, Key string }
		}
		if err := json.Unmarshal([]byte(u.must("plan", "-f", file, "-o", "json")), &p); err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Changes {
			out = append(out, c.Kind+"/"+c.Key)
		}
		for _, d := range p.Diagnostics {
			out = append(out, string(d.Code))
			if d.Code == oprc.CodeDamage && !strings.Contains(d.Message, "class/lost.C") {
				t.Errorf("W111 does not name the record: %s", d.Message)
			}
		}
		return out
	}
	if got := codes(other); len(got) > 0 {
		t.Fatalf("before: %v", got)
	}
	m.HDel("oaas_pm:{catalog}:classes", "lost.C")
	if got := codes(other); !slices.Equal(got, []string{"W111"}) {
		t.Errorf("a plan of another package: %v, want W111", got)
	}
	if got := codes(lost); !slices.Equal(got, []string{"class/lost.C"}) {
		t.Errorf("a plan of the package: %v, want the class alone", got)
	}
	for _, command := range []string{"why lost", "doctor"} {
		if r := u.run(strings.Fields(command)...); !strings.Contains(r.out, "class/lost.C") || strings.Contains(r.out, "Nothing is wrong") {
			t.Errorf("%s does not name the record:\n%s", command, r.out)
		}
	}
	u.must("apply", "-f", lost)
	if got := codes(other); len(got) > 0 {
		t.Errorf("after it was applied again: %v", got)
	}
}

// found returns the codes that a file gives, each once. W104 and W107 are said of
// almost any example, and only count where they are what is explained.
func found(t *testing.T, doc view.CodeDoc, file string) []oprc.Code {
	t.Helper()
	u := newUser(t)
	args := []string{"validate"}
	if doc.First != "" {
		u.must("apply", "--yes", "-f", u.file("first.yaml", doc.First))
		args = []string{"validate", "--live"}
	}
	if doc.Policy != "" {
		args = []string{"plan", "--policy", u.file("policy.cue", doc.Policy)}
	}
	example := u.file("example.yaml", file)
	if doc.Directory {
		example = filepath.Dir(example)
	}
	r := u.run(append(args, "-o", "json", "-f", example)...)
	if doc.Policy != "" {
		if strings.Contains(r.err, "call it something else") {
			return []oprc.Code{oprc.CodePolicy}
		}
		return nil
	}
	var out struct{ Diagnostics oprc.Diagnostics }
	if err := json.Unmarshal([]byte(r.out), &out); err != nil {
		t.Fatalf("%v\n%s%s", err, r.out, r.err)
	}
	var codes []oprc.Code
	for _, d := range out.Diagnostics {
		if noise := d.Code == oprc.CodeUnbound || d.Code == oprc.CodeDefault; noise && d.Code != doc.Code {
			continue
		}
		if d.Line == 0 {
			t.Errorf("%s has no position: %s", d.Code, d.Message)
		}
		codes = append(codes, d.Code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// A code without an explanation, or an explanation of no code, is a mistake.
func TestEveryCodeIsExplained(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../oprc/diagnostic.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && fmt.Sprint(spec.Type) == "Code" {
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, code)
		}
		return true
	})
	for _, d := range view.Codes() {
		got = append(got, string(d.Code))
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 32 {
		t.Errorf("codes: -declared +explained\n%s", diff)
	}
}

func TestExplainCode(t *testing.T) {
	u := newUser(t)
	text := u.must("explain", "e012")
	for _, part := range []string{"E012 Required package", "This gives E012:\n\n  name: shop\n  required: [base@^2.0]\n", "This does not:"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if out := u.must("explain", "E012", "-o", "json"); !strings.Contains(out, `"code": "E012"`) {
		t.Errorf("json: %s", out)
	}
	if r := u.run("explain", "E999"); r.code != 6 || !strings.Contains(r.err, "E001, E002") {
		t.Errorf("an unknown one: %+v", r)
	}
	if out := u.must("__complete", "explain", "E00"); !strings.Contains(out, "E007\tMacro that cannot run") {
		t.Errorf("completion: %s", out)
	}
}
