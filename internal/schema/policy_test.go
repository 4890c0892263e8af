package schema_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

func example(t *testing.T, name string) oprc.File {
	t.Helper()
	path := filepath.Join("..", "..", "examples", "policies", name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return oprc.File{Path: name, Data: data}
}

func deployment(before, after string) reconcile.Transition {
	return reconcile.Transition{
		Kind: oprc.KindDeployment, Key: "shop.cart", Package: "shop", Actions: []plan.Action{plan.Update}, Reason: plan.ReasonSpec,
		Before: json.RawMessage(before), After: json.RawMessage(after), Actor: "ann", Origin: oprc.OriginCLI,
		Blast: plan.Blast{Packages: 1, Environments: []string{"prod-1"}},
	}
}

func removal(actor string, packages int) reconcile.Transition {
	return reconcile.Transition{
		Kind: oprc.KindPackage, Key: "shop", Package: "shop", Actions: []plan.Action{plan.Delete}, Reason: plan.ReasonRemoved,
		Before: json.RawMessage(`{"name":"shop"}`), After: json.RawMessage("null"), Actor: actor, Origin: oprc.OriginCLI,
		Blast: plan.Blast{Packages: packages, Environments: []string{}},
	}
}

func TestExamplePolicies(t *testing.T) {
	const two, one = `{"replicaCount":2,"targetEnvs":["prod-1"]}`, `{"replicaCount":1,"targetEnvs":["prod-1"]}`
	for name, c := range map[string]struct {
		policy string
		change reconcile.Transition
		denied string // part of the message; "" allows
	}{
		"falls below":        {"replicas.cue", deployment(two, one), "below 2 in production, it would be 1"},
		"new and too few":    {"replicas.cue", deployment("null", one), "below 2"},
		"enough":             {"replicas.cue", deployment(one, two), ""},
		"not in production":  {"replicas.cue", deployment(two, `{"replicaCount":1,"targetEnvs":["test"]}`), ""},
		"deleted":            {"replicas.cue", deployment(two, "null"), ""},
		"another kind":       {"replicas.cue", removal("ann", 1), ""},
		"deleted by anybody": {"deletions.cue", removal("ann", 1), "only admin deletes packages by hand, not ann"},
		"deleted by admin":   {"deletions.cue", removal("admin", 1), ""},
		"too many":           {"deletions.cue", removal("admin", 6), "not 6"},
		"no deletion":        {"deletions.cue", deployment(two, one), ""},
	} {
		judge, err := schema.Policies([]oprc.File{example(t, c.policy)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := judge(t.Context(), []reconcile.Transition{c.change})
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case c.denied == "" && len(got) > 0:
			t.Errorf("%s: denied: %v", name, got)
		case c.denied != "" && (len(got) != 1 || !strings.Contains(got[0].Message, c.denied) || got[0].Policy != c.policy || got[0].Package != "shop"):
			t.Errorf("%s: got %v, want a denial with %q", name, got, c.denied)
		}
	}
}

// What a policy cannot judge it denies.
func TestPoliciesThatFailDeny(t *testing.T) {
	for name, source := range map[string]string{
		"a field that is not there": "input: _\ndeny: [if input.after.nothing < 2 {\"x\"}]",
		"not a list":                "input: _\ndeny: input.kind",
		"not a text":                "input: _\ndeny: [1]",
		"an input that differs":     "input: {kind: \"unit\", ...}\ndeny: [if input.kind == \"unit\" {\"x\"}]",
		"open":                      "input: _\ndeny: [string]",
	} {
		judge, err := schema.Policies([]oprc.File{{Path: "p.cue", Data: []byte(source)}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := judge(t.Context(), []reconcile.Transition{deployment("null", `{"replicaCount":1}`)})
		if err != nil || len(got) != 1 || !strings.Contains(got[0].Message, "cannot judge") {
			t.Errorf("%s: got %v, %v, want a denial", name, got, err)
		}
	}
}

func TestBrokenPoliciesAreRefused(t *testing.T) {
	for name, source := range map[string]string{
		"syntax":   "deny: [",
		"no deny":  "input: _\nDeny: []",
		"no input": "deny: []",
		"unknown":  "input: _\ndeny: [if inptu.kind == \"unit\" {\"x\"}]",
		"import":   "import \"nowhere.example/x\"\ninput: _\ndeny: []",
		"conflict": "input: _\ndeny: []\na: 1\na: 2",
	} {
		_, err := schema.Policies([]oprc.File{{Path: "p.cue", Data: []byte(source)}})
		if !errors.Is(err, oprc.ErrInvalid) || !strings.Contains(err.Error(), "p.cue") {
			t.Errorf("%s: %v, want it invalid, with the file", name, err)
		}
	}
}

// Judging many plans keeps nothing.
func TestJudgingLeaksNothing(t *testing.T) {
	judge, err := schema.Policies([]oprc.File{example(t, "replicas.cue")})
	if err != nil {
		t.Fatal(err)
	}
	many := make([]reconcile.Transition, 500)
	for i := range many {
		many[i] = deployment("null", `{"replicaCount":2,"targetEnvs":["prod-1"]}`)
	}
	heap := func() uint64 {
		if got, err := judge(context.Background(), many); err != nil || len(got) > 0 {
			t.Fatal(got, err)
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	first := heap()
	for range 4 {
		heap()
	}
	if last := heap(); last > first+4<<20 {
		t.Errorf("the heap grew from %d to %d bytes", first, last)
	}
}
