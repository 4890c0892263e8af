package schema_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

func TestFormat(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"order and spelling": {
			`# About the shop.

deployments:
- targetEnvs: [a]   # where
  cls: .cart
functions:
# adds
- provision: {knative: {image: "x:1"}}
  name: add
- name: sub
classes:
    - functions:
          - function: .add   # the function
            name: add
      qos: {latency: 3}
      name: cart
name: shop
`,
			`# About the shop.

name: shop
classes:
    - name: cart
      requirements: {latency: 3}
      functions:
          - name: add
            function: .add   # the function
functions:
# adds
- name: add
  provision: {knative: {image: "x:1"}}
- name: sub
deployments:
- _key: .cart
  targetEnvs: [a]   # where
`,
		},
		"environment":            {"availability: 0.9\nname: a\nkind: Environment\n", "kind: Environment\nname: a\navailability: 0.9\n"},
		"documents":              {"---\nversion: '1'\nname: a\n---\nname: b\n", "---\nname: a\nversion: '1'\n---\nname: b\n"},
		"unknown last":           {"x: 1\nname: a\n", "name: a\nx: 1\n"},
		"JSON":                   {`{"deployments":[{"key":".c"}],"name":"a"}`, `{"name":"a","deployments":[{"_key":".c"}]}`},
		"brackets":               {"name: a\nclasses: [{functions: [{access: PUBLIC, function: .f}],\n  name: c}]\n", "name: a\nclasses: [{name: c,\n  functions: [{function: .f, access: PUBLIC}]}]\n"},
		"no last end of line":    {"version: '1'\nname: a", "name: a\nversion: '1'\n"},
		"comment above moves":    {"# b\nversion: '1'\n# a\nname: a\n", "# a\nname: a\n# b\nversion: '1'\n"},
		"lines for editors stay": {"# yaml-language-server: $schema=x\nversion: '1'\nname: a\n", "# yaml-language-server: $schema=x\nname: a\nversion: '1'\n"},
		"empty lines stay":       {"version: '1'\n\ndisabled: true\nname: a\n", "name: a\n\nversion: '1'\ndisabled: true\n"},
		"byte order mark stays":  {"\ufeffversion: '1'\nname: a\n", "\ufeffname: a\nversion: '1'\n"},
		"an item commented out in the column of the keys": {
			"functions:\n- name: f\n\n# NOTE: later\n# - name: g\n#   type: LOGICAL\n\nname: a\n",
			"name: a\n\nfunctions:\n- name: f\n\n# NOTE: later\n# - name: g\n#   type: LOGICAL\n",
		},
		"an item commented out, then one about the next field": {
			"deployments:\n- targetEnvs:\n  - a\n  # - b\n  _key: .c\n# - _key: .d\n# The name.\nname: a\n",
			"# The name.\nname: a\ndeployments:\n- _key: .c\n  targetEnvs:\n  - a\n  # - b\n# - _key: .d\n",
		},
		"commented out from the start of the line": {
			"functions:\n  - name: f\n    type: LOGICAL\n#    immutable: true\n#  - name: g\nname: a\n",
			"name: a\nfunctions:\n  - name: f\n    type: LOGICAL\n#    immutable: true\n#  - name: g\n",
		},
		"a list in prose is about what follows": {
			"functions:\n- name: f\n# Our name:\n# - short\n# - and: simple\nname: a\n",
			"# Our name:\n# - short\n# - and: simple\nname: a\nfunctions:\n- name: f\n",
		},
		"a comment that would begin an item keeps the order": {
			"name: a\nfunctions:\n- type: TASK\n  # state: FROZEN\n  name: f\n", "name: a\nfunctions:\n- type: TASK\n  # state: FROZEN\n  name: f\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := schema.Format(oprc.File{Data: []byte(tt.in)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFormatRefuses(t *testing.T) {
	for _, data := range []string{"name: [", "name: a\nclasses:\n- key: b\n  function_bindings: []\n", "key: a\nclass_key: b\npackage_name: c\n"} {
		if _, err := schema.Format(oprc.File{Data: []byte(data)}); !errors.Is(err, oprc.ErrInvalid) {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

// TestFormatKeepsMeaning formats every file at hand twice.
func TestFormatKeepsMeaning(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{filepath.Join("..", "..", "examples", "*", "*.y*ml"), filepath.Join("..", "..", "..", "shared", "corpus", "*.y*ml")} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, more...)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		checkFormat(t, path, data)
	}
}

// checkFormat holds the laws of formatting: the meaning stays, and a second time
// changes nothing.
func checkFormat(t *testing.T, name string, data []byte) {
	t.Helper()
	once, err := schema.Format(oprc.File{Data: data})
	if errors.Is(err, oprc.ErrInvalid) {
		return
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	twice, err := schema.Format(oprc.File{Data: once})
	if err != nil || string(once) != string(twice) {
		t.Errorf("%s: the second time changes %s, %v", name, cmp.Diff(string(once), string(twice)), err)
	}
	before, foundBefore := loadOne(data, false)
	after, foundAfter := loadOne(once, false)
	if len(before) != len(after) || len(foundBefore) != len(foundAfter) {
		t.Errorf("%s: %d documents and %d findings became %d and %d: %s", name, len(before), len(foundBefore), len(after), len(foundAfter), once)
		return
	}
	for i := range before {
		if diff := cmp.Diff(before[i].Package, after[i].Package); diff != "" {
			t.Errorf("%s: the meaning changes: %s", name, diff)
		}
		if diff := cmp.Diff(before[i].Environment, after[i].Environment); diff != "" {
			t.Errorf("%s: the meaning changes: %s", name, diff)
		}
	}
}

func FuzzFormat(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkFormat(t, "file", data) })
}
