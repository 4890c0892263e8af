// Package classruntime is a driver for a CRM that hands classes to the OaaS operator of
// a cluster, which runs their functions and the object data grid: all units of a class in
// the environment are one ClassRuntime (oaas.io/v1alpha1).
//
// The units of a class may belong to several CRMs. Each reads the object, puts in what
// its unit brings, and writes it back under the version that it read; so none loses what
// another has put in. Annotations of the object say which units are in it, and by which
// commands: a CRM that starts adopts them and writes nothing.
package classruntime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/kubernetes"
	"github.com/oaas-platform/oprc/crm/workload"
)

// A Driver is a crm.Handler, a crm.Resumer and a crm.Releaser.
type Driver struct {
	*kubernetes.Cluster
	env string

	mu      sync.Mutex
	classes map[string]*class // by the name of the object
	queue   workqueue.TypedRateLimitingInterface[string]
	ending  sync.WaitGroup
	ctx     context.Context
	stop    context.CancelFunc
}

// A class is the units of one that this CRM has.
type class struct {
	name    string
	working sync.Mutex // held while the object is written: one writer of this CRM

	mu    sync.Mutex // guards what follows
	units map[string]*unit
	last  *crm.Unit // whose class was asked for last; nil: as the object has it
}

type unit struct {
	share   share
	report  crm.Reporter
	state   crm.State
	changed chan struct{} // closed with the next state
}

// New connects to the cluster. The cluster need not answer yet.
func New(ctx context.Context, o kubernetes.ClusterOptions) (*Driver, error) {
	cluster, err := kubernetes.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	d := &Driver{
		Cluster: cluster, env: o.Env, classes: map[string]*class{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, time.Minute)),
	}
	d.ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	for range workers {
		d.ending.Go(d.work)
	}
	return d, nil
}

// workers is how many classes are looked at at once.
const workers = 4

// Close ends the driver; what runs goes on.
func (d *Driver) Close() {
	d.stop()
	d.queue.ShutDown()
	d.ending.Wait()
	d.Cluster.Close()
}

func secretError(function, name string) error {
	return fmt.Errorf("%w: environment variable %s of function %s refers to a secret, which a ClassRuntime cannot: use the driver kubernetes", crm.ErrInvalid, name, function)
}

// nameOf is the name of a class's object.
func (d *Driver) nameOf(clsKey string) string { return workload.Name(clsKey, d.env) }

func (d *Driver) class(name string) *class {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.classes[name]
	if c == nil {
		c = &class{name: name, units: map[string]*unit{}}
		d.classes[name] = c
	}
	return c
}

// watch keeps a copy of the objects.
func (d *Driver) watch(ctx context.Context) error {
	if d.Watches(kind) {
		return nil
	}
	serves, err := d.Serves(ctx, kind)
	if err != nil {
		return err
	}
	if !serves {
		return errors.New("the cluster does not know ClassRuntime (oaas.io/v1alpha1): install the OaaS operator")
	}
	return d.Watch(ctx, kind, func(o *kubernetes.Object) { d.queue.Add(o.GetName()) })
}

func (d *Driver) work() {
	for {
		name, over := d.queue.Get()
		if over {
			return
		}
		if err := d.converge(d.ctx, d.class(name)); err == nil {
			d.queue.Forget(name)
		} else if d.ctx.Err() == nil {
			d.queue.AddRateLimited(name)
		}
		d.queue.Done(name)
	}
}

// Deploy puts the unit into its class's object, and returns when the operator says how
// the class is doing.
func (d *Driver) Deploy(ctx context.Context, c crm.Command, report crm.Reporter) (crm.State, error) {
	if err := d.watch(ctx); err != nil {
		return crm.State{}, err
	}
	cls := d.class(d.nameOf(c.Unit.ClsKey))
	u := &unit{share: shareOf(c), changed: make(chan struct{})}
	cls.mu.Lock()
	cls.units[c.ID], cls.last = u, &c.Unit
	cls.mu.Unlock()
	if err := d.converge(ctx, cls); err != nil {
		return crm.State{}, err
	}
	silent := fmt.Errorf("the operator has not made ClassRuntime %s available within %s", cls.name, settleTime)
	return kubernetes.Settled(ctx, settleTime, silent, func() (crm.State, <-chan struct{}) {
		cls.mu.Lock()
		defer cls.mu.Unlock()
		if u.state.Condition == crm.Running || u.state.Condition == crm.Down {
			u.report = report
		}
		return u.state, u.changed
	})
}

// settleTime is how long the operator may take.
const settleTime = 4 * time.Minute

