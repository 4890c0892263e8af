// Package oprc holds the nouns of the control plane: what users write
// (packages, environments), what runtimes are told (deployment units), what
// they answer (reports), and what the ledger remembers (records, statuses).
//
// It is pure: no clock, no environment, no I/O. Every value marshals to the
// specification's camelCase JSON, and [Digest] of a value is the same on every
// machine.
package oprc

// A Package is one application as its developer writes it: classes, the
// functions they bind, and where they are deployed.
//
// Values that leave the schema package carry every default of the model, and
// their strings are in canonical spelling. References are as written: a leading
// dot still means "in this package".
type Package struct {
	Name        string       `json:"name"`
	Version     string       `json:"version,omitempty"` // the user's, a semver by convention
	Classes     []Class      `json:"classes,omitempty"`
	Functions   []Function   `json:"functions,omitempty"`
	Required    []string     `json:"required,omitempty"` // NAME or NAME@SEMVER-RANGE
	Deployments []Deployment `json:"deployments,omitempty"`
	Disabled    bool         `json:"disabled,omitempty"`
}

// StateType says how many objects a class has and how their state behaves.
type StateType string

// The state types of the specification.
const (
	StateNormal     StateType = "NORMAL"
	StateCollection StateType = "COLLECTION"
	StateSingleton  StateType = "SINGLETON"
)

// A Class is state plus the functions bound to it.
//
// Key and Pkg are derived: they are empty in a package's spec and filled in the
// catalogue.
type Class struct {
	Key            string         `json:"_key,omitempty"`
	Name           string         `json:"name"`
	Pkg            string         `json:"pkg,omitempty"`
	Description    string         `json:"description,omitempty"`
	StateType      StateType      `json:"stateType,omitempty"`
	Functions      []Binding      `json:"functions,omitempty"`
	StateSpec      *StateSpec     `json:"stateSpec,omitempty"`
	RefSpec        []RefSpec      `json:"refSpec,omitempty"`
	Parents        []string       `json:"parents,omitempty"`
	Config         map[string]any `json:"config,omitempty"`
	Requirements   *Requirements  `json:"requirements,omitempty"`
	Constraints    *Constraints   `json:"constraints,omitempty"`
	Disabled       bool           `json:"disabled,omitempty"`
	MarkForRemoval bool           `json:"markForRemoval,omitempty"`
	Resolved       *Resolved      `json:"resolved,omitempty"` // catalogue only
}

// Resolved is what a class amounts to once its parents are folded in: members by
// name, references absolute.
type Resolved struct {
	Functions map[string]Binding `json:"functions"`
	KeySpecs  map[string]KeySpec `json:"keySpecs,omitempty"`
	RefSpecs  map[string]RefSpec `json:"refSpecs,omitempty"`
	Ancestors []string           `json:"ancestors,omitempty"` // class keys, nearest first
}

// Access says who may call a binding.
type Access string

// The access modifiers of the specification.
const (
	Public   Access = "PUBLIC"   // anybody
	Internal Access = "INTERNAL" // macros of the same package
	Private  Access = "PRIVATE"  // macros of the same class
)

// A Binding makes a function callable on a class.
type Binding struct {
	Name         string            `json:"name,omitempty"`
	Function     string            `json:"function"`
	Access       Access            `json:"access,omitempty"`
	DefaultRoute bool              `json:"defaultRoute,omitempty"`
	Condition    string            `json:"condition,omitempty"` // CEL over object, request, env
	Immutable    bool              `json:"immutable,omitempty"`
	OutputCls    string            `json:"outputCls,omitempty"` // "" inherits the function's; "none" and "void" mean no output
	DefaultArgs  map[string]string `json:"defaultArgs,omitempty"`
	NoMain       bool              `json:"noMain,omitempty"`
	NoOutput     bool              `json:"noOutput,omitempty"`
	Override     map[string]any    `json:"override,omitempty"`
	Description  string            `json:"description,omitempty"`
}

// A StateSpec names the keys of an object's unstructured state.
type StateSpec struct {
	KeySpecs        []KeySpec `json:"keySpecs,omitempty"`
	DefaultProvider string    `json:"defaultProvider,omitempty"` // default "s3"
}

// A KeySpec is one key of an object's state.
type KeySpec struct {
	Name     string `json:"name"`
	Type     string `json:"type,omitempty"` // STRING, INTEGER, DOUBLE, BOOLEAN
	Optional bool   `json:"optional,omitempty"`
	Access   Access `json:"access,omitempty"`
}

