package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"cuelang.org/go/cue/cuecontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

func TestExportCUE(t *testing.T) {
	data, err := schema.Export("cue")
	if err != nil {
		t.Fatal(err)
	}
	v := cuecontext.New().CompileBytes(data)
	if err := v.Validate(); err != nil {
		t.Errorf("%v\n%s", err, data)
	}
}

// The schema that editors are pointed at is the one that is exported.
func TestCommittedJSONSchema(t *testing.T) {
	want, err := schema.Export("jsonschema")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../schema/oprc.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("schema/oprc.schema.json is not what `oprc schema export` prints: run `make schema`")
	}
}

func TestExportUnknown(t *testing.T) {
	if _, err := schema.Export("xsd"); !errors.Is(err, oprc.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestExportOpenAPI(t *testing.T) {
	data, err := schema.Export("openapi")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI    string `json:"openapi"`
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	p := doc.Components.Schemas["CompatiblePackage"].Properties
	if doc.OpenAPI != "3.1.0" || p["classes"] == nil || p["name"] == nil {
		t.Errorf("got version %q, properties %v", doc.OpenAPI, p)
	}
}

// TestJSONSchemaAgreesWithValidate compares, on 2,000 documents that differ from a
// valid one in one place, what an editor says by the JSON Schema and what validate says
// of the fields and values of a file.
func TestJSONSchemaAgreesWithValidate(t *testing.T) {
	compiled := compiledSchema(t)
	rng := rand.New(rand.NewPCG(3, 4))
	const of = 2000
	files := []string{"testdata/strict.yaml", "testdata/extras.yaml", "testdata/shop.yaml", "testdata/environment.yaml", "testdata/older.yaml"}
	count := map[[2]bool]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var valid any
		if err := yaml.Load(data, &valid); err != nil {
			t.Fatal(err)
		}
		all := mutants(valid)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = append([]mutant{{"nothing", valid}}, all...)
		for _, m := range all[:min(len(all), of/len(files))] {
			if strings.Contains(m.change, "1e+30") || m.doc == nil {
				continue // JSON Schema counts 1e30 as an integer; nothing at all is no document
			}
			text, err := json.Marshal(m.doc)
			if err != nil {
				t.Fatal(err)
			}
			instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			red := compiled.Validate(instance)
			_, found := schema.Load([]oprc.File{{Path: "x.json", Data: text}}, false, "")
			wrong := found.Err()
			if derived := func(d oprc.Diagnostic) bool { return strings.Contains(d.Hint, "it is derived") }; wrong != nil && !slices.ContainsFunc(found.Errors(), func(d oprc.Diagnostic) bool { return !derived(d) }) {
				continue // that a key agrees with the names is more than a schema can say
			}
			count[[2]bool{red == nil, wrong == nil}]++
			if (red == nil) != (wrong == nil) {
				t.Errorf("%s, %s: JSON Schema says %v, validate says %v", file, m.change, red, found.Errors())
			}
		}
	}
	t.Logf("both accept %d, both refuse %d, only the schema accepts %d, only validate accepts %d",
		count[[2]bool{true, true}], count[[2]bool{false, false}], count[[2]bool{true, false}], count[[2]bool{false, true}])
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := schema.Export("jsonschema")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}
