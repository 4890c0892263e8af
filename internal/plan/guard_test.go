package plan_test

import (
	"fmt"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A guard measures against what the source itself has: the packages, classes and units of
// others do not thin out what it deletes.
func TestGuardMeasuresAgainstTheSourcesOwn(t *testing.T) {
	l := newLedger(environment("edge", 0.99))
	of := func(origin string, n int) {
		var all []oprc.Package
		for i := range n {
			p := shop("pay:1")
			p.Name = fmt.Sprintf("%s%02d", origin, i)
			p.Classes[0].Parents = nil
			p.Deployments[0] = oprc.Deployment{Key: ".cart", PartitionCount: 1, ReplicaCount: 1, TargetEnvs: []string{"edge"}}
			all = append(all, p)
		}
		in := files(all...)
		in.Scope.Origin = "git:" + origin
		l.must(t, in)
	}
	of("mine", 12)
	of("theirs", 60)
	in := plan.Input{Scope: plan.Scope{Origin: "git:mine", Complete: true}, Live: l.live}
	p := plan.Make(in)
	if want := (plan.Size{Packages: 12, Classes: 12, Units: 12}); p.Size != want {
		t.Errorf("got a size of %+v, want %+v", p.Size, want)
	}
	if reason, held := p.Held(plan.DefaultGuard()); !held {
		t.Errorf("all that the source has goes, which is a sixth of all: held %t, %s", held, reason)
	}
}
