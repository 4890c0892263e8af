package schema_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

func TestConvert(t *testing.T) {
	tests := map[string]struct {
		in, want string
		report   []string
	}{
		"snake_case dialect": {
			`name: iot
version: "2.0"
metadata:
  author: Ada
  tags: [x]
# what others give us
dependencies: [base]
classes:
- key: Sensor
  description: Measures
  state_spec:
    default_provider: memory
    consistency_model: STRONG
    persistent: true
    serialization_format: json
    key_specs:
    - {name: value, key_type: f64, nullable: true}
    - {name: blob, key_type: bytes}
  function_bindings:
  - name: read # often
    function_key: Sensor.read
    access_modifier: PUBLIC
    stateless: true
    parameters: [unit]
  - name: log
    function_key: base.log
    stateless: false
    parameters: []
functions:
- key: Sensor.read
  function_type: CUSTOM
  # where it comes from
  provision_config:
    container_image: registry.example/read:1
    port: 8080
    max_concurrency: 0
    need_http2: true
    cpu_request: 100m
    memory_limit: 1Gi
    min_scale: 1
    wasm_module_url: http://x
  config:
    HTTP_PORT: 80
    RUST_LOG: info
deployments:
- key: one
  package_name: iot
  class_key: Sensor
  target_env: edge
  nfr_requirements:
    availability: 0.99
    min_throughput_rps: 10
    cpu_utilization_target: 0.5
  odgm:
    partition_count: 3
    shard_type: mst
    log: debug
    collections: [a]
  condition: PENDING
  created_at: null
`,
			`name: iot
version: "2.0"
# what others give us
required: [base]
classes:
- name: Sensor
  description: Measures
  stateSpec:
    keySpecs:
    - {name: value, type: DOUBLE, optional: true}
    - {name: blob}
    defaultProvider: memory
  requirements:
    throughput: 10
    availability: 0.99
  constraints:
    consistency: STRONG
  functions:
  - name: read # often
    function: .Sensor.read
    access: PUBLIC
    immutable: true
  - name: log
    function: base.log
functions:
- name: Sensor.read
  type: TASK
  # where it comes from
  provision:
    knative:
      image: registry.example/read:1
      port: 8080
      minScale: 1
      requestsCpu: 100m
      limitsMemory: 1Gi
  config:
    env:
      HTTP_PORT: "80"
      RUST_LOG: info
    http2: true
deployments:
- _key: .Sensor
  partitionCount: 3
  targetEnvs: [edge]
  shardType: mst
  options:
    log: debug
`,
			[]string{
				"line 3: `metadata` is not carried over: a package has no metadata",
				"line 14: `persistent` is not carried over: the storage decides",
				"line 18: `type` is not carried over: bytes is none of STRING, INTEGER, DOUBLE and BOOLEAN",
				"line 23: `stateless` became `immutable`: the call does not change the object",
				"line 24: `parameters` is not carried over: describe arguments in the function's `variableDescriptions`",
				"line 41: `wasm_module_url` is not carried over: no engine has it",
				"line 46: `key` is not carried over: a deployment is named by its class",
				"line 53: `nfr_requirements.cpu_utilization_target` is not carried over",
				"line 58: `odgm.collections` is not carried over",
			},
		},
		"older spellings": {
			`name: old
classes:
- name: a
  stateType: FILES # kept
  # no longer needed
  objectType: SIMPLE
  qos: {availability: 0.9}
  parents:
  functions:
  - {function: builtin.logical.get, defaultArgs: {lim: 10}}
functions:
- name: f
  type: CHAIN
  macro: {steps: [], respBody: {a: 1}}
- name: g
  provision: {staticUrl: {url: http://x}}
`,
			`name: old
classes:
- name: a
  stateType: NORMAL # kept
  # no longer needed
  requirements: {availability: 0.9}
  functions:
  - {function: builtin.get, defaultArgs: {lim: "10"}}
functions:
- name: f
  type: MACRO
  macro: {steps: [], bodyTemplate: {a: 1}}
- name: g
  config:
    staticUrl: http://x
`,
			[]string{"line 6: `objectType` has no meaning any more"},
		},
		"bodies as lists": {
			`name: old
functions:
- name: m
  type: MACRO
  macro:
    steps:
    - function: f
      target: "@"
      as: a
      argRefs: {x: size}
      mappings:
      # of the object
      - fromBody: "@"
        transforms: [{path: $.n, inject: n}]
    # what comes out
    respBody:
    - fromObj: a # the step
      transforms:
      - inject: whole
      - {path: $.x, inject: part}
`,
			`name: old
functions:
- name: m
  type: MACRO
  macro:
    steps:
    - function: f
      target: "@"
      as: a
      args: {x: "${@|args|size}"}
      # of the object
      bodyTemplate:
        n: "${@|body|$.n}"
    # what comes out
    # the step
    bodyTemplate:
      whole: "${a|output}"
      part: "${a|output|$.x}"
`,
			nil,
		},
		"options and templates": {
			`name: p
classes:
- key: C
  # sent as it is
  options: {a: "1"}
  function_bindings: []
deployments:
- class_key: C
  target_envs: [e1, e2]
  env_templates: {e2: knative} # on e2
`,
			`name: p
classes:
- name: C
  functions: []
deployments:
- _key: .C
  targetEnvs: [e1, e2]
  members: # on e2
    - {id: 1, env: e1}
    - {id: 2, env: e2, forceTemplate: knative}
  # sent as it is
  options: {a: "1"}
`,
			nil,
		},
		"what is current stays": {
			"# c\nname:   a\nfunctions:\n    - name: f # d\n      description: >\n        folded\n        text\n\n      type: LOGICAL\n",
			"# c\nname:   a\nfunctions:\n    - name: f # d\n      description: >\n        folded\n        text\n\n      type: LOGICAL\n",
			nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, report, err := convertOne([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(out)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.report, report); diff != "" {
				t.Error(diff)
			}
			if _, found := loadOne(out, false); len(found) > 0 {
				t.Errorf("the result has findings: %v", found)
			}
		})
	}
}

