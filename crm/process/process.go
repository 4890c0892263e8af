// Package process is a driver for a CRM that runs every function of a unit as a
// process on this machine: what an image stands for is looked up in a file. A
// unit is RUNNING when each of its functions answers over HTTP, so RUNNING means
// that somebody is there.
//
// A function gets its port in PORT and the address to listen at in HOST, and
// OPRC_UNIT, OPRC_CLASS, OPRC_FUNCTION, OPRC_PARTITION and OPRC_REPLICA. One that
// exits or stops answering is started again, after a growing while. Nothing outlives
// the driver: not even if it is killed, where the system has process groups.
package process

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

// Options say what the driver runs, and how patient it is.
type Options struct {
	Images  Images
	Secrets workload.Secrets // what environment variables refer to; default: nothing
	Log     io.Writer        // gets what the functions print, line by line, with the function's key before it; default: nowhere
	LogDir  string           // directory with a file of what each function prints; default: none
	Grace   time.Duration    // between the request to stop and the kill; default 5 s
	Probe   time.Duration    // between two looks at a function that runs; default 2 s
}

// A Driver is a crm.Handler, and a crm.Drainer.
type Driver struct {
	o     Options
	log   *lines
	mu    sync.Mutex
	units map[string]*workload.Group // by id
}

// New returns a driver that runs nothing yet.
func New(o Options) *Driver {
	o.Probe = cmp.Or(o.Probe, 2*time.Second)
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Secrets == nil {
		o.Secrets = workload.SecretDir("")
	}
	return &Driver{o: o, log: &lines{w: o.Log}, units: map[string]*workload.Group{}}
}

// Deploy starts the unit's functions, in place of those that ran for it, and
// returns when each has answered, or failed for the first time. It goes on
// watching them. Functions that run as they should go on.
func (d *Driver) Deploy(ctx context.Context, c crm.Command, report crm.Reporter) (crm.State, error) {
	all, elsewhere, err := workload.All(c.Unit)
	if err != nil {
		return crm.State{}, err
	}
	var wanted []workload.Wanted
	for _, w := range all {
		command, err := d.o.Images.find(w.Image)
		if err != nil {
			return crm.State{}, fmt.Errorf("function %s: %w", w.Function, err)
		}
		w.Probe.Path = cmp.Or(command.HealthPath, w.Probe.Path, "/health")
		for name, value := range command.Env {
			if !strings.HasPrefix(name, "OPRC_") {
				w.Env[name] = crm.EnvValue{Text: value}
			}
		}
		wanted = append(wanted, workload.Wanted{Workload: w, Starter: starter{d, w, command}, Digest: w.Digest()})
	}
	return d.group(c.ID).Replace(ctx, wanted, elsewhere, report)
}

func (d *Driver) group(id string) *workload.Group {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.units[id]
	if g == nil {
		g = &workload.Group{Patience: workload.Patience{Grace: d.o.Grace, Probe: d.o.Probe}}
		d.units[id] = g
	}
	return g
}

// Undeploy stops what runs for the unit and waits until it has ended.
func (d *Driver) Undeploy(_ context.Context, c crm.Command) error {
	d.mu.Lock()
	g := d.units[c.ID]
	delete(d.units, c.ID)
	d.mu.Unlock()
	if g != nil {
		g.Remove()
	}
	return nil
}

// Drain stops everything and waits until it has ended.
func (d *Driver) Drain(ctx context.Context) error {
	d.mu.Lock()
	ids := slices.Sorted(maps.Keys(d.units))
	d.mu.Unlock()
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() { _ = d.Undeploy(ctx, crm.Command{ID: id}) })
	}
	all.Wait() // bounded: the kill follows the grace
	return nil
}
