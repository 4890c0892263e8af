package schema_test

import (
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// What people write that is no YAML, or another thing than they mean: one finding
// that says what it sees, and a hint with the line that mends it.
func TestWhatPeopleWrite(t *testing.T) {
	head := "name: shop\nfunctions:\n  - name: f\n"
	class := "name: shop\nclasses:\n  - name: c\n"
	tests := map[string]struct {
		data    string
		code    oprc.Code
		line    int
		message string
		hint    string
	}{
		"unclosed quote":                         {"name: shop\nversion: \"1.0\ndisabled: true\n", oprc.CodeSyntax, 2, "never closed", "closing quote"},
		"quote in quotes":                        {head + "    description: 'it's here'\n", oprc.CodeSyntax, 4, "the quoted text ends here", "write `description: \"it's here\"`"},
		"colon in the value":                     {head + "    outputCls: x: y\n", oprc.CodeSyntax, 4, `"x: y"`, "quote it: `outputCls: \"x: y\"`"},
		"dash forgotten":                         {head + "    type: LOGICAL\n\n    name: g\n    provision: {knative: {image: a}}\n", oprc.CodeDuplicate, 6, "a new item of `functions` needs a `- `", "write `- name: g`"},
		"list as a mapping":                      {"name: shop\nclasses:\n  name: c\n  parents: []\n", oprc.CodeType, 3, "expected a list", "write `- name: c`"},
		"template as a value":                    {"name: {{ .Values.name }}\n", oprc.CodeType, 1, "a template is not YAML; expected a name", "render the template first"},
		"template as a line":                     {"name: shop\n{{- if .Values.x }}\nversion: '1'\n{{- end }}\n", oprc.CodeSyntax, 2, "{{- if .Values.x }}", "render the template first"},
		"merge conflict":                         {"name: shop\n<<<<<<< HEAD\nversion: '1'\n=======\nversion: '2'\n>>>>>>> x\n", oprc.CodeSyntax, 2, "merge conflict", "<<<<<<<"},
		"Kubernetes wrapper":                     {"apiVersion: x/v1\nkind: Package\nmetadata: {name: shop}\nspec: {classes: []}\n", oprc.CodeType, 1, "wrapped as a Kubernetes object", "`name: shop`"},
		"env as a list":                          {head + "    provision: {knative: {image: a, env: [{name: A, value: b}, {name: C, value: 1}]}}\n", oprc.CodeType, 4, "got a list", `{A: "b", C: "1"}`},
		"env as assignments":                     {head + "    provision: {knative: {image: a, env: [A=b]}}\n", oprc.CodeType, 4, "got a list", `{A: "b"}`},
		"milliseconds":                           {class + "    requirements: {latency: 100ms}\n", oprc.CodeType, 4, "100ms", "write 100: it is in milliseconds"},
		"seconds":                                {class + "    requirements: {latency: 1.5s}\n", oprc.CodeType, 4, "1.5s", "write 1500"},
		"percentage":                             {class + "    requirements: {availability: 99.9%}\n", oprc.CodeType, 4, "99.9%", "write 0.999"},
		"decimal comma":                          {class + "    requirements:\n      throughput: 0,5\n", oprc.CodeType, 5, "0,5", "write 0.5"},
		"comma in brackets":                      {class + "    requirements: {throughput: 0,5}\n", oprc.CodeField, 4, "unknown field `5`", "as in 0.5"},
		"comment of JSON":                        {"name: shop\n// x: y\n", oprc.CodeField, 2, "unknown field", "begins with `#`"},
		"no-break space":                         {"name:\u00a0shop\nversion: '1'\n", oprc.CodeSyntax, 1, "a no-break space", "`name: shop`"},
		"no-break space alone":                   {"name:\u00a0shop\n", oprc.CodeType, 1, "got the text", "write `name: shop`"},
		"no-break space in an item":              {"name: shop\nclasses:\n  - name:\u00a0c\n", oprc.CodeType, 3, "got the text", "write `name: c`"},
		"apostrophe":                             {head + "    description: 'it's here\n    type: LOGICAL\n", oprc.CodeSyntax, 4, "the quoted text ends here", "write `description: \"it's here\"`"},
		"dash forgotten in the column of dashes": {head + "    type: LOGICAL\n  name: g\n    type: LOGICAL\n", oprc.CodeSyntax, 5, "without one", "write `- name: g`"},
		"no space behind the dash":               {"name: shop\nclasses:\n  -name: c\n", oprc.CodeType, 3, "expected a list", "write `- name: c`"},
		"a dash that is none":                    {"name: shop\nclasses:\n  – name: c\n", oprc.CodeType, 3, "expected a list", "write `- name: c`"},
		"no space behind the colon":              {"name:shop\nversion: '1'\n", oprc.CodeSyntax, 1, "a space is missing in `name:shop`", "write `name: shop`"},
		"no space behind the only colon":         {"name:shop\n", oprc.CodeType, 1, "got the text", "write `name: shop`"},
		"no space behind the colon of an item":   {"name: shop\nclasses:\n  - name:c\n", oprc.CodeType, 3, "got the text", "write `name: c`"},
		"no colon":                               {"name: shop\nversion 1\nclasses: []\n", oprc.CodeSyntax, 2, "expected a `:`", "write `version: 1`"},
		"no-break indent":                        {head + "  \u00a0 type: LOGICAL\n", oprc.CodeSyntax, 4, "a no-break space", "`type: LOGICAL`"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, found := loadOne([]byte(tt.data), false)
			if len(found) != 1 {
				t.Fatalf("got %d findings, want one: %v", len(found), found)
			}
			d := found[0]
			if d.Code != tt.code || d.Line != tt.line || !strings.Contains(d.Message, tt.message) || !strings.Contains(d.Hint, tt.hint) {
				t.Errorf("got %s at line %d: %s (%s)", d.Code, d.Line, d.Message, d.Hint)
			}
		})
	}
}
