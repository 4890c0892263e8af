package view_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/view"
)

var formats = []view.Format{view.Text, view.Markdown, view.GitHub, view.SARIF, view.JSON}

// What is wrong stands in the first lines of every format, whatever else the plan does.
func TestEveryFormatLeadsWithWhatIsWrong(t *testing.T) {
	invalid := &plan.Plan{Diagnostics: oprc.Diagnostics{
		{Code: oprc.CodeRequired, Severity: oprc.SeverityError, Position: oprc.Position{File: "shop.yaml", Line: 7, Column: 3}, Message: "no such package"},
	}}
	foreign := &plan.Plan{Conflicts: []string{"package/shop: owned by git:main"}}
	tests := map[string]struct {
		plan    *plan.Plan
		err     error
		verdict view.Verdict
		want    []string // all of them, in the head of every format
	}{
		"invalid": {invalid, invalid.Diagnostics.Err(), view.Invalid, []string{"no such package", "shop.yaml", "7"}},
		"foreign": {foreign, &oprc.ConflictError{Reason: "another origin owns it", Objects: foreign.Conflicts}, view.Conflict, []string{"owned by git:main"}},
		"denied": {samplePlan(), &oprc.DeniedError{Reason: "policy forbids it", Findings: oprc.Diagnostics{
			{Code: oprc.CodePolicy, Severity: oprc.SeverityError, Position: oprc.Position{File: "shop.yaml", Line: 9}, Message: "not on a Friday"},
		}}, view.Denied, []string{"not on a Friday", "shop.yaml", "9"}},
		"held": {samplePlan(), fmt.Errorf("it deletes 1 of 1 packages: %w", oprc.ErrHeld), view.Held, []string{"it deletes 1 of 1 packages"}},
	}
	for name, tt := range tests {
		for _, format := range formats {
			t.Run(name+" "+string(format), func(t *testing.T) {
				got := render(t, view.Output{Format: format}, func(o view.Output) error {
					return o.Report(view.PlanReport{Plan: tt.plan, Err: tt.err, Next: "oprc apply"})
				})
				head := got[:min(len(got), 600)]
				if format == view.SARIF {
					head = got[strings.Index(got, `"results"`):]
				}
				for _, w := range tt.want {
					if !strings.Contains(head, w) {
						t.Errorf("the head does not contain %q:\n%s", w, head)
					}
				}
				if strings.Contains(strings.ToLower(got), "no changes") || strings.Contains(got, "oprc apply") {
					t.Errorf("it reads as if nothing were wrong:\n%s", got)
				}
				if want := fmt.Sprintf(`"verdict": %q`, tt.verdict); format == view.JSON && !strings.Contains(head, want) {
					t.Errorf("the head does not contain %s:\n%s", want, head)
				}
			})
		}
	}
}

// one is a plan that changes an image in n packages and deletes a class in one of them.
func one(n int) *plan.Plan {
	p := &plan.Plan{ID: "sha256:abc", Summary: plan.Summary{Update: 2 * n, Delete: 1}}
	for i := range n {
		pkg := fmt.Sprintf("team%03d", i)
		image := func(path string) []plan.Field {
			return []plan.Field{{Path: path + "/provision/knative/image", Before: raw("reg/x:1"), After: raw("reg/x:2"), File: pkg + ".yaml", Line: 4}}
		}
		p.Changes = append(
			p.Changes,
			plan.Change{Kind: oprc.KindPackage, Key: pkg, Actions: []plan.Action{plan.Update}, Reason: plan.ReasonSpec, Before: raw(1), After: raw(2), Fields: image("/functions/f")},
			plan.Change{Kind: oprc.KindFunction, Key: pkg + ".f", Package: pkg, Actions: []plan.Action{plan.Update}, Reason: plan.ReasonSpec, Before: raw(1), After: raw(2), Fields: image("")},
		)
	}
	victim := fmt.Sprintf("team%03d", n-1)
	p.Changes[2*n-2].Fields = append(p.Changes[2*n-2].Fields, plan.Field{Path: "/classes/Ledger", Before: raw(1), File: victim + ".yaml", Line: 9})
	p.Changes = append(p.Changes,
		plan.Change{Kind: oprc.KindClass, Key: victim + ".Ledger", Package: victim, Actions: []plan.Action{plan.Delete}, Reason: plan.ReasonRemoved, Before: raw(1)},
		plan.Change{Kind: oprc.KindUnit, Key: oprc.UnitID(victim+".Ledger", 0, 0, "edge"), Package: victim, Actions: []plan.Action{plan.Delete}, Reason: plan.ReasonRemoved, Before: raw(1)},
	)
	return p
}

