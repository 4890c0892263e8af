// Package process is a driver for a CRM that runs every function of a unit as a
// process on this machine: what an image stands for is looked up in a file. A
// unit is RUNNING when each of its functions answers over HTTP, so RUNNING means
// that somebody is there.
//
// A function gets its port in PORT, and OPRC_UNIT, OPRC_CLASS, OPRC_FUNCTION,
// OPRC_PARTITION and OPRC_REPLICA. One that exits or stops answering is started
// again, after a growing while. Nothing outlives the driver: not even if it is
// killed, where the system has process groups.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/crm"
)

// Options say what the driver runs, and how patient it is.
type Options struct {
	Images Images
	Log    io.Writer     // gets what the functions print, line by line, with the function's key before it; default: nowhere
	Grace  time.Duration // between the request to stop and the kill; default 5 s
	Probe  time.Duration // between two looks at a function that runs; default 2 s
}

// A Driver is a crm.Handler, and a crm.Drainer.
type Driver struct {
	o     Options
	log   *lines
	mu    sync.Mutex
	units map[string]*unit // by id
}

// New returns a driver that runs nothing yet.
func New(o Options) *Driver {
	o.Grace = cmp.Or(o.Grace, 5*time.Second)
	o.Probe = cmp.Or(o.Probe, 2*time.Second)
	if o.Log == nil {
		o.Log = io.Discard
	}
	return &Driver{o: o, log: &lines{w: o.Log}, units: map[string]*unit{}}
}

// A unit is the functions of one deployment unit, each with a supervisor.
type unit struct {
	stop   context.CancelFunc
	report crm.Reporter
	done   sync.WaitGroup
	first  chan struct{} // closed when every function has answered or failed once

	mu        sync.Mutex
	open      int // functions of which nothing is known yet
	functions map[string]crm.FunctionStatus
	names     map[string]string // of the processes, by function key
}

// Deploy starts the unit's functions, in place of those that ran for it, and
// returns when each has answered, or failed for the first time. It goes on
// watching them.
func (d *Driver) Deploy(ctx context.Context, c crm.Command, report crm.Reporter) (crm.State, error) {
	commands := map[string]Command{}
	for _, f := range c.Unit.Functions {
		if f.Image == "" || f.Config.StaticURL != "" {
			continue
		}
		if name, is := firstSecret(c.Unit, f); is {
			return crm.State{}, fmt.Errorf("function %s: %w: %s refers to a secret, which this driver cannot resolve", f.Key, crm.ErrInvalid, name)
		}
		command, err := d.o.Images.find(f.Image)
		if err != nil {
			return crm.State{}, fmt.Errorf("function %s: %w", f.Key, err)
		}
		commands[f.Key] = command
	}
	if err := d.Undeploy(ctx, c); err != nil {
		return crm.State{}, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	u := &unit{
		stop: stop, report: report, first: make(chan struct{}), open: len(commands),
		functions: map[string]crm.FunctionStatus{}, names: map[string]string{},
	}
	d.mu.Lock()
	d.units[c.ID] = u
	d.mu.Unlock()
	d.start(life, u, c.Unit, commands)
	select {
	case <-ctx.Done():
		return crm.State{}, ctx.Err()
	case <-u.first:
		return u.state(), nil
	}
}

// start begins the supervisors. Functions without a process are as they are.
func (d *Driver) start(ctx context.Context, u *unit, spec crm.Unit, commands map[string]Command) {
	for _, f := range spec.Functions {
		if _, ok := commands[f.Key]; ok {
			u.functions[f.Key] = crm.FunctionStatus{Condition: crm.Deploying}
		} else {
			u.functions[f.Key] = crm.FunctionStatus{Condition: crm.Running, InvocationURL: f.Config.StaticURL}
		}
	}
	if len(commands) == 0 {
		close(u.first)
	}
	for _, f := range spec.Functions {
		if command, ok := commands[f.Key]; ok {
			s := &supervisor{Options: d.o, log: d.log, unit: u, key: f.Key, command: command, env: environment(spec, f, command)}
			u.done.Go(func() { s.run(ctx) })
		}
	}
}

// Undeploy stops what runs for the unit and waits until it has ended.
func (d *Driver) Undeploy(_ context.Context, c crm.Command) error {
	d.mu.Lock()
	u := d.units[c.ID]
	delete(d.units, c.ID)
	d.mu.Unlock()
	if u != nil {
		u.stop()
		u.done.Wait()
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

// set notes how a function is doing, and reports the unit's state if it changed.
func (u *unit) set(key, process string, st crm.FunctionStatus) {
	u.mu.Lock()
	was := u.functions[key]
	u.functions[key] = st
	if u.names[key] = process; process == "" {
		delete(u.names, key)
	}
	if was.Condition == crm.Deploying && st.Condition != crm.Deploying && u.open > 0 {
		if u.open--; u.open == 0 {
			close(u.first)
		}
	}
	known := u.open == 0
	u.mu.Unlock()
	if known {
		u.report(u.state())
	}
}

// state is the unit's: that of the function that is worst off.
func (u *unit) state() crm.State {
	u.mu.Lock()
	defer u.mu.Unlock()
	st := crm.State{Condition: crm.Running, Functions: maps.Clone(u.functions)}
	var complaints []error
	for _, key := range slices.Sorted(maps.Keys(u.functions)) {
		f := u.functions[key]
		switch f.Condition {
		case crm.Down:
			st.Condition = crm.Down
			complaints = append(complaints, fmt.Errorf("%s: %s", key, f.ErrorMsg))
		case crm.Deploying:
			if st.Condition == crm.Running {
				st.Condition = crm.Deploying
			}
		}
		if name, ok := u.names[key]; ok {
			st.Replicas = append(st.Replicas, name)
		}
	}
	if err := errors.Join(complaints...); err != nil {
		st.ErrorMsg = err.Error()
	}
	return st
}
