package cli_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
)

const companions = `name: payments
version: 2.3.0
classes:
  - name: card
    functions: [{name: pay, function: .pay, access: PRIVATE}]
functions:
  - name: pay
    provision: {knative: {image: registry.example/pay:1}}
---
name: base
`

func shopFile(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../schema/testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shop, _, _ := strings.Cut(string(data), "    assignments:") // they fit no environment
	return shop
}

// validated returns the errors, and of warnings those that a sound shop does not
// give.
func validated(t *testing.T, shop string) []oprc.Diagnostic {
	t.Helper()
	u := newUser(t)
	r := u.run("validate", "-o", "json", "-f", u.file("shop.yaml", shop), "-f", u.file("companions.yaml", companions))
	var out struct{ Diagnostics oprc.Diagnostics }
	if err := json.Unmarshal([]byte(r.out), &out); err != nil {
		t.Fatalf("%v\n%s%s", err, r.out, r.err)
	}
	return slices.DeleteFunc(out.Diagnostics, func(d oprc.Diagnostic) bool {
		return d.Severity == oprc.SeverityInfo || d.Code == oprc.CodeUnbound && strings.Contains(d.Message, "cart.reserve")
	})
}

// What only shows when everything is put together is found at its line too, with a
// hint that names the way out. Structural mistakes are in the tests of schema.
func TestSingleMistakesAcrossPackages(t *testing.T) {
	sound := shopFile(t)
	if found := validated(t, sound); len(found) > 0 {
		t.Fatalf("the shop is not sound: %v", found)
	}
	for name, tt := range map[string]struct {
		old, now string
		code     oprc.Code
		hint     string
	}{
		"engine that is unknown":              {"      deployment:\n        image", "      job:\n        image", oprc.CodeField, ""},
		"provision that is no mapping":        {"      docker:\n        image: registry.example/shop/forget:1\n        port: 9000\n        env:\n          LOG: info\n", "      17\n", oprc.CodeType, ""},
		"binding without a function":          {"      - name: total\n        function: .cart.total\n", "      - name: total #!\n", oprc.CodeFunctionRef, "function"},
		"class whose name is malformed":       {"  - name: item-list", "  - name: item list", oprc.CodeName, ""},
		"required package that is not there":  {"  - base", "  - bases", oprc.CodeRequired, "base"},
		"required range that does not fit":    {"  - payments@^2.0", "  - payments@^3.0", oprc.CodeRequired, ""},
		"required range that is none":         {"  - payments@^2.0", "  - payments@two", oprc.CodeRequired, ""},
		"parent that is misspelt":             {"      - .item-list", "      - .item-lst", oprc.CodeParent, "item-list"},
		"parent in a package that is unknown": {"      - .item-list", "      - stock.item-list", oprc.CodeParent, ""},
		"class that inherits from itself":     {"      - .item-list", "      - .cart", oprc.CodeParent, ""},
		"parent that is unknown to builtin":   {"      - builtin.base\n      - .item", "      - builtin.bas\n      - .item", oprc.CodeParent, "builtin.base"},
		"binding to a misspelt function":      {"        function: .cart.add", "        function: .cart.ad", oprc.CodeFunctionRef, "cart.add"},
		"binding to another package's secret": {"        function: .customer.greet", "        function: .customer.great", oprc.CodeFunctionRef, "customer.greet"},
		"binding without a dot":               {"        function: .cart.total", "        function: cart.totals", oprc.CodeFunctionRef, ""},
		"two bindings of one name":            {"      - name: checkout\n", "      - {name: add, function: .cart.add} #!\n      - name: checkout\n", oprc.CodeDuplicate, ""},
		"two default routes":                  {"        function: .cart.total\n        immutable: true", "        function: .cart.total\n        defaultRoute: true #!", oprc.CodeAccess, ""},
		"condition that is unfinished":        {"condition: request.size < 4096", "condition: request.size <", oprc.CodeCondition, ""},
		"condition on an unknown name":        {"condition: request.size < 4096", "condition: reqest.size < 4096", oprc.CodeCondition, "request"},
		"condition that is no boolean":        {"condition: request.size < 4096", "condition: '\"yes\"'", oprc.CodeCondition, ""},
		"output class that is misspelt":       {"        outputCls: .order\n        override", "        outputCls: .ordre\n        override", oprc.CodeOutputCls, "order"},
		"reference to an unknown class":       {"        cls: .customer", "        cls: .custmer", "", "customer"},
		"key twice":                           {"        - name: visits", "        - name: profile", oprc.CodeDuplicate, ""},
		"quantity that is none":               {"        requestsCpu: 100m", "        requestsCpu: 100x", oprc.CodeProvision, ""},
		"request above its limit":             {"        requestsCpu: 100m", "        requestsCpu: 4000m", oprc.CodeProvision, ""},
		"memory request above its limit":      {"        requestsMemory: 64Mi", "        requestsMemory: 64Gi", oprc.CodeProvision, ""},
		"scale the wrong way round":           {"        minScale: 0", "        minScale: 20", oprc.CodeProvision, ""},
		"step that calls an unknown binding":  {"        - function: total\n", "        - function: totl\n", oprc.CodeMacro, "total"},
		"alias that is taken":                 {"        - function: add\n          target", "        - {function: total, target: \"@\", as: sum} #!\n        - function: add\n          target", oprc.CodeMacro, "alias"},
		"target that no step gives":           {"          target: \"@\"\n          targetCls", "          target: smu\n          targetCls", oprc.CodeMacro, "sum"},
		"template of an unknown alias":        {"            price: ${sum|$.price}", "            price: ${sun|$.price}", oprc.CodeMacro, ""},
		"output that no step gives":           {"      output: closed", "      output: close", oprc.CodeMacro, "closed"},
		"class of a step that is unknown":     {"          targetCls: .cart", "          targetCls: .crat", "", "cart"},
		"call of a private function":          {"        - function: add\n          target: \"@\"\n          targetCls: .cart", "        - function: pay #!\n          target: \"@\"\n          targetCls: payments.card", oprc.CodeAccess, ""},
		"deployment of an unknown class":      {"  - _key: .cart", "  - _key: .crat", oprc.CodeClassRef, "cart"},
		"deployment twice":                    {"  - _key: .order", "  - _key: .cart", oprc.CodeDuplicate, ""},
		"class twice":                         {"  - name: order\n    stateType", "  - name: cart #!\n  - name: order\n    stateType", oprc.CodeDuplicate, ""},
		"function twice":                      {"  - name: cart.total", "  - {name: cart.add, type: LOGICAL} #!\n  - name: cart.total", oprc.CodeDuplicate, ""},
		"member twice":                        {"      - id: 2", "      - id: 1", oprc.CodeDuplicate, ""},
		"disabled function that is unknown":   {"disabledFn: [total]", "disabledFn: [totl]", oprc.CodeMemberFn, "total"},
		"standby function that is unknown":    {"standbyFn: [checkout]", "standbyFn: [checkuot]", oprc.CodeMemberFn, "checkout"},
		"image that is left out":              {"    provision:\n      deployment:\n        image: registry.example/shop/add:1\n", "    provision: #!\n      deployment:\n", oprc.CodeImage, "image"},
		"package name that is taken":          {"name: shop", "name: base", oprc.CodeDuplicate, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Count(sound, tt.old) == 0 {
				t.Fatalf("the shop has no %q", tt.old)
			}
			at := strings.Index(sound, tt.old)
			want := 1 + strings.Count(sound[:at], "\n") + differsAt(tt.old, tt.now)
			found := validated(t, sound[:at]+tt.now+sound[at+len(tt.old):])
			if len(found) != 1 {
				t.Fatalf("got %d findings, want one: %v", len(found), found)
			}
			d := found[0]
			if d.Line != want || tt.code != "" && d.Code != tt.code || !strings.Contains(d.Hint, tt.hint) {
				t.Errorf("want %s at line %d with %q in the hint, got %s", tt.code, want, tt.hint, d)
			}
		})
	}
}

