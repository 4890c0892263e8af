package schema_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

func ptr[T any](v T) *T { return &v }

func brief(ds oprc.Diagnostics) []string {
	out := []string{}
	for _, d := range ds {
		out = append(out, fmt.Sprintf("%s %s %s", d.Position, d.Code, d.Pointer))
	}
	return out
}

func TestLoadPackage(t *testing.T) {
	data := `
name: shop
version: 1.0
classes:
  - name: cart
    qos: {availability: 0.99}
    constraint: {maxConcurrency: 3}
    stateSpec: {}
    functions:
      - function: .cart.add
        forceImmutable: true
        defaultArgs: {lim: 10}
        override: {deep: [1, {a: null, b: true}], "on": 2024-01-01}
functions:
  - name: cart.add
    provision: {knative: {image: "x:1", minScale: 0}}
    config: {custom: {PORT: 0080, YES: true}}
  - name: both
    type: CHAIN
    macro:
      steps: [{function: add, target: "@", as: a}]
      respBody: {x: 1}
deployments:
  - cls: .cart
    options: {a: 1.50}
`
	docs, found := loadOne([]byte(data), false)
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	want := &oprc.Package{
		Name: "shop", Version: "1.0",
		Classes: []oprc.Class{{
			Name: "cart", StateType: oprc.StateNormal,
			Requirements: &oprc.Requirements{Availability: 0.99},
			Constraints:  &oprc.Constraints{MaxConcurrency: 3, Consistency: oprc.ConsistencyNone},
			StateSpec:    &oprc.StateSpec{DefaultProvider: "s3"},
			Functions: []oprc.Binding{{
				Name: "add", Function: ".cart.add", Access: oprc.Public, Immutable: true,
				DefaultArgs: map[string]string{"lim": "10"},
				Override:    map[string]any{"deep": []any{1.0, map[string]any{"a": nil, "b": true}}, "on": "2024-01-01"},
			}},
		}},
		Functions: []oprc.Function{
			{
				Name: "cart.add", Type: oprc.Task, State: oprc.Enabled,
				Provision: &oprc.Provision{Knative: &oprc.Knative{Image: "x:1", MinScale: ptr(0)}},
				Config:    oprc.FunctionConfig{Custom: map[string]string{"PORT": "0080", "YES": "true"}},
			},
			{
				Name: "both", Type: oprc.MacroFn, State: oprc.Enabled,
				Macro: &oprc.Macro{
					Steps:        []oprc.Step{{Function: "add", Target: "@", As: "a"}},
					BodyTemplate: map[string]any{"x": 1.0},
				},
			},
		},
		Deployments: []oprc.Deployment{{Key: ".cart", PartitionCount: 1, Options: map[string]string{"a": "1.50"}}},
	}
	if diff := cmp.Diff(want, docs[0].Package); diff != "" {
		t.Error(diff)
	}
	wantFound := []string{
		"file.yaml:3:10 W102 /version",
		"file.yaml:12:28 W102 /classes/0/functions/0/defaultArgs/lim",
		"file.yaml:17:29 W102 /functions/0/config/custom/PORT",
		"file.yaml:17:40 W102 /functions/0/config/custom/YES",
		"file.yaml:19:11 W101 /functions/1/type",
		"file.yaml:22:7 W101 /functions/1/macro/bodyTemplate",
		"file.yaml:25:18 W102 /deployments/0/options/a",
	}
	if diff := cmp.Diff(wantFound, brief(found)); diff != "" {
		t.Error(diff)
	}
}

