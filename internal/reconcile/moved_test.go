package reconcile_test

import (
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Events and histories say why the daemon moves a deployment: away, and back.
func TestMovesNameTheirCause(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	state := func(health oprc.Health, b oprc.Heartbeat) oprc.EnvironmentState {
		return oprc.EnvironmentState{Health: health, Beats: []oprc.Heartbeat{b}, Read: now}
	}
	back := func(ago time.Duration) oprc.EnvironmentState {
		return state(oprc.Healthy, oprc.Heartbeat{Returned: true, Since: now.Add(-ago)})
	}
	in := func(envs ...string) (out []oprc.Member) {
		for _, env := range envs {
			out = append(out, oprc.Member{Env: env})
		}
		return out
	}
	for name, tt := range map[string]struct {
		edge          oprc.EnvironmentState
		before, after []oprc.Member
		want          string
	}{
		"away from what is DOWN":          {state(oprc.EnvDown, oprc.Heartbeat{}), in("edge", "edge"), in("cloud"), ", edge is DOWN"},
		"back to what was DOWN":           {back(time.Minute), in("cloud"), in("edge", "edge"), ", edge was DOWN and is back"},
		"to what was DOWN long ago":       {back(time.Hour), in("cloud"), in("edge"), ""},
		"to what never was":               {state(oprc.Healthy, oprc.Heartbeat{Since: now}), in("cloud"), in("edge"), ""},
		"it stays in what was DOWN":       {back(time.Minute), in("edge"), in("edge", "cloud"), ""},
		"it goes for a reason of its own": {state(oprc.Healthy, oprc.Heartbeat{}), in("edge"), nil, ""},
	} {
		got := reconcile.WhyMoved(tt.before, tt.after, map[string]oprc.EnvironmentState{"edge": tt.edge, "cloud": state(oprc.Healthy, oprc.Heartbeat{})})
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
