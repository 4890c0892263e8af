package reconcile

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/resolve"
)

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
	Damaged     []string          `json:"damaged,omitempty"` // its objects whose record is lost or altered, as "<kind>/<key>"
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
	Damaged []string `json:"damaged,omitempty"` // as in PackageView; its units among them
}

// A CRMView is a CRM of one environment.
type CRMView struct {
	oprc.Heartbeat
	Env        string `json:"env"`
	Alive      bool   `json:"alive"`
	AgeSeconds int64  `json:"ageSeconds"` // since the last heartbeat
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
		out[name] = &EnvironmentView{Name: name, EnvironmentState: st, Damaged: damaged(live, func(kind oprc.Kind, key string) bool {
			return kind == oprc.KindEnv && key == name || kind == oprc.KindUnit && strings.HasSuffix(key, "@"+name)
		})}
	}
	return out
}

// damaged lists the damaged objects of which of is true.
func damaged(live plan.Live, of func(kind oprc.Kind, key string) bool) []string {
	var out []string
	for object := range live.Damaged {
		if kind, key, _ := strings.Cut(object, "/"); of(oprc.Kind(kind), key) {
			out = append(out, object)
		}
	}
	slices.Sort(out)
	return out
}

func crms(live plan.Live) map[string]any {
	out := map[string]any{}
	for env, st := range live.Environments {
		for _, b := range st.Beats {
			age := st.Read.Sub(b.Time)
			out[env+"/"+b.CRM] = &CRMView{Heartbeat: b, Env: env, AgeSeconds: int64(age / time.Second), Alive: age <= oprc.HeartbeatTimeout}
		}
	}
	return out
}

// gone reports whether a unit was told to go and has gone.
func gone(u UnitView) bool {
	return u.Op == oprc.Undeploy && u.Settled && u.Condition == oprc.Deleted
}

// deploymentView sums up the units of one class: those of its deployment, and those that
// still have to go.
func (in *Inspection) deploymentView(key string) (*DeploymentView, bool) {
	d, there := in.live.Deployments[key]
	if !there {
		return nil, false
	}
	v := &DeploymentView{
		Deployment: d, Rev: in.live.Digests[string(oprc.KindDeployment)+"/"+key].Rev, Condition: in.conditionOf(key),
		Declared: declaredIn(in.live.Packages[d.Pkg].Spec, key),
	}
	hashes := map[string]string{}
	if sum := in.classes[key]; sum != nil {
		v.Units, v.Running, v.Drift, v.ErrorMsg = sum.units, sum.running, sum.drift, sum.errorMsg
		for _, m := range sum.members {
			if u := in.live.Units[m.env][m.id]; u.Runs() {
				hashes[m.id] = u.SpecHash
			}
		}
	}
	v.SpecHash = oprc.Digest(hashes)
	return v, true
}

// conditionOf is the condition of a class that is deployed.
func (x *index) conditionOf(class string) oprc.Condition {
	if sum := x.classes[class]; sum != nil && sum.condition != "" {
		return sum.condition
	}
	return oprc.Pending
}

// declaredIn returns the deployment of a class as a package declares it, or nil.
func declaredIn(p oprc.Package, key string) *oprc.Deployment {
	for _, d := range p.Deployments {
		if resolve.DeploymentKey(p, d.Key) == key {
			d.Key = key
			return &d
		}
	}
	return nil
}

func (in *Inspection) packageView(name string) (*PackageView, bool) {
	rec, there := in.live.Packages[name]
	if !there {
		return nil, false
	}
	v := &PackageView{Name: name, PackageRecord: rec, Deployments: []DeploymentBrief{}, Damaged: damaged(in.live, func(kind oprc.Kind, key string) bool {
		return kind == oprc.KindPackage && key == name || kind != oprc.KindEnv && strings.HasPrefix(key, name+".")
	})}
	for _, key := range in.packages[name] {
		c := in.conditionOf(key)
		v.Deployments = append(v.Deployments, DeploymentBrief{Key: key, Condition: c})
		v.Condition = Worst(v.Condition, c)
	}
	return v, true
}

func (in *Inspection) classViews(classes map[string]oprc.Class) map[string]any {
	out := map[string]any{}
	for key, c := range classes {
		v := &ClassView{Class: c, Rev: in.live.Digests[string(oprc.KindClass)+"/"+key].Rev}
		if _, ok := in.live.Deployments[key]; ok {
			v.Condition = in.conditionOf(key)
		}
		out[key] = v
	}
	return out
}

// functionViews gives every function its status: what runs elsewhere or needs no
// workload is RUNNING once accepted, a task is as its units say.
func (in *Inspection) functionViews(ctx context.Context, keys []string) (map[string]any, error) {
	functions, err := in.from.Reader.FunctionsOf(ctx, keys)
	if err != nil {
		return nil, err
	}
	known, err := in.from.facts.read(ctx, in)
	if err != nil {
		return nil, err
	}
	out := make(map[string]any, len(functions))
	for key, f := range functions {
		v := &FunctionView{Function: f, Rev: in.live.Digests[string(oprc.KindFunction)+"/"+key].Rev}
		if v.Status = (oprc.FunctionStatus{Condition: oprc.Running, InvocationURL: f.Config.StaticURL}); f.Type == oprc.Task && f.Config.StaticURL == "" {
			v.Status = in.functionStatus(key, known.users[key])
		}
		out[key] = v
	}
	return out, nil
}

// functionStatus is the worst that the units say that run a function.
func (in *Inspection) functionStatus(key string, users []string) oprc.FunctionStatus {
	var worst oprc.FunctionStatus
	for _, id := range users {
		env := id[strings.LastIndexByte(id, '@')+1:]
		d, st := in.live.Units[env][id], in.live.Statuses[env][id]
		if !d.Runs() {
			continue
		}
		is := judge(d, st, in.live.Environments[env].Health)
		now := oprc.FunctionStatus{Condition: is.condition}
		if is.settled && st.Generation > 0 {
			if now = cmp.Or(st.Functions[key], now); is.condition == oprc.Down {
				now.Condition = oprc.Down
			}
		}
		if worst.Condition == "" || Worst(worst.Condition, now.Condition) != worst.Condition {
			worst = now
		}
	}
	return cmp.Or(worst, oprc.FunctionStatus{Condition: oprc.Pending})
}
