package loop

import (
	"cmp"
	"context"
	"fmt"

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
}

// A PreviewStore is what a preview reads besides live state.
type PreviewStore interface {
	Sources(ctx context.Context) (map[string]oprc.SourceStatus, error)
	Requests(ctx context.Context) (oprc.Requests, error)
}

// PreviewOf polls a source and plans its newest revision as the loop does, on live
// state as it is now. It changes nothing. What only the daemon knows, that somebody
// else keeps changing an object, is not considered.
func PreviewOf(ctx context.Context, r *reconcile.Reconciler, c SourceConfig, store PreviewStore) (out Preview, err error) {
	all, err := store.Sources(ctx)
	if err != nil {
		return out, fmt.Errorf("read what is stored about the source: %w", err)
	}
	every, err := store.Requests(ctx)
	if err != nil {
		return out, fmt.Errorf("read requests: %w", err)
	}
	s := &sourceState{c: c, status: c.takeUp(all[c.Name]), reading: &reading{}}
	asked, _ := every.For(c.Name, s.status.ID)
	out.Suspended = s.suspension(asked, r.Now())
	if c.Anew {
		s.status.Moved, s.status.Revision = nil, ""
	}
	if err := s.retrace(); err != nil {
		return out, err
	}
	if s.rev, err = c.Source.Poll(ctx, r.Now()); err != nil {
		return out, err
	}
	if s.files, err = c.Source.Files(ctx, s.rev); err != nil {
		return out, err
	}
	out.Revision, out.Files = s.rev, s.files
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
	err = s.preview(ctx, r, asked, &out)
	return out, err
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
	err = s.preview(ctx, r, asked, &out)
	return out, err
}

// preview plans what s has read.
func (s *sourceState) preview(ctx context.Context, r *reconcile.Reconciler, asked oprc.Requests, out *Preview) error {
	s.reading = s.reading.next(s.files, r.Load)
	live, err := r.Ledger.Live(ctx)
	if err != nil {
		return fmt.Errorf("read live state: %w", err)
	}
	req := s.request(asked, nil)
	if out.Plan, _, out.Left, err = s.plan(ctx, r, &req, live, s.status.Kept, false); err == nil {
		out.Held, _ = s.holds(out.Plan)
		out.Plan = out.Plan.Explain()
	}
	return err
}
