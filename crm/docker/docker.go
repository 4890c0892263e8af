// Package docker is a driver for a CRM that runs every function of a unit as a
// container of any engine with Docker's API: Docker, or Podman's service.
//
// A unit is RUNNING when each of its containers answers. A changed function gets a new
// container beside the old one, which is stopped when the new one answers, and a while
// later: callers that know the old address only get their answer. Containers outlive
// the driver: labels say which unit, generation and specHash they are of, so that the
// next run adopts them. There is no scaling: each function is one container, whatever
// minScale and maxScale say.
package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

// Options say which engine runs containers, and how.
type Options struct {
	Host    string           // the engine's address; default: DOCKER_HOST, else the platform's own
	Env     string           // environment that is served
	CRM     string           // id of the CRM: containers of others are not touched
	Secrets workload.Secrets // what environment variables refer to; default: nothing

	Publish      netip.Addr // address at which ports are published; default 127.0.0.1
	User         string     // UID[:GID] for images that name none; default 65532:65532
	Writable     bool       // the root file system is not read-only
	Capabilities []string   // that containers keep; default: none
	Credentials  string     // file with registry credentials; default: ~/.docker/config.json

	Patience workload.Patience // Linger defaults to 5 s
	Logger   *slog.Logger      // default: silent
}

// A Driver is a crm.Handler and a crm.Resumer.
type Driver struct {
	Options
	engine *client.Client
	events hub

	mu     sync.Mutex
	units  map[string]*workload.Group // by id
	stop   context.CancelFunc         // ends the watch over events
	ending sync.WaitGroup
}

// New connects to the engine, and fails if it cannot be reached.
func New(ctx context.Context, o Options) (*Driver, error) {
	options := []client.Opt{client.FromEnv}
	if o.Host != "" {
		options = append(options, client.WithHost(o.Host))
	}
	engine, err := client.New(options...)
	if err != nil {
		return nil, fmt.Errorf("container engine: %w", err)
	}
	if _, err := engine.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		_ = engine.Close()
		return nil, fmt.Errorf("container engine at %s: %w", engine.DaemonHost(), err)
	}
	if !o.Publish.IsValid() {
		o.Publish = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	o.User = cmp.Or(o.User, "65532:65532")
	o.Patience.Linger = cmp.Or(o.Patience.Linger, 5*time.Second)
	if o.Secrets == nil {
		o.Secrets = workload.SecretDir("")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Driver{Options: o, engine: engine, units: map[string]*workload.Group{}}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	d.ending.Go(func() { d.watchEvents(watch) })
	return d, nil
}

// Close ends the driver; containers go on running.
func (d *Driver) Close() error {
	d.mu.Lock()
	units := d.units
	d.units = map[string]*workload.Group{}
	d.mu.Unlock()
	for _, g := range units {
		d.ending.Go(g.Leave)
	}
	d.stop()
	d.ending.Wait()
	return d.engine.Close()
}

// Deploy starts a container for each function that changed, and returns when each has
// answered or failed once.
func (d *Driver) Deploy(ctx context.Context, c crm.Command, report crm.Reporter) (crm.State, error) {
	all, elsewhere, err := workload.All(c.Unit)
	if err != nil {
		return crm.State{}, err
	}
	var wanted []workload.Wanted
	for _, w := range all {
		wanted = append(wanted, d.wanted(c, w, elsewhere))
	}
	return d.group(c.ID).Replace(ctx, wanted, elsewhere, report)
}

func (d *Driver) wanted(c crm.Command, w workload.Workload, elsewhere map[string]crm.FunctionStatus) workload.Wanted {
	return workload.Wanted{Workload: w, Digest: w.Digest(), Starter: &starter{Driver: d, w: w, command: c, elsewhere: elsewhere}}
}

func (d *Driver) group(id string) *workload.Group {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.units[id]
	if g == nil {
		g = &workload.Group{Patience: d.Patience}
		d.units[id] = g
	}
	return g
}

// Undeploy removes the unit's containers, also those that no run of this driver
// remembers.
func (d *Driver) Undeploy(ctx context.Context, c crm.Command) error {
	d.mu.Lock()
	g := d.units[c.ID]
	delete(d.units, c.ID)
	d.mu.Unlock()
	if g != nil {
		g.Remove()
	}
	found, err := d.containers(ctx, labelUnit, c.ID)
	if err != nil {
		return err
	}
	var failed []error
	for _, f := range found {
		failed = append(failed, d.remove(ctx, f.id))
	}
	return errors.Join(failed...)
}

// resumeTime is how long a start of the CRM waits for what runs to answer.
const resumeTime = 3 * time.Second

// Resume adopts the containers that run and removes those that do not. Of two for one
// function the newer generation is kept.
func (d *Driver) Resume(ctx context.Context, adopt func(crm.Command, crm.State) crm.Reporter) error {
	found, err := d.containers(ctx, labelCRM, d.CRM)
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b container) int {
		return cmp.Or(cmp.Compare(a.command.ID, b.command.ID), cmp.Compare(b.command.Generation, a.command.Generation), cmp.Compare(b.created, a.created))
	})
	units := map[string][]container{}
	for _, f := range found {
		same := func(o container) bool { return o.w.Function == f.w.Function }
		if !f.running || f.command.ID == "" || slices.ContainsFunc(units[f.command.ID], same) {
			if err := d.remove(ctx, f.id); err != nil {
				d.Logger.Warn("remove a container that is left over", "container", f.name, "error", err)
			}
			continue
		}
		units[f.command.ID] = append(units[f.command.ID], f)
	}
	var all sync.WaitGroup
	var one sync.Mutex
	for id, containers := range units {
		all.Go(func() {
			newest := containers[0]
			var wanted []workload.Wanted
			for _, f := range containers {
				wanted = append(wanted, d.wanted(f.command, f.w, newest.elsewhere))
			}
			g := d.group(id)
			bounded, cancel := context.WithTimeout(ctx, resumeTime)
			defer cancel()
			st, err := g.Replace(bounded, wanted, newest.elsewhere, nil)
			if err != nil {
				g.Leave()
				return // it is deployed again, and found then if it runs
			}
			one.Lock()
			defer one.Unlock()
			g.Follow(adopt(newest.command, st))
		})
	}
	all.Wait()
	return ctx.Err()
}

// Draining is a driver whose containers end with the CRM.
type Draining struct{ *Driver }

// Drain removes all containers.
func (d Draining) Drain(ctx context.Context) error {
	d.mu.Lock()
	units := d.units
	d.units = map[string]*workload.Group{}
	d.mu.Unlock()
	var all sync.WaitGroup
	for _, g := range units {
		all.Go(g.Remove)
	}
	all.Wait()
	return ctx.Err()
}

// Logs copies what a container printed; with follow, what it will.
func (d *Driver) Logs(ctx context.Context, w io.Writer, name string, follow bool) error {
	return copyLogs(ctx, d.engine, w, strings.TrimPrefix(name, replicaPrefix), follow, "all")
}
