// Package kubernetes is a driver for a CRM that runs every function of a unit as a
// Deployment and a Service of a Kubernetes cluster, or as a Knative Service where it
// was written for Knative.
//
//	command ─► objects ─► server-side apply ─► cluster
//	                 ▲                           │ watches
//	             compared ◄──────────────────────┤
//	                                    state ◄──┘ pods, conditions
//
// Objects are compared with what the watches saw, and applied where they differ: what
// others change is set back, and nothing is written while all is right. The objects
// carry the command that they were made from, so that the next run adopts them, removes
// those that no record knows, and writes nothing. Several CRMs of an environment share
// its units by the protocol; their objects are the same whoever applies them, so a unit
// changes hands without a change in the cluster.
package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

// A Driver is a crm.Handler, a crm.Resumer and a crm.Releaser.
type Driver struct {
	Options
	*Cluster

	mu     sync.Mutex
	units  map[string]*unit // by their label
	queue  workqueue.TypedRateLimitingInterface[string]
	ending sync.WaitGroup
}

// A unit is one that this CRM has.
type unit struct {
	id string

	working sync.Mutex // held while objects are written: one writer a unit
	command crm.Command
	want    []wanted
	all     []workload.Workload
	gone    bool

	mu        sync.Mutex // guards what follows
	elsewhere map[string]crm.FunctionStatus
	report    crm.Reporter
	state     crm.State
	changed   chan struct{} // closed with the next state
}

// The kinds that every cluster has.
var kinds = []Kind{autoscalers, services, deployments, budgets}

// New connects to the cluster. The cluster need not answer yet.
func New(ctx context.Context, o Options) (*Driver, error) {
	cluster, err := Connect(ctx, o.ClusterOptions)
	if err != nil {
		return nil, err
	}
	o.Namespace, o.ClusterDomain = cluster.Namespace, cmp.Or(o.ClusterDomain, "cluster.local")
	o.User = cmp.Or(o.User, "65532:65532")
	if err := checkUser(o.User); err != nil {
		cluster.Close()
		return nil, err
	}
	d := &Driver{
		Options: o, Cluster: cluster, units: map[string]*unit{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, time.Minute)),
	}
	for range workers {
		d.ending.Go(d.work)
	}
	return d, nil
}

// workers is how many units are looked at at once.
const workers = 8

func checkUser(text string) error {
	if text == "image" {
		return nil
	}
	for part := range strings.SplitSeq(text, ":") {
		if part == "" || len(part) > 9 || strings.Trim(part, "0123456789") != "" {
			return fmt.Errorf("%w: user %q is not UID[:GID], nor image", crm.ErrInvalid, text)
		}
	}
	return nil
}

// Close ends the driver; what runs goes on.
func (d *Driver) Close() {
	d.queue.ShutDown()
	d.ending.Wait()
	d.Cluster.Close()
}

// Deploy applies the unit's objects and returns when each function serves or has
// failed.
func (d *Driver) Deploy(ctx context.Context, c crm.Command, report crm.Reporter) (crm.State, error) {
	all, elsewhere, err := workload.All(c.Unit)
	if err != nil {
		return crm.State{}, err
	}
	if err := d.watch(ctx, all); err != nil {
		return crm.State{}, err
	}
	want, err := d.objectsOf(c, all)
	if err != nil {
		return crm.State{}, err
	}
	u := d.unit(c.ID)
	u.become(c, want, all, elsewhere, nil)
	if err := d.converge(ctx, u); err != nil {
		return crm.State{}, err
	}
	return d.settle(ctx, u, report)
}

// become makes u the unit that a command asks for.
func (u *unit) become(c crm.Command, want []wanted, all []workload.Workload, elsewhere map[string]crm.FunctionStatus, report crm.Reporter) {
	u.working.Lock()
	defer u.working.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.command, u.want, u.all, u.gone, u.elsewhere, u.report, u.state = c, want, all, false, elsewhere, report, crm.State{}
}

// settleTime is how long a deployment may take that the cluster itself gives no
// verdict on.
const settleTime = 4 * time.Minute

// settle waits until the unit runs or has failed, and sends what happens later to
// report.
func (d *Driver) settle(ctx context.Context, u *unit, report crm.Reporter) (crm.State, error) {
	silent := fmt.Errorf("not ready within %s, and the cluster gives no reason: do its controllers run?", settleTime)
	return Settled(ctx, settleTime, silent, func() (crm.State, <-chan struct{}) {
		u.mu.Lock()
		defer u.mu.Unlock()
		if settled(u.state) {
			u.report = report
		}
		return u.state, u.changed
	})
}

// settled says that a state is a verdict.
func settled(st crm.State) bool { return st.Condition == crm.Running || st.Condition == crm.Down }

// Settled waits until a state is Running or Down, and returns it. state gives the present
// one, and what is closed when there is another. After the limit its error is silent.
func Settled(ctx context.Context, limit time.Duration, silent error, state func() (crm.State, <-chan struct{})) (crm.State, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, silent)
	defer cancel()
	for {
		st, changed := state()
		if settled(st) {
			return st, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return crm.State{}, context.Cause(ctx)
		}
	}
}

