package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

type describeOptions struct {
	*env
	mask   []string
	output view.Format
}

func newDescribe(e *env) *cobra.Command {
	o := &describeOptions{env: e}
	cmd := &cobra.Command{
		Use:   "describe KIND NAME | describe KIND/NAME",
		Short: "Show one object with its units, errors and events",
		Long: "Shows everything that is known about one object.\n\n" + kindHelp() +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc describe deployment shop.cart
  oprc describe unit shop.cart/0/0@local
  oprc describe env local`,
		ValidArgsFunction: e.completeKindAndNames,
		RunE: func(cmd *cobra.Command, words []string) error {
			words = unslashed(words)
			if len(words) != 2 {
				return usagef("describe what? Name a kind and one object: oprc describe deployment NAME")
			}
			k, err := parseKind(words[0])
			if err != nil {
				return err
			}
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, k.kind, words[1]) })
		},
	}
	bindMask(cmd, &o.mask)
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *describeOptions) run(ctx context.Context, s *state, kind oprc.Kind, name string) error {
	obj, err := s.find(ctx, kind, name)
	if err != nil {
		return err
	}
	units, err := s.unitsOf(ctx, obj)
	if err != nil {
		return err
	}
	events, err := s.Events(ctx, "", 1000)
	if err != nil {
		return err
	}
	out := o.env.output(o.output)
	out.Mask = o.mask
	return out.Describe(view.Description{Object: obj, Units: units, Events: about(events, obj, units)})
}

// unitsOf returns the units that belong to an object.
func (s *state) unitsOf(ctx context.Context, obj reconcile.Object) ([]reconcile.Object, error) {
	belongs := func(oprc.DeploymentUnit) bool { return false }
	switch d := obj.Doc.(type) {
	case *reconcile.DeploymentView:
		belongs = func(u oprc.DeploymentUnit) bool { return u.ClsKey == d.Key }
	case *reconcile.ClassView:
		belongs = func(u oprc.DeploymentUnit) bool { return u.ClsKey == d.Key }
	case *oprc.ClassRuntime:
		belongs = func(u oprc.DeploymentUnit) bool { return u.ClsKey == d.ClsKey && u.TargetEnv == d.Env }
	case *reconcile.EnvironmentView:
		belongs = func(u oprc.DeploymentUnit) bool { return u.TargetEnv == d.Name }
	case *reconcile.FunctionView:
		belongs = func(u oprc.DeploymentUnit) bool {
			return slices.ContainsFunc(u.Functions, func(f oprc.UnitFunction) bool { return f.Key == d.Key })
		}
	case *reconcile.PackageView:
		keys := map[string]bool{}
		for _, dep := range d.Deployments {
			keys[dep.Key] = true
		}
		belongs = func(u oprc.DeploymentUnit) bool { return keys[u.ClsKey] }
	default:
		return nil, nil
	}
	all, err := s.List(ctx, oprc.KindUnit)
	return slices.DeleteFunc(all, func(o reconcile.Object) bool {
		u, ok := o.Doc.(*reconcile.UnitView)
		return !ok || !belongs(u.Unit)
	}), err
}

// about returns the last events about an object and its units.
func about(events []oprc.Event, obj reconcile.Object, units []reconcile.Object) []oprc.Event {
	const last = 20
	type ref struct {
		kind oprc.Kind
		key  string
	}
	ours := map[ref]bool{{obj.Kind, obj.Key}: true}
	for _, u := range units {
		ours[ref{u.Kind, u.Key}] = true
	}
	var out []oprc.Event
	for _, e := range events {
		if ours[ref{e.Kind, e.Key}] {
			out = append(out, e)
		}
	}
	return out[max(0, len(out)-last):]
}

type treeOptions struct {
	*env
	output view.Format
}

func newTree(e *env) *cobra.Command {
	o := &treeOptions{env: e}
	cmd := &cobra.Command{
		Use:   "tree [PACKAGE...]",
		Short: "Show packages with their classes, deployments and units",
		Long: "Draws packages with what belongs to them, down to each unit and its condition." +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc tree
  oprc tree shop`,
		Args:              args(cobra.ArbitraryArgs, oprc.KindPackage),
		ValidArgsFunction: e.completeNames(oprc.KindPackage),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words) })
		},
	}
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *treeOptions) run(ctx context.Context, s *state, names []string) error {
	var w view.World
	var err error
	if w.Packages, err = s.pick(ctx, oprc.KindPackage, names); err != nil {
		return err
	}
	if w.Classes, err = s.List(ctx, oprc.KindClass); err != nil {
		return err
	}
	if w.Deployments, err = s.List(ctx, oprc.KindDeployment); err != nil {
		return err
	}
	if w.Units, err = s.List(ctx, oprc.KindUnit); err != nil {
		return err
	}
	if len(w.Packages) == 0 && o.output == view.Text {
		o.hint("There are no packages in the " + s.where + ".")
	}
	return o.env.output(o.output).Tree(w)
}
