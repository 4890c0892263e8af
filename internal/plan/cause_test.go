package plan_test

import (
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// What moves because an environment is DOWN says so; what moves for another reason does not.
func TestMovesNameTheEnvironmentThatIsDown(t *testing.T) {
	for health, want := range map[oprc.Health]string{oprc.EnvDown: "environment cloud is DOWN", oprc.Healthy: ""} {
		l := newLedger(environment("edge", 0.9), environment("cloud", 0.99))
		p := shop("pay:1")
		p.Classes[0].Parents = nil
		p.Classes[0].Requirements = &oprc.Requirements{Availability: 0.9}
		p.Deployments[0] = oprc.Deployment{Key: ".cart", PartitionCount: 1}
		l.must(t, files(p))
		state := l.live.Environments["cloud"]
		state.Health, state.Availability = health, 0.5 // either way it is not good enough any more
		l.live.Environments["cloud"] = state
		moved := 0
		for _, c := range l.must(t, files(p)).Changes {
			if c.Reason == plan.ReasonPlacement {
				moved++
				if c.Cause != want {
					t.Errorf("%s: %s %s: cause %q, want %q", health, c.Kind, c.Key, c.Cause, want)
				}
			}
		}
		if health == oprc.EnvDown && moved == 0 {
			t.Errorf("%s: nothing moved", health)
		}
	}
}