// watch makes sure that all kinds which a unit needs are watched.
func (d *Driver) watch(ctx context.Context, all []workload.Workload) error {
	for _, k := range append(slices.Clone(kinds), pods) {
		if err := d.Watch(ctx, k, d.noticed); err != nil {
			return err
		}
	}
	for _, w := range all {
		if !d.isKnative(w) || d.Watches(knative) {
			continue
		}
		serves, err := d.Serves(ctx, knative)
		if err != nil {
			return err
		}
		if !serves {
			return fmt.Errorf("function %s is written for Knative, and the cluster has no Knative Serving (serving.knative.dev/v1): install it, or start the CRM with --knative-as-deployment", w.Function)
		}
		if err := d.Watch(ctx, knative, d.noticed); err != nil {
			return err
		}
	}
	return nil
}

// noticed has the units looked at that an object belongs to.
func (d *Driver) noticed(o *Object) {
	labels := o.GetLabels()
	if key := labels[LabelUnit]; key != "" {
		d.queue.Add(key)
		return
	}
	for _, of := range d.CachedBy(deployments, LabelPartition, labels[LabelPartition]) {
		d.queue.Add(of.GetLabels()[LabelUnit])
	}
}

// work looks at units until the queue ends.
func (d *Driver) work() {
	for {
		key, over := d.queue.Get()
		if over {
			return
		}
		d.mu.Lock()
		u := d.units[key]
		d.mu.Unlock()
		if u == nil {
			d.queue.Forget(key)
		} else if err := d.converge(d.ctx, u); err == nil {
			d.queue.Forget(key)
		} else if d.ctx.Err() == nil {
			d.log.Warn("unit", "id", u.id, "error", err)
			d.queue.AddRateLimited(key)
		}
		d.queue.Done(key)
	}
}

// converge makes the cluster's objects those that the unit shall have, and notes its
// state. Without a difference it writes nothing.
func (d *Driver) converge(ctx context.Context, u *unit) error {
	u.working.Lock()
	defer u.working.Unlock()
	if u.gone || u.want == nil && u.command.ID == "" {
		return nil
	}
	for _, w := range u.want {
		if Same(d.Cached(w.kind, w.GetName()), w.Object) {
			continue
		}
		if err := d.Apply(ctx, w.kind, w.Object); err != nil {
			return d.explain(err)
		}
	}
	for _, k := range append(slices.Clone(kinds), knative) {
		for _, live := range d.CachedBy(k, LabelUnit, workload.Name(u.id)) {
			if live.GetDeletionTimestamp() == nil && !slices.ContainsFunc(u.want, func(w wanted) bool { return w.kind == k && w.GetName() == live.GetName() }) {
				if err := d.Delete(ctx, k, live); err != nil {
					return err
				}
			}
		}
	}
	if err := d.removeBudgets(ctx, u.id, u.command.Unit, u.want); err != nil {
		return err
	}
	u.note(d.stateOf(u))
	return nil
}

// explain adds what to do about an error that an administrator can mend.
func (d *Driver) explain(err error) error {
	if strings.Contains(err.Error(), fmt.Sprintf("namespaces %q not found", d.Namespace)) {
		return fmt.Errorf("%w: create it, or start the CRM with --create-namespace", err)
	}
	return err
}

// note keeps the state, and reports it where it differs.
func (u *unit) note(st crm.State) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if reflect.DeepEqual(st, u.state) {
		return
	}
	u.state = st
	close(u.changed)
	u.changed = make(chan struct{})
	if u.report != nil {
		u.report(st)
	}
}

func (d *Driver) unit(id string) *unit {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := workload.Name(id)
	u := d.units[key]
	if u == nil {
		u = &unit{id: id, changed: make(chan struct{})}
		d.units[key] = u
	}
	return u
}

// forget ends the watch over a unit; nothing is written for it when forget returns.
func (d *Driver) forget(id string) {
	d.mu.Lock()
	u := d.units[workload.Name(id)]
	delete(d.units, workload.Name(id))
	d.mu.Unlock()
	if u != nil {
		u.working.Lock()
		u.gone = true
		u.working.Unlock()
	}
}

// Release leaves the unit's objects to the CRM that has it now.
func (d *Driver) Release(_ context.Context, c crm.Command) error {
	d.forget(c.ID)
	return nil
}

// goneTime is how long pods may take to end.
const goneTime = time.Minute

// Undeploy removes the unit's objects, also those that no run of this driver remembers,
// and returns when its pods have ended.
func (d *Driver) Undeploy(ctx context.Context, c crm.Command) error {
	d.forget(c.ID)
	if err := d.watch(ctx, nil); err != nil {
		return err
	}
	main := []Kind{deployments}
	if d.Watches(knative) {
		main = append(main, knative)
	}
	label := workload.Name(c.ID)
	for _, k := range append([]Kind{autoscalers, services}, main...) {
		found, err := d.List(ctx, k, LabelUnit, label)
		if err != nil {
			return err
		}
		for _, o := range found {
			if err := d.Delete(ctx, k, &o); err != nil {
				return err
			}
		}
	}
	if err := d.removeLastBudgets(ctx, c, main); err != nil {
		return err
	}
	return d.awaitEnd(ctx, label)
}

