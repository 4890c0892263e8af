package reconcile

import (
	"cmp"
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
	"github.com/oaas-platform/oprc/internal/trace"
)

// Conditions say what must be true of the decision for a request to be applied. The
// zero value lets nothing be removed.
type Conditions struct {
	// PlanID is the id that the decision must have; "": any. Saved is the plan of that id,
	// to say what is otherwise where it comes out another one.
	PlanID string     `json:"planId,omitempty"`
	Saved  *plan.Plan `json:"saved,omitempty"`
	// Ledger is the identity of the ledger that the plan was made on; "": any, unless there
	// is a Saved plan, which has to name it.
	Ledger string `json:"ledger,omitempty"`
	// Removals are what may be removed, as [plan.Plan.Removals] lists it, unless
	// AnyRemovals lets everything be that the request takes away.
	Removals    []string `json:"removals,omitempty"`
	AnyRemovals bool     `json:"anyRemovals,omitempty"`
	// Approved carries out what the limits of a source hold.
	Approved bool `json:"approved,omitempty"`
	// If says of objects, by "<kind>/<key>", which revisions one of must be recorded when
	// the request is committed: numbers, Absent or Present.
	If map[string][]int64 `json:"if,omitempty"`
	// Exact lets nothing be carried out but what Review has seen, also where somebody else
	// decides: a server that is asked by a client.
	Exact bool `json:"-"`
	// Review is asked about each decision that it has not seen, before it is carried
	// out; an error stops it.
	Review func(context.Context, *plan.Plan) error `json:"-"`
}

// What a revision in Conditions.If may be besides a number.
const (
	Absent  int64 = 0
	Present int64 = -1
)

// A PreconditionError says that a revision in [Conditions.If] is not the recorded one. It
// is an oprc.ErrConflict.
type PreconditionError struct {
	Object string // "<kind>/<key>"
	Want   []int64
	Now    int64
}

func (e *PreconditionError) Error() string {
	word := func(rev int64) string {
		switch rev {
		case Absent:
			return "absent"
		case Present:
			return "present"
		}
		return fmt.Sprintf("at revision %d", rev)
	}
	want := make([]string, 0, len(e.Want))
	for _, rev := range e.Want {
		want = append(want, word(rev))
	}
	return fmt.Sprintf("precondition: %s must be %s, it is %s", e.Object, strings.Join(want, " or "), word(e.Now))
}

// Unwrap makes errors.Is(err, oprc.ErrConflict) true.
func (e *PreconditionError) Unwrap() error { return oprc.ErrConflict }

// An UnfinishedError says that the catalogue was written, and that commands which follow
// from it were not sent. The next plan of the same packages, or the daemon, sends them.
type UnfinishedError struct {
	Result *Result
	Err    error
}

func (e *UnfinishedError) Error() string {
	written := []string{"plan " + e.Result.PlanID}
	for _, revs := range []struct {
		kind oprc.Kind
		of   map[string]int64
	}{{oprc.KindEnv, e.Result.Environments}, {oprc.KindPackage, e.Result.Revs}} {
		for _, name := range slices.Sorted(maps.Keys(revs.of)) {
			state := "deleted"
			if rev := revs.of[name]; rev > 0 {
				state = fmt.Sprintf("revision %d", rev)
			}
			written = append(written, fmt.Sprintf("%s/%s %s", revs.kind, name, state))
		}
	}
	return fmt.Sprintf("written: %s; but not all commands that follow from it are sent, the daemon or the next apply sends them: %v", enumerate(written), e.Err)
}

func (e *UnfinishedError) Unwrap() error { return e.Err }

// Apply makes a request true. It decides from live state, checks the conditions and the
// policies, and commits the decision only if nothing that it rests on has moved; else it
// decides again. So the accepted requests have an order, and live state is what they make
// of it one after the other. If Apply fails with an [UnfinishedError], the catalogue was
// written; with any other error nothing was, unless no answer came.
func (r *Reconciler) Apply(ctx context.Context, req Request, cond Conditions, by Actor) (*Result, error) {
	req.Actor = cmp.Or(req.Actor, by.Name)
	d, err := r.derivation(ctx, req)
	if err != nil {
		return nil, err
	}
	if d.By != nil {
		by = d.By(by)
	}
	if len(cond.If) > 0 || cond.Saved != nil {
		d.Part = nil // of which the conditions may say something else
	}
	race, reviewed := r.Race(rivalName()), ""
	defer race.End(ctx)
	by.Place = race.place
	for {
		live, err := r.live(ctx, d.Part, by)
		if err == nil {
			var p *plan.Plan
			if p, err = d.Decide(ctx, live); p != nil {
				if unmet := cond.met(p, live, err); unmet != nil {
					err = unmet
				}
			}
			if err == nil {
				err = d.allowed(p, cond)
			}
			if err != nil {
				return nil, err
			}
			if cond.Review != nil && p.ID != reviewed {
				race.rest() // nobody waits for a person
				if err := cond.Review(ctx, p.Explain()); err != nil {
					return nil, err
				}
				reviewed = p.ID
				race.extend(ctx)
			}
			var res *Result
			if res, err = r.carry(ctx, p, live, by, d); err == nil {
				res.note(d.Docs, live)
				return res, nil
			}
		}
		if !race.Again(ctx, err) {
			return nil, cmp.Or(ctx.Err(), err)
		}
	}
}

