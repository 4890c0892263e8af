package crm

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// The nouns of the protocol.
type (
	// A Command asks for one unit to be deployed or undeployed.
	Command = oprc.Command
	// A Unit is what one CRM must run for one replica of one partition of a class.
	Unit = oprc.DeploymentUnit
	// A Function is one function of a unit.
	Function = oprc.UnitFunction
	// A FunctionStatus is how one function of a unit is doing.
	FunctionStatus = oprc.FunctionStatus
	// A Condition is the state of a unit or function in one word.
	Condition = oprc.Condition
	// Capacity is what an environment can carry.
	Capacity = oprc.Capacity
)

// What units are made of.
type (
	// An Op is what a command asks for.
	Op = oprc.Op
	// A FunctionConfig is a function's settings.
	FunctionConfig = oprc.FunctionConfig
	// An Env is the environment variables of a function.
	Env = oprc.Env
	// An EnvValue is a text or a reference to a secret.
	EnvValue = oprc.EnvValue
	// A SecretKeyRef names one key of a secret.
	SecretKeyRef = oprc.SecretKeyRef
	// A Provision is how a function's author wants it to run.
	Provision = oprc.Provision
	// Knative runs a function as a Knative service.
	Knative = oprc.Knative
	// Docker runs a function as one container.
	Docker = oprc.Docker
	// KubeWorkload runs a function as a Kubernetes Deployment.
	KubeWorkload = oprc.KubeWorkload
	// Requirements are what a class or function should reach.
	Requirements = oprc.Requirements
	// Constraints are what a class or function must keep.
	Constraints = oprc.Constraints
	// Consistency is what readers of an object's replicas may rely on.
	Consistency = oprc.Consistency
	// A Binding is how a function can be called on objects of a unit's class.
	Binding = oprc.UnitBinding
	// Access says who may call a binding.
	Access = oprc.Access
	// A Macro is a function made of calls to others.
	Macro = oprc.Macro
	// A Step is a call in a macro.
	Step = oprc.Step
	// A StateSpec is the keys of objects.
	StateSpec = oprc.StateSpec
	// A KeySpec is one key of an object.
	KeySpec = oprc.KeySpec
	// PartitionInfo says which replica of which partition a unit is.
	PartitionInfo = oprc.PartitionInfo
	// A Peer is another replica of a unit's partition.
	Peer = oprc.UnitPeer
	// KubernetesSettings say how a unit's pods run, where it runs as pods.
	KubernetesSettings = oprc.Kubernetes
	// A Toleration lets pods run on nodes with a taint.
	Toleration = oprc.Toleration
)

// The two commands.
const (
	OpDeploy   = oprc.Deploy
	OpUndeploy = oprc.Undeploy
)

// What readers of an object's replicas may rely on.
const (
	NoConsistency    = oprc.ConsistencyNone
	ReadYourWrite    = oprc.ReadYourWrite
	BoundedStaleness = oprc.BoundedStaleness
	Strong           = oprc.Strong
)

// Who may call a binding.
const (
	Public   = oprc.Public   // anybody
	Internal = oprc.Internal // macros of the same package
	Private  = oprc.Private  // macros of the same class
)

// The conditions that a CRM reports.
const (
	Deploying = oprc.Deploying
	Running   = oprc.Running
	Down      = oprc.Down
	Deleted   = oprc.Deleted
)

// ErrInvalid, wrapped in an error of [Handler.Deploy], means that trying again
// cannot help: only another command can.
var ErrInvalid = oprc.ErrInvalid

// A State is how a unit is doing. The zero State means RUNNING.
type State struct {
	Condition Condition
	ErrorMsg  string
	Functions map[string]FunctionStatus // by function key; not changed after it was handed over
	Replicas  []string                  // names of the processes or pods that serve
}

// A Reporter tells the control plane of a later change in a unit's state. It
// returns false when the unit has been replaced, undeployed or given up, or Run
// has ended: whoever watches the unit can stop then. It may be called from any
// goroutine, does not block, and says nothing twice.
type Reporter func(State) bool

// A Handler makes units real. Calls for one unit come one after the other; calls
// for different units come at the same time.
type Handler interface {
	// Deploy makes c.Unit run, in place of what ran under that id, and returns its
	// state when that is known. While it works DEPLOYING is reported; an error
	// is reported as DOWN, and Deploy is called again after a while unless the error
	// is an [ErrInvalid]. When ctx ends, a newer command waits, or Run is
	// ending: what was begun may be left for the next call to replace.
	Deploy(ctx context.Context, c Command, report Reporter) (State, error)

	// Undeploy makes sure that nothing runs under c.ID, also if nothing ever did. An
	// error is reported as DOWN and Undeploy is called again.
	Undeploy(ctx context.Context, c Command) error
}