// Ten mistakes in one file, of reading and of putting together, are ten findings in
// the order of their lines.
func TestTenMistakes(t *testing.T) {
	shop := shopFile(t)
	var want []int
	for _, m := range [][2]string{
		{"  - base", "  - bases"},
		{"    stateType: NORMAL", "    statetype: NORMAL"},
		{"        function: .customer.greet", "        function: .customer.great"},
		{"      - .item-list", "      - .item-lst"},
		{"      throughput: 200", "      throughput: fast"},
		{"        condition: request.size < 4096", "        condition: request.size <"},
		{"        requestsCpu: 100m", "        requestsCpu: 100x"},
		{"    state: ENABLED", "    state: ENABELD"},
		{"        pullPolicy: Always", "        pullPolicy: Sometimes"},
		{"        disabledFn: [total]", "        disabledFn: [totl]"},
	} {
		if strings.Count(shop, m[0]) == 0 {
			t.Fatalf("the shop has no %q", m[0])
		}
		at := strings.Index(shop, m[0])
		want = append(want, 1+strings.Count(shop[:at], "\n"))
		shop = shop[:at] + m[1] + shop[at+len(m[0]):]
	}
	var got []int
	found := validated(t, shop)
	for _, d := range found {
		got = append(got, d.Line)
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines %v, want %v: %v", got, want, found)
	}
}

// differsAt counts the lines before the first that differs, or that is marked.
func differsAt(old, now string) int {
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
