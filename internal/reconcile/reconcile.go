// Package reconcile orders the I/O around the pure core: it reads live state,
// asks plan what must change, and carries that out.
//
//	files -> Plan -> Apply -> Dispatch -> CRMs -> ingest -> live state -> next Plan
//
// The command line, the HTTP API and the daemon's loop call the same two methods, so
// a preview cannot differ from the run.
package reconcile

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Ledger remembers what was applied and dispatched.
type Ledger interface {
	// Live reads everything that a plan compares against.
	Live(ctx context.Context) (plan.Live, error)

	// Observe records what is observed of environments, nil where one is not there any
	// more, and returns the version that this makes. Where version is no longer the
	// catalogue's it fails with an *oprc.ConflictError, and with ErrQueued where somebody
	// else than who has the place is first in the queue of writers.
	Observe(ctx context.Context, version int64, seen map[string]*oprc.Observation, fence int64, place string) (int64, error)

	// Commit writes all of c to the catalogue, and returns the version that this makes; or
	// nothing, with an *oprc.ConflictError, if the catalogue is no longer of the version
	// and ledger that c was decided on, or c.Fence is a token that another leader has
	// outrun; or with ErrQueued, where another place than c.Place is first in the queue of
	// writers. c.Place is given up with it.
	Commit(ctx context.Context, c Commit) (int64, error)

	// Gone returns the revisions under which packages and environments were deleted, by
	// "<kind>/<name>"; 0 for one that never was.
	Gone(ctx context.Context, objects []string) (map[string]int64, error)

	// Dispatch records each unit and queues its command: both or neither. A command
	// whose generation is not the successor of the recorded one is refused; the
	// others still go out, and the error is an *oprc.ConflictError that names it. A
	// command that repeats the recorded generation and specHash is queued again
	// without a new record.
	Dispatch(ctx context.Context, env string, cmds []oprc.Command, fence int64) error

	Turns
}

// Turns is the queue of writers. It is a courtesy: who lost races for the catalogue waits
// in it, and while somebody is first the others cannot write. What is committed is right
// without it.
type Turns interface {
	// AwaitTurn keeps a place for some seconds; where there is none, join takes one at the
	// end. It returns how many are ahead, -1 without a place.
	AwaitTurn(ctx context.Context, place string, join bool) (ahead int, err error)
	EndTurn(ctx context.Context, place string) error
}

// ErrQueued says that others wait to write the catalogue, and come first. It is an
// oprc.ErrConflict: nothing was written.
var ErrQueued error = &oprc.ConflictError{Reason: "others wait to write, and come first"}

// A Commit is one atomic write of the catalogue.
type Commit struct {
	Ledger       string // of the live state that it was decided on
	Version      int64
	Packages     map[string]oprc.PackageRecord
	Environments map[string]oprc.EnvironmentRecord
	Classes      map[string]oprc.Class
	Functions    map[string]oprc.Function
	Deployments  map[string]oprc.Deployment
	Delete       []Ref                        // objects of any of these kinds
	History      map[string]oprc.HistoryEntry // by package, or "environment/NAME"
	Events       []oprc.Event
	Fence        int64  // the leader's token; 0: not a leader, do not check
	Place        string // in the queue of writers; "": none
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
	Actor     string      `json:"actor,omitempty"` // for policies
	// Source stands for all of the above: a revision of a source, under the source's rules.
	Source *SourceRevision `json:"source,omitempty"`
	// Quarantine holds, by package, specs that are not to be applied again: while a
	// file still says the same, the package stays as it is recorded.
	Quarantine map[string]oprc.SourceRequest `json:"-"`
	// Contested names packages and units that somebody else keeps changing: they are
	// left as they are.
	Contested map[string]bool `json:"-"`
	// Settled is what [plan.Input] says of it.
	Settled map[string]bool `json:"-"`
	// Unread, Free and Yield are what [plan.Input] says of them. What Followed of the
	// Reconciler finds free is so besides.
	Unread []string        `json:"-"`
	Free   map[string]bool `json:"-"`
	Yield  map[string]bool `json:"-"`
}

// A SourceRevision is what a source holds at one revision, a commit for instance.
type SourceRevision struct {
	Name     string `json:"name"`
	Revision string `json:"revision"`
}

// An Actor is who acts, for the record.
type Actor struct {
	Name     string `json:"name,omitempty"`     // user or daemon
	Revision string `json:"revision,omitempty"` // commit that is carried out, or ""
	Message  string `json:"message,omitempty"`
	Fence    int64  `json:"-"`
	Place    string `json:"-"` // in the queue of writers; "": none
	// Daemon acts where the revision does not ask for what is done: it moves what cannot
	// stay where it is, and reverts changes. Again means that the revision was applied before:
	// then all but deletions, and packages that had to wait, is the daemon's doing. "": all
	// is Name's.
	Daemon string   `json:"-"`
	Again  bool     `json:"-"`
	Waited []string `json:"-"`
}