func TestLoadDocuments(t *testing.T) {
	environment := &oprc.Environment{Kind: oprc.KindEnvironment, Name: "edge", Availability: 0.9, Default: true}
	named := func(names ...string) []oprc.Document {
		var docs []oprc.Document
		for _, name := range names {
			docs = append(docs, oprc.Document{Path: "file.yaml", Package: &oprc.Package{Name: name}})
		}
		return docs
	}
	tests := map[string]struct {
		data string
		want []oprc.Document
	}{
		"empty documents between others": {"---\n---\nname: a\n---\n# none\n---\nname: b\n...\n", named("a", "b")},
		"environment": {
			"kind: Environment\nname: edge\navailability: 0.9\ndefault: true\n",
			[]oprc.Document{{Path: "file.yaml", Environment: environment}},
		},
		"JSON":                       {`{"name": "a", "required": []}`, []oprc.Document{{Path: "file.yaml", Package: &oprc.Package{Name: "a", Required: []string{}}}}},
		"JSON indented by tabs":      {"{\n  \"name\":\t\"a\"\n}", named("a")},
		"JSON with surrogate escape": {`{"name": "a", "version": "\ud83d\ude00 \\ud83d \ud83d"}`, []oprc.Document{{Path: "file.yaml", Package: &oprc.Package{Name: "a", Version: "😀 \\ud83d \uFFFD"}}}},
		"byte order mark":            {"\ufeffname: a\n", named("a")},
		"CRLF":                       {"name: a\r\nversion: b\r\n", []oprc.Document{{Path: "file.yaml", Package: &oprc.Package{Name: "a", Version: "b"}}}},
		"alias":                      {"name: &x a\nversion: *x\n", []oprc.Document{{Path: "file.yaml", Package: &oprc.Package{Name: "a", Version: "a"}}}},
		"merge key": {
			"name: a\ndeployments:\n- &d {_key: .x, shardType: raft}\n- {<<: *d, _key: .y}\n",
			[]oprc.Document{{Path: "file.yaml", Package: &oprc.Package{Name: "a", Deployments: []oprc.Deployment{
				{Key: ".x", ShardType: "raft", PartitionCount: 1}, {Key: ".y", ShardType: "raft", PartitionCount: 1},
			}}}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			docs, found := loadOne([]byte(tt.data), false)
			if len(found) > 0 {
				t.Errorf("unexpected findings: %v", found)
			}
			for i := range docs {
				docs[i].Where, docs[i].Line = nil, 0
			}
			if diff := cmp.Diff(tt.want, docs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is foreign is passed over where it was found, and an error where it was named;
// an empty file is known to be empty.
func TestForeignAndEmptyDocuments(t *testing.T) {
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n"
	tests := map[string]struct {
		data  string
		found bool
		want  []string
	}{
		"an object":             {configMap, true, []string{"W109 info"}},
		"an object by name":     {configMap, false, []string{"E022 error"}},
		"one beside a package":  {"name: a\n---\n" + configMap, true, []string{"a", "W109 info"}},
		"a foreign environment": {"apiVersion: x/v1\nkind: Environment\nspec: {}\n", true, []string{"W109 info"}},
		"a field of ours":       {"apiVersion: v1\nkind: Package\nname: a\n", true, []string{"a", "E002 error", "E002 error"}},
		"a chart":               {"apiVersion: v2\nname: a\nversion: 0.1.0\n", true, []string{"a", "E002 error"}},
		"a kind alone":          {"kind: ConfigMap\nmetadata: {}\n", true, []string{"", "E001 error", "E002 error", "E002 error"}},
		"nothing":               {"", true, []string{"W110 info"}},
		"a comment":             {"# nothing here\n---\n", false, []string{"W110 info"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			docs, found := schema.Load([]oprc.File{{Path: "file.yaml", Data: []byte(tt.data), Found: tt.found}}, false, "")
			var got []string
			for _, d := range docs {
				got = append(got, d.Name())
			}
			for _, d := range found {
				got = append(got, string(d.Code)+" "+string(d.Severity))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTenMistakesInOrder(t *testing.T) {
	data := `name: -shop
classes:
  - name: cart
    stateType: BIG
    functions:
      - function: .add
        acess: PUBLIC
  - description: nameless
functions:
  - name: add
    type: TUSK
    provision:
      knative: {image: a, port: 99999}
      docker: {image: b}
    requirements: {availability: 2}
deployments:
  - _key: .cart
    partitionCount: 0
    targetEnv: [a]
`
	_, found := loadOne([]byte(data), false)
	want := []string{
		"file.yaml:1:7 E001 /name",
		"file.yaml:4:16 E024 /classes/0/stateType",
		"file.yaml:7:9 E002 /classes/0/functions/0/acess",
		"file.yaml:8:5 E001 /classes/1/name",
		"file.yaml:11:11 E003 /functions/0/type",
		"file.yaml:13:33 E008 /functions/0/provision/knative/port",
		"file.yaml:14:7 E008 /functions/0/provision/docker",
		"file.yaml:15:34 E010 /functions/0/requirements/availability",
		"file.yaml:18:21 E011 /deployments/0/partitionCount",
		"file.yaml:19:5 E002 /deployments/0/targetEnv",
	}
	if diff := cmp.Diff(want, brief(found)); diff != "" {
		t.Error(diff)
	}
	for _, d := range found {
		if d.Package != "-shop" || d.Severity != oprc.SeverityError {
			t.Errorf("got package %q, severity %s: %s", d.Package, d.Severity, d)
		}
	}
}

// TestEnvironmentMistakes covers the document that is not a package.
func TestEnvironmentMistakes(t *testing.T) {
	tests := map[string]struct{ data, want string }{
		"percentage":       {"kind: Environment\nname: a\navailability: 99\n", "file.yaml:3:15 E010 /availability"},
		"no name":          {"kind: Environment\n", "file.yaml:1:1 E001 /name"},
		"bad quantity":     {"kind: Environment\nname: a\ncapacity:\n  cpu: many\n", "file.yaml:4:8 E009 /capacity/cpu"},
		"negative units":   {"kind: Environment\nname: a\ncapacity: {units: -1}\n", "file.yaml:3:19 E009 /capacity/units"},
		"unknown field":    {"kind: Environment\nname: a\nlabel: {}\n", "file.yaml:3:1 E002 /label"},
		"misspelt kind":    {"name: a\nkind: environment\n", "file.yaml:2:7 E003 /kind"},
		"list as document": {"- name: a\n", "file.yaml:1:1 E022 "},
		"text as document": {"hello\n", "file.yaml:1:1 E022 "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, found := loadOne([]byte(tt.data), false)
			if diff := cmp.Diff([]string{tt.want}, brief(found)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStrict(t *testing.T) {
	tests := map[string]struct{ data, want, hint string }{
		"extra":          {"name: a\nversion: \"1\"\n", "file.yaml:2:1 E002 /version", "without --strict"},
		"older name":     {"name: a\ndeployments:\n- cls: .x\n", "file.yaml:3:3 E002 /deployments/0/cls", "use `_key`"},
		"older value":    {"name: a\nfunctions:\n- {name: f, type: CHAIN}\n", "file.yaml:3:19 E003 /functions/0/type", "use MACRO"},
		"number":         {"name: a\nclasses:\n- {name: c, description: 3}\n", "file.yaml:3:26 E022 /classes/0/description", `"3"`},
		"null list":      {"name: a\nclasses:\n", "file.yaml:2:1 E022 /classes", ""},
		"objectType":     {"name: a\nclasses:\n- {name: c, objectType: X}\n", "file.yaml:3:13 E002 /classes/0/objectType", "without --strict"},
		"system's own":   {"name: a\nclasses:\n- {name: c, _rev: X}\n", "file.yaml:3:13 W106 /classes/0/_rev", "remove"},
		"not the spec's": {"name: a\nclasses:\n- {name: c, resolved: {}}\n", "file.yaml:3:13 E002 /classes/0/resolved", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, found := loadOne([]byte(tt.data), true)
			if diff := cmp.Diff([]string{tt.want}, brief(found)); diff != "" {
				t.Fatal(diff)
			}
			if !strings.Contains(found[0].Hint, tt.hint) {
				t.Errorf("got hint %q, want one with %q", found[0].Hint, tt.hint)
			}
		})
	}
}

func TestPackageNameSupplied(t *testing.T) {
	docs, found := schema.Load([]oprc.File{{Path: "a.yaml", Data: []byte("classes: [{name: c, pkg: test}]\n")}}, false, "test")
	if len(found) > 0 || docs[0].Name() != "test" {
		t.Errorf("got %v, %v", docs, found)
	}
}

// TestManyFiles mixes files with and without mistakes: all findings are there,
// by file, and documents come in the order of paths.
func TestManyFiles(t *testing.T) {
	var files []oprc.File
	for i := 99; i >= 0; i-- {
		files = append(files, oprc.File{Path: fmt.Sprintf("p%02d.yaml", i), Blob: fmt.Sprint(i), Data: fmt.Appendf(nil, "name: p%d\nx: 1\n", i)})
	}
	docs, found := schema.Load(files, false, "")
	if len(docs) != 100 || len(found) != 100 {
		t.Fatalf("got %d documents and %d findings", len(docs), len(found))
	}
	for i := range docs {
		if docs[i].Name() != fmt.Sprintf("p%d", i) || docs[i].Blob != fmt.Sprint(i) || found[i].File != docs[i].Path {
			t.Errorf("at %d: got %s of %s, finding %s", i, docs[i].Name(), docs[i].Path, found[i])
		}
	}
}

func TestLocator(t *testing.T) {
	data := "# x\nname: shop\nclasses:\n  - name: cart\n    parents: [a, b]\nfunctions:\n  - name: f\n    provision:\n      staticUrl:\n        url: http://x\n---\nname: other\ndeployments:\n- cls: .x\n  targetEnvs:\n  - e\n"
	docs, _ := loadOne([]byte(data), false)
	tests := []struct {
		doc     int
		pointer string
		line    int
		column  int
	}{
		{0, "", 2, 1},
		{0, "/name", 2, 7},
		{0, "/classes", 3, 1},
		{0, "/classes/0", 4, 5},
		{0, "/classes/0/parents/1", 5, 18},
		{0, "/classes/0/parents", 5, 14},
		{0, "/classes/0/functions/3/name", 4, 5}, // missing: its class
		{0, "/functions/0/config/staticUrl", 10, 14},
		{0, "/required", 2, 1},
		{1, "/deployments/0/_key", 14, 8},
		{1, "/deployments/0/targetEnvs", 15, 3},
		{1, "/deployments/0/targetEnvs/0", 16, 5},
		{1, "/deployments/0/targetEnvs/7", 15, 3},
	}
	for _, tt := range tests {
		want := oprc.Position{File: "file.yaml", Line: tt.line, Column: tt.column}
		if got := docs[tt.doc].Where.At(tt.pointer); got != want {
			t.Errorf("document %d %s: got %s, want %s", tt.doc, tt.pointer, got, want)
		}
	}
}

// TestCorpus reads real files, where they are at hand.
func TestCorpus(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "corpus", "*.y*ml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Skip("no real package files beside the repository")
	}
	want := map[string]string{ // errors and their codes, compatible mode
		"bad-syntax.yaml": "22:3 E020", "cyclic.yml": "1:1 E001", "echo-misspelt.yml": "31:5 E002", "rust-e2e.yaml": "5:3 E019",
	}
	valid := map[string]bool{"tutorial.yml": true} // in strict mode
	for _, path := range paths {
		name := filepath.Base(path)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, found := loadOne(data, false)
		var got []string
		for _, d := range found.Errors() {
			got = append(got, fmt.Sprintf("%d:%d %s", d.Line, d.Column, d.Code))
		}
		if strings.Join(got, ", ") != want[name] {
			t.Errorf("%s: got %v, want %q", name, got, want[name])
		}
		_, found = loadOne(data, true)
		if ok := found.Err() == nil; ok != valid[name] {
			t.Errorf("%s strict: got %v", name, found)
		}
	}
}

// A document of a long file is located by its section alone; what the parser says
// of the whole file is the judge.
func TestDocumentsOfOneFileAreLocatedAlone(t *testing.T) {
	tests := map[string]string{
		"markers":             "name: a\n---\nname: b\n--- \nname: c\n",
		"comments between":    "# one\nname: a\n# two\n---\n\n# three\nname: b\n",
		"on the marker":       "--- {name: a}\n--- {name: b}\n---\t# c\nname: c\n",
		"no end of line":      "---\nname: a\n---\nname: b",
		"in a text":           "name: a\nversion: |\n  ---\n  b\n---\nname: c\n",
		"longer than markers": "name: a\n---\nname: b\nversion: ---x\n",
		"directives":          "%TAG !t! tag:yaml.org,2002:\n---\nname: !t!str a\n...\n# then\n%TAG !u! tag:yaml.org,2002:\n---\nname: !u!str 1\n",
		"ended":               "name: a\n...\n---\nname: b\n...\nname: c\n",
		"CRLF":                "name: a\r\n---\r\nname: b\r\n",
		"CR":                  "name: a\r---\rname: b\r---\rversion: 1\rname: c\r",
		"rare breaks":         "# \u2028\u2029\u0085\nname: a\n---\nname: b\n\u2028---\nname: c\n",
		"byte order mark":     "\ufeffname: a\n---\nname: b\n",
		"aliases":             "name: &n a\nversion: *n\n---\nname: &n b\nversion: *n\n",
		"flow":                "{\n  \"name\": \"a\"\n}\n---\n{\"name\": \"b\"}\n",
		"empty ones":          "---\n---\nname: a\n---\n# none\n---\nname: b\n---\n",
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			var want, got []string
			loader, err := yaml.NewLoader(strings.NewReader(strings.TrimPrefix(data, "\ufeff")))
			if err != nil {
				t.Fatal(err)
			}
			for {
				var n yaml.Node
				if loader.Load(&n) != nil {
					break
				}
				for i, child := range n.Content[0].Content {
					if i%2 == 1 && n.Content[0].Content[i-1].Value == "name" {
						want = append(want, fmt.Sprintf("%s %d:%d", child.Value, child.Line, child.Column))
					}
				}
			}
			docs, _ := loadOne([]byte(data), false)
			for _, d := range docs {
				at := d.Where.At("/name")
				got = append(got, fmt.Sprintf("%s %d:%d", d.Name(), at.Line, at.Column))
			}
			if diff := cmp.Diff(want, got); diff != "" || len(got) == 0 {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
