package reconcile

import (
	"context"
	"fmt"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Snapshot takes live state down, without secrets.
func (r *Reconciler) Snapshot(ctx context.Context, hide plan.Redaction) (*plan.Snapshot, error) {
	live, err := r.Ledger.Live(ctx)
	if err != nil {
		return nil, fmt.Errorf("read live state: %w", err)
	}
	return plan.NewSnapshot(live, hide, r.Now())
}

// PlanAgainst is [Reconciler.Plan] with a snapshot as live state: nothing is
// connected to. What is desired is redacted like the snapshot.
func (r *Reconciler) PlanAgainst(ctx context.Context, s *plan.Snapshot, req Request) (*plan.Plan, error) {
	offline := *r
	offline.Ledger, offline.Followed = taken{live: s.Live}, nil
	var failed error
	offline.Load = func(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics) {
		docs, found := r.Load(files, strict, pkg)
		docs, failed = s.Redaction.Documents(docs)
		return docs, found
	}
	p, err := offline.Plan(ctx, req)
	if failed != nil {
		return nil, failed
	}
	return p, err
}

// taken is a ledger that can only be read.
type taken struct {
	Ledger
	live plan.Live
}

func (t taken) Live(context.Context) (plan.Live, error) { return t.live, nil }
