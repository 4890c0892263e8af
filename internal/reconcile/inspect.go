package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Reader reads what a plan does not need: documents and what runs.
type Reader interface {
	Classes(ctx context.Context) (map[string]oprc.Class, error)
	Functions(ctx context.Context) (map[string]oprc.Function, error)
	UnitRecords(ctx context.Context, env string) (map[string]oprc.UnitRecord, error)
	Runtimes(ctx context.Context, env string) ([]oprc.ClassRuntime, error)
	Sources(ctx context.Context) (map[string]oprc.SourceStatus, error)
}

// An Object is one entry of a listing. Doc is the kind's view: *PackageView,
// *ClassView, *FunctionView, *DeploymentView, *UnitView, *EnvironmentView,
// *oprc.ClassRuntime, *CRMView or *oprc.SourceStatus.
type Object struct {
	Kind oprc.Kind `json:"kind"`
	Key  string    `json:"key"`
	Doc  any       `json:"doc"`
}

// A PackageView is a package's record with the state of its deployments.
type PackageView struct {
	Name string `json:"name"`
	oprc.PackageRecord
	Condition   oprc.Condition    `json:"condition,omitempty"` // worst of its deployments; "" without any
	Deployments []DeploymentBrief `json:"deployments"`
}

// A DeploymentBrief is a deployment's state in short.
type DeploymentBrief struct {
	Key       string         `json:"_key"`
	Condition oprc.Condition `json:"condition"`
}

// A ClassView is a class of the catalogue.
type ClassView struct {
	oprc.Class
	Rev       int64          `json:"_rev"`
	Condition oprc.Condition `json:"condition,omitempty"` // of its deployment; "" when not deployed
}

// A FunctionView is a function of the catalogue with its status.
type FunctionView struct {
	oprc.Function
	Rev    int64               `json:"_rev"`
	Status oprc.FunctionStatus `json:"status"`
}

// A DeploymentView is a deployment with the sum of its units' states.
type DeploymentView struct {
	oprc.Deployment
	Rev       int64          `json:"_rev"`
	Condition oprc.Condition `json:"condition"` // worst of its units
	Units     int            `json:"units"`
	Running   int            `json:"running"`
	SpecHash  string         `json:"specHash"` // over the spec hashes of its units
	Drift     bool           `json:"drift"`
	ErrorMsg  string         `json:"errorMsg,omitempty"`
	// Declared is the deployment as its package has it: without what was computed.
	Declared *oprc.Deployment `json:"declared,omitempty"`
}

// A UnitView is a unit's record with its status. Condition is what a reader should
// believe: PENDING until the observed generation has caught up, DOWN while the
// environment is.
type UnitView struct {
	oprc.UnitRecord
	Condition oprc.Condition `json:"condition"`
	Settled   bool           `json:"settled"`
	Drift     bool           `json:"drift"`
	Status    *oprc.Status   `json:"status,omitempty"`
}

// An EnvironmentView is an environment with its health.
type EnvironmentView struct {
	Name string `json:"name"`
	oprc.EnvironmentState
}

// A CRMView is a CRM of one environment.
type CRMView struct {
	oprc.Heartbeat
	Env   string        `json:"env"`
	Alive bool          `json:"alive"`
	Age   time.Duration `json:"age"` // since the last heartbeat, ns
}

// List returns the objects of one kind, sorted by key. Units that were told to go
// and have gone are left out.
func (r *Reconciler) List(ctx context.Context, kind oprc.Kind) ([]Object, error) {
	var live plan.Live
	if kind != oprc.KindSource { // those wait for receipts, and ask often
		var err error
		if live, err = r.Ledger.Live(ctx); err != nil {
			return nil, fmt.Errorf("list %ss: %w", kind, err)
		}
	}
	docs, err := r.documents(ctx, kind, live)
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind, err)
	}
	out := make([]Object, 0, len(docs))
	for _, key := range slices.Sorted(maps.Keys(docs)) {
		out = append(out, Object{Kind: kind, Key: key, Doc: docs[key]})
	}
	return out, nil
}