// Lost reports whether err is of a decision that was not carried out because somebody else
// wrote first: decide again.
func Lost(err error) bool {
	var unfinished *UnfinishedError
	return errors.Is(err, oprc.ErrConflict) && !errors.Is(err, oprc.ErrFenced) && !errors.As(err, &unfinished)
}

// live reads live state with what is observed of environments recorded under its version.
func (r *Reconciler) live(ctx context.Context, part *plan.Part, by Actor) (plan.Live, error) {
	live, err := r.needed(ctx, part)
	if err != nil {
		return live, fmt.Errorf("read live state: %w", err)
	}
	return r.Observe(ctx, live, by)
}

// Observe records what live state shows of environments where the catalogue's slot says
// otherwise, and returns live state at the version that this makes. A commit on it is
// refused once any of that has moved.
func (r *Reconciler) Observe(ctx context.Context, live plan.Live, by Actor) (plan.Live, error) {
	moved := map[string]*oprc.Observation{}
	for name, state := range live.Environments {
		now := state.Observed()
		if was, known := live.Observed[name]; !known || !now.Equal(was) {
			moved[name] = &now
		}
	}
	for name := range live.Observed {
		if _, there := live.Environments[name]; !there {
			moved[name] = nil
		}
	}
	if len(moved) == 0 {
		return live, nil
	}
	version, err := r.Ledger.Observe(ctx, live.Version, moved, by.Fence, by.Place)
	if err != nil {
		return live, fmt.Errorf("record what is observed of environments: %w", err)
	}
	live.Version, live.Observed = version, maps.Clone(live.Observed)
	if live.Observed == nil {
		live.Observed = map[string]oprc.Observation{}
	}
	for name, now := range moved {
		if delete(live.Observed, name); now != nil {
			live.Observed[name] = *now
		}
	}
	return live, nil
}

// met says what stands against carrying out a decision. failed is why it cannot be in any
// case: what the plan comes out as is said before that.
func (c Conditions) met(p *plan.Plan, live plan.Live, failed error) error {
	if (c.Ledger != "" || c.Saved != nil) && c.Ledger != live.Ledger {
		return &oprc.ConflictError{
			Reason: "the plan was made on another ledger", Objects: []string{fmt.Sprintf("ledger: %s, this is %s", cmp.Or(c.Ledger, "none is named"), live.Ledger)},
		}
	}
	for _, object := range slices.Sorted(maps.Keys(c.If)) {
		want, now := c.If[object], live.Revision(object)
		if !slices.Contains(want, now) && !(now != Absent && slices.Contains(want, Present)) {
			return &PreconditionError{Object: object, Want: want, Now: now}
		}
	}
	if c.PlanID != "" && c.PlanID != p.ID {
		moved := &oprc.ConflictError{Reason: "live state moved since the plan was made", Objects: []string{fmt.Sprintf("plan: %s, now %s", c.PlanID, p.ID)}}
		if c.Saved != nil {
			moved.Objects = append(c.Saved.Moved(live), c.Saved.Differences(p)...)
		}
		return moved
	}
	if failed != nil || c.AnyRemovals || c.PlanID != "" {
		return nil
	}
	var more []string
	for _, object := range p.Removals() {
		if !slices.Contains(c.Removals, object) {
			more = append(more, object)
		}
	}
	if len(more) > 0 {
		return fmt.Errorf("it would remove %s, which nobody has agreed to: %w", enumerate(more), oprc.ErrHeld)
	}
	return nil
}

// enumerate joins names for a sentence and cuts a long list.
func enumerate(names []string) string {
	const most = 10
	if n := len(names) - most; n > 0 {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("and %d more", n))
	}
	return strings.Join(names, ", ")
}

// Carry carries a decision out on the live state that it was made on: an
// *oprc.ConflictError if that has moved, and nothing is done. Policies have judged it.
func (r *Reconciler) Carry(ctx context.Context, p *plan.Plan, live plan.Live, by Actor) (*Result, error) {
	return r.carry(ctx, p, live, by, &Derivation{})
}

func (r *Reconciler) carry(ctx context.Context, p *plan.Plan, live plan.Live, by Actor, d *Derivation) (*Result, error) {
	now := r.Now().UTC()
	c, err := r.commit(ctx, p, live, by, now)
	if err != nil {
		return nil, err
	}
	res := newResult(p, c, live)
	if d.Committed != nil {
		if err := d.Committed(ctx); err != nil {
			return nil, &UnfinishedError{res, err}
		}
	}
	if r.DispatchOff || p.Empty() {
		return res, nil
	}
	after, err := r.deliver(ctx, p, d.Part, by, now)
	if err != nil {
		return nil, &UnfinishedError{res, err}
	}
	for env := range p.Commands() {
		if h := live.Environments[env].Health; h != oprc.Healthy && h != oprc.Degraded {
			res.Waiting = append(res.Waiting, env)
		}
	}
	slices.Sort(res.Waiting)
	res.Verified, res.Diverged = len(p.Changes), append(res.Diverged, p.Diverged(after)...)
	return res, nil
}

