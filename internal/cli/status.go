package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

type statusOptions struct {
	*env
	wait    bool
	timeout time.Duration
	output  view.Format
}

func newStatus(e *env) *cobra.Command {
	o := &statusOptions{env: e}
	cmd := &cobra.Command{
		Use:   "status PACKAGE | DEPLOYMENT",
		Short: "Show how far a package or deployment runs",
		Long: `Shows the condition of a package's deployments, or of one deployment, and the units
that do not run yet with the last error that was reported. With --wait it returns
when all units run.` +
			exits(exitOK, exitError, exitNotFound, exitNotConverged, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc status shop
  oprc status shop.cart --wait --timeout 2m
  oprc status deployment/shop.cart -o json`,
		Args:              args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: e.completePackagesAndDeployments,
		RunE: func(cmd *cobra.Command, words []string) error {
			kind, name, err := packageOrDeployment(words)
			if err != nil {
				return err
			}
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, kind, name) })
		},
	}
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until all units run")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "longest `time` to wait with --wait")
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *statusOptions) run(ctx context.Context, s *state, kind oprc.Kind, name string) error {
	found, err := s.statusOf(ctx, kind, name)
	if err != nil {
		return err
	}
	var waited error
	if o.wait {
		want := map[string]goal{}
		for _, u := range found.Units {
			want[u.Unit.ID] = goal{generation: u.Generation}
		}
		waited = o.serveAlone(ctx, s, func(ctx context.Context) error { return o.settle(ctx, s, want, o.timeout) })
		if waited != nil && !errors.Is(waited, errNotConverged) {
			return waited
		}
		if found, err = s.statusOf(ctx, kind, name); err != nil {
			return err
		}
	}
	return errors.Join(o.env.output(o.output).Status(found), waited)
}

// statusOf finds a package or deployment, with its deployments and units.
func (s *state) statusOf(ctx context.Context, kind oprc.Kind, name string) (view.Status, error) {
	obj, err := s.packageOrDeployment(ctx, kind, name)
	if err != nil {
		return view.Status{}, err
	}
	out := view.Status{Object: obj}
	deployments, err := s.List(ctx, oprc.KindDeployment)
	if err != nil {
		return out, err
	}
	var classes []string
	for _, other := range deployments {
		d, ok := other.Doc.(*reconcile.DeploymentView)
		if !ok || obj.Kind == oprc.KindPackage && d.Pkg != obj.Key || obj.Kind == oprc.KindDeployment && d.Key != obj.Key {
			continue
		}
		out.Deployments = append(out.Deployments, other)
		classes = append(classes, d.Key)
	}
	out.Units, err = s.unitsOfClasses(ctx, classes)
	return out, err
}

// packageOrDeployment finds what a name means; without a kind packages come first.
func (s *state) packageOrDeployment(ctx context.Context, kind oprc.Kind, name string) (reconcile.Object, error) {
	if kind != "" {
		return s.find(ctx, kind, name)
	}
	obj, err := s.Find(ctx, oprc.KindPackage, name)
	if !errors.Is(err, oprc.ErrNotFound) {
		return obj, err
	}
	obj, err = s.Find(ctx, oprc.KindDeployment, name)
	if !errors.Is(err, oprc.ErrNotFound) {
		return obj, err
	}
	if past := s.deleted(ctx, "", name); past != nil {
		return obj, past
	}
	return obj, stepError{
		fmt.Errorf("package or deployment %q: %w", name, oprc.ErrNotFound),
		s.didYouMean(ctx, name, oprc.KindPackage, oprc.KindDeployment) + fmt.Sprintf("oprc get packages,deployments lists what the %s has.", s.where),
	}
}

// packageOrDeployment reads NAME, KIND NAME or KIND/NAME.
func packageOrDeployment(words []string) (kind oprc.Kind, name string, err error) {
	words = unslashed(words)
	if len(words) == 1 {
		return "", words[0], nil
	}
	k, err := parseKind(words[0])
	if err != nil {
		return "", "", err
	}
	if k.kind != oprc.KindPackage && k.kind != oprc.KindDeployment {
		return "", "", usagef("it is for packages and deployments, not for %s: oprc describe %s %s", k.plural, k.kind, quote(words[1]))
	}
	return k.kind, words[1], nil
}

// completePackagesAndDeployments offers the names of both.
func (e *env) completePackagesAndDeployments(cmd *cobra.Command, given []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	packages, _ := e.completeNames(oprc.KindPackage)(cmd, given, prefix)
	deployments, directive := e.completeNames(oprc.KindDeployment)(cmd, given, prefix)
	return append(packages, deployments...), directive
}
