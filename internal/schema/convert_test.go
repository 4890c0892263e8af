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
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, report, err := schema.Convert([]byte(tt.in))
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

func TestConvertRefuses(t *testing.T) {
	for _, data := range []string{"name: [", "name: a\nname: b\n"} {
		if _, _, err := schema.Convert([]byte(data)); !errors.Is(err, oprc.ErrInvalid) {
			t.Errorf("%q: got %v", data, err)
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
		out, _, err := schema.Convert(data)
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
		out, _, err := schema.Convert(data)
		if err != nil {
			return
		}
		again, report, err := schema.Convert(out)
		if err != nil || string(again) != string(out) {
			t.Errorf("the second time changes\n%s to\n%s, %v, %v", out, again, report, err)
		}
	})
}