// commit writes what the plan changes of the catalogue.
func (r *Reconciler) commit(ctx context.Context, p *plan.Plan, live plan.Live, by Actor, now time.Time) (Commit, error) {
	gone, err := r.Ledger.Gone(ctx, created(p, live))
	if err != nil {
		return Commit{}, fmt.Errorf("read live state: %w", err)
	}
	c := newCommit(p, live, gone, by, now)
	if p.Empty() {
		return c, nil
	}
	ctx, span := trace.Start(ctx, trace.Internal, "commit")
	span.Set("oprc.plan", p.ID)
	if _, err = r.Ledger.Commit(ctx, c); err != nil {
		err = fmt.Errorf("write the catalogue: %w", err)
	}
	span.End(err)
	return c, err
}

// created lists the packages and environments that the plan creates.
func created(p *plan.Plan, live plan.Live) []string {
	var objects []string
	for _, c := range p.Changes {
		object := string(c.Kind) + "/" + c.Key
		if (c.Kind == oprc.KindPackage || c.Kind == oprc.KindEnv) && live.Revision(object) == Absent {
			objects = append(objects, object)
		}
	}
	return objects
}

// deliver sends the plan's commands, and then what the environments still lack of the
// same classes by the catalogue as it is by now: others may have written or sent
// meanwhile, and whoever looks last sees that nothing is missing. It returns the live
// state that it saw then.
func (r *Reconciler) deliver(ctx context.Context, p *plan.Plan, part *plan.Part, by Actor, now time.Time) (plan.Live, error) {
	cmds, classes := p.Commands(), p.Classes()
	pause := newPause(r.Now)
	for {
		sent := r.dispatch(ctx, cmds, revisionOf(p, by), by, now)
		if sent != nil && (!errors.Is(sent, oprc.ErrConflict) || errors.Is(sent, oprc.ErrFenced)) {
			return plan.Live{}, sent
		}
		live, err := r.needed(ctx, part)
		if err != nil {
			return live, fmt.Errorf("read live state back: %w", err)
		}
		if cmds = live.Unsent(classes); len(cmds) == 0 || len(classes) == 0 {
			return live, nil
		}
		if !pause.again(ctx) {
			return live, errors.Join(sent, &oprc.ConflictError{Reason: "others keep sending to the same units", Objects: slices.Sorted(maps.Keys(cmds))})
		}
	}
}

// dispatch sends commands, every environment on its own.
func (r *Reconciler) dispatch(ctx context.Context, byEnv map[string][]oprc.Command, revision string, by Actor, now time.Time) error {
	errs := make([]error, len(byEnv))
	var g errgroup.Group
	g.SetLimit(8)
	for i, env := range slices.Sorted(maps.Keys(byEnv)) {
		ctx, span := trace.Start(ctx, trace.Producer, "dispatch")
		span.Set("oprc.environment", env)
		span.SetInt("oprc.commands", len(byEnv[env]))
		cmds, parent := byEnv[env], trace.Parent(ctx)
		for j := range cmds {
			cmds[j].Time, cmds[j].Revision, cmds[j].Traceparent = now, revision, parent
		}
		g.Go(func() error {
			if err := r.Ledger.Dispatch(ctx, env, cmds, by.Fence); err != nil {
				errs[i] = fmt.Errorf("dispatch to %s: %w", env, err)
			}
			span.End(errs[i])
			return nil
		})
	}
	_ = g.Wait() // the goroutines keep their errors, so that one environment cannot hide another's
	return errors.Join(errs...)
}

// revisionOf is what units record as the change that asked for them.
func revisionOf(p *plan.Plan, by Actor) string {
	if by.Revision != "" {
		return by.Revision
	}
	return p.ID
}

func newResult(p *plan.Plan, c Commit, live plan.Live) *Result {
	res := &Result{
		PlanID: p.ID, Summary: p.Summary, Diagnostics: p.Diagnostics, Revs: map[string]int64{}, Environments: map[string]int64{},
		Waiting: []string{}, Diverged: []string{}, Records: map[string]oprc.PackageRecord{},
		Deployments: c.Deployments, Revisions: map[string]int64{},
	}
	for _, ch := range p.Changes {
		if object := string(ch.Kind) + "/" + ch.Key; ch.Doc() != nil && ch.Kind != oprc.KindUnit {
			res.Revisions[object] = live.Revision(object) + 1
		}
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
		res.Revs[name], res.Records[name] = rec.Rev, rec
	}
	for name, rec := range c.Environments {
		res.Environments[name] = rec.Rev
	}
	return res
}

// note completes the records by those that the request names and did not change.
func (res *Result) note(docs []oprc.Document, live plan.Live) {
	for _, d := range docs {
		if d.Package == nil {
			continue
		}
		was, there := live.Packages[d.Name()]
		if _, written := res.Records[d.Name()]; !written && there {
			res.Records[d.Name()] = was
		} else if written && !there {
			res.New = append(res.New, d.Name())
		}
	}
}
