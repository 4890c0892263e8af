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
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Ledger remembers what was applied and dispatched.
type Ledger interface {
	// Live reads everything that a plan compares against.
	Live(ctx context.Context) (plan.Live, error)

	// Commit writes all of c to the catalogue or nothing. If a revision in c.Base
	// no longer holds it fails with an *oprc.ConflictError that names each object
	// that moved; so it does if c.Version is no longer the catalogue's, or c.Fence is a
	// token that another leader has outrun.
	Commit(ctx context.Context, c Commit) error

	// Gone returns the revisions under which packages and environments were deleted, by
	// "<kind>/<name>"; 0 for one that never was.
	Gone(ctx context.Context, objects []string) (map[string]int64, error)

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
	Gone         map[string]int64 // of what is created, as Ledger.Gone says it; must still hold
	Version      int64            // of the catalogue; 0: any
	Fence        int64            // the leader's token; 0: not a leader, do not check
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
	// Quarantine holds, by package, specs that are not to be applied again: while a
	// file still says the same, the package stays as it is recorded.
	Quarantine map[string]oprc.SourceRequest `json:"-"`
	// Contested names packages and units that somebody else keeps changing: they are
	// left as they are.
	Contested map[string]bool `json:"-"`
	// Settled is what [plan.Input] says of it.
	Settled map[string]bool `json:"-"`
	// Unread is what [plan.Input] says of it.
	Unread []string `json:"-"`
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
	Revs    map[string]int64 `json:"revs"` // package -> revision now; 0: deleted
	// Environments are the revisions of those that changed; 0: deleted.
	Environments map[string]int64 `json:"environments"`
	Waiting      []string         `json:"waiting"` // environments that got commands but have no live CRM
	// Diverged lists what is not as the plan predicted, read back after applying: somebody
	// else wrote in between. Empty is the proof that the plan told the truth.
	Diverged []string `json:"diverged"`
}

// A Reconciler plans and applies. Its fields are set once, before use; its
// methods may be called concurrently.
type Reconciler struct {
	Ledger Ledger
	Reader Reader
	// Load reads packages and environments out of files, with all findings.
	Load func(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics)
	Now  func() time.Time
	// Judge says what policies deny; nil denies nothing. It binds Plan and Apply alike.
	Judge Judge
	// DispatchOff keeps commands from being sent (OAAS_PM_CRM_ENABLED=false).
	DispatchOff bool
}

// Plan decides what would make the request true. Findings are in the plan; with
// errors among them, and without KeepGoing, it has no changes and Plan also
// returns an *oprc.InvalidError. A package that another origin owns gives an
// *oprc.ConflictError in the same way, and a policy that forbids it an
// *oprc.DeniedError, with the plan as it would be.
func (r *Reconciler) Plan(ctx context.Context, req Request) (*plan.Plan, error) {
	live, err := r.Ledger.Live(ctx)
	if err != nil {
		return nil, fmt.Errorf("read live state: %w", err)
	}
	docs, found := r.Load(req.Files, req.Strict, req.Package)
	p, _, err := r.PlanOn(ctx, req, docs, found, live)
	return p, err
}