// A RefSpec is a named reference to objects of another class.
type RefSpec struct {
	Name   string `json:"name"`
	Cls    string `json:"cls,omitempty"`
	Access Access `json:"access,omitempty"`
}

// FunctionType says who carries a function out.
type FunctionType string

// The function types of the specification.
const (
	Builtin FunctionType = "BUILTIN"
	Task    FunctionType = "TASK"
	MacroFn FunctionType = "MACRO"
	Logical FunctionType = "LOGICAL"
)

// FunctionState is the owner's wish for a function.
type FunctionState string

// The function states of the specification.
const (
	Enabled  FunctionState = "ENABLED"
	Disabled FunctionState = "DISABLED" // not deployed; undeployed when live
	Frozen   FunctionState = "FROZEN"   // keeps running as it is
)

// A Function is something that can be bound to classes.
type Function struct {
	Key                  string         `json:"_key,omitempty"`
	Name                 string         `json:"name"`
	Pkg                  string         `json:"pkg,omitempty"`
	Description          string         `json:"description,omitempty"`
	Type                 FunctionType   `json:"type,omitempty"`
	OutputCls            string         `json:"outputCls,omitempty"`
	Macro                *Macro         `json:"macro,omitempty"`
	Provision            *Provision     `json:"provision,omitempty"`
	VariableDescriptions []Variable     `json:"variableDescriptions,omitempty"`
	State                FunctionState  `json:"state,omitempty"`
	Requirements         *Requirements  `json:"requirements,omitempty"`
	Constraints          *Constraints   `json:"constraints,omitempty"`
	Config               FunctionConfig `json:"config,omitzero"`
	Immutable            bool           `json:"immutable,omitempty"`
}

// A Variable documents one argument of a function.
type Variable struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName,omitempty"`
	Description string `json:"description,omitempty"`
	Example     string `json:"example,omitempty"`
	Required    bool   `json:"required,omitempty"`
}

// FunctionConfig is handed to the runtime as it is; the control plane itself
// reads StaticURL only.
type FunctionConfig struct {
	Timeout          int               `json:"timeout,omitempty"` // ms
	Env              Env               `json:"env,omitempty"`
	Custom           map[string]string `json:"custom,omitempty"`
	OffloadingMode   string            `json:"offloadingMode,omitempty"`
	OffloadingConfig map[string]string `json:"offloadingConfig,omitempty"`
	HTTP2            bool              `json:"http2,omitempty"`
	StaticURL        string            `json:"staticUrl,omitempty"` // runs elsewhere already; nothing to deploy
	APIPath          string            `json:"apiPath,omitempty"`
}

// A Macro is a function made of calls to other functions.
type Macro struct {
	Steps        []Step         `json:"steps,omitempty"`
	Output       string         `json:"output,omitempty"` // an alias of a step
	BodyTemplate map[string]any `json:"bodyTemplate,omitempty"`
}

// A Step calls a binding of an object.
type Step struct {
	Function     string            `json:"function"`         // a binding on the target's class
	Target       string            `json:"target,omitempty"` // "@", an earlier alias, or alias.field
	TargetCls    string            `json:"targetCls,omitempty"`
	As           string            `json:"as,omitempty"`
	Args         map[string]string `json:"args,omitempty"`
	BodyTemplate map[string]any    `json:"bodyTemplate,omitempty"`
}

// Provision holds at most one engine.
type Provision struct {
	Knative    *Knative      `json:"knative,omitempty"`
	Docker     *Docker       `json:"docker,omitempty"`
	Deployment *KubeWorkload `json:"deployment,omitempty"`
}

// Knative runs a function as a Knative service. Quantities use the Kubernetes
// syntax; -1 means unset.
type Knative struct {
	Image             string `json:"image,omitempty"`
	Port              *int   `json:"port,omitempty"`
	MinScale          *int   `json:"minScale,omitempty"`
	MaxScale          *int   `json:"maxScale,omitempty"`
	CPU               string `json:"cpu,omitempty"`
	Memory            string `json:"memory,omitempty"`
	RequestsCPU       string `json:"requestsCpu,omitempty"`
	RequestsMemory    string `json:"requestsMemory,omitempty"`
	LimitsCPU         string `json:"limitsCpu,omitempty"`
	LimitsMemory      string `json:"limitsMemory,omitempty"`
	Env               Env    `json:"env,omitempty"`
	PullPolicy        string `json:"pullPolicy,omitempty"`
	Concurrency       *int   `json:"concurrency,omitempty"`
	TargetConcurrency *int   `json:"targetConcurrency,omitempty"`
	ScaleDownDelay    string `json:"scaleDownDelay,omitempty"`
	APIPath           string `json:"apiPath,omitempty"`
}

