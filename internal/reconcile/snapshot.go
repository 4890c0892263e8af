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
	return r.Against(s).Plan(ctx, req)
}

// Against is a reconciler that plans on a snapshot, and can do nothing else.
func (r *Reconciler) Against(s *plan.Snapshot) *Reconciler {
	offline := *r
	offline.Ledger, offline.Part, offline.Followed = taken{live: s.Live}, nil, nil
	if s.Sources != nil {
		offline.Followed = func(context.Context) (map[string]bool, error) {
			followed := make(map[string]bool, len(s.Sources))
			for name := range s.Sources {
				followed[name] = true
			}
			return followed, nil
		}
	}
	offline.Load = func(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics) {
		docs, found := r.Load(files, strict, pkg)
		redacted, err := s.Redaction.Documents(docs)
		if err != nil {
			found = append(found, oprc.Diagnostic{Code: oprc.CodeSyntax, Severity: oprc.SeverityError, Message: err.Error()})
		}
		return redacted, found
	}
	return &offline
}

// taken is a ledger that can only be read.
type taken struct {
	Ledger
	live plan.Live
}

func (t taken) Live(context.Context) (plan.Live, error) { return t.live, nil }
