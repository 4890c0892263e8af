package loop

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A Preview is what the next tick of a source would carry out.
type Preview struct {
	Revision  Revision
	Files     []oprc.File
	Plan      *plan.Plan
	Left      map[string]bool  // what was changed by hand, and is left so
	Suspended *oprc.Suspension // why nothing is carried out for now
	Held      string           // why the plan has to be approved; "": it has not
	NoTrack   bool             // the daemon does not carry a new revision out unasked
}

// A PreviewStore is what a preview reads besides live state.
type PreviewStore interface {
	Sources(ctx context.Context) (map[string]oprc.SourceStatus, error)
	Requests(ctx context.Context) (oprc.Requests, error)
}

// PreviewOf polls a source and plans its newest revision as the loop does, on live
// state as it is now. It changes nothing. What only the daemon knows, that somebody
// else keeps changing an object, is not considered.
func PreviewOf(ctx context.Context, r *reconcile.Reconciler, c SourceConfig, store PreviewStore) (Preview, error) {
	s, asked, out, err := newest(ctx, r.Now(), c, store)
	if err != nil {
		return out, err
	}
	live, err := r.Ledger.Live(ctx)
	if err != nil {
		return out, fmt.Errorf("read live state: %w", err)
	}
	s.reading = s.reading.next(s.files, r.Load)
	err = s.preview(ctx, r, asked, live, &out)
	return out, err
}

// newest polls a source and reads its newest revision.
func newest(ctx context.Context, now time.Time, c SourceConfig, store PreviewStore) (s *sourceState, asked oprc.Requests, out Preview, err error) {
	all, err := store.Sources(ctx)
	if err != nil {
		return nil, asked, out, fmt.Errorf("read what is stored about the source: %w", err)
	}
	every, err := store.Requests(ctx)
	if err != nil {
		return nil, asked, out, fmt.Errorf("read requests: %w", err)
	}
	s = &sourceState{c: c, status: c.takeUp(all[c.Name]), reading: &reading{}}
	asked, _ = every.For(c.Name, s.status.ID)
	out.Suspended = s.suspension(asked, now)
	if c.Anew {
		s.status.Moved, s.status.Revision = nil, ""
	}
	if err := s.retrace(); err != nil {
		return s, asked, out, err
	}
	if s.rev, err = c.Source.Poll(ctx, now); err != nil {
		return s, asked, out, err
	}
	if s.files, err = c.Source.Files(ctx, s.rev); err != nil {
		return s, asked, out, err
	}
	out.Revision, out.Files, out.NoTrack = s.rev, s.files, c.NoTrack
	switch moved := s.status.Moved; {
	case moved != nil && (moved.Other || s.rev.Rewind):
		s.status.RewoundFrom, s.status.RewoundBy = moved.From, moved.What
	case moved != nil, c.Anew, s.rev.ID == s.status.RewoundFrom && s.status.RewoundBy == "":
		s.status.RewoundFrom = ""
	case s.rev.Rewind:
		s.status.RewoundFrom = cmp.Or(s.status.RewoundFrom, s.status.Revision)
	}
	if p, ok := c.Source.(Passer); ok {
		s.unreadFiles = p.Unread()
	}
	return s, asked, out, nil
}

