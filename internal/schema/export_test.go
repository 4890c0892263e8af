package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
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

// TestJSONSchemaAgreesWithCUE compares the verdicts of the exported JSON Schema
// and of CUE on documents that differ from valid ones in one place.
func TestJSONSchemaAgreesWithCUE(t *testing.T) {
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
	rng := rand.New(rand.NewPCG(3, 4))
	for _, file := range []string{"testdata/strict.yaml", "testdata/extras.yaml", "testdata/shop.yaml", "testdata/environment.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var valid any
		if err := yaml.Load(data, &valid); err != nil {
			t.Fatal(err)
		}
		all := append(mutants(valid), mutant{"nothing", valid})
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, m := range all[:min(len(all), 80)] {
			if strings.Contains(m.change, "1e+30") {
				continue // JSON Schema counts 1e30 as an integer, CUE and we do not
			}
			text, err := json.Marshal(m.doc)
			if err != nil {
				t.Fatal(err)
			}
			instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			wide, narrow := compiled.Validate(instance), vet(t, "#Document", text)
			if (wide == nil) != (narrow == nil) {
				t.Errorf("%s, %s: JSON Schema says %v, CUE says %v", file, m.change, wide, narrow)
			}
		}
	}
}
