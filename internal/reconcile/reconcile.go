// Package reconcile orders the I/O around the pure core: it reads live state,
// asks plan what must change, and carries that out.
package reconcile

import (
	"context"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Ledger remembers what was applied and dispatched.
type Ledger interface {
	// Live reads everything that a plan compares against.
	Live(ctx context.Context) (plan.Live, error)

	// Commit writes all of c to the catalogue or nothing. If a revision in c.Base
	// no longer holds it fails with an *oprc.ConflictError that names each object
	// that moved; if the fence is stale, with ErrFenced.
	Commit(ctx context.Context, c Commit) error

	// Dispatch records each unit and queues its command: both or neither. A command
	// whose generation is not the successor of the recorded one is refused; the
	// others still go out, and the error is an *oprc.ConflictError that names it. A
	// command that repeats the recorded generation and specHash is queued again
	// without a new record.
	Dispatch(ctx context.Context, env string, cmds []oprc.Command, fence int64) error
}

// A Commit is one atomic write of the catalogue.
type Commit struct {
	Base         plan.Base // revisions that must still hold; 0: must be absent
	Packages     map[string]oprc.PackageRecord
	Environments map[string]oprc.EnvironmentRecord
	Classes      map[string]oprc.Class
	Functions    map[string]oprc.Function
	Deployments  map[string]oprc.Deployment
	Delete       []Ref                        // objects of any of these kinds
	History      map[string]oprc.HistoryEntry // by package
	Events       []oprc.Event
	Fence        int64 // the leader's token; 0: not a leader, do not check
}

// A Ref names an object.
type Ref struct {
	Kind oprc.Kind
	Key  string
}

// A Request is what someone wants: files, and the scope they speak for.
type Request struct {
	Files     []oprc.File `json:"files"`
	Scope     plan.Scope  `json:"scope"`
	Strict    bool        `json:"strict,omitempty"`
	Package   string      `json:"package,omitempty"` // name for a package that has none (--pkg)
	KeepGoing bool        `json:"keepGoing,omitempty"`
	Heal      bool        `json:"heal,omitempty"`
	// Revision is what the files are a state of: a commit, or "" for files.
	Revision oprc.SourceRef `json:"revision,omitzero"`
}

// An Actor is who acts, for the record.
type Actor struct {
	Name     string `json:"name,omitempty"`     // user or daemon
	Revision string `json:"revision,omitempty"` // commit that is carried out, or ""
	Message  string `json:"message,omitempty"`
	Fence    int64  `json:"-"`
}

// A Result says what an apply did.
type Result struct {
	PlanID  string           `json:"planId"`
	Summary plan.Summary     `json:"summary"`
	Revs    map[string]int64 `json:"revs"`    // package -> revision now
	Waiting []string         `json:"waiting"` // environments that got commands but have no CRM yet
}

// A Reconciler plans and applies. Its fields are set once, before use; its
// methods may be called concurrently.
type Reconciler struct {
	Ledger Ledger
	// Load reads packages and environments out of files, with all findings.
	Load func(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics)
	Now  func() time.Time
	// DispatchOff keeps commands from being sent (OAAS_PM_CRM_ENABLED=false).
	DispatchOff bool
}

// Plan decides what would make the request true. Findings are in the plan; with
// errors among them, and without KeepGoing, it has no changes and Plan also
// returns an *oprc.InvalidError.
func (r *Reconciler) Plan(ctx context.Context, req Request) (*plan.Plan, error) { panic("skeleton") }

// Apply does what the plan says, exactly, or fails with an *oprc.ConflictError
// and does nothing. If it is interrupted after the catalogue was written, the
// next plan derives the commands that are missing.
func (r *Reconciler) Apply(ctx context.Context, p *plan.Plan, by Actor) (*Result, error) {
	panic("skeleton")
}
