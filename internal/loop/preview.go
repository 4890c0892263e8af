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
	asked, err := store.Requests(ctx)
	if err != nil {
		return out, fmt.Errorf("read requests: %w", err)
	}
	s := &sourceState{c: c, status: all[c.Name], reading: &reading{}}
	out.Suspended = s.suspension(asked, r.Now())
	same := s.status.URL == c.URL && s.status.Ref == c.Ref
	if git, can := c.Source.(Resumer); can && same && s.status.Revision != "" {
		if err := git.Resume(s.status.Revision); err != nil {
			return out, err
		}
	}
	if s.rev, err = c.Source.Poll(ctx, r.Now()); err != nil {
		return out, err
	}
	if s.files, err = c.Source.Files(ctx, s.rev); err != nil {
		return out, err
	}
	out.Revision, out.Files = s.rev, s.files
	switch {
	case !same:
		s.status.RewoundFrom = ""
	case s.rev.Rewind:
		s.status.RewoundFrom = cmp.Or(s.status.RewoundFrom, s.status.Revision)
	}
	s.reading = s.reading.next(s.files, r.Load)
	if p, ok := c.Source.(Passer); ok {
		s.unreadFiles = p.Unread()
	}
	live, err := r.Ledger.Live(ctx)
	if err != nil {
		return out, fmt.Errorf("read live state: %w", err)
	}
	req := s.request(asked, nil)
	if out.Plan, _, out.Left, err = s.plan(ctx, r, &req, live, s.status.Kept, false); err == nil {
		out.Held, _ = s.holds(out.Plan)
	}
	return out, err
}