// A Result says what an apply did.
type Result struct {
	PlanID  string           `json:"planId"`
	Summary plan.Summary     `json:"summary"`
	Revs    map[string]int64 `json:"revs"` // package -> revision now; 0: deleted
	// Environments are the revisions of those that changed; 0: deleted.
	Environments map[string]int64 `json:"environments"`
	Waiting      []string         `json:"waiting"` // environments that got commands but have no live CRM
	// Diverged lists what was not as the plan says when it was read back: somebody else
	// wrote in between.
	Diverged []string `json:"diverged"`
	// Verified is how many changed objects were read back and compared by digest. It is
	// 0 where nothing was to compare, or commands are not sent.
	Verified int `json:"verified"`
	// Records are the packages of the request as the apply left them, those that it did
	// not change included; New names those that it created.
	Records map[string]oprc.PackageRecord `json:"-"`
	New     []string                      `json:"-"`
	// Deployments are those that it placed; Revisions are of all objects of the catalogue
	// that it wrote, by "<kind>/<key>".
	Deployments map[string]oprc.Deployment `json:"-"`
	Revisions   map[string]int64           `json:"-"`
	Diagnostics oprc.Diagnostics           `json:"diagnostics,omitempty"` // of the plan
}

// A Reconciler plans and applies. Its fields are set once, before use; its
// methods may be called concurrently.
type Reconciler struct {
	Ledger Ledger
	// Part reads of live state what a plan of a part depends on: the plan is the same as on
	// all of it. It is false where all of it should be read instead; nil: it always is.
	Part func(context.Context, plan.Part) (plan.Live, bool, error)
	// MaxUnits is what [plan.Input] says of it.
	MaxUnits plan.MaxUnits
	// Load reads packages and environments out of files, with all findings.
	Load func(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics)
	Now  func() time.Time
	// Judge says what policies deny; nil denies nothing. It binds Plan and Apply alike.
	Judge Judge
	// Followed names the sources that a daemon follows: what another source owns belongs
	// to nobody. nil: all are followed.
	Followed func(context.Context) (map[string]bool, error)
	// Read reads a revision of a source; nil: no sources are known here.
	Read func(context.Context, SourceRevision) (*Derivation, error)
	// DispatchOff keeps commands from being sent (OAAS_PM_CRM_ENABLED=false).
	DispatchOff bool
}

// Plan decides what would make the request true. Findings are in the plan; with
// errors among them, and without KeepGoing, it has no changes and Plan also
// returns an *oprc.InvalidError. A package that another origin owns gives an
// *oprc.ConflictError in the same way, and a policy that forbids it an
// *oprc.DeniedError, with the plan as it would be.
func (r *Reconciler) Plan(ctx context.Context, req Request) (*plan.Plan, error) {
	d, err := r.derivation(ctx, req)
	if err != nil {
		return nil, err
	}
	live, err := r.needed(ctx, d.Part)
	if err != nil {
		return nil, fmt.Errorf("read live state: %w", err)
	}
	p, err := d.Decide(ctx, live)
	if p != nil {
		p = p.Explain()
	}
	return p, err
}

// needed reads what a plan of a part depends on; of nil, everything.
func (r *Reconciler) needed(ctx context.Context, part *plan.Part) (plan.Live, error) {
	if part != nil && r.Part != nil {
		if live, read, err := r.Part(ctx, *part); err != nil || read {
			return live, err
		}
	}
	return r.Ledger.Live(ctx)
}

// PlanOn plans what was read of the request's files against what was read of live
// state.
func (r *Reconciler) PlanOn(ctx context.Context, req Request, docs []oprc.Document, found oprc.Diagnostics, live plan.Live) (*plan.Plan, Withheld, error) {
	seen := Withheld{Asked: req.Quarantine, Live: live}
	free, err := r.free(ctx, req, docs, live)
	if err != nil {
		return nil, seen, err
	}
	docs, seen.Over = keepQuarantined(docs, req.Quarantine, live)
	p, err := r.decide(ctx, plan.Input{
		Documents: keepContested(docs, req.Contested, live), Diagnostics: found, Scope: req.Scope, Live: live,
		KeepGoing: req.KeepGoing, Heal: req.Heal, LeaveDrift: req.Contested, Settled: req.Settled, Unread: req.Unread, Free: free, Yield: req.Yield, MaxUnits: r.MaxUnits,
	}, req.Actor)
	if err != nil || req.KeepGoing {
		return p, seen, err
	}
	if err := p.Diagnostics.Err(); err != nil {
		return p, seen, err
	}
	if len(p.Conflicts) > 0 {
		return p, seen, &oprc.ConflictError{Reason: "another origin owns it", Objects: p.Conflicts}
	}
	return p, seen, nil
}

// sourceOf says where a change's spec was read, as the record keeps it.
func sourceOf(c plan.Change, scope plan.Scope, by Actor) *oprc.SourceRef {
	ref := oprc.SourceRef{Commit: by.Revision}
	if name, ok := strings.CutPrefix(scope.Origin, "git:"); ok {
		ref.Name = name
	}
	if c.Source != nil {
		ref.Path = c.Source.Path
	}
	if ref == (oprc.SourceRef{}) {
		return nil
	}
	return &ref
}
