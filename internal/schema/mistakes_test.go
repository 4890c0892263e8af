package schema_test

import (
	"os"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// mistakes are made one at a time in testdata/shop.yaml: old is replaced by now,
// and the finding is expected at the line where `now` stands, or at the first of
// its lines that ends in "#!".
var mistakes = map[string]struct {
	old, now string
	code     oprc.Code
	column   int // 0: not checked
	hint     string
}{
	// names
	"package without a name":      {"name: shop\nversion: 1.4.0", "version: 1.4.0", oprc.CodeName, 1, "--pkg NAME"},
	"package name with a space":   {"name: shop\n", "name: my shop\n", oprc.CodeName, 7, "`my-shop`"},
	"package name null":           {"name: shop\n", "name:\n", oprc.CodeType, 1, "give it a value"},
	"class without a name":        {"  - name: item-list\n    disabled: true", "  - disabled: true", oprc.CodeName, 5, "name: NAME"},
	"class name ends in a dash":   {"- name: item-list", "- name: item-list-", oprc.CodeName, 11, "`item-list`"},
	"class name empty":            {"- name: item-list", `- name: ""`, oprc.CodeName, 11, ""},
	"class name with a slash":     {"- name: item-list", "- name: item/list", oprc.CodeName, 11, "`item-list`"},
	"function without a name":     {"  - name: cart.reserve\n    type: LOGICAL", "  - type: LOGICAL", oprc.CodeName, 5, "name: NAME"},
	"function name starts dotted": {"- name: cart.reserve", "- name: .cart.reserve", oprc.CodeName, 11, "`cart.reserve`"},
	"key without a name":          {"- name: visits\n          type: INTEGER", "- type: INTEGER", oprc.CodeName, 11, "name: NAME"},
	"variable without a name":     {"- name: language\n        displayName", "- displayName", oprc.CodeName, 9, "name: NAME"},
	"class of another package":    {"  - name: order\n", "  - name: order\n    pkg: store #!\n", oprc.CodeName, 10, "derived"},
	"function of another package": {"  - name: order.ship\n", "  - name: order.ship\n    pkg: store #!\n", oprc.CodeName, 10, "derived"},
	"class key that disagrees":    {"  - name: order\n", "  - name: order\n    _key: shop.cart #!\n", oprc.CodeName, 11, "derived"},
	// unknown fields
	"misspelt field of the package":   {"version: 1.4.0", "verson: 1.4.0", oprc.CodeField, 1, "`version`"},
	"misspelt list of the package":    {"deployments:", "deployment:", oprc.CodeField, 1, "`deployments`"},
	"misspelt field of a class":       {"    stateType: COLLECTION", "    statetype: COLLECTION", oprc.CodeField, 5, "`stateType`"},
	"misspelt field of a binding":     {"        access: INTERNAL\n        outputCls", "        acess: INTERNAL\n        outputCls", oprc.CodeField, 9, "`access`"},
	"misspelt field of a key":         {"          optional: true", "          optinal: true", oprc.CodeField, 11, "`optional`"},
	"misspelt field of a function":    {"    outputCls: .cart\n", "    outputClass: .cart\n", oprc.CodeField, 5, "`outputCls`"},
	"misspelt field of an engine":     {"        minScale: 0", "        minscale: 0", oprc.CodeField, 9, "`minScale`"},
	"misspelt field of a deployment":  {"    targetEnvs:", "    targetEnv:", oprc.CodeField, 5, "`targetEnvs`"},
	"misspelt field of a member":      {"        allPartitions: true", "        allPartition: true", oprc.CodeField, 9, "`allPartitions`"},
	"misspelt required field":         {"        env: edge-1", "        environment: edge-1", oprc.CodeField, 9, "`env`"},
	"misspelt field of an assignment": {"        shardIds: [0, 1]", "        shardIDs: [0, 1]", oprc.CodeField, 9, "`shardIds`"},
	"misspelt field of a step":        {"          targetCls: .cart", "          targetClass: .cart", oprc.CodeField, 11, "`targetCls`"},
	"misspelt field of a requirement": {"      throughput: 500", "      throughputs: 500", oprc.CodeField, 7, "`throughput`"},
	"misspelt field of the config":    {"      offloadingMode: JSON", "      offloadMode: JSON", oprc.CodeField, 7, "`offloadingMode`"},
	"unknown field":                   {"    outputCls: .cart\n", "    colour: red\n", oprc.CodeField, 5, "oprc explain functions"},
	"image beside the provision":      {"    type: LOGICAL", "    image: registry.example/x:1", oprc.CodeField, 5, "provision.knative"},
	"keys instead of keySpecs":        {"      keySpecs:\n        - name: lines", "      keys:\n        - name: lines", oprc.CodeField, 7, "`keySpecs`"},
	"provision by a job":              {"      docker:", "      job:", oprc.CodeField, 7, "`knative`, `docker` or `deployment`"},
	"function with a validation":      {"    type: LOGICAL", "    validation: {}", oprc.CodeField, 5, "remove it"},
	"function with a task":            {"    type: LOGICAL", "    task: {}", oprc.CodeField, 5, "`provision`"},
	"macro with an export":            {"      output: closed", "      export: closed", oprc.CodeField, 7, "`output`"},
	"macro with a funcName":           {"      output: closed", "      funcName: closed", oprc.CodeField, 7, "`function`"},
	"atomic macro":                    {"      output: closed", "      atomic: true", oprc.CodeField, 7, "remove it"},
	"kind of a package":               {"version: 1.4.0", "kind: Package", oprc.CodeField, 1, "`kind: Environment`"},
	"metadata of another dialect":     {"disabled: false", "metadata: {team: x}", oprc.CodeField, 1, ""},
	"class by its key":                {"  - name: item-list", "  - key: item-list", oprc.CodeField, 5, "`name`"},
	"step by its funcName":            {"        - function: total\n", "        - funcName: total\n", oprc.CodeField, 11, "`function`"},
	"replicas":                        {"    replicaCount: 2", "    replicas: 2", oprc.CodeField, 5, "`replicaCount`"},
	// enumerations
	"stateType misspelt":       {"stateType: COLLECTION", "stateType: COLECTION", oprc.CodeStateType, 16, "`COLLECTION`"},
	"stateType unknown":        {"stateType: COLLECTION", "stateType: BLUE", oprc.CodeStateType, 16, ""},
	"access in lower case":     {"        access: INTERNAL\n        outputCls", "        access: internal\n        outputCls", oprc.CodeEnum, 17, "`INTERNAL`"},
	"function type misspelt":   {"    type: LOGICAL", "    type: LOGIC", oprc.CodeEnum, 11, "`LOGICAL`"},
	"function state misspelt":  {"    state: FROZEN", "    state: FROZE", oprc.CodeEnum, 12, "`FROZEN`"},
	"key type unknown":         {"          type: INTEGER", "          type: INT64", oprc.CodeEnum, 17, "`INTEGER`"},
	"consistency unknown":      {"consistency: READ_YOUR_WRITE", "consistency: READ_YOUR_WRITES", oprc.CodeEnum, 20, "`READ_YOUR_WRITE`"},
	"pull policy unknown":      {"pullPolicy: Always", "pullPolicy: always", oprc.CodeEnum, 21, "`Always`"},
	"enumeration as a boolean": {"    type: LOGICAL", "    type: true", oprc.CodeEnum, 11, ""},
	// types
	"text where a number is expected":    {"partitionCount: 4", "partitionCount: four", oprc.CodeType, 21, ""},
	"quoted number":                      {"partitionCount: 4", `partitionCount: "4"`, oprc.CodeType, 21, "without quotes"},
	"fraction where a whole is expected": {"partitionCount: 4", "partitionCount: 4.5", oprc.CodeType, 21, ""},
	"yes where a boolean is expected":    {"        noMain: false", "        noMain: no", oprc.CodeType, 17, "write false"},
	"text where a list is expected":      {"parents: [builtin.base]", "parents: builtin.base", oprc.CodeType, 14, "[builtin.base]"},
	"mapping where a list is expected":   {"        disabledFn: [total]", "        disabledFn: {total: true}", oprc.CodeType, 21, "[total]"},
	"list where a mapping is expected":   {"    config:\n      cache: {size: 64, warm: true}", "    config: [cache]", oprc.CodeType, 13, ""},
	"list where a text is expected":      {"description: Says hello", "description: [Says, hello]", oprc.CodeType, 18, ""},
	"null where a text is expected":      {"description: Says hello", "description: ~", oprc.CodeType, 18, "remove it"},
	"list in a map of texts":             {"          MODE: fast", "          MODE: [fast]", oprc.CodeType, 17, ""},
	"text where a class is expected":     {"  - name: item-list\n    disabled: true\n    stateSpec:\n      keySpecs:\n        - name: lines\n          access: PRIVATE", "  - item-list", oprc.CodeType, 5, "{name: item-list}"},
	"empty list item":                    {"  - name: cart.reserve\n    type: LOGICAL", "  -", oprc.CodeType, 0, "remove"},
	"infinite number in free settings":   {"          retries: 3", "          retries: .inf", oprc.CodeType, 20, "quote it"},
	"custom tag":                         {"description: Says hello", "description: !secret hello", oprc.CodeType, 18, "remove the tag"},
	"exponent where a whole is expected": {"partitionCount: 4", "partitionCount: 1e2", oprc.CodeType, 21, "write 100"},
	"hexadecimal where an amount is":     {"        cpu: 200m", "        cpu: 0x10", oprc.CodeProvision, 14, ""},
	// duplicates
	"field twice":                  {"    state: FROZEN\n", "    state: FROZEN\n    state: FROZEN #!\n", oprc.CodeDuplicate, 5, "remove"},
	"environment variable twice":   {"          LOG: info\n    config", "          LOG: info\n          LOG: debug #!\n    config", oprc.CodeDuplicate, 11, "remove"},
	"free setting twice":           {"          retries: 3\n", "          retries: 3\n          retries: 4 #!\n", oprc.CodeDuplicate, 11, "remove"},
	"field twice in two spellings": {"    partitionCount: 4\n", "    partitionCount: 4\n    cls: .cart #!\n", oprc.CodeDuplicate, 5, "remove"},
	// ranges
	"two engines":                   {"    provision:\n      docker:", "    provision:\n      knative: {image: x}\n      docker: #!", oprc.CodeProvision, 7, "keep one"},
	"port too large":                {"        port: 9000", "        port: 90000", oprc.CodeProvision, 15, "leave it out"},
	"bad quantity":                  {"        cpu: 200m", "        cpu: 200 milli", oprc.CodeProvision, 14, "`200m`"},
	"bad memory":                    {"        memory: 128Mi", "        memory: 128MB", oprc.CodeProvision, 17, "`128Mi`"},
	"negative scale":                {"        minScale: 0", "        minScale: -2", oprc.CodeProvision, 19, "leave it out"},
	"availability of one":           {"      availability: 0.999", "      availability: 1", oprc.CodeAvailability, 21, "0.99"},
	"availability as a percentage":  {"      availability: 0.999", "      availability: 99.9", oprc.CodeAvailability, 21, "0.99"},
	"negative latency":              {"      latency: 15", "      latency: -15", oprc.CodeQoS, 16, "leave it out"},
	"negative concurrency":          {"      maxConcurrency: 64", "      maxConcurrency: -64", oprc.CodeQoS, 23, "leave it out"},
	"no partitions":                 {"    partitionCount: 4", "    partitionCount: 0", oprc.CodeShards, 21, "the default, 1"},
	"negative replicas":             {"    replicaCount: 2", "    replicaCount: -2", oprc.CodeShards, 19, "availability"},
	"member zero":                   {"      - id: 1\n", "      - id: 0\n", oprc.CodeShards, 13, "from 1"},
	"member without a number":       {"      - id: 1\n        env: edge-1", "      - env: edge-1", oprc.CodeShards, 9, "id: NUMBER"},
	"negative shard":                {"shardIds: [0, 1]", "shardIds: [0, -1]", oprc.CodeShards, 23, "from 0"},
	"assignment without owners":     {"      - primary: 1\n        owners: [1, 2]\n", "      - primary: 1 #!\n", oprc.CodeShards, 9, "owners"},
	"member without an environment": {"      - id: 2\n        env: edge-2\n", "      - id: 2 #!\n", oprc.CodeEnvironment, 9, "env: ENV"},
	"binding without a function":    {"      - name: total\n        function: .cart.total\n", "      - name: total #!\n", oprc.CodeFunctionRef, 9, "function: FUNCTION"},
	"deployment without a class":    {"  - _key: .order\n    assignments", "  - assignments", oprc.CodeClassRef, 5, "_key: KEY"},
	"step without a function":       {"        - function: total\n          target", "        - target", oprc.CodeMacro, 11, "function: FUNCTION"},
	"dollar target":                 {"        - function: total\n          target: \"@\"", "        - function: total\n          target: $ #!", oprc.CodeMacro, 19, "`@`"},
	"negative timeout":              {"      timeout: 3000", "      timeout: -1", oprc.CodeType, 16, "leave it out"},
	"empty parent":                  {"      - builtin.base\n", "      - ''\n", oprc.CodeParent, 9, "remove it"},
	"whole number beyond JSON":      {"partitionCount: 4", "partitionCount: 9007199254740992", oprc.CodeType, 21, "write a smaller number"},
	"free whole number beyond JSON": {"          retries: 3", "          retries: -9007199254740992", oprc.CodeType, 20, `as a text`},
	"whole number of many digits":   {"          retries: 3", "          retries: 123456789012345678901234", oprc.CodeType, 20, `as a text`},
	"decimal beyond a double":       {"availability: 0.999", "availability: 0.99900000000000000001", oprc.CodeType, 21, "write 0.999"},
	"free decimal beyond a double":  {"          retries: 3", "          retries: 1.2345678901234567891", oprc.CodeType, 20, `"1.2345678901234567891"`},
	"whole number with a fraction":  {"          retries: 3", "          retries: 9007199254740993.0", oprc.CodeType, 20, "write 9.007199254740992e+15, or"},
	"too large for a double":        {"          retries: 3", "          retries: 1e400", oprc.CodeType, 20, `as a text: "1e400"`},
	"too small for a double":        {"          retries: 3", "          retries: 1e-400", oprc.CodeType, 20, `as a text: "1e-400"`},
	// syntax
	"tab as indentation":      {"    description: Says hello", "\tdescription: Says hello", oprc.CodeSyntax, 1, "spaces"},
	"unclosed quote":          {"description: Says hello\n", "description: \"Says hello\n", oprc.CodeSyntax, 18, "quote"},
	"unclosed list":           {"disabledFn: [total]", "disabledFn: [total", oprc.CodeSyntax, 21, "closing `]`"},
	"colon in plain text":     {"description: Says hello", "description: Says: hello", oprc.CodeSyntax, 0, "quote"},
	"indentation out of step": {"    outputCls: .cart\n", "   outputCls: .cart\n", oprc.CodeSyntax, 0, "align it"},
	"unknown alias":           {"description: Says hello", "description: *hello", oprc.CodeSyntax, 0, "quote the text"},
	// warnings
	"octal number":            {"partitionCount: 4", "partitionCount: 017", oprc.CodeCoerced, 21, "write 15"},
	"binary number":           {"          retries: 3", "          retries: 0b11", oprc.CodeCoerced, 20, "write 3"},
	"grouped digits":          {"          retries: 3", "          retries: 1_000", oprc.CodeCoerced, 20, "write 1000"},
	"number as an argument":   {"          MODE: fast", "          MODE: 10", oprc.CodeCoerced, 17, "quote it"},
	"number as a version":     {"version: 1.4.0", "version: 1.4", oprc.CodeCoerced, 10, "quote it"},
	"older state type":        {"stateType: COLLECTION", "stateType: FILES", oprc.CodeLegacy, 16, "NORMAL"},
	"objectType":              {"    stateType: COLLECTION", "    objectType: SIMPLE", oprc.CodeLegacy, 5, "remove"},
	"chain":                   {"    type: MACRO", "    type: CHAIN", oprc.CodeLegacy, 11, "MACRO"},
	"older consistency":       {"consistency: READ_YOUR_WRITE", "consistency: EVENTUAL", oprc.CodeLegacy, 20, "BOUNDED_STALENESS"},
	"respBody":                {"      bodyTemplate:\n        paid", "      respBody:\n        paid", oprc.CodeLegacy, 7, "bodyTemplate"},
	"class to be removed":     {"    markForRemoval: false", "    state: REMOVING", oprc.CodeLegacy, 12, "markForRemoval"},
	"function to be removed":  {"    state: FROZEN", "    state: REMOVING", oprc.CodeLegacy, 12, "DISABLED"},
	"static URL as an engine": {"      docker:\n        image: registry.example/shop/forget:1\n        port: 9000\n        env:\n          LOG: info\n", "      staticUrl:\n        url: http://x.example\n", oprc.CodeLegacy, 7, "config.staticUrl"},
	"null list":               {"    parents: [builtin.base]", "    parents:", oprc.CodeLegacy, 5, "[]"},
	"revision":                {"  - name: order\n", "  - name: order\n    _rev: abc #!\n", oprc.CodeSystemField, 5, "remove"},
	"status":                  {"  - name: order.ship\n", "  - name: order.ship\n    status: {condition: RUNNING} #!\n", oprc.CodeSystemField, 5, "remove"},
	"resolved":                {"  - name: order\n", "  - name: order\n    resolved: {functions: {}} #!\n", oprc.CodeSystemField, 5, "remove"},
}

func TestSingleMistakes(t *testing.T) {
	data, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shop := string(data)
	if _, found := loadOne(data, false); len(found) > 0 {
		t.Fatalf("the package without a mistake has findings: %v", found)
	}
	for name, tt := range mistakes {
		t.Run(name, func(t *testing.T) {
			if n := strings.Count(shop, tt.old); n != 1 {
				t.Fatalf("%q stands %d times in the package, want once", tt.old, n)
			}
			at := strings.Index(shop, tt.old)
			broken := shop[:at] + tt.now + shop[at+len(tt.old):]
			want := 1 + strings.Count(shop[:at], "\n") + mistakenLine(tt.old, tt.now)
			_, found := loadOne([]byte(broken), false)
			if len(found) != 1 {
				t.Fatalf("got %d findings, want one: %v", len(found), found)
			}
			d := found[0]
			if d.Code != tt.code || d.Line != want {
				t.Errorf("got %s at line %d, want %s at line %d: %s", d.Code, d.Line, tt.code, want, d)
			}
			if tt.column > 0 && d.Column != tt.column {
				t.Errorf("got column %d, want %d: %s", d.Column, tt.column, d)
			}
			if !strings.Contains(d.Hint, tt.hint) {
				t.Errorf("got hint %q, want one with %q", d.Hint, tt.hint)
			}
			if strings.Contains(d.Message, "go-yaml") || strings.Contains(d.Message, "#") || strings.Contains(d.Message, "\n") {
				t.Errorf("the message shows the inside: %s", d.Message)
			}
		})
	}
}

// mistakenLine counts the lines before the first that differs, or that is marked.
func mistakenLine(old, now string) int {
	before, after := strings.Split(old, "\n"), strings.Split(now, "\n")
	for i, line := range after {
		if strings.HasSuffix(line, "#!") {
			return i
		}
	}
	for i := range min(len(before), len(after)) {
		if before[i] != after[i] {
			return i
		}
	}
	return 0
}

// CUE refuses every single mistake that we refuse, but for a field that stands twice
// with one value.
func TestMistakesAgreeWithCUE(t *testing.T) {
	data, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range mistakes {
		broken := []byte(strings.Replace(string(data), tt.old, tt.now, 1))
		_, found := loadOne(broken, false)
		errs := derivedAside(found.Errors())
		if len(errs) == 0 || errs[0].Code == oprc.CodeDuplicate || strings.Contains(errs[0].Message, "not exact in JSON") || strings.Contains(errs[0].Message, "JSON holds") {
			continue // what is mapped, compared, rounded or repeated is beyond CUE
		}
		if vet(t, "#CompatiblePackage", broken) == nil {
			t.Errorf("%s: CUE accepts what we refuse: %v", name, found)
		}
	}
}
