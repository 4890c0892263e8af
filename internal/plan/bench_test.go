//go:build unix

package plan_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A source of n packages in which one changed: planned as a whole, the way the
// daemon does, and for the one file, the way people do.
func BenchmarkMake(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		l, docs := crowd(b, n)
		changed := *docs[n/2].Package
		changed.Functions = append([]oprc.Function{task("f0", "img:next")}, changed.Functions[1:]...)
		docs[n/2] = document(changed)
		for name, in := range map[string]plan.Input{
			"source": {Documents: docs, Scope: plan.Scope{Origin: "git:a", Complete: true}, Live: l.live},
			"file":   {Documents: docs[n/2 : n/2+1], Scope: plan.Scope{Origin: "git:a"}, Live: l.live},
		} {
			b.Run(fmt.Sprintf("%s-%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				start := cpuTime(b)
				for b.Loop() {
					if p := plan.Make(in); p.Summary.Commands.Deploy != 2 || p.Summary.Update != 2 {
						b.Fatalf("got %+v, want 2 updates and 2 commands", p.Summary)
					}
				}
				b.ReportMetric(float64((cpuTime(b)-start).Milliseconds())/float64(b.N), "cpu-ms/op")
			})
		}
	}
}

// cpuTime is what the process has used, garbage collection included: it says more
// than the clock where a machine is shared.
func cpuTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// crowd is n applied packages: 3 functions, 2 classes with 4 bindings each, one
// deployment with two replicas; every tenth inherits from a common one.
func crowd(tb testing.TB, n int) (*ledger, []oprc.Document) {
	l := newLedger(environment("env-0", 0.99), environment("env-1", 0.99), environment("env-2", 0.95))
	docs := make([]oprc.Document, 0, n)
	for i := range n {
		p := oprc.Package{Name: fmt.Sprintf("p%05d", i), Version: "1.0.0"}
		for j := range 3 {
			p.Functions = append(p.Functions, task(fmt.Sprintf("f%d", j), fmt.Sprintf("registry/img-%d:1.%d", i, j)))
		}
		for j := range 2 {
			c := oprc.Class{Name: fmt.Sprintf("c%d", j), StateType: oprc.StateNormal}
			for k := range 4 {
				c.Functions = append(c.Functions, oprc.Binding{Name: fmt.Sprintf("b%d", k), Function: fmt.Sprintf(".f%d", k%3), Access: oprc.Public})
			}
			if j == 1 && i > 0 && i%10 == 0 {
				c.Parents = []string{"p00000.c0"}
			}
			p.Classes = append(p.Classes, c)
		}
		p.Deployments = []oprc.Deployment{{Key: ".c0", PartitionCount: 1, ReplicaCount: 2, TargetEnvs: []string{"env-0", "env-1"}}}
		docs = append(docs, document(p))
	}
	p := plan.Make(plan.Input{Documents: docs, Scope: plan.Scope{Origin: "git:a", Complete: true}, Live: l.live})
	if err := p.Err(); err != nil {
		tb.Fatal(err)
	}
	if err := l.commit(p); err != nil {
		tb.Fatal(err)
	}
	if err := l.dispatch(p, func(string) bool { return true }); err != nil {
		tb.Fatal(err)
	}
	return l, docs
}
