package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// No package is deleted that another one comes to use: neither when one request asks for
// both, nor when a plan to delete it was saved before the other was applied.
func TestDeletingWhatSomebodyComesToUse(t *testing.T) {
	comes := map[string]oprc.Package{
		"a parent":           {Name: "user", Classes: []oprc.Class{{Name: "c", StateType: oprc.StateNormal, Parents: []string{"base.root"}}}},
		"a bound function":   {Name: "user", Classes: []oprc.Class{{Name: "c", StateType: oprc.StateNormal, Functions: []oprc.Binding{{Name: "l", Function: "base.log", Access: oprc.Public}}}}},
		"a deployed class":   {Name: "user", Deployments: []oprc.Deployment{{Key: "base.root", PartitionCount: 1, ReplicaCount: 1, TargetEnvs: []string{"edge"}}}},
		"a class of a macro": macro("user", "base.root", "log"),
		"a required package": {Name: "user", Required: []string{"base"}},
	}
	deletion := plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"base"}}}
	for name, user := range comes {
		t.Run(name, func(t *testing.T) {
			l := newLedger(environment("edge", 0.99))
			l.must(t, files(base("log:1")))
			refused := func(in plan.Input) {
				t.Helper()
				in.Live = l.live
				p := plan.Make(in)
				if got, want := fmt.Sprint(p.Diagnostics.Errors()), "package base cannot be deleted: it is needed by user"; !p.Empty() || !strings.Contains(got, want) {
					t.Errorf("got %v, %s, want %s", keysOf(p), got, want)
				}
			}
			in := deletion
			in.Live = l.live
			saved := plan.Make(in)
			in.Documents = documents(user)
			refused(in)
			l.must(t, files(user))
			if again := plan.Make(plan.Input{Scope: deletion.Scope, Live: l.live}); saved.ID == again.ID {
				t.Errorf("the saved plan is still what would be decided: %v", keysOf(saved))
			}
			refused(deletion)
			l.must(t, plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"user"}}})
			l.must(t, deletion)
		})
	}
}

// macro is a package with a function that calls one of a class.
func macro(name, cls, calls string) oprc.Package {
	return oprc.Package{
		Name: name,
		Functions: []oprc.Function{{
			Name: "m", Type: oprc.MacroFn, State: oprc.Enabled,
			Macro: &oprc.Macro{Steps: []oprc.Step{{As: "s", TargetCls: cls, Target: "@", Function: calls}}},
		}},
	}
}
