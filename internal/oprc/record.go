package oprc

import "time"

// Kind names what a change, a digest or a listing is about.
type Kind string

// The kinds, in the order in which they are planned and shown.
const (
	KindEnv        Kind = "environment"
	KindPackage    Kind = "package"
	KindFunction   Kind = "function"
	KindClass      Kind = "class"
	KindDeployment Kind = "deployment"
	KindUnit       Kind = "unit"

	// Listed, never planned.
	KindRuntime Kind = "runtime"
	KindCRM     Kind = "crm"
	KindSource  Kind = "source"
)

// The origins of packages that do not come from a Git source. A source's origin
// is "git:" and its name.
const (
	OriginCLI = "cli"
	OriginAPI = "api"
)

// A SourceRef says where a spec was read.
type SourceRef struct {
	Name   string `json:"name,omitempty"`
	Commit string `json:"commit,omitempty"`
	Path   string `json:"path,omitempty"`
}

// A PackageRecord is a package as it was applied.
type PackageRecord struct {
	Spec      Package    `json:"spec"`
	Digest    string     `json:"digest"` // of Spec
	Rev       int64      `json:"rev"`    // counts our writes, from 1
	Origin    string     `json:"origin"`
	Source    *SourceRef `json:"source,omitempty"`
	AppliedAt time.Time  `json:"appliedAt"`
	AppliedBy string     `json:"appliedBy,omitempty"`
}

// An ObjectDigest identifies what the ledger holds for one object of the catalogue.
type ObjectDigest struct {
	Rev  int64
	Hash string // of the document
	Blob string // content id of the file it came from, where known
}

// An Event is one thing that happened: an apply, a state change, a refusal.
type Event struct {
	ID      string    `json:"id,omitempty"` // stream id, given by the ledger
	Time    time.Time `json:"ts"`
	Type    string    `json:"type"` // applied, deleted, condition, environment, refused, held, source
	Kind    Kind      `json:"kind,omitempty"`
	Key     string    `json:"key,omitempty"`
	Env     string    `json:"env,omitempty"`
	From    string    `json:"from,omitempty"`
	To      string    `json:"to,omitempty"`
	Actor   string    `json:"actor,omitempty"`
	Origin  string    `json:"origin,omitempty"`
	PlanID  string    `json:"planId,omitempty"`
	Commit  string    `json:"commit,omitempty"`
	Message string    `json:"message,omitempty"`
}

// A HistoryEntry is one write of a package's record, or a commit's version of the
// package that was refused: then Action is [ActionRefuse], Rev is 0 and Error says why.
type HistoryEntry struct {
	ID      string    `json:"id,omitempty"`
	Time    time.Time `json:"ts"`
	Rev     int64     `json:"rev"`
	Action  string    `json:"action"` // create, update, delete, refuse
	PlanID  string    `json:"planId"`
	Digest  string    `json:"digest,omitempty"`
	Actor   string    `json:"actor,omitempty"`
	Origin  string    `json:"origin"`
	Commit  string    `json:"commit,omitempty"`
	Message string    `json:"message,omitempty"`
	Error   string    `json:"error,omitempty"`
	Spec    *Package  `json:"spec,omitempty"`
	// Environment is the spec where the history is that of an environment.
	Environment *Environment `json:"environment,omitempty"`
	// Path is the file that the spec was read from, and Lines are the lines in it that set
	// the spec's values, in the order of plan.Leaves.
	Path  string `json:"path,omitempty"`
	Lines []int  `json:"lines,omitempty"`
}

// The actions of entries that did not write the record.
const (
	ActionRefuse = "refuse" // a version that was not applied
	ActionMove   = "move"   // placements or units changed, the package did not
)

// ActionRestore is of the first entry of a history that was lost: the record as it was.
const ActionRestore = "restore"

// Writes returns the entries that wrote the record.
func Writes(history []HistoryEntry) []HistoryEntry {
	var out []HistoryEntry
	for _, h := range history {
		if h.Action != ActionRefuse && h.Action != ActionMove {
			out = append(out, h)
		}
	}
	return out
}

// A SourceStatus is how a Git source or directory is doing.
type SourceStatus struct {
	Name string `json:"name"`
	// ID tells the source from others that have or had its name: of another URL or path, or
	// from before the configuration left it out.
	ID         string            `json:"id,omitempty"`
	URL        string            `json:"url"`
	Ref        string            `json:"ref,omitempty"`
	Path       string            `json:"path,omitempty"`
	Revision   string            `json:"revision,omitempty"` // last seen
	Applied    string            `json:"applied,omitempty"`  // last applied
	Conditions []SourceCondition `json:"conditions,omitempty"`
	LastTick   time.Time         `json:"lastTick,omitzero"`
	Failures   int               `json:"failures,omitempty"` // in a row, that may go by themselves
	NextTry    time.Time         `json:"nextTry,omitzero"`   // after a failure
	PlanID     string            `json:"planId,omitempty"`   // held plan
	// Rules are what may be done in the source's name, as its daemon is configured: so
	// that others can plan for it.
	Rules *SourceRules `json:"rules,omitempty"`
	// RewoundFrom is the revision from which the branch was rewound or force-pushed, or from
	// which the configuration moved the source, as long as nothing was applied since.
	// RewoundBy says what was configured otherwise; "" if nothing was.
	RewoundFrom string `json:"rewoundFrom,omitempty"`
	RewoundBy   string `json:"rewoundBy,omitempty"`
	// Moved is set from when the source is configured otherwise until it is read so.
	Moved     *SourceMove `json:"moved,omitempty"`
	Notes     []string    `json:"notes,omitempty"` // what was odd about the files: "PATH: what"
	Kept      []string    `json:"kept,omitempty"`  // packages that stay at their last good state
	Findings  Diagnostics `json:"findings,omitempty"`
	Suspended *Suspension `json:"suspended,omitempty"`
	// Quarantined names packages that somebody put back, and that are not followed
	// until a revision changes them.
	Quarantined []string `json:"quarantined,omitempty"`
	Receipt     *Receipt `json:"receipt,omitempty"` // of the last requested tick
}

// A Daemon is one of those that serve a ledger.
type Daemon struct {
	Seen   int64  // its last sign of life, in ms of Redis' clock
	Config string // digest of its configuration
}

// A SourceMove says that a source is configured otherwise than when a revision was applied.
type SourceMove struct {
	From  string `json:"from,omitempty"`  // that revision
	What  string `json:"what"`            // "ref was main, now v1"
	Other bool   `json:"other,omitempty"` // it reads other files: descent says nothing
}

// SourceRules are what a source reads of its repository and what its plans may do.
type SourceRules struct {
	Ignore           []string `json:"ignore,omitempty"` // gitignore patterns of files not to read
	Dir              string   `json:"dir,omitempty"`    // of a source that is a directory: its absolute path
	Prune            bool     `json:"prune"`
	Take             bool     `json:"takeOwnership,omitempty"`
	Heal             bool     `json:"heal"`
	MaxDelete        int      `json:"maxDelete"`
	MaxDeletePercent float64  `json:"maxDeletePercent"`
	MaxBlastUnits    float64  `json:"maxBlastUnits,omitempty"`
	Stops            bool     `json:"stops,omitempty"` // the limits count what stops running, too
}

// A SourceCondition is one aspect of a source: Ready, Reconciling, Stalled,
// Healthy, Rewound, Contested.
type SourceCondition struct {
	Type     string    `json:"type"`
	Status   bool      `json:"status"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
	Revision string    `json:"revision,omitempty"` // that it was observed at
	Since    time.Time `json:"since"`
}
