package oprc

import (
	"encoding/json"
	"testing"
	"time"
)

func TestMaxUnits(t *testing.T) {
	none, three, five := new(0), new(3), new(5)
	for name, test := range map[string]struct{ declared, reported, want *int }{
		"nobody says":            {nil, nil, nil},
		"declared 0":             {none, nil, none},
		"reported 0":             {nil, none, none},
		"declared 3":             {three, nil, three},
		"reported 3":             {nil, three, three},
		"declared 3, reported 0": {three, none, none},
		"declared 0, reported 3": {none, three, none},
		"declared 3, reported 5": {three, five, three},
		"declared 5, reported 3": {five, three, three},
	} {
		s := EnvironmentState{ReportedUnits: test.reported}
		s.Spec.Capacity = &Capacity{CPU: "8", Units: test.declared}
		if got := s.MaxUnits(); (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		if o := s.Observed(); o.Units != test.reported {
			t.Errorf("%s: observed %v, want what was reported, %v", name, o.Units, test.reported)
		}
	}
	if got := (EnvironmentState{}).MaxUnits(); got != nil {
		t.Errorf("without a capacity: got %v, want no limit", *got)
	}
}

func TestCapacityOfNoUnitsIsWritten(t *testing.T) {
	for _, raw := range []string{`{"units":0}`, `{"units":3}`, `{"cpu":"8"}`} {
		var c Capacity
		if err := json.Unmarshal([]byte(raw), &c); err != nil {
			t.Fatal(err)
		}
		if back := string(MustCanonical(c)); back != raw {
			t.Errorf("%s is written as %s", raw, back)
		}
	}
}

// TestHeartbeatAtItsTimeout: a CRM is alive up to and with the timeout, and gone after it,
// for each of those who ask.
func TestHeartbeatAtItsTimeout(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		silent time.Duration
		alive  bool
	}{{HeartbeatTimeout - 1, true}, {HeartbeatTimeout, true}, {HeartbeatTimeout + 1, false}} {
		last := now.Add(-test.silent)
		beats := []Heartbeat{{CRM: "a", Time: last, Since: last, Returned: true}}
		if got := HealthOf(beats, now); (got == Healthy) != test.alive {
			t.Errorf("silent for %s: got %s", test.silent, got)
		}
		if got := HeardSince(beats, now); got.IsZero() == test.alive {
			t.Errorf("silent for %s: heard since %v", test.silent, got)
		}
		if got := RecoveringUntil(beats, now); got.IsZero() == test.alive {
			t.Errorf("silent for %s: recovering until %v", test.silent, got)
		}
	}
}
