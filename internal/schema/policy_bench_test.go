package schema_test

import (
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

func BenchmarkPolicies(b *testing.B) {
	source := "input: _\ndeny: [if input.kind == \"deployment\" if input.after != null if input.after.replicaCount < 1 {\"none\"}]"
	judge, err := schema.Policies([]oprc.File{{Path: "p.cue", Data: []byte(source)}})
	if err != nil {
		b.Fatal(err)
	}
	changes := make([]reconcile.Transition, 1000)
	for i := range changes {
		changes[i] = deployment("null", `{"replicaCount":2,"targetEnvs":["prod-1"]}`)
	}
	b.ReportAllocs()
	for b.Loop() {
		if got, err := judge(b.Context(), changes); err != nil || len(got) > 0 {
			b.Fatal(got, err)
		}
	}
}
