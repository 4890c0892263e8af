package reconcile

import (
	"context"
	"fmt"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A Derivation is a request that was read, and can be decided about on live state as often
// as that moves.
type Derivation struct {
	Decide func(ctx context.Context, live plan.Live) (*plan.Plan, error)
	Docs   []oprc.Document // that it speaks of
	Part   *plan.Part      // what the decision is about; nil: everything bears on it

	// Of a source's revision:

	// Held says why the source's limits hold a plan; "": they do not.
	Held func(*plan.Plan) string
	// By is who acts in the source's name where somebody carries the revision out.
	By func(Actor) Actor
	// Committed is called once the catalogue is written, before commands are sent: whoever
	// follows the source learns that it moved.
	Committed func(context.Context) error
}

// derivation reads what the request names.
func (r *Reconciler) derivation(ctx context.Context, req Request) (*Derivation, error) {
	if req.Source != nil {
		if len(req.Files) > 0 {
			return nil, fmt.Errorf("%w request: files or a revision of a source, not both", oprc.ErrInvalid)
		}
		if r.Read == nil {
			return nil, fmt.Errorf("source %s: no sources are known here: %w", req.Source.Name, oprc.ErrNotFound)
		}
		return r.Read(ctx, *req.Source)
	}
	docs, found := r.Load(req.Files, req.Strict, req.Package)
	return &Derivation{
		Docs: docs, Part: req.part(docs, found),
		Decide: func(ctx context.Context, live plan.Live) (*plan.Plan, error) {
			p, _, err := r.PlanOn(ctx, req, docs, found, live)
			return p, err
		},
	}, nil
}

// part is what a decision about the request is about; nil where that is everything.
func (req Request) part(docs []oprc.Document, found oprc.Diagnostics) *plan.Part {
	if req.KeepGoing || len(req.Quarantine) > 0 || len(req.Contested) > 0 || len(req.Settled) > 0 {
		return nil
	}
	part, partly := plan.PartOf(req.Scope, docs, found)
	if !partly {
		return nil
	}
	return &part
}

// allowed refuses to carry out what a source's own limits hold and nobody has approved, and
// a revision of which no plan was seen.
func (d *Derivation) allowed(p *plan.Plan, cond Conditions) error {
	if d.Held == nil {
		return nil
	}
	if cond.PlanID == "" {
		return fmt.Errorf("%w request: a revision of a source is applied by the id of its plan", oprc.ErrInvalid)
	}
	if reason := d.Held(p); reason != "" && !cond.Approved {
		return fmt.Errorf("plan %s: %s: %w", p.ID, reason, oprc.ErrHeld)
	}
	return nil
}
