package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

func newEnv(e *env) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "env",
		Aliases: []string{"environment", "environments"},
		Short:   "Register environments, where classes run",
		Long: `The registry of environments. An environment is served by one or more CRMs; it may
also be declared in a file ("kind: Environment") beside the packages.` + exits(exitOK, exitUsage),
	})
	cmd.AddCommand(newEnvCreate(e), newEnvList(e), newEnvDescribe(e), newEnvDelete(e), newEnvACL(e))
	return cmd
}

type envCreateOptions struct {
	*env
	spec    oprc.Environment
	cpu     string
	memory  string
	units   int
	limited bool // --units was given
	take    bool
	output  view.Format
}

func newEnvCreate(e *env) *cobra.Command {
	o := &envCreateOptions{env: e}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Register an environment, or replace what is registered",
		Long: `Registers an environment. One that exists gets exactly what the flags say, and what
that changes is printed; its field kubernetes, for which there are no flags, stays as it
is: apply a file to change it. Placement counts units; cpu and memory are for people.` +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc env create edge-1 --availability 0.95 --label zone=eu
  oprc env create cloud-1 --default --units 200`,
		Args: args(cobra.ExactArgs(1), oprc.KindEnv),
		RunE: func(cmd *cobra.Command, words []string) error {
			o.limited = cmd.Flags().Changed("units")
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words[0]) })
		},
	}
	fs := cmd.Flags()
	fs.Float64Var(&o.spec.Availability, "availability", 0, "declared availability, between 0 and 1")
	fs.BoolVar(&o.spec.Default, "default", false, "deployments that name no environment go here")
	fs.StringToStringVar(&o.spec.Labels, "label", map[string]string{}, "`key=value`; repeats")
	fs.StringSliceVar(&o.spec.Templates, "template", nil, "`name` of a template that its CRMs know; repeats")
	fs.StringVar(&o.cpu, "cpu", "", "CPU that it has, as a Kubernetes `quantity`")
	fs.StringVar(&o.memory, "memory", "", "memory that it has, as a Kubernetes `quantity`")
	fs.IntVar(&o.units, "units", 0, "most units that it can run; 0 takes nothing new and keeps what runs (default: no limit)")
	fs.BoolVar(&o.take, "take-ownership", false, "replace an environment that another origin owns, too")
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *envCreateOptions) run(ctx context.Context, s *state, name string) error {
	o.spec.Kind, o.spec.Name = oprc.KindEnvironment, name
	capacity := oprc.Capacity{CPU: o.cpu, Memory: o.memory}
	if o.limited {
		capacity.Units = &o.units
	}
	if capacity != (oprc.Capacity{}) {
		o.spec.Capacity = &capacity
	}
	cond, err := o.keepPods(ctx, s)
	if err != nil {
		return err
	}
	cond.Review = func(_ context.Context, p *plan.Plan) error {
		if o.output != view.Text || p.Summary.Update == 0 {
			return nil
		}
		return view.Output{W: o.err}.Plan(p, "") // what no flag said any more is gone
	}
	res, err := s.Apply(ctx, registration(o.spec, o.take), cond, o.actor())
	if invalid, ok := errors.AsType[*oprc.InvalidError](err); ok {
		return fmt.Errorf("environment %q: %w", name, wrongFlags(invalid))
	}
	if err != nil {
		return ownership(err)
	}
	return o.env.output(o.output).Applied(*res)
}

// keepPods takes over how pods run in an environment that exists: no flag says it, and
// leaving it out would deploy every unit there anew. It holds for the revision that was
// read.
func (o *envCreateOptions) keepPods(ctx context.Context, s *state) (reconcile.Conditions, error) {
	found, err := s.Find(ctx, oprc.KindEnv, o.spec.Name)
	if errors.Is(err, oprc.ErrNotFound) {
		return reconcile.Conditions{}, nil
	}
	if err != nil {
		return reconcile.Conditions{}, err
	}
	e, ok := found.Doc.(*reconcile.EnvironmentView)
	if !ok || e.Spec.Kubernetes == nil {
		return reconcile.Conditions{}, nil
	}
	o.spec.Kubernetes = e.Spec.Kubernetes
	return reconcile.Conditions{If: map[string][]int64{string(oprc.KindEnv) + "/" + e.Name: {e.Rev}}}, nil
}

// wrongFlags tells all that is wrong with what flags say: they have no lines.
func wrongFlags(invalid *oprc.InvalidError) error {
	var all []string
	for _, d := range invalid.Diagnostics.Errors() {
		d.Position = oprc.Position{}
		all = append(all, d.String())
	}
	return fmt.Errorf("%w: %s", oprc.ErrInvalid, strings.Join(all, "; "))
}

func newEnvList(e *env) *cobra.Command {
	o := &getOptions{env: e}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List environments with their health",
		Long: "Lists the environments: declared ones, and those that only reports or units know." +
			exits(exitOK, exitError, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: "  oprc env list\n  oprc env list -o wide",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := parseKind(string(oprc.KindEnv))
			if err != nil {
				return err
			}
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, []kindRef{{kindName: k}}) })
		},
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "go on and print what changes, until interrupted")
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML, view.Name)
	return cmd
}

func newEnvDescribe(e *env) *cobra.Command {
	o := &describeOptions{env: e}
	cmd := &cobra.Command{
		Use:   "describe NAME",
		Short: "Show one environment with its CRMs and units",
		Long: "Shows one environment: its record, health, CRMs, units and events." +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example:           "  oprc env describe edge-1",
		Args:              args(cobra.ExactArgs(1), oprc.KindEnv),
		ValidArgsFunction: e.completeNames(oprc.KindEnv),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, oprc.KindEnv, words[0]) })
		},
	}
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

type envDeleteOptions struct {
	*env
	take  bool
	carry carryOptions
}

func newEnvDelete(e *env) *cobra.Command {
	o := &envDeleteOptions{env: e, carry: carryOptions{env: e}}
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Remove environments from the registry",
		Long: "Removes environments. One that a deployment names cannot be removed." +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitHeld, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example:           "  oprc env delete edge-1\n  oprc env delete edge-1 edge-2 --yes",
		Args:              args(cobra.MinimumNArgs(1), oprc.KindEnv),
		ValidArgsFunction: e.completeNames(oprc.KindEnv),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words) })
		},
	}
	cmd.Flags().BoolVar(&o.take, "take-ownership", false, "delete environments that another origin owns, too")
	o.carry.bind(cmd)
	return cmd
}

func (o *envDeleteOptions) run(ctx context.Context, s *state, names []string) error {
	var refs []reconcile.Ref
	for _, name := range names {
		refs = append(refs, reconcile.Ref{Kind: oprc.KindEnv, Key: name})
	}
	req, err := s.deletion(ctx, refs, o.take)
	if err != nil {
		return err
	}
	err = o.carry.run(ctx, s, req, reconcile.Conditions{})
	if errors.Is(err, oprc.ErrConflict) {
		return fmt.Errorf("delete environments: %w", err)
	}
	return err
}