func TestOneDeletionAmong500ChangesIsFound(t *testing.T) {
	for _, format := range formats {
		t.Run(string(format), func(t *testing.T) {
			got := render(t, view.Output{Format: format, MaxBytes: 65536}, func(o view.Output) error { return o.Plan(one(500), "oprc apply") })
			lines := strings.Split(got, "\n")
			within := map[view.Format]int{view.Text: 2, view.Markdown: 8, view.GitHub: 1, view.SARIF: len(lines), view.JSON: 4}[format]
			if !strings.Contains(strings.Join(lines[:within], "\n"), "class team499.Ledger") {
				t.Errorf("the deletion is not in the first %d of %d lines:\n%s", within, len(lines), got[:min(len(got), 1500)])
			}
			if n := strings.Count(got, "team499.Ledger"); format == view.SARIF && n == 0 {
				t.Error("no result names the deletion")
			}
			if format == view.GitHub && (len(lines)-1 > 10 || !strings.HasPrefix(got, "::warning file=team499.yaml,line=9,")) {
				t.Errorf("got %d annotations:\n%s", len(lines)-1, got)
			}
			if format == view.Text || format == view.Markdown {
				want := `500 functions: /provision/knative/image: "reg/x:1" → "reg/x:2"`
				if !strings.Contains(got, want) || len(lines) > 40 {
					t.Errorf("%d lines, and equal changes are not one:\n%s", len(lines), got[:min(len(got), 1500)])
				}
			}
		})
	}
}

// Every removal is named, at GitHub's limits too.
func TestNoRemovalIsCut(t *testing.T) {
	p := &plan.Plan{}
	for i := range 1200 {
		p.Changes = append(p.Changes, plan.Change{
			Kind: oprc.KindPackage, Key: fmt.Sprintf("package-of-team-%04d", i), Actions: []plan.Action{plan.Delete}, Reason: plan.ReasonRemoved,
		})
	}
	for _, format := range []view.Format{view.Text, view.Markdown, view.SARIF, view.JSON} {
		got := render(t, view.Output{Format: format}, func(o view.Output) error { return o.Plan(p, "") })
		if !strings.Contains(got, "package-of-team-1199") || format == view.Markdown && len(got) > 65000 {
			t.Errorf("%s: %d bytes, the last one is missing or it is too long", format, len(got))
		}
	}
	if got := render(t, view.Output{Format: view.GitHub}, func(o view.Output) error { return o.Plan(p, "") }); strings.Count(got, "\n") > 10 ||
		!strings.Contains(got, "and 1192 more:") {
		t.Errorf("github: got\n%.600s", got)
	}
}

// A change of a parent says whom it reaches.
func TestInheritedChangesNameTheirCause(t *testing.T) {
	p := &plan.Plan{Changes: []plan.Change{{
		Kind: oprc.KindClass, Key: "base.P", Package: "base", Actions: []plan.Action{plan.Update}, Reason: plan.ReasonSpec, Before: raw(1), After: raw(2),
		Fields: []plan.Field{{Path: "/constraints/consistency", Before: raw("eventual"), After: raw("strong")}},
	}}}
	for i := range 40 {
		pkg := fmt.Sprintf("team%d", i%6)
		cls := fmt.Sprintf("%s.C%d", pkg, i)
		p.Changes = append(p.Changes, plan.Change{
			Kind: oprc.KindClass, Key: cls, Package: pkg, Actions: []plan.Action{plan.Update}, Reason: plan.ReasonInherited,
			Before: raw(1), After: raw(map[string]any{"parents": []string{"base.P"}}),
		})
		for r := range 2 {
			p.Changes = append(p.Changes, plan.Change{
				Kind: oprc.KindUnit, Key: oprc.UnitID(cls, 0, r, "edge"), Package: pkg, Actions: []plan.Action{plan.Update}, Reason: plan.ReasonInherited,
				Before: raw(1), After: raw(2), Fields: []plan.Field{{Path: "/functions/base.put/image", Before: raw("put:1"), After: raw("put:2")}},
			})
		}
	}
	got := render(t, view.Output{}, func(o view.Output) error { return o.Plan(p, "") })
	for _, want := range []string{
		"~ 40 classes: inherited from class base.P\n", "in 6 packages: team0, team1, team2, team3, team4, team5\n",
		"~ 80 units: image: \"put:1\" → \"put:2\"; because of class base.P\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwithout %q", got, want)
		}
	}
}

// What moves says which environment is DOWN, not that placement did it.
func TestMovesNameTheirCause(t *testing.T) {
	p := &plan.Plan{}
	for _, at := range []string{"east", "west"} {
		p.Changes = append(p.Changes, plan.Change{
			Kind: oprc.KindUnit, Key: oprc.UnitID("shop.Cart", 0, 0, at), Package: "shop", Reason: plan.ReasonPlacement, Cause: "environment east is DOWN",
			Actions: []plan.Action{map[bool]plan.Action{true: plan.Delete, false: plan.Create}[at == "east"]},
		})
	}
	for _, format := range formats {
		got := render(t, view.Output{Format: format}, func(o view.Output) error { return o.Plan(p, "") })
		if !strings.Contains(got, "environment east is DOWN") {
			t.Errorf("%s: got\n%s", format, got)
		}
	}
}

