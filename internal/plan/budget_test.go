package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// What a file asks for is counted before it is worked out.
func TestUnitsAreBounded(t *testing.T) {
	pkg := func(name string, partitions ...int) oprc.Document {
		p := &oprc.Package{Name: name}
		for i, n := range partitions {
			class := fmt.Sprint("c", i)
			p.Classes = append(p.Classes, oprc.Class{Name: class})
			p.Deployments = append(p.Deployments, oprc.Deployment{Key: "." + class, PartitionCount: n, TargetEnvs: []string{"edge"}, ReplicaCount: 1})
		}
		return oprc.Document{Package: p}
	}
	most := plan.MaxUnits{Class: 10, Package: 15, Plan: 20}
	for name, tt := range map[string]struct {
		docs []oprc.Document
		most plan.MaxUnits
		want string
	}{
		"as many as allowed": {[]oprc.Document{pkg("a", 10, 5), pkg("b", 5)}, most, ""},
		"a class":            {[]oprc.Document{pkg("a", 11)}, most, "11 partitions with 1 replicas are 11 units; the limit of a class is 10"},
		"a package":          {[]oprc.Document{pkg("a", 10, 6)}, most, "with this deployment the package asks for 16 units; the limit of a package is 15"},
		"a plan":             {[]oprc.Document{pkg("a", 10, 5), pkg("b", 6)}, most, "with this deployment the packages ask for 21 units; the limit of a plan is 20"},
		"by default":         {[]oprc.Document{pkg("a", 1_000_000)}, plan.MaxUnits{}, "1000000 partitions with 1 replicas are 1000000 units; the limit of a class is 250000"},
	} {
		t.Run(name, func(t *testing.T) {
			live := plan.Live{Environments: map[string]oprc.EnvironmentState{"edge": {EnvironmentRecord: oprc.EnvironmentRecord{Spec: oprc.Environment{Name: "edge"}}}}}
			var got []string
			for _, d := range plan.Check(plan.Input{Documents: tt.docs, Scope: plan.Scope{Origin: oprc.OriginCLI}, Live: live, MaxUnits: tt.most}) {
				if d.Severity == oprc.SeverityError {
					got = append(got, d.Message)
				}
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