// Docker runs a function as one container.
type Docker struct {
	Image string `json:"image,omitempty"`
	Port  *int   `json:"port,omitempty"`
	Env   Env    `json:"env,omitempty"`
}

// KubeWorkload runs a function as a Kubernetes Deployment.
type KubeWorkload struct {
	Image          string `json:"image,omitempty"`
	Replica        *int   `json:"replica,omitempty"`
	Port           *int   `json:"port,omitempty"`
	MinScale       *int   `json:"minScale,omitempty"`
	MaxScale       *int   `json:"maxScale,omitempty"`
	RequestsCPU    string `json:"requestsCpu,omitempty"`
	RequestsMemory string `json:"requestsMemory,omitempty"`
	LimitsCPU      string `json:"limitsCpu,omitempty"`
	LimitsMemory   string `json:"limitsMemory,omitempty"`
	Env            Env    `json:"env,omitempty"`
	PullPolicy     string `json:"pullPolicy,omitempty"`
	APIPath        string `json:"apiPath,omitempty"`
}

// Image returns the container image of the one engine that is set, or "".
func (p *Provision) Image() string {
	switch {
	case p == nil:
		return ""
	case p.Knative != nil:
		return p.Knative.Image
	case p.Docker != nil:
		return p.Docker.Image
	case p.Deployment != nil:
		return p.Deployment.Image
	}
	return ""
}

// Consistency is what readers of an object's replicas may rely on.
type Consistency string

// The consistency models of the specification.
const (
	ConsistencyNone  Consistency = "NONE"
	ReadYourWrite    Consistency = "READ_YOUR_WRITE"
	BoundedStaleness Consistency = "BOUNDED_STALENESS"
	Strong           Consistency = "STRONG"
)

// Requirements are what a class or function should reach. Zero means not asked.
type Requirements struct {
	Throughput   float64 `json:"throughput,omitempty"`   // requests per second
	Latency      float64 `json:"latency,omitempty"`      // ms
	Availability float64 `json:"availability,omitempty"` // 0 < a < 1
}

// Constraints are what a class or function must keep.
type Constraints struct {
	HardLatency    float64     `json:"hardLatency,omitempty"` // ms
	MaxConcurrency int         `json:"maxConcurrency,omitempty"`
	Consistency    Consistency `json:"consistency,omitempty"` // classes only; default NONE
}

// A Deployment says where and how often a class runs. Key is the class key; in a
// package's spec it is as written, in the catalogue it is absolute.
//
// In the catalogue and the ledger, ReplicaCount, TargetEnvs, Members,
// Assignments and ShardType are the computed ones.
type Deployment struct {
	Key            string            `json:"_key"`
	Pkg            string            `json:"pkg,omitempty"` // catalogue only: the package that declares it
	PartitionCount int               `json:"partitionCount,omitempty"`
	ReplicaCount   int               `json:"replicaCount,omitempty"` // 0: computed from availability
	TargetEnvs     []string          `json:"targetEnvs,omitempty"`
	Members        []Member          `json:"members,omitempty"`
	ShardType      string            `json:"shardType,omitempty"`
	Assignments    []Assignment      `json:"assignments,omitempty"`
	Options        map[string]string `json:"options,omitempty"`
	Restarts       int               `json:"restarts,omitempty"` // catalogue only: how often somebody had its units restarted
}

// A Member is one participant of a deployment: an environment that can own shards.
type Member struct {
	ID            int      `json:"id"` // >= 1, unique in the deployment
	Env           string   `json:"env"`
	MaxShards     *int     `json:"maxShards,omitempty"` // nil or -1: no limit
	AllPartitions bool     `json:"allPartitions,omitempty"`
	DisabledFn    []string `json:"disabledFn,omitempty"`
	StandbyFn     []string `json:"standbyFn,omitempty"`
	ForceTemplate string   `json:"forceTemplate,omitempty"`
}

// Limit returns the most shards the member may own, or -1 for no limit.
func (m Member) Limit() int {
	if m.MaxShards == nil {
		return -1
	}
	return *m.MaxShards
}

// An Assignment gives one partition its owners. Owners and ShardIDs are parallel.
type Assignment struct {
	Primary  int   `json:"primary"`
	Owners   []int `json:"owners"`
	ShardIDs []int `json:"shardIds"`
}
