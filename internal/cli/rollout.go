package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

func newRollout(e *env) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "rollout",
		Short:   "Restart what runs",
		Long:    "Restarts the units of a deployment." + exits(exitOK, exitUsage),
		Example: "  oprc rollout restart shop.cart --wait",
	})
	cmd.AddCommand(newRestart(e))
	return cmd
}

func newRestart(e *env) *cobra.Command {
	o := &carryOptions{env: e}
	cmd := &cobra.Command{
		Use:   "restart DEPLOYMENT",
		Short: "Start the units of a deployment anew",
		Long: `Sends every unit of a deployment again under a new generation, so that its CRM
starts the same functions anew, without a pause where it can. The package and its
owner do not change; history shows who asked for it.` +
			exits(exitOK, exitError, exitConflict, exitNotFound, exitNotConverged, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc rollout restart shop.cart
  oprc rollout restart deployment/shop.cart --wait --timeout 2m`,
		Args:              args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: e.completeNames(oprc.KindDeployment),
		RunE: func(cmd *cobra.Command, words []string) error {
			words = unslashed(words)
			if len(words) == 2 {
				k, err := parseKind(words[0])
				if err != nil {
					return err
				}
				if k.kind != oprc.KindDeployment {
					return usagef("only deployments can be restarted, not %s", k.plural)
				}
			}
			return o.with(cmd.Context(), func(s *state) error { return restart(cmd.Context(), o, s, words[len(words)-1]) })
		},
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "plan, print, and write nothing")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until all units run again")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "longest `time` to wait with --wait")
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func restart(ctx context.Context, o *carryOptions, s *state, key string) error {
	obj, err := s.find(ctx, oprc.KindDeployment, key)
	if err != nil {
		return err
	}
	d, ok := obj.Doc.(*reconcile.DeploymentView)
	if !ok {
		return fmt.Errorf("deployment %s: the state holds a %T", key, obj.Doc)
	}
	req := reconcile.Request{Scope: plan.Scope{Origin: oprc.OriginCLI, Restart: []string{d.Key}}}
	return o.run(ctx, s, req, reconcile.Conditions{})
}
