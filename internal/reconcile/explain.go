package reconcile

import (
	"context"
	"fmt"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// ExplainPlacement shows where live state has a class run, and why: or would have
// it run without some environments. It changes nothing.
func (r *Reconciler) ExplainPlacement(ctx context.Context, cls string, without []string) (plan.Placing, error) {
	live, err := r.Ledger.Live(ctx)
	if err != nil {
		return plan.Placing{}, fmt.Errorf("read live state: %w", err)
	}
	return plan.ExplainPlacement(live, cls, without)
}

// A Lister lists objects: a Reconciler, or something that asks one far away.
type Lister interface {
	List(ctx context.Context, kind oprc.Kind) ([]Object, error)
}

// ExplainListed is [Reconciler.ExplainPlacement] for live state that can only be listed.
func ExplainListed(ctx context.Context, l Lister, cls string, without []string) (plan.Placing, error) {
	live := plan.Live{
		Packages: map[string]oprc.PackageRecord{}, Environments: map[string]oprc.EnvironmentState{}, Deployments: map[string]oprc.Deployment{},
	}
	for _, kind := range []oprc.Kind{oprc.KindPackage, oprc.KindEnv, oprc.KindDeployment} {
		objects, err := l.List(ctx, kind)
		if err != nil {
			return plan.Placing{}, err
		}
		for _, o := range objects {
			switch doc := o.Doc.(type) {
			case *PackageView:
				live.Packages[o.Key] = doc.PackageRecord
			case *EnvironmentView:
				live.Environments[o.Key] = doc.EnvironmentState
			case *DeploymentView:
				live.Deployments[o.Key] = doc.Deployment
			}
		}
	}
	return plan.ExplainPlacement(live, cls, without)
}
