package schema_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/load"
	cueyaml "cuelang.org/go/encoding/yaml"
	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
	cuefiles "github.com/oaas-platform/oprc/schema"
)

// module is the public CUE module, built as `cue vet` builds it.
var module = sync.OnceValue(func() cue.Value {
	overlay := map[string]load.Source{}
	err := fs.WalkDir(cuefiles.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(cuefiles.FS, path)
		overlay["/module/"+path] = load.FromBytes(data)
		return err
	})
	if err != nil {
		panic(err)
	}
	instance := load.Instances([]string{"."}, &load.Config{Dir: "/module", Overlay: overlay})[0]
	v := cuecontext.New().BuildInstance(instance)
	if err := v.Validate(); err != nil {
		panic(err)
	}
	return v
})

// vet is CUE's verdict on a file, as `cue vet -c -d` gives it.
func vet(t *testing.T, definition string, data []byte) error {
	t.Helper()
	file, err := cueyaml.Extract("file.yaml", data)
	if err != nil {
		return err
	}
	v := cuecontext.New().BuildExpr(&ast.StructLit{Elts: file.Decls})
	if err := v.Err(); err != nil {
		return err
	}
	return module().LookupPath(cue.ParsePath(definition)).Unify(v).Validate(cue.Concrete(true))
}

func loadOne(data []byte, strict bool) ([]oprc.Document, oprc.Diagnostics) {
	return schema.Load([]oprc.File{{Path: "file.yaml", Data: data}}, strict, "")
}

// A mutant is a document with one change.
type mutant struct {
	change string
	doc    any
}

// mutants returns copies of a document with one thing changed: each value
// replaced, each field removed, renamed, or joined by a stranger.
func mutants(doc any) []mutant {
	palette := []any{
		nil, true, "", "x", "$", "-x", "a b", "1", "128Mi", "PUBLIC", "NONE", "Always", 0, 1, -1, -2, 70000, 0.5, 1.0, 1.5, 1e30,
		[]any{},
		[]any{"x"},
		[]any{1},
		[]any{nil},
		map[string]any{},
		map[string]any{"x": "y"},
		map[string]any{"x": 1},
		map[string]any{"x": nil},
	}
	var out []mutant
	var walk func(at string, here any, rebuild func(any) any)
	walk = func(at string, here any, rebuild func(any) any) {
		for _, v := range palette {
			out = append(out, mutant{fmt.Sprintf("%s: %T %v", at, v, v), rebuild(v)})
		}
		switch here := here.(type) {
		case map[string]any:
			with := func(drop, add string, val any) any {
				m := map[string]any{}
				for k, v := range here {
					if k != drop {
						m[k] = v
					}
				}
				if add != "" {
					m[add] = val
				}
				return m
			}
			out = append(out, mutant{at + "/stranger", rebuild(with("", "stranger", "x"))})
			for _, k := range slices.Sorted(maps.Keys(here)) {
				v := here[k]
				out = append(out, mutant{at + " without " + k, rebuild(with(k, "", nil))}, mutant{at + "/" + k + "x", rebuild(with(k, k+"x", v))})
				walk(at+"/"+k, v, func(now any) any { return rebuild(with(k, k, now)) })
			}
		case []any:
			for i, v := range here {
				walk(fmt.Sprintf("%s/%d", at, i), v, func(now any) any {
					list := append([]any(nil), here...)
					list[i] = now
					return rebuild(list)
				})
			}
		}
	}
	walk("", doc, func(now any) any { return now })
	return out
}