// convertOne converts one file.
func convertOne(data []byte) (out []byte, report []string, err error) {
	c := schema.Convert([]oprc.File{{Data: data}})[0]
	for _, lost := range c.Report {
		report = append(report, fmt.Sprintf("line %d: %s", lost.Line, lost.Message))
	}
	return c.Data, report, c.Err
}

func TestConvertRefuses(t *testing.T) {
	for _, data := range []string{
		"name: [", "name: a\nname: b\n", "key: d\npackage_name: p\nclass_key: C\n",
		"name: p\nfunctions:\n- {key: f, function_type: WASM, provision_config: {wasm_module_url: x}}\n",
	} {
		if _, _, err := convertOne([]byte(data)); !errors.Is(err, oprc.ErrInvalid) {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

// TestConvertJoins converts a package and a deployment that is a file of its own.
func TestConvertJoins(t *testing.T) {
	pkg := "name: p\nclasses:\n  - key: C\n    function_bindings: []\n# end\n"
	dep := "# where it runs\nkey: d\npackage_name: p\nclass_key: C # the class\ntarget_envs:\n  - e1 # first\n"
	out := schema.Convert([]oprc.File{{Path: "dep.yaml", Data: []byte(dep)}, {Path: "pkg.yaml", Data: []byte(pkg)}})
	if !out[0].Moved || out[1].Moved || out[0].Err != nil || out[1].Err != nil {
		t.Fatalf("got %+v", out)
	}
	want := "name: p\nclasses:\n  - name: C\n    functions: []\n# end\ndeployments:\n  # where it runs\n  - _key: .C # the class\n    targetEnvs:\n      - e1 # first\n"
	if diff := cmp.Diff(want, string(out[1].Data)); diff != "" {
		t.Error(diff)
	}
	for range 20 {
		again := schema.Convert([]oprc.File{{Path: "dep.yaml", Data: []byte(dep)}, {Path: "pkg.yaml", Data: []byte(pkg)}})
		if diff := cmp.Diff(out, again); diff != "" {
			t.Fatalf("not the same again: %s", diff)
		}
	}
}

// TestConvertedFilesLoad converts every real file at hand; what was valid means
// the same, and nothing is left to warn about.
func TestConvertedFilesLoad(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "corpus", "*.y*ml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, "testdata/shop.yaml", "testdata/extras.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before, found := loadOne(data, false)
		if found.Err() != nil && found[0].Code != oprc.CodeDialect {
			continue
		}
		out, _, err := convertOne(data)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		after, left := loadOne(out, false)
		if len(left) > 0 {
			t.Errorf("%s: left to say: %v", path, left)
		}
		if len(before) > 0 {
			if diff := cmp.Diff(before[0].Package, after[0].Package); diff != "" {
				t.Errorf("%s: the meaning changes: %s", path, diff)
			}
		}
	}
}

// FuzzConvert holds for any bytes: no panic, and what comes out converts to itself.
func FuzzConvert(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data)
	}
	f.Add([]byte("classes: [{key: a, function_bindings: [{function_key: b}], state_spec: {key_specs: [{}]}}]\nfunctions: [{key: b, provision_config: {port: ~}, config: 3, metadata: x}]\ndeployments: [{class_key: a, odgm: 1, nfr_requirements: {availability: 1}, target_env: [x]}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, _, err := convertOne(data)
		if err != nil {
			return
		}
		again, report, err := convertOne(out)
		if err != nil || string(again) != string(out) {
			t.Errorf("the second time changes\n%s to\n%s, %v, %v", out, again, report, err)
		}
	})
}
