package reconcile

import (
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
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
	Rev  int64  `json:"_rev"`
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
