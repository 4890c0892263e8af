package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Desk is where people leave what they ask of the daemon.
type Desk interface {
	Sources(ctx context.Context) (map[string]oprc.SourceStatus, error)
	History(ctx context.Context, pkg string, limit int) ([]oprc.HistoryEntry, error)

	// Requests returns what is asked; PutRequest asks in place of what the same verb
	// asked before, DropRequest takes a request back if it is still that one.
	Requests(ctx context.Context) (oprc.Requests, error)
	PutRequest(ctx context.Context, r oprc.SourceRequest) error
	DropRequest(ctx context.Context, r oprc.SourceRequest) error

	// AskTick asks for a tick, whose receipt will carry the ticket or a higher one; it
	// puts requests for that tick at the same instant.
	AskTick(ctx context.Context, source string, with ...oprc.SourceRequest) (ticket int64, err error)

	Emit(ctx context.Context, events []oprc.Event, fence int64) error
}

// Steering asks the daemon, in somebody's name, and says so among the events.
type Steering struct {
	Desk       Desk
	Reconciler *Reconciler
}

// source finds a source, or fails with an oprc.ErrNotFound.
func (s Steering) source(ctx context.Context, name string) (oprc.SourceStatus, error) {
	all, err := s.Desk.Sources(ctx)
	if err != nil {
		return oprc.SourceStatus{}, err
	}
	st, ok := all[name]
	if !ok {
		return st, fmt.Errorf("source %q: %w", name, oprc.ErrNotFound)
	}
	return st, nil
}

// Wake asks the daemon to look at a source now. The receipt of a look that begins
// later carries the ticket, or a higher one.
func (s Steering) Wake(ctx context.Context, source string) (ticket int64, err error) {
	if _, err := s.source(ctx, source); err != nil {
		return 0, err
	}
	return s.Desk.AskTick(ctx, source)
}

// Suspend makes the daemon leave a source alone for so long; 0 is until somebody resumes
// it.
func (s Steering) Suspend(ctx context.Context, source, reason string, length time.Duration, by Actor) error {
	if strings.TrimSpace(reason) == "" || length < 0 {
		return fmt.Errorf("%w suspension: it needs a reason, and no negative time", oprc.ErrInvalid)
	}
	st, err := s.source(ctx, source)
	if err != nil {
		return err
	}
	what, until := "suspended: "+reason, time.Time{}
	if length > 0 {
		until = s.Reconciler.Now().Add(length)
		what = fmt.Sprintf("suspended until %s: %s", until.UTC().Format(time.RFC3339), reason)
	}
	return s.ask(ctx, oprc.SourceRequest{Verb: oprc.VerbSuspend, Name: source, Of: st.ID, Reason: reason, Until: until}, what, by)
}

// Resume ends a suspension; was is false if there was none. One by the configuration
// cannot be ended so, which is an oprc.ErrConflict.
func (s Steering) Resume(ctx context.Context, source string, by Actor) (was bool, err error) {
	st, err := s.source(ctx, source)
	if err != nil {
		return false, err
	}
	all, err := s.Desk.Requests(ctx)
	if err != nil {
		return false, err
	}
	asked, _ := all.For(source, st.ID)
	if r, ok := asked.Find(oprc.VerbSuspend, source); ok {
		return true, errors.Join(s.Desk.DropRequest(ctx, r), s.tell(ctx, r, "resumed", by))
	}
	if st.Suspended != nil {
		return false, fmt.Errorf("source %s is suspended by the configuration: take suspend: true out of it: %w", source, oprc.ErrConflict)
	}
	return false, nil
}

// Approve lets through the plan that is held whose id begins so, and asks for a look
// at its source. Which one that is, if any, is an oprc.ErrNotFound or oprc.ErrInvalid
// that names those that are held.
func (s Steering) Approve(ctx context.Context, planID string, by Actor) (source string, ticket int64, err error) {
	held, err := s.heldBy(ctx, planID)
	if err != nil {
		return "", 0, err
	}
	r := oprc.SourceRequest{Verb: oprc.VerbApprove, Name: held.Name, Of: held.ID, PlanID: held.PlanID, By: by.Name, At: s.Reconciler.Now()}
	if ticket, err = s.Desk.AskTick(ctx, held.Name, r); err != nil {
		return "", 0, err
	}
	return held.Name, ticket, s.tell(ctx, r, "plan approved", by)
}

// Adopt lets a source take over a package that somebody else owns, and asks for a look
// at it.
func (s Steering) Adopt(ctx context.Context, pkg, source string, by Actor) (ticket int64, err error) {
	st, err := s.source(ctx, source)
	if err != nil {
		return 0, err
	}
	live, err := s.Reconciler.Ledger.Live(ctx)
	if err != nil {
		return 0, fmt.Errorf("read live state: %w", err)
	}
	rec, ok := live.Packages[pkg]
	if !ok {
		return 0, fmt.Errorf("package %q: %w", pkg, oprc.ErrNotFound)
	}
	if rec.Origin != originGit+source {
		r := oprc.SourceRequest{Verb: oprc.VerbAdopt, Name: pkg, Source: source, Of: st.ID, By: by.Name, At: s.Reconciler.Now()}
		if ticket, err = s.Desk.AskTick(ctx, source, r); err != nil {
			return 0, err
		}
		r.Name = source
		return ticket, s.tell(ctx, r, "package "+pkg+" of "+rec.Origin+" is to be adopted", by)
	}
	return s.Desk.AskTick(ctx, source)
}

// heldBy finds the source that holds the plan whose id begins so.
func (s Steering) heldBy(ctx context.Context, id string) (oprc.SourceStatus, error) {
	const least = 6
	all, err := s.Desk.Sources(ctx)
	if err != nil {
		return oprc.SourceStatus{}, err
	}
	var found []oprc.SourceStatus
	var held []string
	want := strings.TrimPrefix(id, "sha256:")
	for _, st := range all {
		if st.PlanID == "" {
			continue
		}
		held = append(held, st.PlanID+" of "+st.Name)
		if len(want) >= least && strings.HasPrefix(strings.TrimPrefix(st.PlanID, "sha256:"), want) {
			found = append(found, st)
		}
	}
	slices.Sort(held)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return oprc.SourceStatus{}, fmt.Errorf("%w plan id: %q is the beginning of more than one: %s", oprc.ErrInvalid, id, strings.Join(held, ", "))
	case len(held) == 0:
		return oprc.SourceStatus{}, fmt.Errorf("plan %q: %w; nothing is held", id, oprc.ErrNotFound)
	}
	return oprc.SourceStatus{}, fmt.Errorf("plan %q: %w; held: %s", id, oprc.ErrNotFound, strings.Join(held, ", "))
}

func (s Steering) ask(ctx context.Context, r oprc.SourceRequest, what string, by Actor) error {
	r.By, r.At = by.Name, s.Reconciler.Now()
	if err := s.Desk.PutRequest(ctx, r); err != nil {
		return err
	}
	return s.tell(ctx, r, what, by)
}

func (s Steering) tell(ctx context.Context, r oprc.SourceRequest, what string, by Actor) error {
	return s.Desk.Emit(ctx, []oprc.Event{{
		Time: s.Reconciler.Now().UTC(), Type: "source", Kind: oprc.KindSource, Key: r.Name, Actor: by.Name, PlanID: r.PlanID, Message: what,
	}}, 0)
}