// A Drainer is a handler whose workloads must not outlive Run.
type Drainer interface {
	// Drain stops everything. It is called once, after the last Deploy or Undeploy
	// has returned; afterwards the units are reported DOWN.
	Drain(ctx context.Context) error
}

// A Resumer is a handler whose workloads outlive Run.
type Resumer interface {
	// Resume calls adopt for each unit that still runs, with the command that it was
	// last deployed by. It is called once, before any Deploy or Undeploy: units
	// that run as they should are then left as they are.
	Resume(ctx context.Context, adopt func(Command, State) Reporter) error
}

// A Releaser is a handler whose workloads are the same whichever CRM of the environment
// has the unit.
type Releaser interface {
	// Release is called instead of Undeploy for a unit that a colleague has now: the
	// handler must write nothing for it any more, and its workloads go on.
	Release(ctx context.Context, c Command) error
}

// Options say who the CRM is and where it works.
type Options struct {
	Redis string // URL; redis:// rediss:// unix:// sentinel://, or several addresses of a Cluster
	Env   string // environment it serves
	ID    string // unique in the environment, the same after a restart; default the host's name
	// Process is unique among all that ever have the ID: Run fails while another one with
	// the same ID lives, and waits some ten seconds for one that died without a word. ""
	// makes no difference between them.
	Process string

	Database string // key prefix N; default "oaas_pm"
	Topic    string // topic prefix T; default "oaas.pm"

	Availability float64   // reported with heartbeats; 0: not reported
	Capacity     *Capacity // likewise
	Templates    []string  // likewise

	LeaseTime   time.Duration // a command that a CRM left alone for so long is abandoned; default 30 s
	ReportEvery time.Duration // states are reported, and records read, again; default 30 s
	DrainTime   time.Duration // for calls in flight when Run ends; default 10 s
	Concurrency int           // calls of the handler at once; default 64

	Logger  *slog.Logger // default: silent
	OnEvent func(Event)  // called one at a time; must not block
}

// An Event is something that the CRM did or saw, for people to watch.
type Event struct {
	Time       time.Time
	Type       string // one of the Event constants
	Unit       string // unit id, where it is about one
	Generation int64
	Condition  Condition
	Message    string
}

// The types of events.
const (
	EventJoined   = "joined"   // the group, for the first time or again after a loss
	EventReported = "reported" // a unit's state
	EventStale    = "stale"    // an outdated command was dropped
	EventRepeated = "repeated" // a command was absorbed: it had been carried out, or was in hand
	EventBuried   = "buried"   // a command that can never be carried out is in the dead letters
	EventHanded   = "handed"   // a command went to the colleague that owns the unit
	EventTaken    = "taken"    // a command that a dead colleague left was taken over
	EventReleased = "released" // the unit belongs to a colleague now
	EventLost     = "lost"     // Redis cannot be reached, or lost its data
	EventDrained  = "drained"  // Run is about to return
)

func (o Options) withDefaults() (Options, error) {
	if !oprc.ValidName(o.Env) {
		return o, fmt.Errorf("crm: %w: environment %q is no name", oprc.ErrInvalid, o.Env)
	}
	if o.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("crm: no ID given: %w", err)
		}
		o.ID = host
	}
	if !oprc.ValidName(o.ID) {
		return o, fmt.Errorf("crm: %w: ID %q is no name", oprc.ErrInvalid, o.ID)
	}
	if o.Availability < 0 || o.Availability >= 1 {
		return o, fmt.Errorf("crm: %w: availability %v is not between 0 and 1", oprc.ErrInvalid, o.Availability)
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&o.LeaseTime, 30 * time.Second}, {&o.ReportEvery, 30 * time.Second}, {&o.DrainTime, 10 * time.Second}} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Run serves an environment with h until ctx ends, then drains and returns nil. It
// fails at once if the options are wrong or Redis cannot be reached; later it
// waits for Redis to come back, however long that takes.
func Run(ctx context.Context, o Options, h Handler) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	db, err := rdb.Open(ctx, rdb.Options{URL: o.Redis, Keys: rdb.Keys{N: o.Database, T: o.Topic}})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	r := newRunner(o, h, db)
	if err := r.claimID(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	return r.run(ctx)
}
