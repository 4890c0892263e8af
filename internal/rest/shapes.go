package rest

import (
	"cmp"
	"strconv"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// The documents of the API have the specification's fields, empty or not, so that
// what was read can be written back. What we add is in metadata and status, which
// the validator passes over in what is written.

// Metadata says where an object comes from.
type Metadata struct {
	Origin    string          `json:"origin,omitempty"` // that owns it
	Source    *oprc.SourceRef `json:"source,omitempty"`
	AppliedAt time.Time       `json:"appliedAt,omitzero"`
	AppliedBy string          `json:"appliedBy,omitempty"`
	Digest    string          `json:"digest,omitempty"`
	Pkg       string          `json:"pkg,omitempty"` // of a deployment
}

// OPackage is a package as the specification shows it.
type OPackage struct {
	Rev         int64              `json:"_rev"`
	Name        string             `json:"name"`
	Version     string             `json:"version"`
	Classes     []OClass           `json:"classes"`
	Functions   []OFunction        `json:"functions"`
	Required    []string           `json:"required"`
	Deployments []OClassDeployment `json:"deployments"`
	Disabled    bool               `json:"disabled"`
	Metadata    Metadata           `json:"metadata"`
	Status      *PackageStatus     `json:"status,omitempty"`
}

// PackageStatus is how the deployments of a package are doing.
type PackageStatus struct {
	Condition   oprc.Condition              `json:"condition"` // worst of its deployments; "" without any
	Deployments []reconcile.DeploymentBrief `json:"deployments"`
	PlanID      string                      `json:"planId,omitempty"`      // that wrote it, in the answer to a write
	Diagnostics oprc.Diagnostics            `json:"diagnostics,omitempty"` // found by that plan
}

// OClass is a class as the specification shows it.
type OClass struct {
	Key            string             `json:"_key"`
	Rev            string             `json:"_rev,omitempty"`
	Name           string             `json:"name"`
	Pkg            string             `json:"pkg"`
	StateType      oprc.StateType     `json:"stateType"`
	Functions      []OBinding         `json:"functions"`
	StateSpec      OStateSpec         `json:"stateSpec"`
	RefSpec        []oprc.RefSpec     `json:"refSpec"`
	Parents        []string           `json:"parents"`
	Description    string             `json:"description"`
	Disabled       bool               `json:"disabled"`
	MarkForRemoval bool               `json:"markForRemoval"`
	Config         map[string]any     `json:"config,omitempty"`
	Requirements   *oprc.Requirements `json:"requirements,omitempty"`
	Constraints    *oprc.Constraints  `json:"constraints,omitempty"`
	Status         *ClassStatus       `json:"status,omitempty"`
}

// ClassStatus is what a class amounts to in the catalogue.
type ClassStatus struct {
	Condition oprc.Condition `json:"condition,omitempty"` // of its deployment; "" when not deployed
	Resolved  *oprc.Resolved `json:"resolved,omitempty"`
}

// OBinding is a FunctionBinding as the specification shows it.
type OBinding struct {
	Name         string            `json:"name"`
	Function     string            `json:"function"`
	Access       oprc.Access       `json:"access,omitempty"`
	DefaultRoute bool              `json:"defaultRoute"`
	Condition    string            `json:"condition"`
	Immutable    bool              `json:"immutable"`
	OutputCls    string            `json:"outputCls,omitempty"`
	DefaultArgs  map[string]string `json:"defaultArgs,omitempty"`
	NoMain       bool              `json:"noMain,omitempty"`
	NoOutput     bool              `json:"noOutput,omitempty"`
	Override     map[string]any    `json:"override,omitempty"`
	Description  string            `json:"description,omitempty"`
}

// OStateSpec is a StateSpecification.
type OStateSpec struct {
	KeySpecs        []oprc.KeySpec `json:"keySpecs"`
	DefaultProvider string         `json:"defaultProvider"`
}

// OFunction is a function as the specification shows it.
type OFunction struct {
	Key                  string              `json:"_key"`
	Rev                  int64               `json:"_rev,omitempty"`
	Name                 string              `json:"name"`
	Pkg                  string              `json:"pkg"`
	Description          string              `json:"description"`
	Type                 oprc.FunctionType   `json:"type"`
	OutputCls            string              `json:"outputCls"`
	Macro                OMacro              `json:"macro"`
	Provision            oprc.Provision      `json:"provision"`
	VariableDescriptions []oprc.Variable     `json:"variableDescriptions"`
	Status               *OFunctionStatus    `json:"status,omitempty"`
	State                oprc.FunctionState  `json:"state"`
	Requirements         oprc.Requirements   `json:"requirements"`
	Constraints          oprc.Constraints    `json:"constraints"`
	Config               oprc.FunctionConfig `json:"config"`
	Immutable            bool                `json:"immutable"`
}

// OMacro is the dataflow of a function; it has no steps where the type is not MACRO.
type OMacro struct {
	Steps        []oprc.Step    `json:"steps"`
	Output       string         `json:"output,omitempty"`
	BodyTemplate map[string]any `json:"bodyTemplate,omitempty"`
}

// OFunctionStatus is how a function is doing.
type OFunctionStatus struct {
	Condition     oprc.Condition `json:"condition"`
	InvocationURL string         `json:"invocationUrl"`
	ErrorMsg      string         `json:"errorMsg"`
}

// OClassDeployment is a deployment as it is declared; what was computed for it is in
// its status.
type OClassDeployment struct {
	Key            string            `json:"_key"`
	Rev            int64             `json:"_rev,omitempty"`
	PartitionCount int               `json:"partitionCount"`
	ReplicaCount   int               `json:"replicaCount"` // 0: computed
	TargetEnvs     []string          `json:"targetEnvs"`
	Members        []oprc.Member     `json:"members"`
	ShardType      string            `json:"shardType"`
	Assignments    []oprc.Assignment `json:"assignments"`
	Options        map[string]string `json:"options"`
	Metadata       *Metadata         `json:"metadata,omitempty"`
	Status         *DeploymentStatus `json:"status,omitempty"`
}

// DeploymentStatus is how a deployment was placed, and how its units are doing.
type DeploymentStatus struct {
	Condition    oprc.Condition    `json:"condition"` // worst of its units
	Units        int               `json:"units"`
	Running      int               `json:"running"`
	SpecHash     string            `json:"specHash"` // over the spec hashes of its units
	Drift        bool              `json:"drift"`
	ErrorMsg     string            `json:"errorMsg,omitempty"`
	ReplicaCount int               `json:"replicaCount"`
	TargetEnvs   []string          `json:"targetEnvs"`
	Members      []oprc.Member     `json:"members"`
	Assignments  []oprc.Assignment `json:"assignments"`
}

// OEnvironment is an environment with its health.
type OEnvironment struct {
	Rev          int64             `json:"_rev"`
	Kind         string            `json:"kind"`
	Name         string            `json:"name"`
	Availability float64           `json:"availability,omitempty"`
	Capacity     *oprc.Capacity    `json:"capacity,omitempty"`
	Default      bool              `json:"default"`
	Labels       map[string]string `json:"labels"`
	Templates    []string          `json:"templates"`
	Kubernetes   *oprc.Kubernetes  `json:"kubernetes,omitempty"`
	Metadata     Metadata          `json:"metadata"`
	Status       EnvironmentStatus `json:"status"`
}

// EnvironmentStatus is what an environment's CRMs say.
type EnvironmentStatus struct {
	Health          oprc.Health      `json:"health"`
	Availability    float64          `json:"availability,omitempty"` // reported, else declared
	Units           int              `json:"units"`                  // that run or should run there
	ReportedUnits   *int             `json:"reportedUnits,omitempty"`
	RecoveringUntil time.Time        `json:"recoveringUntil,omitzero"`
	CRMs            []oprc.Heartbeat `json:"crms"`
}

// shown is a document as the API shows it.
func shown(doc any) any {
	switch doc := doc.(type) {
	case *reconcile.PackageView:
		return shownPackage(doc)
	case *reconcile.ClassView:
		c := shownClass(doc.Pkg, doc.Class)
		c.Rev, c.Status = strconv.FormatInt(doc.Rev, 10), &ClassStatus{doc.Condition, doc.Resolved}
		return c
	case *reconcile.FunctionView:
		f := shownFunction(doc.Pkg, doc.Function)
		f.Rev, f.Status = doc.Rev, new(OFunctionStatus(doc.Status))
		return f
	case *reconcile.DeploymentView:
		return shownDeploymentView(doc)
	case *reconcile.EnvironmentView:
		return shownEnvironment(doc)
	}
	return doc
}

func shownPackage(v *reconcile.PackageView) OPackage {
	spec := v.Spec
	out := OPackage{
		Rev: v.Rev, Name: v.Name, Version: spec.Version, Required: list(spec.Required), Disabled: spec.Disabled,
		Classes: []OClass{}, Functions: []OFunction{}, Deployments: []OClassDeployment{},
		Metadata: Metadata{Origin: v.Origin, Source: v.Source, AppliedAt: v.AppliedAt, AppliedBy: v.AppliedBy, Digest: v.Digest},
		Status:   &PackageStatus{Condition: v.Condition, Deployments: list(v.Deployments)},
	}
	for _, c := range spec.Classes {
		out.Classes = append(out.Classes, shownClass(v.Name, c))
	}
	for _, f := range spec.Functions {
		out.Functions = append(out.Functions, shownFunction(v.Name, f))
	}
	for _, d := range spec.Deployments {
		out.Deployments = append(out.Deployments, shownDeployment(d)) // its key as it is written
	}
	return out
}

func shownClass(pkg string, c oprc.Class) OClass {
	out := OClass{
		Key: cmp.Or(c.Key, oprc.Key(pkg, c.Name)), Name: c.Name, Pkg: pkg, StateType: c.StateType, Functions: []OBinding{},
		StateSpec: OStateSpec{KeySpecs: []oprc.KeySpec{}}, RefSpec: list(c.RefSpec), Parents: list(c.Parents), Description: c.Description,
		Disabled: c.Disabled, MarkForRemoval: c.MarkForRemoval, Config: c.Config, Requirements: c.Requirements, Constraints: c.Constraints,
	}
	if c.StateSpec != nil {
		out.StateSpec = OStateSpec{list(c.StateSpec.KeySpecs), c.StateSpec.DefaultProvider}
	}
	for _, b := range c.Functions {
		out.Functions = append(out.Functions, OBinding(b))
	}
	return out
}

func shownFunction(pkg string, f oprc.Function) OFunction {
	return OFunction{
		Key: cmp.Or(f.Key, oprc.Key(pkg, f.Name)), Name: f.Name, Pkg: pkg, Description: f.Description, Type: f.Type, OutputCls: f.OutputCls,
		Macro: shownMacro(deref(f.Macro)), Provision: deref(f.Provision), VariableDescriptions: list(f.VariableDescriptions), State: f.State,
		Requirements: deref(f.Requirements), Constraints: deref(f.Constraints), Config: f.Config, Immutable: f.Immutable,
	}
}

func shownMacro(m oprc.Macro) OMacro {
	return OMacro{Steps: list(m.Steps), Output: m.Output, BodyTemplate: m.BodyTemplate}
}

func shownDeployment(d oprc.Deployment) OClassDeployment {
	options := d.Options
	if options == nil {
		options = map[string]string{}
	}
	return OClassDeployment{
		Key: d.Key, PartitionCount: d.PartitionCount, ReplicaCount: d.ReplicaCount, TargetEnvs: list(d.TargetEnvs),
		Members: list(d.Members), ShardType: d.ShardType, Assignments: list(d.Assignments), Options: options,
	}
}

func shownDeploymentView(v *reconcile.DeploymentView) OClassDeployment {
	declared := v.Deployment
	if v.Declared != nil {
		declared = *v.Declared
	}
	out := shownDeployment(declared)
	out.Key = v.Key
	out.Rev, out.Metadata = v.Rev, &Metadata{Pkg: v.Pkg}
	out.Status = &DeploymentStatus{
		Condition: v.Condition, Units: v.Units, Running: v.Running, SpecHash: v.SpecHash, Drift: v.Drift, ErrorMsg: v.ErrorMsg,
		ReplicaCount: v.ReplicaCount, TargetEnvs: list(v.TargetEnvs), Members: list(v.Members), Assignments: list(v.Assignments),
	}
	return out
}

func shownEnvironment(v *reconcile.EnvironmentView) OEnvironment {
	labels := v.Spec.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return OEnvironment{
		Rev: v.Rev, Kind: oprc.KindEnvironment, Name: v.Name, Availability: v.Spec.Availability, Capacity: v.Spec.Capacity,
		Default: v.Spec.Default, Labels: labels, Templates: list(v.Spec.Templates), Kubernetes: v.Spec.Kubernetes,
		Metadata: Metadata{Origin: v.Origin, Source: v.Source, AppliedAt: v.AppliedAt, AppliedBy: v.AppliedBy},
		Status: EnvironmentStatus{
			Health: v.Health, Availability: v.Availability, Units: v.Units, ReportedUnits: v.ReportedUnits,
			RecoveringUntil: v.RecoveringUntil, CRMs: list(v.Beats),
		},
	}
}

// list is never null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