func TestRenamesSayWhatBecameOfWhat(t *testing.T) {
	p := &plan.Plan{Changes: []plan.Change{
		{Kind: oprc.KindClass, Key: "shop.Cart", Package: "shop", Actions: []plan.Action{plan.Create}, Reason: plan.ReasonNew, RenamedFrom: "shop.Basket"},
		{Kind: oprc.KindClass, Key: "shop.Basket", Package: "shop", Actions: []plan.Action{plan.Delete}, Reason: plan.ReasonRemoved},
		{Kind: oprc.KindUnit, Key: oprc.UnitID("shop.Basket", 0, 0, "edge"), Package: "shop", Actions: []plan.Action{plan.Delete}, Reason: plan.ReasonRemoved},
	}}
	got := render(t, view.Output{}, func(o view.Output) error { return o.Plan(p, "") })
	for _, want := range []string{
		"Deletes 1 class; undeploys 1 unit:\n  - class shop.Basket  renamed to shop.Cart, undeploys 1 unit in edge\n",
		"  + class shop.Cart  renamed from shop.Basket\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwithout %q", got, want)
		}
	}
}

// A text from a file or policy stays in its line: a runner carries out what stands at the
// beginning of one, and a comment is Markdown.
func TestForeignTextCannotBreakOut(t *testing.T) {
	evil := "x\n::error::owned\r\n##[add-path]/tmp \u2028::warning::y \x1b[31m <img src=x> [a](http://evil.example) @team `"
	p := samplePlan()
	p.Diagnostics = oprc.Diagnostics{{Code: oprc.CodeType, Severity: oprc.SeverityWarning, Position: oprc.Position{File: evil, Line: 1}, Message: evil, Hint: evil}}
	p.Changes[1].Key = evil
	p.Changes[2].Fields[0].After = raw(evil)
	p.Kept = []string{evil}
	errs := []error{nil, &oprc.DeniedError{Reason: evil, Objects: []string{evil}}, fmt.Errorf("%s: %w", evil, oprc.ErrHeld)}
	for _, format := range append(formats, view.Wide) {
		for _, err := range errs {
			got := render(t, view.Output{Format: format}, func(o view.Output) error {
				return o.Report(view.PlanReport{Plan: p, Err: err})
			})
			for _, line := range strings.FieldsFunc(got, func(r rune) bool { return r == '\n' || r == '\r' }) {
				line = strings.TrimSpace(line)
				ours := format == view.GitHub && slices.ContainsFunc([]string{"::error title=", "::error file=", "::warning title=", "::warning file=", "::notice "},
					func(prefix string) bool { return strings.HasPrefix(line, prefix) })
				if strings.HasPrefix(line, "::") && !ours || strings.Contains(line, "##[") || strings.ContainsRune(line, '\x1b') {
					t.Errorf("%s: the line %q would be carried out", format, line)
				}
			}
			if format == view.Markdown {
				prose, inCode := "", false
				for line := range strings.Lines(got) {
					if strings.HasPrefix(line, "```") {
						inCode = !inCode
					} else if !inCode {
						prose += line
					}
				}
				for _, bad := range []string{"<img", "[a](", "@team"} {
					if strings.Contains(prose, bad) {
						t.Errorf("markdown: %q stands in\n%s", bad, prose)
					}
				}
			}
		}
	}
	problem := view.Problem(fmt.Errorf("policy: %s", evil), "")
	for line := range strings.Lines(problem) {
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
			t.Errorf("the line %q would be carried out", line)
		}
	}
}

// What GitHub's code scanning asks of a result and of a rule.
func TestSARIFHasWhatCodeScanningNeeds(t *testing.T) {
	in := sample()
	in.Diagnostics[0].File = "sub/a.yaml"
	got := render(t, view.Output{Format: view.SARIF, Path: func(f string) string { return "deploy/" + f }}, func(o view.Output) error { return o.Findings(in) })
	var doc struct {
		Runs []struct {
			Tool struct {
				Driver struct {
					Rules []struct {
						ID                                      string
						ShortDescription, FullDescription, Help struct{ Text, Markdown string }
					}
				}
			}
			Results []struct {
				RuleIndex           int
				PartialFingerprints map[string]string
				Locations           []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI, URIBaseID string }
						Region           struct{ StartLine, EndLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(got), &doc); err != nil {
		t.Fatal(err)
	}
	for _, rule := range doc.Runs[0].Tool.Driver.Rules {
		if rule.ShortDescription.Text == "" || rule.FullDescription.Text == "" || rule.Help.Text == "" {
			t.Errorf("rule %s lacks a text: %+v", rule.ID, rule)
		}
	}
	seen := map[string]bool{}
	for _, r := range doc.Runs[0].Results {
		print := r.PartialFingerprints["oprcFinding/v1"]
		if print == "" || seen[print] {
			t.Errorf("fingerprint %q is empty or not its own", print)
		}
		seen[print] = true
	}
	at := doc.Runs[0].Results[0].Locations[0].PhysicalLocation
	if at.ArtifactLocation.URI != "deploy/sub/a.yaml" || at.ArtifactLocation.URIBaseID != "%SRCROOT%" || at.Region.StartLine != 2 || at.Region.EndLine != 2 {
		t.Errorf("got the location %+v", at)
	}
}
