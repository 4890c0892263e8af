package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

type getOptions struct {
	*env
	watch   bool
	at      string
	mask    []string
	output  view.Format
	choice  choice
	headers bool // left out
	sortBy  string
	limit   int
}

func newGet(e *env) *cobra.Command {
	o := &getOptions{env: e}
	cmd := &cobra.Command{
		Use:   "get KIND[,KIND...] [NAME...] | get KIND/NAME...",
		Short: "List objects and their state",
		Long: "Lists the objects of one kind or of several, or the named ones. \"all\" is packages, classes,\nfunctions, deployments, units and environments.\n\n" + kindHelp() +
			"\nAlso dead: the dead letters of all environments, or of the named ones." +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc get packages
  oprc get deployments --package shop --condition DOWN
  oprc get units --env edge-1 --sort-by age
  oprc get all --package shop
  oprc get deployment/shop.cart -o jsonpath={.condition}
  oprc get units -o custom-columns=ID:.key,CRM:.status.crm
  oprc get environments -l region=eu
  oprc get package shop --at 2h -o yaml`,
		ValidArgsFunction: e.completeKindAndNames,
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) == 0 {
				return usagef("get what? Name a kind, such as packages, deployments or units, or all")
			}
			if words[0] == wordDead {
				return o.dead(cmd.Context(), words[1:])
			}
			refs, err := parseRefs(words)
			if err != nil {
				return err
			}
			if err := o.choice.parse(refs); err != nil {
				return err
			}
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, refs) })
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.watch, "watch", "w", false, "go on and print what changes, until interrupted")
	fs.StringVar(&o.at, "at", "", "named packages as they were at a `time`, or so long ago")
	o.choice.bind(cmd, e)
	fs.StringVar(&o.sortBy, "sort-by", "", "order by a `column`, or by a path such as .version")
	fs.IntVar(&o.limit, "limit", 0, "print at most `N` objects of each kind")
	fs.BoolVar(&o.headers, "no-headers", false, "print tables without their header")
	bindMask(cmd, &o.mask)
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML, view.Name, view.JSONPath, view.CustomColumns, view.GoTemplate)
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

func (o *getOptions) run(ctx context.Context, s *state, refs []kindRef) error {
	one := len(refs) == 1
	if o.at != "" {
		if !one {
			return usagef("--at goes with one kind")
		}
		return o.past(ctx, s, refs[0].kindName, refs[0].names)
	}
	if o.watch {
		if !one {
			return usagef("--watch goes with one kind")
		}
		if o.output.Machine() && o.output != view.JSON && o.output != view.YAML {
			return usagef("--watch goes with -o text, wide, name, json and yaml")
		}
		return o.serveAlone(ctx, s, func(ctx context.Context) error { return o.follow(ctx, s, refs[0].kindName, refs[0].names) })
	}
	out := o.env.output(o.output)
	out.Mask, out.NoHeaders = o.mask, o.headers
	var lists [][]reconcile.Object
	found := 0
	for _, ref := range refs {
		list, err := o.list(ctx, s, out, ref)
		if err != nil {
			return err
		}
		lists = append(lists, list)
		found += len(list)
	}
	switch {
	case one && len(refs[0].names) == 1 && found == 1:
		return out.Object(lists[0][0])
	case found == 0 && (o.output == view.Text || o.output == view.Wide):
		what := "objects"
		if one {
			what = refs[0].plural
		}
		if o.choice.any() {
			what += " of that choice"
		}
		o.hint(fmt.Sprintf("There are no %s in the %s.", what, s.where))
		return nil
	case one && refs[0].kind == oprc.KindCRM && !o.output.Machine():
		if err := out.Objects(refs[0].kind, lists[0]); err != nil {
			return err
		}
		return o.queues(ctx, s, lists[0])
	case one:
		return out.Objects(refs[0].kind, lists[0])
	}
	return out.Sections(lists)
}

// queues says of the environments of CRMs which commands wait, who has some, and who
// else reads them.
func (o *getOptions) queues(ctx context.Context, s *state, crms []reconcile.Object) error {
	seen := map[string]bool{}
	for _, obj := range crms {
		c, is := obj.Doc.(*reconcile.CRMView)
		if !is || seen[c.Env] {
			continue
		}
		seen[c.Env] = true
		q, err := s.CommandQueue(ctx, c.Env)
		if errors.Is(err, oprc.ErrNotFound) { // a server does not show it to this caller
			continue
		}
		if err != nil {
			return err
		}
		if text := queueText(q); text != "" {
			o.hint("Environment " + c.Env + ": " + text)
		}
	}
	return nil
}

// queueText is "" where there is nothing to say.
func queueText(q oprc.CommandQueue) string {
	var parts []string
	if n := len(q.Waiting); n > 0 {
		parts = append(parts, fmt.Sprintf("no CRM has read the commands on %s.", counted(n, "unit")))
	}
	held := map[string]int{}
	for _, h := range q.Held {
		held[h.CRM]++
	}
	for _, crm := range slices.Sorted(maps.Keys(held)) {
		parts = append(parts, fmt.Sprintf("CRM %s has read commands on %s and not answered yet.", crm, counted(held[crm], "unit")))
	}
	if len(q.Groups) > 0 {
		parts = append(parts, fmt.Sprintf("Warning: group %s reads the commands besides the CRMs' group crm: it gets every command once more, and commands stay in Redis until it has.", strings.Join(q.Groups, ", ")))
	}
	return strings.Join(parts, " ")
}

// list returns what is to be printed of one kind.
func (o *getOptions) list(ctx context.Context, s *state, out view.Output, ref kindRef) ([]reconcile.Object, error) {
	type pager interface {
		First(ctx context.Context, kind oprc.Kind, n int) ([]reconcile.Object, int, error)
	}
	if pages, ok := s.control.(pager); ok && o.limit > 0 && len(ref.names) == 0 && !o.choice.any() && o.sortBy == "" {
		list, all, err := pages.First(ctx, ref.kind, o.limit)
		if len(list) < all && err == nil {
			o.hint(fmt.Sprintf("%d of %d are shown.", len(list), all))
		}
		return list, err
	}
	list, err := s.pick(ctx, ref.kind, ref.names)
	if err != nil {
		return nil, err
	}
	return o.arranged(out, list)
}

// arranged chooses among objects, and puts them in order.
func (o *getOptions) arranged(out view.Output, list []reconcile.Object) ([]reconcile.Object, error) {
	list = o.choice.among(out, list)
	if o.sortBy != "" {
		by, err := view.ParseSorter(o.sortBy)
		if err == nil {
			err = out.Sort(list, by)
		}
		if err != nil {
			return nil, usageError{err}
		}
	}
	if o.limit > 0 && len(list) > o.limit {
		o.hint(fmt.Sprintf("%d of %d are shown.", o.limit, len(list)))
		list = list[:o.limit]
	}
	return list, nil
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
		if past := s.deleted(ctx, kind, name); past != nil {
			return obj, past
		}
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
		seen = o.choice.among(out, seen)
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
