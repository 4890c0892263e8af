package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// wholeHistory is more entries than a package's history keeps.
const wholeHistory = 2000

// Undone is what came of an undo.
type Undone struct {
	Result
	// Source leaves the package alone until a revision brings another version of it; ""
	// where none owns it.
	Source string `json:"source,omitempty"`
}

// A wayBack is what an undo goes back to, and from.
type wayBack struct {
	entry  oprc.HistoryEntry
	digest string // of the spec now; "": the package is gone
	commit string // that brought it
	origin string
	rev    int64 // of the record now; 0: the package is gone
}

// request is what the undo asks for.
func (b wayBack) request(pkg string) Request {
	return Request{
		Files: []oprc.File{{Path: fmt.Sprintf("%s@%d.json", pkg, b.entry.Rev), Data: oprc.MustCanonical(b.entry.Spec)}},
		Scope: plan.Scope{Origin: b.origin},
	}
}

// PlanUndo plans to put a package back to what it was at a revision of its record, or
// for 0 at the last one that differs. It is an oprc.ErrNotFound if its history has
// none, and an oprc.ErrConflict if it is so already.
func (s Steering) PlanUndo(ctx context.Context, pkg string, to int64) (*plan.Plan, error) {
	back, err := s.wayBack(ctx, pkg, to)
	if err != nil {
		return nil, err
	}
	return s.Reconciler.Plan(ctx, back.request(pkg))
}

// Undo carries out what PlanUndo plans: the plan of that id, or whichever it is. If a
// Git source owns the package, what its repository says is put in quarantine.
func (s Steering) Undo(ctx context.Context, pkg string, to int64, planID string, by Actor) (*Undone, error) {
	back, err := s.wayBack(ctx, pkg, to)
	if err != nil {
		return nil, err
	}
	by.Revision, by.Message = back.entry.Commit, fmt.Sprintf("undo: back to revision %d", back.entry.Rev)
	source, forget, err := s.quarantine(ctx, pkg, back, by)
	if err != nil {
		return nil, err
	}
	res, err := s.Reconciler.Apply(ctx, back.request(pkg), Conditions{
		PlanID: planID, AnyRemovals: true, If: map[string][]int64{"package/" + pkg: {back.rev}},
	}, by)
	if err != nil {
		return nil, errors.Join(err, forget())
	}
	return &Undone{Result: *res, Source: source}, nil
}

// wayBack finds the entry to go back to.
func (s Steering) wayBack(ctx context.Context, pkg string, to int64) (wayBack, error) {
	entries, err := s.Desk.History(ctx, pkg, wholeHistory)
	if err != nil {
		return wayBack{}, err
	}
	entries = oprc.Writes(entries)
	live, err := s.Reconciler.Ledger.Live(ctx)
	if err != nil {
		return wayBack{}, fmt.Errorf("read live state: %w", err)
	}
	var b wayBack
	switch rec, there := live.Packages[pkg]; {
	case there:
		b.digest, b.origin, b.rev = rec.Digest, rec.Origin, rec.Rev
		if rec.Source != nil {
			b.commit = rec.Source.Commit
		}
	case len(entries) == 0:
		return b, fmt.Errorf("package %q: %w", pkg, oprc.ErrNotFound)
	default:
		b.origin, b.commit = entries[0].Origin, entries[0].Commit
	}
	i := slices.IndexFunc(entries, func(e oprc.HistoryEntry) bool {
		return e.Spec != nil && (e.Rev == to || to == 0 && e.Digest != b.digest)
	})
	if i < 0 {
		what := "another spec"
		if to != 0 {
			what = fmt.Sprintf("a spec of revision %d", to)
		}
		return b, fmt.Errorf("package %q: %s: %w in its history", pkg, what, oprc.ErrNotFound)
	}
	b.entry = entries[i]
	if b.entry.Digest == b.digest {
		return b, fmt.Errorf("package %q already has the spec of revision %d: %w", pkg, b.entry.Rev, oprc.ErrConflict)
	}
	return b, nil
}

// quarantine makes the source that owns the package leave it as it is put back. It
// returns which one that is, and how to take that back.
func (s Steering) quarantine(ctx context.Context, pkg string, back wayBack, by Actor) (source string, forget func() error, err error) {
	nothing := func() error { return nil }
	source, owned := strings.CutPrefix(back.origin, "git:")
	if !owned {
		return "", nothing, nil
	}
	all, err := s.Desk.Requests(ctx)
	if err != nil {
		return "", nothing, err
	}
	sources, err := s.Desk.Sources(ctx)
	if err != nil {
		return "", nothing, err
	}
	of := sources[source].ID
	asked, _ := all.For(source, of)
	switch old, there := asked.Find(oprc.VerbQuarantine, pkg); {
	case there && old.Digest == back.entry.Digest: // the bad one is wanted again
		return "", func() error { return s.Desk.PutRequest(ctx, old) }, s.Desk.DropRequest(ctx, old)
	case there:
		return source, nothing, nil // what the source says is in quarantine already
	}
	r := oprc.SourceRequest{
		Verb: oprc.VerbQuarantine, Name: pkg, Source: source, Of: of, Digest: back.digest, Commit: back.commit, By: by.Name, At: s.Reconciler.Now().UTC(),
		Reason: fmt.Sprintf("undo to revision %d", back.entry.Rev),
	}
	return source, func() error { return s.Desk.DropRequest(ctx, r) }, s.Desk.PutRequest(ctx, r)
}
