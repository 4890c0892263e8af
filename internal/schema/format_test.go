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
        function: .add # the function

functions:
  # adds
  - name: add
    provision: {knative: {image: "x:1"}}

  - name: sub

deployments:
  - _key: .cart
    targetEnvs: [a] # where
`,
		},
		"environment":  {"availability: 0.9\nname: a\nkind: Environment\n", "kind: Environment\nname: a\navailability: 0.9\n"},
		"documents":    {"---\nversion: '1'\nname: a\n---\nname: b\n", "name: a\nversion: '1'\n---\nname: b\n"},
		"unknown last": {"x: 1\nname: a\n", "name: a\nx: 1\n"},
		"aliases stay": {"version: &v '1'\nname: a\nclasses: [{description: *v, name: c}]\n", "version: &v '1'\nname: a\nclasses: [{description: *v, name: c}]\n"},
		"block text":   {"name: a\nclasses:\n- name: c\n  description: |\n    # not a comment\n\n    text\n", "name: a\n\nclasses:\n  - name: c\n    description: |\n      # not a comment\n\n      text\n"},
		"JSON":         {`{"deployments":[{"key":".c"}],"name":"a"}`, "{\n  \"name\": \"a\",\n  \"deployments\": [\n    {\n      \"_key\": \".c\"\n    }\n  ]\n}\n"},
		"null in flow": {"name: a\nclasses: [{name: c, parents, config: {x: , y: ~}}]\n", "name: a\nclasses: [{name: c, parents: null, config: {x: null, y: ~}}]\n"},
		"null as key":  {"name: a\nversion:\n  : x\n", "name: a\nversion:\n  null: x\n"},
		"nothing":      {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := schema.Format([]byte(tt.in))
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
	if _, err := schema.Format([]byte("name: [")); !errors.Is(err, oprc.ErrInvalid) {
		t.Errorf("got %v", err)
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
	once, err := schema.Format(data)
	if errors.Is(err, oprc.ErrInvalid) {
		return
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	twice, err := schema.Format(once)
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