// Find returns one object, or an oprc.ErrNotFound that names it.
func (r *Reconciler) Find(ctx context.Context, kind oprc.Kind, key string) (Object, error) {
	all, err := r.List(ctx, kind)
	if err != nil {
		return Object{}, err
	}
	i, ok := slices.BinarySearchFunc(all, key, func(o Object, k string) int { return cmp.Compare(o.Key, k) })
	if !ok {
		return Object{}, fmt.Errorf("%s %q: %w", kind, key, oprc.ErrNotFound)
	}
	return all[i], nil
}

func (r *Reconciler) documents(ctx context.Context, kind oprc.Kind, live plan.Live) (map[string]any, error) {
	switch kind {
	case oprc.KindEnv:
		return environments(live), nil
	case oprc.KindCRM:
		return crms(live), nil
	case oprc.KindSource:
		sources, err := r.Reader.Sources(ctx)
		return pointers(sources), err
	case oprc.KindRuntime:
		return r.runtimes(ctx, live)
	}
	units, err := r.units(ctx, live)
	if err != nil {
		return nil, err
	}
	byClass := groupByClass(units)
	switch kind {
	case oprc.KindUnit:
		return presentUnits(units), nil
	case oprc.KindPackage:
		return packages(live, byClass), nil
	case oprc.KindDeployment:
		return deployments(live, byClass), nil
	case oprc.KindClass:
		classes, err := r.Reader.Classes(ctx)
		return classViews(classes, live, byClass), err
	case oprc.KindFunction:
		functions, err := r.Reader.Functions(ctx)
		return functionViews(functions, live, units), err
	}
	return nil, fmt.Errorf("kind %q: %w", kind, oprc.ErrNotFound)
}

func pointers[T any](m map[string]T) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = &v
	}
	return out
}

func environments(live plan.Live) map[string]any {
	out := map[string]any{}
	for name, st := range live.Environments {
		out[name] = &EnvironmentView{Name: name, EnvironmentState: st}
	}
	return out
}

func crms(live plan.Live) map[string]any {
	out := map[string]any{}
	for env, st := range live.Environments {
		for _, b := range st.Beats {
			age := st.Read.Sub(b.Time)
			out[env+"/"+b.CRM] = &CRMView{Heartbeat: b, Env: env, Age: age, Alive: age <= oprc.HeartbeatTimeout}
		}
	}
	return out
}

// units joins the records and statuses of every environment.
func (r *Reconciler) units(ctx context.Context, live plan.Live) (map[string]UnitView, error) {
	out := map[string]UnitView{}
	for env, digests := range live.Units {
		if len(digests) == 0 {
			continue
		}
		recs, err := r.Reader.UnitRecords(ctx, env)
		if err != nil {
			return nil, err
		}
		for id, rec := range recs {
			out[id] = View(rec, live.Statuses[env][id], live.Environments[env].Health)
		}
	}
	return out, nil
}

// gone reports whether a unit was told to go and has gone.
func gone(u UnitView) bool {
	return u.Op == oprc.Undeploy && u.Settled && u.Condition == oprc.Deleted
}

func presentUnits(units map[string]UnitView) map[string]any {
	out := map[string]any{}
	for id, u := range units {
		if !gone(u) {
			out[id] = &u
		}
	}
	return out
}

func groupByClass(units map[string]UnitView) map[string][]UnitView {
	out := map[string][]UnitView{}
	for _, id := range slices.Sorted(maps.Keys(units)) {
		if u := units[id]; !gone(u) {
			out[u.Unit.ClsKey] = append(out[u.Unit.ClsKey], u)
		}
	}
	return out
}

// deploymentView sums up the units of one class: those of the deployment d, and
// those that still have to go.
func deploymentView(d oprc.Deployment, rev int64, units []UnitView) *DeploymentView {
	v := &DeploymentView{Deployment: d, Rev: rev}
	hashes := map[string]string{}
	for _, u := range units {
		if u.Op == oprc.Deploy {
			v.Units++
			hashes[u.Unit.ID] = u.SpecHash
			v.Condition = Worst(v.Condition, u.Condition)
			if u.Condition == oprc.Running {
				v.Running++
			}
		}
		v.Drift = v.Drift || u.Drift
		if v.ErrorMsg == "" && u.Status != nil && u.Condition == oprc.Down {
			v.ErrorMsg = u.Status.ErrorMsg
		}
	}
	if v.Condition == "" {
		v.Condition = oprc.Pending
	}
	v.SpecHash = oprc.Digest(hashes)
	return v
}