func (d *Driver) awaitEnd(ctx context.Context, label string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, goneTime, errors.New("they are still ending"))
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		left, err := d.List(ctx, pods, LabelUnit, label)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%d pods after %s, such as %s: %w", len(left), goneTime, left[0].GetName(), context.Cause(ctx))
		case <-t.C:
		}
	}
}

// removeBudgets removes budgets of the unit's partition that no unit asks for any more,
// by what the watches saw.
func (d *Driver) removeBudgets(ctx context.Context, id string, of crm.Unit, want []wanted) error {
	partition := partitionOf(of)
	others := slices.Concat(d.CachedBy(deployments, LabelPartition, partition), d.CachedBy(knative, LabelPartition, partition))
	for _, b := range d.CachedBy(budgets, LabelPartition, partition) {
		if slices.ContainsFunc(want, func(w wanted) bool { return w.kind == budgets && w.GetName() == b.GetName() }) {
			continue
		}
		if err := d.removeBudget(ctx, id, b, others); err != nil {
			return err
		}
	}
	return nil
}

// removeLastBudgets does so for a unit whose objects are gone, by what the cluster says
// now: of two units that go at the same time, the later one sees that it is the last.
func (d *Driver) removeLastBudgets(ctx context.Context, c crm.Command, main []Kind) error {
	partition := partitionOf(c.Unit)
	left, err := d.List(ctx, budgets, LabelPartition, partition)
	if err != nil || len(left) == 0 {
		return err
	}
	var others []*Object
	for _, k := range main {
		found, err := d.List(ctx, k, LabelPartition, partition)
		if err != nil {
			return err
		}
		for i := range found {
			others = append(others, &found[i])
		}
	}
	for i := range left {
		if err := d.removeBudget(ctx, c.ID, &left[i], others); err != nil {
			return err
		}
	}
	return nil
}

// removeBudget removes a budget that none of the objects of other units asks for.
func (d *Driver) removeBudget(ctx context.Context, id string, budget *Object, others []*Object) error {
	function := budget.GetLabels()[LabelFunction]
	for _, o := range others {
		labels := o.GetLabels()
		if labels[LabelUnit] != workload.Name(id) && labels[LabelFunction] == function && strongly(o) {
			return nil
		}
	}
	if budget.GetDeletionTimestamp() != nil {
		return nil
	}
	return d.Delete(ctx, budgets, budget)
}

// strongly reports whether an object was made for a strongly consistent class.
func strongly(o *Object) bool {
	c, _ := decode(o)
	return c.Unit.Consistency == crm.Strong && o.GetDeletionTimestamp() == nil
}

// decode reads the command that an object was made from; ok is false where it is not
// there.
func decode(o *Object) (c crm.Command, ok bool) {
	err := json.Unmarshal([]byte(o.GetAnnotations()[AnnotationCommand]), &c)
	return c, err == nil && c.ID != ""
}

// Resume adopts the units whose objects are there. One whose command cannot be read is
// adopted as something else than what its record says: it is deployed again, or removed.
func (d *Driver) Resume(ctx context.Context, adopt func(crm.Command, crm.State) crm.Reporter) error {
	if err := d.watch(ctx, nil); err != nil {
		return err
	}
	if serves, err := d.Serves(ctx, knative); err == nil && serves {
		if err := d.Watch(ctx, knative, d.noticed); err != nil {
			return err
		}
	}
	newest := map[string]crm.Command{}
	for _, k := range []Kind{deployments, services, knative} {
		for _, o := range d.CachedBy(k, "", "") {
			id := o.GetAnnotations()[AnnotationUnit]
			c, ok := decode(o)
			if !ok || c.ID != id {
				c = crm.Command{Type: crm.OpDeploy, ID: id}
			}
			if had, known := newest[id]; id != "" && (!known || c.Generation > had.Generation) {
				newest[id] = c
			}
		}
	}
	for _, c := range newest {
		d.adopt(ctx, c, adopt)
	}
	return ctx.Err()
}

func (d *Driver) adopt(ctx context.Context, c crm.Command, adopt func(crm.Command, crm.State) crm.Reporter) {
	u := d.unit(c.ID)
	all, elsewhere, err := workload.All(c.Unit)
	want, err2 := d.objectsOf(c, all)
	if c.Generation == 0 || err != nil || err2 != nil || d.watch(ctx, all) != nil {
		d.forget(c.ID)
		c.Generation, c.SpecHash = max(c.Generation, 1), "unknown"
		adopt(c, crm.State{Condition: crm.Deploying})
		return
	}
	u.become(c, want, all, elsewhere, nil)
	st := d.stateOf(u)
	u.mu.Lock()
	u.report, u.state = adopt(c, st), st
	u.mu.Unlock()
	d.queue.Add(workload.Name(c.ID)) // what was changed meanwhile is set back
}