// converge makes the object hold the units that this CRM has, and notes their state.
func (d *Driver) converge(ctx context.Context, cls *class) error {
	cls.working.Lock()
	defer cls.working.Unlock()
	cls.mu.Lock()
	ours := map[string]share{}
	for id, u := range cls.units {
		ours[key(id)] = u.share
	}
	last := cls.last
	cls.mu.Unlock()
	if len(ours) == 0 {
		return nil
	}
	live, err := d.write(ctx, cls.name, last, false, func(all map[string]share) { maps.Copy(all, ours) })
	if err != nil || live == nil { // the watch brings what was written
		return err
	}
	class, _ := classIn(live)
	st := stateOf(live, class)
	cls.mu.Lock()
	defer cls.mu.Unlock()
	for _, u := range cls.units {
		if !reflect.DeepEqual(u.state, st) {
			u.state = st
			close(u.changed)
			u.changed = make(chan struct{})
			if u.report != nil {
				u.report(st)
			}
		}
	}
	return nil
}

// write changes which units are in the object, and deletes it with the last; it returns
// the object where there was nothing to write. What others have put in since it was read
// is not lost: then it is read again. The copy of the watch serves unless fresh is set.
func (d *Driver) write(ctx context.Context, name string, last *crm.Unit, fresh bool, change func(map[string]share)) (same *kubernetes.Object, err error) {
	live := d.Cached(kind, name)
	for ; ctx.Err() == nil; fresh = true {
		if fresh {
			if live, err = d.Get(ctx, kind, name); err != nil {
				return nil, err
			}
		}
		all := sharesIn(live)
		change(all)
		if live == nil && (len(all) == 0 || last == nil) {
			return nil, nil // it is gone, and what a unit's next command asks for is made anew
		}
		if len(all) == 0 {
			err = d.DeleteVersion(ctx, kind, live)
		} else {
			class, _ := classIn(live)
			if last != nil {
				class = *last
			}
			want, failed := d.objectOf(name, class, all)
			switch {
			case failed != nil:
				return nil, failed
			case live == nil:
				err = d.Create(ctx, kind, want)
			case kubernetes.Same(live, want):
				return live, nil
			default:
				err = d.Update(ctx, kind, merged(live, want))
			}
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	return nil, ctx.Err()
}

// forget ends the watch over a unit.
func (d *Driver) forget(id, clsKey string) *class {
	cls := d.class(d.nameOf(clsKey))
	cls.mu.Lock()
	delete(cls.units, id)
	cls.mu.Unlock()
	cls.working.Lock() // a write in hand ends first
	defer cls.working.Unlock()
	return cls
}

// Release leaves the unit to the CRM that has it now.
func (d *Driver) Release(_ context.Context, c crm.Command) error {
	d.forget(c.ID, classOf(c.ID))
	return nil
}

// goneTime is how long the operator may take to clear a class away.
const goneTime = time.Minute

// Undeploy takes the unit out of its class's object, and returns, if it was the last,
// when the operator has cleared the class away.
func (d *Driver) Undeploy(ctx context.Context, c crm.Command) error {
	if err := d.watch(ctx); err != nil {
		return err
	}
	cls := d.forget(c.ID, classOf(c.ID))
	left := 0
	cls.working.Lock()
	_, err := d.write(ctx, cls.name, nil, true, func(all map[string]share) {
		delete(all, key(c.ID))
		left = len(all)
	})
	cls.working.Unlock()
	if err != nil || left > 0 {
		return err
	}
	for deadline := time.Now().Add(goneTime); ; {
		o, err := d.Get(ctx, kind, cls.name)
		if err != nil || o == nil || len(sharesIn(o)) > 0 && o.GetDeletionTimestamp() == nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the operator has not cleared ClassRuntime %s away within %s", cls.name, goneTime)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Resume adopts the units that are in the objects.
func (d *Driver) Resume(ctx context.Context, adopt func(crm.Command, crm.State) crm.Reporter) error {
	serves, err := d.Serves(ctx, kind)
	for wait := 100 * time.Millisecond; err != nil; wait = min(2*wait, 5*time.Second) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		serves, err = d.Serves(ctx, kind)
	}
	if !serves {
		return nil // it is said where a unit needs it
	}
	if err := d.watch(ctx); err != nil {
		return err
	}
	for _, o := range d.CachedBy(kind, "", "") {
		about, _ := classIn(o)
		st := stateOf(o, about)
		for _, s := range sharesIn(o) {
			u := &unit{share: s, state: st, changed: make(chan struct{})}
			cls := d.class(o.GetName())
			cls.mu.Lock()
			cls.units[s.ID] = u
			u.report = adopt(crm.Command{Type: crm.OpDeploy, ID: s.ID, Generation: s.Generation, SpecHash: s.SpecHash}, st)
			cls.mu.Unlock()
		}
		d.queue.Add(o.GetName())
	}
	return ctx.Err()
}