// Derive reads a source's newest revision, to be carried out as the loop does: which has
// to be the one that was planned. The daemon that follows the source, if there is one, is
// woken once the catalogue is written: so that it does not revert what an older revision
// does not ask for.
func Derive(ctx context.Context, r *reconcile.Reconciler, c SourceConfig, store DeriveStore, planned string) (*reconcile.Derivation, error) {
	s, asked, out, err := newest(ctx, r.Now(), c, store)
	if err != nil {
		return nil, err
	}
	if s.rev.ID != planned {
		return nil, &oprc.ConflictError{Reason: "source " + c.Name + " moved since the plan was made", Objects: []string{fmt.Sprintf("revision: %s, now %s", planned, s.rev.ID)}}
	}
	if by := out.Suspended; by != nil {
		return nil, fmt.Errorf("source %s is suspended by %s: %s: %w", c.Name, by.Author, by.Reason, oprc.ErrHeld)
	}
	s.reading = s.reading.next(s.files, r.Load)
	return &reconcile.Derivation{
		Docs: s.reading.docs,
		Decide: func(ctx context.Context, live plan.Live) (*plan.Plan, error) {
			now := out
			if err := s.preview(ctx, r, asked, live, &now); err != nil {
				return nil, err
			}
			if len(now.Left) > 0 { // who wakes the daemon asks it to revert that as well
				return nil, &oprc.ConflictError{Reason: "changed by hand, and heal is off: oprc source reconcile " + c.Name + " reverts it", Objects: slices.Sorted(maps.Keys(now.Left))}
			}
			return now.Plan, nil
		},
		Held: func(p *plan.Plan) string {
			reason, _ := s.holds(p)
			return reason
		},
		By: func(by reconcile.Actor) reconcile.Actor {
			return reconcile.Actor{
				Name: s.rev.Author, Revision: s.rev.ID, Message: s.rev.Message + "; applied by " + cmp.Or(by.Name, "somebody"),
				Daemon: by.Name, Again: s.status.Applied == s.rev.ID, Waited: s.status.Kept,
			}
		},
		Committed: func(ctx context.Context) error {
			if s.status.Name == "" { // no daemon follows it
				return nil
			}
			_, err := store.AskTick(ctx, c.Name)
			return err
		},
	}, nil
}

// A DeriveStore is what carrying a revision out needs besides live state.
type DeriveStore interface {
	PreviewStore
	// AskTick makes the daemon poll the source now.
	AskTick(ctx context.Context, source string, with ...oprc.SourceRequest) (ticket int64, err error)
}

// A Proposal is what may become the next revision of a source.
type Proposal struct {
	Files  []oprc.File `json:"files"`            // with paths from the repository's root
	Unread []string    `json:"unread,omitempty"` // files and directories that are passed over
	Author string      `json:"author,omitempty"` // whom policies see
}

// PlanAs plans a proposal as the next revision of a source that a daemon follows: by the
// rules that the daemon has stored. It changes nothing.
func PlanAs(ctx context.Context, r *reconcile.Reconciler, store PreviewStore, source string, next Proposal) (out Preview, err error) {
	all, err := store.Sources(ctx)
	if err != nil {
		return out, fmt.Errorf("read what is stored about the source: %w", err)
	}
	status, known := all[source]
	if !known {
		return out, fmt.Errorf("source %s: %w", source, oprc.ErrNotFound)
	}
	rules := status.Rules
	if rules == nil {
		return out, fmt.Errorf("source %s: its daemon is of an older version and has not stored its rules: %w", source, oprc.ErrConflict)
	}
	every, err := store.Requests(ctx)
	if err != nil {
		return out, fmt.Errorf("read requests: %w", err)
	}
	c := SourceConfig{
		Name: source, URL: status.URL, Ref: status.Ref, Path: status.Path, NoPrune: !rules.Prune, NoHeal: !rules.Heal, Take: rules.Take,
		Guard: plan.Guard{MaxDelete: rules.MaxDelete, MaxDeletePercent: rules.MaxDeletePercent, MaxBlastUnits: rules.MaxBlastUnits, Stops: rules.Stops},
	}
	s := &sourceState{
		c: c, status: status, reading: &reading{}, rev: Revision{ID: "next", Author: next.Author}, files: next.Files, unreadFiles: next.Unread,
	}
	asked, _ := every.For(source, status.ID)
	if out.Suspended = s.status.Suspended; out.Suspended == nil {
		out.Suspended = asked.Suspension(source, r.Now())
	}
	out.Revision, out.Files = s.rev, next.Files
	live, err := r.Ledger.Live(ctx)
	if err != nil {
		return out, fmt.Errorf("read live state: %w", err)
	}
	s.reading = s.reading.next(s.files, r.Load)
	err = s.preview(ctx, r, asked, live, &out)
	return out, err
}

// preview plans what s has read.
func (s *sourceState) preview(ctx context.Context, r *reconcile.Reconciler, asked oprc.Requests, live plan.Live, out *Preview) (err error) {
	req := s.request(asked, nil)
	if out.Plan, _, out.Left, err = s.plan(ctx, r, &req, live, s.status.Kept, false); err == nil {
		out.Held, _ = s.holds(out.Plan)
		out.Plan = out.Plan.Explain()
	}
	return err
}
