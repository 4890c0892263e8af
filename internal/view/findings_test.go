package view_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

// render returns what print writes, without colour.
func render(t *testing.T, o view.Output, print func(view.Output) error) string {
	t.Helper()
	var buf bytes.Buffer
	o.W = view.NewWriter(&buf, nil, view.ColorNever)
	if err := print(o); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func sample() view.Findings {
	return view.Findings{
		Files: 2, Packages: 1,
		Diagnostics: oprc.Diagnostics{
			{
				Code: oprc.CodeField, Severity: oprc.SeverityError, Position: oprc.Position{File: "a.yaml", Line: 2, Column: 4},
				Pointer: "/deployments/0/targetEnv", Message: `unknown field "targetEnv"`, Hint: "did you mean targetEnvs?",
			},
			{
				Code: oprc.CodeLegacy, Severity: oprc.SeverityWarning, Position: oprc.Position{File: "b c.yaml", Line: 1, Column: 2},
				Message: "50% of\nit, old", Package: "shop",
			},
			{Code: oprc.CodeRequired, Severity: oprc.SeverityError, Message: "no place"},
		},
		Contents: map[string][]byte{"a.yaml": []byte("name: x\n\t é: 1\n"), "b c.yaml": []byte("名x: 1")},
	}
}

func TestFindings(t *testing.T) {
	tests := map[string]struct {
		format view.Format
		in     view.Findings
		want   string
	}{
		"text": {view.Text, sample(), `a.yaml:2:4: error E002: unknown field "targetEnv"
    2 |      é: 1
      |       ^
      = hint: did you mean targetEnvs?
b c.yaml:1:2: warning W101: 50% of it, old
    1 | 名x: 1
      |   ^
error E012: no place

2 errors, 1 warning in 2 files
`},
		"text without findings": {view.Text, view.Findings{Files: 1, Packages: 2}, "OK: 2 packages in 1 file\n"},
		"github": {view.GitHub, sample(), `::error file=a.yaml,line=2,col=4,title=E002::unknown field "targetEnv" (did you mean targetEnvs?)
::error title=E012::no place
::warning file=b c.yaml,line=1,col=2,title=W101::50%25 of%0Ait, old
`},
		"json": {view.JSON, view.Findings{Files: 1, Packages: 1}, `{
  "formatVersion": "1.0",
  "summary": {
    "files": 1,
    "packages": 1,
    "errors": 0,
    "warnings": 0
  },
  "diagnostics": []
}
`},
		"yaml": {view.YAML, view.Findings{
			Files: 1,
			Diagnostics: oprc.Diagnostics{{
				Code: oprc.CodeEnum, Severity: oprc.SeverityError,
				Position: oprc.Position{File: "a.yaml", Line: 3, Column: 1}, Pointer: "/x", Message: "yes", Hint: "a: b",
			}},
		}, `formatVersion: '1.0'
summary:
  files: 1
  packages: 0
  errors: 1
  warnings: 0
diagnostics:
- code: E003
  severity: error
  file: a.yaml
  line: 3
  column: 1
  pointer: /x
  message: 'yes'
  hint: 'a: b'
`},
		"markdown": {view.Markdown, sample(), `### oprc validate: 2 errors, 1 warning in 2 files

| | where | finding |
|---|---|---|
| error E002 | a.yaml:2:4 | unknown field "targetEnv"<br>did you mean targetEnvs? |
| error E012 |  | no place |
| warning W101 | b c.yaml:1:2 | 50% of it, old |
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := render(t, view.Output{Format: tt.format}, func(o view.Output) error { return o.Findings(tt.in) })
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
		})
	}
}

func TestFindingsHideSecretsAndControlCharacters(t *testing.T) {
	in := view.Findings{
		Files: 1, Contents: map[string][]byte{"a.yaml": []byte("_key: x\n  {env: {DB_PASSWORD: hunter2, A: b}}\n  note: \x1b[31mred\n")},
		Diagnostics: oprc.Diagnostics{
			{Code: "E022", Severity: oprc.SeverityError, Position: oprc.Position{File: "a.yaml", Line: 1, Column: 1}, Message: "k"},
			{Code: "E022", Severity: oprc.SeverityError, Position: oprc.Position{File: "a.yaml", Line: 2, Column: 3}, Message: "a"},
			{Code: "E022", Severity: oprc.SeverityError, Position: oprc.Position{File: "a.yaml", Line: 3, Column: 3}, Message: "b\x1b]0;title\a"},
		},
	}
	var buf bytes.Buffer
	if err := (view.Output{W: &buf, Mask: []string{"*PASSWORD*", "*KEY*"}}).Findings(in); err != nil {
		t.Fatal(err)
	}
	if got := buf.String(); strings.Contains(got, "hunter2") || !strings.Contains(got, "{DB_PASSWORD: ***, A: b}}") || !strings.Contains(got, "_key: x") {
		t.Errorf("the secret alone is to be hidden:\n%s", got)
	}
	if got := buf.String(); strings.Contains(got, "\x1b]0;") || strings.Contains(got, "\x1b[31mred") {
		t.Errorf("escape sequences of the file reach the terminal: %q", got)
	}
}

func TestFindingsSARIF(t *testing.T) {
	got := render(t, view.Output{Format: view.SARIF}, func(o view.Output) error { return o.Findings(sample()) })
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(got), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	second := run.Results[1]
	if log.Version != "2.1.0" || second.Level != "warning" || run.Tool.Driver.Rules[second.RuleIndex].ID != "W101" {
		t.Errorf("got %+v", run)
	}
	at := second.Locations[0].PhysicalLocation
	if at.ArtifactLocation.URI != "b%20c.yaml" || at.Region.StartLine != 1 || at.Region.StartColumn != 2 {
		t.Errorf("location: got %+v", at)
	}
	if len(run.Results[2].Locations) != 0 || !strings.Contains(got, `"locations": []`) {
		t.Error("a finding without a place must have an empty list of locations")
	}
}

func TestMarkdownStaysWithinItsLimit(t *testing.T) {
	var in view.Findings
	for range 500 {
		in.Diagnostics = append(in.Diagnostics, oprc.Diagnostic{
			Code: "E002", Severity: oprc.SeverityError, Position: oprc.Position{File: "x.yaml", Line: 1}, Message: strings.Repeat("word ", 20),
		})
	}
	got := render(t, view.Output{Format: view.Markdown, MaxBytes: 5000}, func(o view.Output) error { return o.Findings(in) })
	if len(got) > 5000 || !strings.Contains(got, "findings left out to stay within 5000 bytes") {
		t.Errorf("got %d bytes:\n%s", len(got), got[max(0, len(got)-200):])
	}
}

func TestColour(t *testing.T) {
	tests := map[string]struct {
		environ []string
		color   view.Color
		want    bool // escape sequences in a pipe
	}{
		"a pipe":                  {nil, view.ColorAuto, false},
		"always":                  {nil, view.ColorAlways, true},
		"forced":                  {[]string{"CLICOLOR_FORCE=1", "TERM=xterm"}, view.ColorAuto, true},
		"forced by any value":     {[]string{"CLICOLOR_FORCE=yes", "TERM=xterm"}, view.ColorAuto, true},
		"not forced":              {[]string{"CLICOLOR_FORCE=0", "TERM=xterm"}, view.ColorAuto, false},
		"NO_COLOR beats forcing":  {[]string{"CLICOLOR_FORCE=1", "NO_COLOR=x", "TERM=xterm"}, view.ColorAuto, false},
		"an empty NO_COLOR":       {[]string{"CLICOLOR_FORCE=1", "NO_COLOR=", "TERM=xterm"}, view.ColorAuto, true},
		"never beats everything":  {[]string{"CLICOLOR_FORCE=1", "TERM=xterm"}, view.ColorNever, false},
		"always beats a dumb TTY": {[]string{"TERM=dumb"}, view.ColorAlways, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			o := view.Output{W: view.NewWriter(&buf, tt.environ, tt.color)}
			if err := o.Findings(view.Findings{}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(buf.String(), "\x1b["); got != tt.want {
				t.Errorf("escape sequences: got %v, want %v: %q", got, tt.want, buf.String())
			}
		})
	}
}

// A file of an older platform has the same older word many times: text says so once.
func TestOlderSpellingsAreSaidOnce(t *testing.T) {
	finding := func(line int, message string) oprc.Diagnostic {
		return oprc.Diagnostic{Code: oprc.CodeLegacy, Severity: oprc.SeverityWarning, Position: oprc.Position{File: "a.yaml", Line: line, Column: 5}, Message: message, Hint: "write NORMAL"}
	}
	var b strings.Builder
	f := view.Findings{Files: 1, Packages: 1, Diagnostics: oprc.Diagnostics{finding(3, "FILES is old"), finding(5, "objectType is old"), finding(8, "FILES is old"), finding(13, "FILES is old")}}
	if err := (view.Output{W: &b, Format: view.Text}).Findings(f); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"FILES is old": 1, "objectType is old": 1, "on line 8, 13\n": 1, "4 warnings": 1} {
		if got := strings.Count(b.String(), text); got != want {
			t.Errorf("%q stands there %d times, want %d:\n%s", text, got, want, b.String())
		}
	}
}