// TestAgreesWithCUE holds the walk to CUE's verdict on thousands of documents
// that differ from a valid one in one place.
func TestAgreesWithCUE(t *testing.T) {
	tests := map[string]struct {
		file, definition string
		strict           bool
		most             int
	}{
		"strict":      {"testdata/strict.yaml", "#Package", true, 250},
		"compatible":  {"testdata/extras.yaml", "#CompatiblePackage", false, 250},
		"environment": {"testdata/environment.yaml", "#Environment", true, 250},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			if err := vet(t, tt.definition, data); err != nil {
				t.Fatalf("CUE refuses the document without a mistake: %v", err)
			}
			var doc any
			if err := yaml.Load(data, &doc); err != nil {
				t.Fatal(err)
			}
			all := mutants(doc)
			rng := rand.New(rand.NewPCG(1, 2))
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			refused := 0
			for _, m := range all[:min(len(all), tt.most)] {
				if compare(t, m, tt.definition, tt.strict) {
					refused++
				}
			}
			t.Logf("%d of %d mutants, %d refused", min(len(all), tt.most), len(all), refused)
			if refused < tt.most/4 {
				t.Errorf("only %d mutants were refused: the mutants are too tame", refused)
			}
		})
	}
}

// compare reports whether both refuse the document; they must agree, except
// where the compatible mode maps what CUE sees only after the mapping.
func compare(t *testing.T, changed mutant, definition string, strict bool) (refused bool) {
	t.Helper()
	data, err := json.Marshal(changed.doc)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := changed.doc.(map[string]any); !ok || definition == "#Environment" && m["kind"] != "Environment" {
		return false // not a document of that kind: nothing to compare
	}
	verdict := vet(t, definition, data)
	docs, found := loadOne(data, strict)
	errors := derivedAside(found.Errors())
	mapped := len(found) > len(found.Errors()) && !strict
	switch {
	case len(errors) == 0 && verdict != nil && !mapped:
		t.Errorf("we accept what CUE refuses: %s\nCUE: %v", changed.change, verdict)
	case len(errors) > 0 && verdict == nil:
		t.Errorf("we refuse what CUE accepts: %s\nwe: %v", changed.change, errors)
	case len(found.Errors()) == 0 && docs[0].Package != nil:
		if err := vet(t, "#CompatiblePackage", oprc.MustCanonical(docs[0].Package)); err != nil {
			t.Errorf("CUE refuses what we made of %s: %v", changed.change, err)
		}
	}
	return verdict != nil
}

// derivedAside drops the findings about pkg and _key, which compare two fields:
// CUE judges them one by one.
func derivedAside(ds oprc.Diagnostics) (out oprc.Diagnostics) {
	for _, d := range ds {
		if d.Hint != "remove it: it is derived" {
			out = append(out, d)
		}
	}
	return out
}

// TestScalarsAgreeWithCUE compares the reading of scalars that parsers differ in.
func TestScalarsAgreeWithCUE(t *testing.T) {
	scalars := []string{
		"yes", "no", "on", "~", "null", "true", "True", "0x1F", "0o17", "0b11", "1_000", "+1", "-0", "1.0", ".5", "1e3", "1E3",
		".inf", "-.inf", ".nan", "2024-01-01", "2024-01-01T10:00:00Z", `"3"`, "'3'", "!!str 3", "99999999999999999999", "- x", "12:30", "=", "''",
	}
	fields := map[string]string{
		"text":   "name: p\nclasses: [{name: a, description: %s}]\n",
		"number": "name: p\nfunctions: [{name: a, requirements: {throughput: %s}}]\n",
		"int":    "name: p\nfunctions: [{name: a, config: {timeout: %s}}]\n",
		"bool":   "name: p\ndisabled: %s\n",
		"env":    "name: p\nfunctions: [{name: a, config: {env: {X: %s}}}]\n",
	}
	for _, scalar := range scalars {
		for name, format := range fields {
			data := fmt.Appendf(nil, format, scalar)
			verdict := vet(t, "#Package", data)
			_, found := loadOne(data, true)
			if (verdict == nil) != (len(found.Errors()) == 0) {
				t.Errorf("%s %s: CUE says %v, we say %v", name, scalar, verdict, found)
			}
		}
	}
}
