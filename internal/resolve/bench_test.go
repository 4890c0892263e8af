package resolve_test

import (
	"fmt"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// many makes n packages of 3 functions, 2 classes with 4 bindings each and 1
// deployment; every hundredth is a library that the next ones inherit from.
func many(n int) []oprc.Document {
	image := &oprc.Provision{Knative: &oprc.Knative{Image: "registry.example/fn", RequestsCPU: "100m", LimitsCPU: "1"}}
	var docs []oprc.Document
	for i := range n {
		lib := fmt.Sprintf("p%05d", i/100*100)
		p := oprc.Package{Name: fmt.Sprintf("p%05d", i), Version: "1.2.3"}
		for j := range 2 {
			p.Functions = append(p.Functions, oprc.Function{Name: fmt.Sprintf("f%d", j), Type: oprc.Task, Provision: image})
		}
		p.Functions = append(p.Functions, oprc.Function{Name: "chain", Type: oprc.MacroFn, Macro: &oprc.Macro{
			Steps:  []oprc.Step{{Target: "@", Function: "f0", As: "a"}, {Target: "a", Function: "f1", As: "b"}},
			Output: "b", BodyTemplate: map[string]any{"x": "${a|output}"},
		}})
		for j := range 2 {
			c := oprc.Class{Name: fmt.Sprintf("c%d", j), Parents: []string{"builtin.base"}, Functions: []oprc.Binding{
				{Function: ".f0", OutputCls: fmt.Sprintf(".c%d", j), Condition: "object.size > 3"},
				{Function: ".f1", OutputCls: "none"},
				{Function: ".chain"},
				{Function: "builtin.update"},
			}}
			if p.Name != lib {
				c.Parents = append(c.Parents, lib+".c0")
			}
			p.Classes = append(p.Classes, c)
		}
		if p.Name != lib {
			p.Required = []string{lib + "@^1.2"}
		}
		p.Deployments = []oprc.Deployment{{Key: ".c0", PartitionCount: 3}}
		docs = append(docs, doc(p))
	}
	return docs
}

func BenchmarkPackages(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		docs := many(n)
		if _, found := resolve.Packages(docs, nil); len(found) > 0 {
			b.Fatalf("unexpected findings: %v", found[0])
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				resolve.Packages(docs, nil)
			}
		})
	}
}