func deployments(live plan.Live, byClass map[string][]UnitView) map[string]any {
	out := map[string]any{}
	for key, d := range live.Deployments {
		v := deploymentView(d, live.Digests["deployment/"+key].Rev, byClass[key])
		v.Declared = declaredIn(live.Packages[d.Pkg].Spec, key)
		out[key] = v
	}
	return out
}

// declaredIn returns the deployment of a class as a package declares it, or nil.
func declaredIn(p oprc.Package, key string) *oprc.Deployment {
	for _, d := range p.Deployments {
		if oprc.Abs(p.Name, d.Key) == key {
			d.Key = key
			return &d
		}
	}
	return nil
}

func packages(live plan.Live, byClass map[string][]UnitView) map[string]any {
	views := map[string]*PackageView{}
	for name, rec := range live.Packages {
		views[name] = &PackageView{Name: name, PackageRecord: rec, Deployments: []DeploymentBrief{}}
	}
	for _, key := range slices.Sorted(maps.Keys(live.Deployments)) {
		d := live.Deployments[key]
		if p := views[d.Pkg]; p != nil {
			c := deploymentView(d, 0, byClass[key]).Condition
			p.Deployments = append(p.Deployments, DeploymentBrief{Key: key, Condition: c})
			p.Condition = Worst(p.Condition, c)
		}
	}
	out := map[string]any{}
	for name, v := range views {
		out[name] = v
	}
	return out
}

// runtimes reads what Ingest keeps; while an environment is DOWN so is all in it.
func (r *Reconciler) runtimes(ctx context.Context, live plan.Live) (map[string]any, error) {
	out := map[string]any{}
	for env, st := range live.Environments {
		rts, err := r.Reader.Runtimes(ctx, env)
		if err != nil {
			return nil, err
		}
		for _, rt := range rts {
			if st.Health == oprc.EnvDown {
				rt.Status = oprc.RuntimeDown
			}
			out[rt.Key] = &rt
		}
	}
	return out, nil
}

func classViews(classes map[string]oprc.Class, live plan.Live, byClass map[string][]UnitView) map[string]any {
	out := map[string]any{}
	for key, c := range classes {
		v := &ClassView{Class: c, Rev: live.Digests["class/"+key].Rev}
		if d, ok := live.Deployments[key]; ok {
			v.Condition = deploymentView(d, 0, byClass[key]).Condition
		}
		out[key] = v
	}
	return out
}

// functionViews gives every function its status: what runs elsewhere or needs no
// workload is RUNNING once accepted, a task is as its units say.
func functionViews(functions map[string]oprc.Function, live plan.Live, units map[string]UnitView) map[string]any {
	reported := map[string]oprc.FunctionStatus{}
	for _, id := range slices.Sorted(maps.Keys(units)) {
		u := units[id]
		if u.Op != oprc.Deploy {
			continue
		}
		for _, f := range u.Unit.Functions {
			st := oprc.FunctionStatus{Condition: u.Condition}
			if u.Settled && u.Status != nil {
				st = cmp.Or(u.Status.Functions[f.Key], st)
				if u.Condition == oprc.Down {
					st.Condition = oprc.Down
				}
			}
			if old, ok := reported[f.Key]; !ok || Worst(old.Condition, st.Condition) != old.Condition {
				reported[f.Key] = st
			}
		}
	}
	out := map[string]any{}
	for key, f := range functions {
		v := &FunctionView{Function: f, Rev: live.Digests["function/"+key].Rev}
		switch st, ok := reported[key]; {
		case f.Type != oprc.Task || f.Config.StaticURL != "":
			v.Status = oprc.FunctionStatus{Condition: oprc.Running, InvocationURL: f.Config.StaticURL}
		case ok:
			v.Status = st
		default:
			v.Status = oprc.FunctionStatus{Condition: oprc.Pending}
		}
		out[key] = v
	}
	return out
}
