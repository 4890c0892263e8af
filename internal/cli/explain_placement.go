package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

type placementOptions struct {
	*env
	without []string
	output  view.Format
}

func newExplainPlacement(e *env) *cobra.Command {
	o := &placementOptions{env: e}
	cmd := &cobra.Command{
		Use:   "placement CLASS",
		Short: "Show why a class runs where it runs, and how often",
		Long: `Shows the arithmetic of a placement: which environments were considered and how
available they are, how likely it is that enough of n replicas are up, why so many
were chosen, who owns which partition and why, and how much of the availability is
left over. --without shows what would be if environments were gone. Nothing changes.` +
			exits(exitOK, exitError, exitInvalid, exitNotFound, exitUnavailable, exitDenied, exitUsage),
		Example: `  oprc explain placement example.record
  oprc explain placement example.record --without edge-1`,
		Args:              args(cobra.ExactArgs(1), oprc.KindClass, oprc.KindDeployment),
		ValidArgsFunction: e.completeNames(oprc.KindDeployment),
		RunE:              func(cmd *cobra.Command, words []string) error { return o.run(cmd.Context(), words[0]) },
	}
	cmd.Flags().StringSliceVar(&o.without, "without", nil, "`environment` to leave out; repeats")
	_ = cmd.RegisterFlagCompletionFunc("without", e.completeNames(oprc.KindEnv))
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *placementOptions) run(ctx context.Context, cls string) error {
	return o.with(ctx, func(s *state) error {
		p, err := s.explainPlacement(ctx, cls, o.without)
		if err != nil {
			return err
		}
		if err := o.env.output(o.output).Placing(p); err != nil || !p.Failed {
			return err
		}
		return shown{p.Diagnostics.Err()}
	})
}

func (s *state) explainPlacement(ctx context.Context, cls string, without []string) (plan.Placing, error) {
	if s.reconciler != nil {
		return s.reconciler.ExplainPlacement(ctx, cls, without)
	}
	return reconcile.ExplainListed(ctx, s, cls, without)
}
