package plan

import (
	"encoding/json"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// FormatVersion is the version of the plan's JSON. It only grows.
const FormatVersion = "1.0"

// A Scope says for which packages a plan speaks. Nothing outside it is ever
// deleted. The zero Scope deletes nothing.
type Scope struct {
	// Origin owns what the plan writes: "cli", "api" or "git:NAME".
	Origin string `json:"origin"`
	// Complete means that the documents are all that Origin wants: its other live
	// packages are pruned. It is false for -f files.
	Complete bool `json:"complete,omitempty"`
	// Maintain names origins whose live packages are planned again as they are
	// recorded: placement follows environments that changed, lost records and (with
	// Heal) drift are repaired. Their specs and owners stay as they are.
	Maintain []string `json:"maintain,omitempty"`
	// Delete names packages (and environments, as "environment/NAME") to delete.
	Delete []string `json:"delete,omitempty"`
	// Restart names deployments, by class key, whose units are started anew. Whoever owns
	// their packages, and what those say, stays as it is.
	Restart []string `json:"restart,omitempty"`
	// TakeOwnership lets the plan change packages that another origin owns.
	TakeOwnership bool `json:"takeOwnership,omitempty"`
}

// Live is what the ledger holds: the other half of a plan's input.
type Live struct {
	// Reading is the same for two readings by one process that share all but the state of
	// environments; 0 where that is not known.
	Reading      uint64
	Ledger       string // identity of the ledger; "" while nothing was ever written to it
	Version      int64  // counts the writes to the catalogue's slot; no plan depends on it
	Packages     map[string]oprc.PackageRecord
	Environments map[string]oprc.EnvironmentState
	Observed     map[string]oprc.Observation           // of environments, as the catalogue's slot records them
	Deployments  map[string]oprc.Deployment            // as last placed
	Digests      map[string]oprc.ObjectDigest          // "<kind>/<key>" for package, class, function, deployment
	Units        map[string]map[string]oprc.UnitDigest // env -> unit id
	// Damaged names objects, as "<kind>/<key>", whose record and digest disagree, or of
	// which one is lost. The record is what counts, where it can be read.
	Damaged  map[string]bool
	Statuses map[string]map[string]oprc.Status // env -> unit id
	// Rest is nil unless parts of all this were read.
	Rest *Rest
}

// Input is all that a plan depends on.
type Input struct {
	Documents   []oprc.Document
	Diagnostics oprc.Diagnostics // what reading the documents found
	// Unread names files and directories that are there and were passed over: what came
	// from them before is not pruned.
	Unread []string
	Scope  Scope
	Live   Live
	// Settled names packages whose documents are as they were when a plan of the same
	// scope on the same Live, with them all, found nothing to do and no error. They
	// are planned only where a change reaches them; the changes are the same as
	// without it.
	Settled map[string]bool
	// Free names objects, as "package/NAME" and "environment/NAME", whose owner is nobody
	// any more, or gives them up: the scope may take them over.
	Free map[string]bool
	// Yield names packages that the origin does not prune: another one takes them over, or
	// it is not decided yet that they go.
	Yield map[string]bool
	// MaxUnits bounds what is worked out.
	MaxUnits MaxUnits
	// KeepGoing leaves packages with errors, and those that depend on their
	// change, at their last good state and plans the others. Without it an error
	// leaves the plan empty but for its diagnostics.
	KeepGoing bool
	// Heal redeploys units that a CRM reports with another specHash, except those that
	// LeaveDrift names.
	Heal       bool
	LeaveDrift map[string]bool
}

// A Plan is a decision: what changes, from which digest to which, what CRMs are sent,
// and what was found. Its id is a checksum of what is desired and of the decision: two
// worlds in which the same is decided about the same request give the same id, whatever
// their revisions and generations are. It vouches for nothing: whoever applies a plan
// derives it again, and compares.
type Plan struct {
	FormatVersion string           `json:"formatVersion"`
	ID            string           `json:"planId"`
	Ledger        string           `json:"ledger,omitempty"` // that it was made on
	Scope         Scope            `json:"scope"`
	Base          Base             `json:"base"`
	Summary       Summary          `json:"summary"`
	Changes       []Change         `json:"changes"`
	Diagnostics   oprc.Diagnostics `json:"diagnostics"`
	// Desired is the digest of the documents and options that were planned.
	Desired string `json:"desired"`
	// Size is what the scope spoke for before the plan: what a [Guard] measures by.
	Size Size `json:"size"`
	// Kept names packages that stay at their last good state because of an error
	// in them or in a package that they depend on (KeepGoing only). Environments
	// among them are written "environment/NAME".
	Kept []string `json:"kept,omitempty"`
	// Conflicts names objects of the request that another origin owns:
	// "package/NAME: owned by ORIGIN". A plan with conflicts has no changes, unless
	// it was made with KeepGoing: then those objects are kept.
	Conflicts []string `json:"conflicts,omitempty"`

	decided *attempt        // what Explain explains; nil once it has
	rests   map[string]bool // classes whose units follow from what changes; see Classes
}

// Empty reports whether applying the plan would do nothing.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

// A Base is what a plan rests on, to say what moved when it comes out otherwise: the
// revisions of packages and environments, 0 where absent, and what was observed of
// environments. The id does not depend on it.
type Base struct {
	Packages     map[string]int64            `json:"packages"`
	Environments map[string]int64            `json:"environments"`
	Observed     map[string]oprc.Observation `json:"observed,omitempty"`
}

// A Summary counts objects of all kinds but units, of which it counts the commands.
type Summary struct {
	Create    int           `json:"create"`
	Update    int           `json:"update"`
	Delete    int           `json:"delete"`
	Unchanged int           `json:"unchanged"`
	Commands  CommandCounts `json:"commands"`
	Blast     Blast         `json:"blast"`
}

// CommandCounts counts what CRMs will be told.
type CommandCounts struct {
	Deploy   int `json:"deploy"`
	Undeploy int `json:"undeploy"`
}

// A Blast is how far a plan reaches.
type Blast struct {
	Packages     int      `json:"packages"`
	Classes      int      `json:"classes"`
	Functions    int      `json:"functions"`
	Units        int      `json:"units"`
	Environments []string `json:"environments"`
}

// An Action is what happens to an object.
type Action string

// The actions.
const (
	Create   Action = "create"
	Update   Action = "update"
	Delete   Action = "delete"
	Redeploy Action = "redeploy" // the same spec is sent again
)

// A Reason says why.
type Reason string

// The reasons.
const (
	ReasonNew       Reason = "new"
	ReasonSpec      Reason = "spec-changed"
	ReasonRemoved   Reason = "removed"
	ReasonInherited Reason = "inherited" // a parent, bound function or required package changed
	ReasonPlacement Reason = "placement"
	ReasonDrift     Reason = "drift"
	ReasonNoReport  Reason = "no-report" // the record is missing or was never dispatched
	ReasonDisabled  Reason = "disabled"
	ReasonRestart   Reason = "restart"   // somebody asked for it
	ReasonOwner     Reason = "ownership" // another origin takes the package over as it is
	ReasonMoved     Reason = "moved"     // the source has it in another file; nothing else changes
)

// A Change is one decision about one object: it goes from the recorded digest to
// another one, "" where it does not exist. Everything from Before on is explanation,
// which [Plan.Explain] fills in: Before and After are canonical JSON of the object.
type Change struct {
	Kind       oprc.Kind       `json:"kind"`
	Key        string          `json:"key"`
	Actions    []Action        `json:"actions"`
	Reason     Reason          `json:"reason"`
	Package    string          `json:"package,omitempty"`    // that declares the object
	Generation int64           `json:"generation,omitempty"` // units: the generation that apply writes
	Was        string          `json:"beforeDigest,omitempty"`
	Will       string          `json:"afterDigest,omitempty"`
	Source     *oprc.SourceRef `json:"source,omitempty"` // packages and environments: where the new spec was read
	Blob       string          `json:"blob,omitempty"`
	Before     json.RawMessage `json:"before,omitempty"`
	After      json.RawMessage `json:"after,omitempty"`
	Fields     []Field         `json:"fields,omitempty"`
	// RenamedFrom is the key of a deleted object with the same content.
	RenamedFrom string `json:"renamedFrom,omitempty"`
	// Cause says in words what moves it, where that is no change of the plan.
	Cause string `json:"cause,omitempty"`

	doc   any                  // what the object will be, of its kind's type; nil where it goes
	where oprc.Locator         // of doc, where it was read from a file
	ran   *oprc.DeploymentUnit // a unit that goes, where the records still say what it was
}

// A Field is one difference inside a changed object. Path is a JSON pointer in
// which lists of named things are addressed by name: /functions/echo/access.
type Field struct {
	Path   string          `json:"path"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	File   string          `json:"file,omitempty"`
	Line   int             `json:"line,omitempty"`
}
