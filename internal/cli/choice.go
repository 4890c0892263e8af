package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

// A choice says which objects of a listing are wanted.
type choice struct {
	pkg, env, condition, selector string

	labels labels.Selector
}

func (c *choice) bind(cmd *cobra.Command, e *env) {
	fs := cmd.Flags()
	fs.StringVar(&c.pkg, "package", "", "only what belongs to the package of that `name`")
	fs.StringVar(&c.env, "env", "", "only what is in the environment of that `name`")
	fs.StringVar(&c.condition, "condition", "", "only what is in that `condition`, such as RUNNING or DOWN")
	fs.StringVarP(&c.selector, "selector", "l", "", "only environments with these `labels`, such as region=eu,tier!=test")
	_ = cmd.RegisterFlagCompletionFunc("package", e.completeNames(oprc.KindPackage))
	_ = cmd.RegisterFlagCompletionFunc("env", e.completeNames(oprc.KindEnv))
	completeValues(cmd, "condition", string(oprc.Pending), string(oprc.Deploying), string(oprc.Running), string(oprc.Down), string(oprc.Deleted))
}

func (c *choice) any() bool {
	return c.pkg != "" || c.env != "" || c.condition != "" || c.selector != ""
}

// parse refuses what means nothing for the kinds that are listed.
func (c *choice) parse(refs []kindRef) error {
	several := len(refs) > 1 // each kind takes what means something for it
	for _, ref := range refs {
		switch {
		case several:
		case c.pkg != "" && !slices.Contains([]oprc.Kind{oprc.KindPackage, oprc.KindClass, oprc.KindFunction, oprc.KindDeployment, oprc.KindUnit, oprc.KindRuntime}, ref.kind):
			return usagef("--package means nothing for %s", ref.plural)
		case c.env != "" && !slices.Contains([]oprc.Kind{oprc.KindDeployment, oprc.KindUnit, oprc.KindRuntime, oprc.KindCRM, oprc.KindEnv}, ref.kind):
			return usagef("--env means nothing for %s", ref.plural)
		case c.selector != "" && ref.kind != oprc.KindEnv:
			return usagef("--selector goes with environments: %s have no labels", ref.plural)
		}
	}
	if c.selector == "" {
		return nil
	}
	var err error
	if c.labels, err = labels.Parse(c.selector); err != nil {
		return usagef("--selector %q: %w", c.selector, err)
	}
	return nil
}

// among returns the objects that were chosen, in their order.
func (c *choice) among(out view.Output, list []reconcile.Object) []reconcile.Object {
	if !c.any() {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(obj reconcile.Object) bool { return !c.wants(out, obj) })
}

func (c *choice) wants(out view.Output, obj reconcile.Object) bool {
	if c.pkg != "" && obj.Key != c.pkg && !strings.HasPrefix(obj.Key, c.pkg+".") && obj.Kind != oprc.KindEnv {
		return false
	}
	if c.env != "" && !slices.Contains(environmentsOf(obj), c.env) {
		return false
	}
	if c.condition != "" && !strings.EqualFold(conditionOf(out, obj), c.condition) {
		return false
	}
	if c.labels == nil {
		return true
	}
	e, ok := obj.Doc.(*reconcile.EnvironmentView)
	return ok && c.labels.Matches(labels.Set(e.Spec.Labels))
}

// environmentsOf names the environments that an object is in.
func environmentsOf(obj reconcile.Object) []string {
	switch d := obj.Doc.(type) {
	case *reconcile.DeploymentView:
		envs := slices.Clone(d.TargetEnvs)
		for _, m := range d.Members {
			envs = append(envs, m.Env)
		}
		return envs
	case *reconcile.UnitView:
		return []string{d.Unit.TargetEnv}
	case *oprc.ClassRuntime:
		return []string{d.Env}
	case *reconcile.CRMView:
		return []string{d.Env}
	case *reconcile.EnvironmentView:
		return []string{d.Name}
	}
	return nil
}

// conditionOf is what the listing shows of an object's state.
func conditionOf(out view.Output, obj reconcile.Object) string {
	for _, column := range []string{"CONDITION", "STATUS", "HEALTH", "ALIVE", "READY"} {
		if cell, ok := out.Cell(obj, column); ok {
			return cell
		}
	}
	return ""
}
