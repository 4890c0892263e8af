package schema_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

// seeds are files of every kind that matters to a reader of YAML.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	paths, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	var out [][]byte
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, data)
	}
	for _, s := range []string{
		"", "\ufeff", "---\n---\n", "a: &a [*a]\n", "<<: {name: a}\n", "name: a\r\nclasses:\r\n- name: b\r\n",
		`{"name": "a", "functions": [{"name": "\ud83d"}]}`, "{\n\t\"name\": \"a\"}", "name: [", "name: \"a", "- - - a", "? a\n: b\n", "? [a]\n: b\n",
		"name: !!binary aGk=\n", "name: a\nclasses: [null]\n", "name: a\nfunctions:\n- provision: {staticUrl: {url: x}}\n  config: 3\n",
		"name: a\nclasses:\n- key: b\n  function_bindings: []\n", "*a\n", "&a b\n", "%YAML 1.2\n---\nname: a\n", "name: a\ndeployments: [{<<: [{_key: x}, {cls: y}]}]\n",
		"name: a\nclasses: [{name: b, config: {x: .inf, 1: 2, ~: 3, x: 4}}]\n", "name: |\n  a\n # b\n", "name: 'it''s'\n", "name: a # b\n#c\n", "\x00", "\xff",
	} {
		out = append(out, []byte(s))
	}
	return out
}

// FuzzLoad holds for any bytes: no panic, every finding has a place, and what is
// free of errors has a canonical form.
func FuzzLoad(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data, false)
		f.Add(data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, strict bool) {
		docs, found := schema.Load([]oprc.File{{Path: "f.yaml", Data: data}}, strict, "")
		for _, d := range found {
			if d.Line < 1 || d.Column < 1 || d.Message == "" || d.Severity == "" {
				t.Errorf("a finding without a place or message: %+v", d)
			}
		}
		for _, doc := range docs {
			doc.Where.At("/classes/0/name")
			if doc.Package != nil {
				oprc.MustCanonical(doc.Package)
			}
			if found.Err() == nil && doc.Name() == "" {
				t.Errorf("a document without a name has no finding: %q", data)
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	data, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		b.Fatal(err)
	}
	files := []oprc.File{{Path: "shop.yaml", Data: data}}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		schema.Load(files, false, "")
	}
}