// PlanOn plans what was read of the request's files against what was read of live
// state.
func (r *Reconciler) PlanOn(ctx context.Context, req Request, docs []oprc.Document, found oprc.Diagnostics, live plan.Live) (*plan.Plan, Withheld, error) {
	seen := Withheld{Asked: req.Quarantine, Live: live}
	docs, seen.Over = keepQuarantined(docs, req.Quarantine, live)
	p, err := r.decide(ctx, plan.Input{
		Documents: keepContested(docs, req.Contested, live), Diagnostics: found, Scope: req.Scope, Live: live,
		KeepGoing: req.KeepGoing, Heal: req.Heal, LeaveDrift: req.Contested, Settled: req.Settled, Unread: req.Unread,
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

// Apply does what the plan says, exactly, or fails with an *oprc.ConflictError
// and does nothing. If it is interrupted after the catalogue was written, the
// next plan derives the commands that are missing.
func (r *Reconciler) Apply(ctx context.Context, p *plan.Plan, by Actor) (*Result, error) {
	if err := r.permit(ctx, p, by); err != nil {
		return nil, err
	}
	now := r.Now().UTC()
	commit, live, err := r.commit(ctx, p, by, now)
	if err != nil {
		return nil, err
	}
	res := newResult(p, commit)
	if r.DispatchOff {
		return res, nil
	}
	if res.Waiting, err = r.dispatch(ctx, p, live, by, now); err != nil || p.Empty() {
		return res, err
	}
	after, err := r.Ledger.Live(ctx)
	if err != nil {
		return res, fmt.Errorf("read live state back: %w", err)
	}
	res.Diverged = append(res.Diverged, p.Diverged(after)...)
	return res, nil
}

func newResult(p *plan.Plan, c Commit) *Result {
	res := &Result{
		PlanID: p.ID, Summary: p.Summary, Revs: map[string]int64{}, Environments: map[string]int64{}, Waiting: []string{}, Diverged: []string{},
	}
	for _, gone := range c.Delete {
		switch gone.Kind {
		case oprc.KindPackage:
			res.Revs[gone.Key] = 0
		case oprc.KindEnv:
			res.Environments[gone.Key] = 0
		}
	}
	for name, rec := range c.Packages {
		res.Revs[name] = rec.Rev
	}
	for name, rec := range c.Environments {
		res.Environments[name] = rec.Rev
	}
	return res
}

// commits is how often a plan is held against live state again because somebody
// wrote between reading and writing.
const commits = 10

// commit writes what the plan changes of the catalogue, and returns the live state
// that it was written on.
func (r *Reconciler) commit(ctx context.Context, p *plan.Plan, by Actor, now time.Time) (Commit, plan.Live, error) {
	for try := 1; ; try++ {
		live, err := r.Ledger.Live(ctx)
		if err != nil {
			return Commit{}, live, fmt.Errorf("read live state: %w", err)
		}
		if moved := append(Moved(p, live), p.Orphaned(live)...); len(moved) > 0 {
			return Commit{}, live, &oprc.ConflictError{Reason: "live state moved since the plan was made", Objects: moved}
		}
		gone, err := r.Ledger.Gone(ctx, created(p, live))
		if err != nil {
			return Commit{}, live, fmt.Errorf("read live state: %w", err)
		}
		c, err := newCommit(p, live, gone, by, now)
		if err != nil || p.Empty() {
			return c, live, err
		}
		if p.Deletes() {
			c.Version = live.Version // who comes to need it meanwhile is in no revision of the base
		}
		err = r.Ledger.Commit(ctx, c)
		if errors.Is(err, oprc.ErrConflict) && !errors.Is(err, oprc.ErrFenced) && try < commits {
			continue
		}
		if err != nil {
			err = fmt.Errorf("write the catalogue: %w", err)
		}
		return c, live, err
	}
}

// created lists the packages and environments that the plan creates.
func created(p *plan.Plan, live plan.Live) []string {
	var objects []string
	for _, c := range p.Changes {
		pkg := c.Kind == oprc.KindPackage && live.Packages[c.Key].Rev == 0
		env := c.Kind == oprc.KindEnv && live.Environments[c.Key].Rev == 0
		if pkg || env {
			objects = append(objects, string(c.Kind)+"/"+c.Key)
		}
	}
	return objects
}

// dispatch sends the plan's commands, every environment on its own, and returns
// those where no CRM is alive to hear them.
func (r *Reconciler) dispatch(ctx context.Context, p *plan.Plan, live plan.Live, by Actor, now time.Time) ([]string, error) {
	byEnv, waiting := p.Commands(), []string{}
	errs := make([]error, 0, len(byEnv))
	var g errgroup.Group
	g.SetLimit(8)
	for _, env := range slices.Sorted(maps.Keys(byEnv)) {
		if h := live.Environments[env].Health; h != oprc.Healthy && h != oprc.Degraded {
			waiting = append(waiting, env)
		}
		cmds := byEnv[env]
		for i := range cmds {
			cmds[i].Time, cmds[i].Revision = now, revisionOf(p, by)
		}
		errs = append(errs, nil)
		at := &errs[len(errs)-1]
		g.Go(func() error {
			if err := r.Ledger.Dispatch(ctx, env, cmds, by.Fence); err != nil {
				*at = fmt.Errorf("dispatch to %s: %w", env, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the goroutines keep their errors, so that one environment cannot hide another's
	return waiting, errors.Join(errs...)
}

// revisionOf is what units record as the change that asked for them.
func revisionOf(p *plan.Plan, by Actor) string {
	if by.Revision != "" {
		return by.Revision
	}
	return p.ID
}

// Moved lists the objects that are no longer as they were when p was made, each
// with both revisions; empty when p may be applied. The list is sorted.
func Moved(p *plan.Plan, live plan.Live) []string {
	var moved []string
	for name, rev := range p.Base.Packages {
		if now := live.Packages[name].Rev; now != rev {
			moved = append(moved, fmt.Sprintf("package/%s: revision %d, now %d", name, rev, now))
		}
	}
	for name, rev := range p.Base.Environments {
		if now := live.Environments[name].Rev; now != rev {
			moved = append(moved, fmt.Sprintf("environment/%s: revision %d, now %d", name, rev, now))
		}
	}
	for _, c := range p.Changes {
		if c.Kind != oprc.KindUnit {
			continue
		}
		_, _, _, env, _ := oprc.ParseUnitID(c.Key)
		if now := live.Units[env][c.Key].Generation; now != c.Generation-1 {
			moved = append(moved, fmt.Sprintf("unit/%s: generation %d, now %d", c.Key, c.Generation-1, now))
		}
	}
	slices.Sort(moved)
	return moved
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
