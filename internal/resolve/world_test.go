package resolve_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// pkg reads a package from JSON; single quotes stand for double ones.
func pkg(t testing.TB, text string) oprc.Package {
	t.Helper()
	var p oprc.Package
	dec := json.NewDecoder(strings.NewReader(strings.ReplaceAll(text, "'", `"`)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return p
}

// doc wraps a package as if it were read from NAME.yaml. The line of a node is
// made from its pointer, so that a test can see who asked for what.
func doc(p oprc.Package) oprc.Document {
	file := p.Name + ".yaml"
	return oprc.Document{Package: &p, Path: file, Line: lineOf(""), Where: func(pointer string) oprc.Position {
		return oprc.Position{File: file, Line: lineOf(pointer), Column: 1}
	}}
}

func lineOf(pointer string) int {
	line := 1
	for _, c := range pointer {
		line = line*31%9973 + int(c)
	}
	return line
}

func docs(t testing.TB, texts ...string) []oprc.Document {
	t.Helper()
	var out []oprc.Document
	for _, text := range texts {
		out = append(out, doc(pkg(t, text)))
	}
	return out
}

// resolved resolves packages and fails the test if there are findings.
func resolved(t testing.TB, texts ...string) *resolve.Catalogue {
	t.Helper()
	c, found := resolve.Packages(docs(t, texts...), nil)
	if len(found) > 0 {
		t.Fatalf("unexpected findings: %v", brief(found))
	}
	return c
}

// brief writes findings as "package code pointer: message (hint)".
func brief(ds oprc.Diagnostics) []string {
	out := []string{}
	for _, d := range ds {
		s := fmt.Sprintf("%s %s %s: %s", d.Package, d.Code, d.Pointer, d.Message)
		if d.Hint != "" {
			s += " (" + d.Hint + ")"
		}
		out = append(out, s)
	}
	return out
}

// wantFindings compares findings, whatever their order, and checks that each
// stands where its pointer says.
func wantFindings(t *testing.T, found oprc.Diagnostics, want ...string) {
	t.Helper()
	got := map[string]bool{}
	for i, line := range brief(found) {
		got[line] = true
		if d := found[i]; d.Line != 0 && d.Line != lineOf(d.Pointer) {
			t.Errorf("%s stands on line %d, not where its pointer says", line, d.Line)
		}
	}
	expected := map[string]bool{}
	for _, w := range want {
		expected[strings.ReplaceAll(w, "'", `"`)] = true
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func itoa(n int) string { return fmt.Sprint(n) }
