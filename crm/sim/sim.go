// Package sim is a driver for a CRM that runs nothing and says that it does: for
// first steps, demonstrations and tests. How long a start takes, how often one
// fails and how often what runs goes down can be set.
package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/crm"
)

// StartDelay is an environment variable of a function: its workload takes so many seconds
// to start, if that is longer than it takes otherwise.
const StartDelay = "CONFORMANCE_START_DELAY"

// Options say how the simulated workloads behave. The zero Options start at once
// and never fail.
type Options struct {
	StartDelay   time.Duration // between DEPLOYING and RUNNING
	FailRate     float64       // part of the starts that fail, 0 to 1
	Availability float64       // part of the time that a unit is up once it runs; 0 or 1: always
	Outage       time.Duration // how long a unit is down, on average; default 5 s
	Seed         uint64        // equal seeds fail equally
}

// ErrStart is what a simulated start fails with.
var ErrStart = errors.New("simulated failure to start")

// A Driver is a crm.Handler. It keeps nothing running, so it need not be closed.
type Driver struct {
	o     Options
	mu    sync.Mutex
	tries map[string]uint64 // by unit id
}

// New returns a driver.
func New(o Options) *Driver {
	if o.Outage <= 0 {
		o.Outage = 5 * time.Second
	}
	return &Driver{o: o, tries: map[string]uint64{}}
}

// Deploy waits for StartDelay and then fails, or says that the unit runs.
func (d *Driver) Deploy(ctx context.Context, c crm.Command, report crm.Reporter) (crm.State, error) {
	chance := d.chance(c)
	select {
	case <-ctx.Done():
		return crm.State{}, ctx.Err()
	case <-time.After(max(d.o.StartDelay, startDelay(c.Unit))):
	}
	if chance.Float64() < d.o.FailRate {
		return crm.State{}, ErrStart
	}
	up := state(c.Unit)
	if a := d.o.Availability; a > 0 && a < 1 {
		d.flap(chance, c.Unit, report, false)
	}
	return up, nil
}

// startDelay is the longest that a function of the unit asks for.
func startDelay(u crm.Unit) time.Duration {
	longest := 0
	for _, f := range u.Functions {
		if seconds, err := strconv.Atoi(f.Config.Env[StartDelay].Text); err == nil {
			longest = max(longest, min(seconds, 3600))
		}
	}
	return time.Duration(longest) * time.Second
}

// Undeploy forgets the unit.
func (d *Driver) Undeploy(_ context.Context, c crm.Command) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tries, c.ID)
	return nil
}

// chance returns the random numbers of this try at this unit.
func (d *Driver) chance(c crm.Command) *rand.Rand {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries[c.ID]++
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s %d %d", c.ID, c.Generation, d.tries[c.ID])
	return rand.New(rand.NewPCG(d.o.Seed, h.Sum64())) //nolint:gosec // a simulation
}

// flap takes the unit down and up again for as long as anybody listens. Times
// up and down are exponential, as of parts that do not age.
func (d *Driver) flap(chance *rand.Rand, u crm.Unit, report crm.Reporter, down bool) {
	mean := d.o.Outage
	if !down {
		mean = time.Duration(float64(mean) * d.o.Availability / (1 - d.o.Availability))
	}
	time.AfterFunc(time.Duration(chance.ExpFloat64()*float64(mean)), func() {
		st := state(u)
		if !down {
			st = crm.State{Condition: crm.Down, ErrorMsg: "simulated outage"}
		}
		if report(st) {
			d.flap(chance, u, report, !down)
		}
	})
}

// state is that of a unit whose functions all run.
func state(u crm.Unit) crm.State {
	st := crm.State{Condition: crm.Running, Functions: map[string]crm.FunctionStatus{}}
	for _, f := range u.Functions {
		st.Functions[f.Key] = crm.FunctionStatus{
			Condition:     crm.Running,
			InvocationURL: cmp.Or(f.StaticURL, f.Config.StaticURL, fmt.Sprintf("sim://%s/%s", u.ID, f.Key)),
		}
	}
	st.Replicas = []string{"sim-" + u.ID}
	return st
}
