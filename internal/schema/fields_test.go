package schema_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

func TestFields(t *testing.T) {
	got, err := schema.Fields("classes.functions.access")
	if err != nil {
		t.Fatal(err)
	}
	want := schema.FieldDoc{
		Path: "classes.functions.access", Type: "text", Values: []string{"PUBLIC", "INTERNAL", "PRIVATE"}, Default: "PUBLIC",
		Doc: "Who may call it: anybody (PUBLIC), macros of the same package (INTERNAL), macros of the same class (PRIVATE).",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	same, err := schema.Fields("/classes/0/functions/2/access")
	if diff := cmp.Diff(want, same); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestFieldsUnknown(t *testing.T) {
	tests := map[string]string{
		"deployments.targetEnv":     "did you mean targetEnvs?",
		"classes.name.first":        "has no fields",
		"environment.capacity.disk": "the capacity",
	}
	for path, want := range tests {
		_, err := schema.Fields(path)
		if !errors.Is(err, oprc.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

// onlyThere lists the fields that one side has on purpose.
var onlyThere = map[string]string{
	"package.classes.resolved": "Go: derived, in the catalogue alone",
	"package.classes._rev":     "CUE: ignored in files",
	"package.functions.status": "CUE: ignored in files",
	"package.deployments.pkg":  "Go: derived, in the catalogue alone",

	"package.deployments.restarts": "Go: counted, in the catalogue alone",
}

// TestDefinitionsMatchTypes holds the CUE definitions and the Go types to each
// other: the same fields, of the same kinds, at every depth.
func TestDefinitionsMatchTypes(t *testing.T) {
	types := map[string]reflect.Type{
		"package":     reflect.TypeFor[oprc.Package](),
		"environment": reflect.TypeFor[oprc.Environment](),
		"unit":        reflect.TypeFor[oprc.DeploymentUnit](),
		"report":      reflect.TypeFor[oprc.Report](),
		"runtime":     reflect.TypeFor[oprc.ClassRuntime](),
	}
	for _, root := range schema.Roots() {
		if types[root] == nil {
			t.Fatalf("no Go type for %s", root)
		}
		match(t, root, types[root])
	}
}

func match(t *testing.T, path string, goType reflect.Type) {
	t.Helper()
	doc, err := schema.Fields(path)
	if err != nil {
		t.Error(err)
		return
	}
	documented := map[string]schema.FieldDoc{}
	for _, child := range doc.Children {
		documented[child.Path[strings.LastIndex(child.Path, ".")+1:]] = child
		if child.Doc == "" {
			t.Errorf("%s.%s has no comment", path, child.Path)
		}
	}
	for i := range goType.NumField() {
		f := goType.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		child, ok := documented[name]
		delete(documented, name)
		switch here := path + "." + name; {
		case onlyThere[here] != "":
		case !ok:
			t.Errorf("Go has %s, CUE has not", here)
		case goKind(f.Type) != child.Type:
			t.Errorf("%s is %q in Go and %q in CUE", here, goKind(f.Type), child.Type)
		default:
			if elem := elemOf(f.Type); elem.Kind() == reflect.Struct && elem.String() != "time.Time" && elem != envValue {
				match(t, here, elem)
			}
		}
	}
	for name := range documented {
		if here := path + "." + name; onlyThere[here] == "" {
			t.Errorf("CUE has %s, Go has not", here)
		}
	}
}

func elemOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

var envValue = reflect.TypeFor[oprc.EnvValue]()

func goKind(t reflect.Type) string {
	if t == envValue {
		return "text or mapping"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return goKind(t.Elem())
	case reflect.String:
		return "text"
	case reflect.Int, reflect.Int64:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "list of " + goKind(t.Elem())
	case reflect.Map:
		return "mapping of " + goKind(t.Elem())
	case reflect.Struct:
		if t.String() == "time.Time" {
			return "text"
		}
		return "mapping"
	}
	return "any value"
}
