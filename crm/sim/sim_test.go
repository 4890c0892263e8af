package sim_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/sim"
	"github.com/oaas-platform/oprc/internal/oprc"
)

func command(n int) crm.Command {
	return crm.Command{Type: oprc.Deploy, ID: oprc.UnitID("p.c", n, 0, "edge"), Generation: 1, Unit: crm.Unit{
		ID: oprc.UnitID("p.c", n, 0, "edge"),
		Functions: []crm.Function{
			{Key: "p.f", Image: "a"},
			{Key: "p.s", Config: oprc.FunctionConfig{StaticURL: "http://elsewhere"}},
		},
	}}
}

func deaf(crm.State) bool { return false }

func TestStartTakesItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := sim.New(sim.Options{StartDelay: time.Minute})
		began := time.Now()
		st, err := d.Deploy(t.Context(), command(0), deaf)
		if err != nil || time.Since(began) != time.Minute {
			t.Fatalf("got %v after %s", err, time.Since(began))
		}
		want := crm.State{
			Condition: crm.Running, Replicas: []string{"sim-p.c/0/0@edge"},
			Functions: map[string]crm.FunctionStatus{
				"p.f": {Condition: crm.Running, InvocationURL: "sim://p.c/0/0@edge/p.f"},
				"p.s": {Condition: crm.Running, InvocationURL: "http://elsewhere"},
			},
		}
		if diff := cmp.Diff(st, want); diff != "" {
			t.Errorf("state (-got +want):\n%s", diff)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := d.Deploy(ctx, command(0), deaf); !errors.Is(err, context.Canceled) {
			t.Errorf("a start that is called off: %v", err)
		}
	})
}

// failures returns which of many starts fail.
func failures(t *testing.T, o sim.Options) (which []bool, n int) {
	t.Helper()
	d := sim.New(o)
	for i := range 1000 {
		_, err := d.Deploy(t.Context(), command(i), deaf)
		if err != nil {
			n++
		}
		which = append(which, err != nil)
	}
	return which, n
}

func TestStartsFailAtTheRateAndTheSameForASeed(t *testing.T) {
	t.Parallel()
	first, n := failures(t, sim.Options{FailRate: 0.3, Seed: 1})
	if n < 250 || n > 350 {
		t.Errorf("%d of 1000 failed, want about 300", n)
	}
	again, _ := failures(t, sim.Options{FailRate: 0.3, Seed: 1})
	if !cmp.Equal(first, again) {
		t.Error("the same seed failed otherwise")
	}
	other, _ := failures(t, sim.Options{FailRate: 0.3, Seed: 2})
	if cmp.Equal(first, other) {
		t.Error("another seed failed the same")
	}
}

func TestUnitsAreUpAsOftenAsTheAvailabilitySays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := sim.New(sim.Options{Availability: 0.9, Seed: 1})
		var mu sync.Mutex
		var up time.Duration
		began := time.Now()
		last, runs, stop := began, true, false
		_, err := d.Deploy(t.Context(), command(0), func(st crm.State) bool {
			mu.Lock()
			defer mu.Unlock()
			if runs {
				up += time.Since(last)
			}
			last, runs = time.Now(), st.Condition == crm.Running
			return !stop
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Hour)
		mu.Lock()
		stop = true
		share := float64(up) / float64(last.Sub(began))
		mu.Unlock()
		if share < 0.88 || share > 0.92 {
			t.Errorf("up for %.3f of the time, want about 0.9", share)
		}
		time.Sleep(time.Hour) // the last timer finds nobody listening
	})
}
