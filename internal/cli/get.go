package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

type getOptions struct {
	*env
	watch  bool
	at     string
	mask   []string
	output view.Format
}

func newGet(e *env) *cobra.Command {
	o := &getOptions{env: e}
	cmd := &cobra.Command{
		Use:   "get KIND [NAME...]",
		Short: "List objects and their state",
		Long: "Lists the objects of one kind, or the named ones.\n\n" + kindHelp() + "\nAlso dead: the dead letters of all environments, or of the named ones." +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc get packages
  oprc get deployments -o wide
  oprc get units -w
  oprc get deploy shop.cart -o json | jq -r .condition
  oprc get package shop --at 2h -o yaml`,
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: e.completeKindAndNames,
		RunE: func(cmd *cobra.Command, words []string) error {
			if words[0] == wordDead {
				return o.dead(cmd.Context(), words[1:])
			}
			k, err := parseKind(words[0])
			if err != nil {
				return err
			}
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, k, words[1:]) })
		},
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "go on and print what changes, until interrupted")
	cmd.Flags().StringVar(&o.at, "at", "", "named packages as they were at a `time`, or so long ago")
	bindMask(cmd, &o.mask)
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML, view.Name)
	return cmd
}

// dead lists dead letters, as "dead list" does.
func (o *getOptions) dead(ctx context.Context, envs []string) error {
	if o.watch {
		return usagef("dead letters cannot be watched: oprc events -w tells of what happens")
	}
	d := &deadOptions{env: o.env, limit: deadLimit, mask: o.mask, output: o.output}
	return o.with(ctx, func(s *state) error { return d.list(ctx, s, envs) })
}

func (o *getOptions) run(ctx context.Context, s *state, k kindName, names []string) error {
	if o.at != "" {
		return o.past(ctx, s, k, names)
	}
	if o.watch {
		return o.serveAlone(ctx, s, func(ctx context.Context) error { return o.follow(ctx, s, k, names) })
	}
	list, err := s.pick(ctx, k.kind, names)
	if err != nil {
		return err
	}
	out := o.env.output(o.output)
	out.Mask = o.mask
	if len(names) == 1 {
		return out.Object(list[0])
	}
	if len(list) == 0 && (o.output == view.Text || o.output == view.Wide) {
		o.hint(fmt.Sprintf("There are no %s in the %s.", k.plural, s.where))
		return nil
	}
	return out.Objects(k.kind, list)
}

// pick returns the named objects, in that order, or all of a kind.
func (s *state) pick(ctx context.Context, kind oprc.Kind, names []string) ([]reconcile.Object, error) {
	if len(names) == 0 {
		return s.List(ctx, kind)
	}
	var out []reconcile.Object
	for _, name := range names {
		obj, err := s.find(ctx, kind, name)
		if err != nil {
			return nil, err
		}
		out = append(out, obj)
	}
	return out, nil
}

// find is Find with the way out.
func (s *state) find(ctx context.Context, kind oprc.Kind, name string) (reconcile.Object, error) {
	obj, err := s.Find(ctx, kind, name)
	if errors.Is(err, oprc.ErrNotFound) {
		next := fmt.Sprintf("oprc get %s lists what the %s has.", plural(kind), s.where)
		return obj, stepError{err, s.didYouMean(ctx, name, kind) + next}
	}
	return obj, err
}

// didYouMean is a question with the name among the kinds' that is most like a wrong
// one, or "".
func (s *state) didYouMean(ctx context.Context, name string, kinds ...oprc.Kind) string {
	var known []string
	for _, kind := range kinds {
		list, err := s.List(ctx, kind)
		if err != nil {
			return "" // the error that is being explained says enough
		}
		for _, o := range list {
			known = append(known, o.Key)
		}
	}
	slices.Sort(known)
	if near := oprc.Nearest(name, known); near != "" {
		return fmt.Sprintf("Did you mean %s? ", near)
	}
	return ""
}

func plural(kind oprc.Kind) string {
	for _, k := range kindNames() {
		if k.kind == kind {
			return k.plural
		}
	}
	return string(kind)
}

const followEvery = 500 * time.Millisecond

// follow prints the objects, and then each one that changes, appears or goes. Of
// named objects, those that are not there yet are waited for.
func (o *getOptions) follow(ctx context.Context, s *state, k kindName, names []string) error {
	named := map[string]bool{}
	for _, name := range names {
		named[name] = true
	}
	out := o.env.output(o.output)
	out.Mask = o.mask
	watch := view.Watch{Output: out, Kind: k.kind}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		list, err := s.List(ctx, k.kind)
		if err != nil {
			return err
		}
		var seen []reconcile.Object
		for _, obj := range list {
			if len(named) == 0 || named[obj.Key] {
				seen = append(seen, obj)
			}
		}
		if err := watch.Update(o.now(), seen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
