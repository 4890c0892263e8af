package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/resolve"
	"github.com/oaas-platform/oprc/internal/view"
)

type blameOptions struct {
	*env
	mask   []string
	output view.Format
}

func newBlame(e *env) *cobra.Command {
	o := &blameOptions{env: e}
	cmd := &cobra.Command{
		Use:   "blame (KIND NAME | KIND/NAME) [FIELD]",
		Short: "Show which commit, author and line set each field",
		Long: `Shows for each field of a package, class, function or deployment the write that gave
it its value: commit, author, and the line of the file as it was in that commit. A
value that was changed and changed back was set by the commit that brought it back.
Members that a class inherits are shown with the class that declares them.

FIELD is a path in the object, with dots or slashes: provision.knative.image. Over
--server secrets are masked, and changes from one secret to another do not show.` +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc blame function shop.add
  oprc blame class shop.cart functions
  oprc blame package shop -o json`,
		Args:              args(cobra.RangeArgs(1, 3)),
		ValidArgsFunction: e.completeKindAndNames,
		RunE: func(cmd *cobra.Command, words []string) error {
			words = append(unslashed(words[:1]), words[1:]...)
			if len(words) < 2 {
				return usagef("blame what? Name a kind and one object: oprc blame %s NAME", quote(words[0]))
			}
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words) })
		},
	}
	bindMask(cmd, &o.mask)
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *blameOptions) run(ctx context.Context, s *state, words []string) error {
	k, err := parseKind(words[0])
	if err != nil {
		return err
	}
	found, err := s.find(ctx, k.kind, words[1])
	if err != nil {
		return err
	}
	fields, err := s.blame(ctx, found)
	if err != nil {
		return err
	}
	if len(words) == 3 {
		below := "/" + strings.Trim(strings.ReplaceAll(words[2], ".", "/"), "/")
		if strings.HasPrefix(words[2], "/") { // a pointer: dots belong to names
			below = strings.TrimRight(words[2], "/")
		}
		fields = slices.DeleteFunc(fields, func(f reconcile.Blamed) bool {
			return f.Path != below && !strings.HasPrefix(f.Path, below+"/")
		})
		if len(fields) == 0 {
			return fmt.Errorf("field %s of %s %s: %w", words[2], k.kind, words[1], oprc.ErrNotFound)
		}
	}
	out := o.env.output(o.output)
	out.Mask = o.mask
	return out.Blame(k.kind, words[1], fields)
}

// blame says who set the fields of an object.
func (s *state) blame(ctx context.Context, found reconcile.Object) ([]reconcile.Blamed, error) {
	switch doc := found.Doc.(type) {
	case *reconcile.PackageView:
		return s.blameIn(ctx, doc.Name, func(oprc.Package) string { return "" })
	case *reconcile.FunctionView:
		return s.blameIn(ctx, doc.Pkg, func(oprc.Package) string { return "/functions/" + doc.Name })
	case *reconcile.DeploymentView:
		return s.blameIn(ctx, doc.Pkg, func(p oprc.Package) string {
			for _, d := range p.Deployments {
				if resolve.DeploymentKey(p, d.Key) == found.Key {
					return "/deployments/" + d.Key
				}
			}
			return "/deployments/" + found.Key
		})
	case *reconcile.ClassView:
		return s.blameClass(ctx, doc.Class)
	}
	return nil, usagef("%s have no history of their own: blame takes packages, classes, functions and deployments", found.Kind)
}

func (s *state) blameIn(ctx context.Context, pkg string, below func(oprc.Package) string) ([]reconcile.Blamed, error) {
	history, err := s.writes(ctx, pkg)
	if err != nil {
		return nil, err
	}
	if len(history) == 0 || history[0].Spec == nil {
		return nil, fmt.Errorf("history of package %s: %w", pkg, oprc.ErrNotFound)
	}
	return reconcile.Blame(history, below(*history[0].Spec)), nil
}

// blameClass adds the members that the class inherits: of each name the nearest.
func (s *state) blameClass(ctx context.Context, class oprc.Class) ([]reconcile.Blamed, error) {
	in := func(c oprc.Class) ([]reconcile.Blamed, error) {
		return s.blameIn(ctx, c.Pkg, func(oprc.Package) string { return "/classes/" + c.Name })
	}
	out, err := in(class)
	if err != nil || class.Resolved == nil {
		return out, err
	}
	declared := map[string]bool{}
	for _, f := range out {
		declared[memberOf(f.Path)] = true
	}
	for _, key := range class.Resolved.Ancestors {
		found, err := s.Find(ctx, oprc.KindClass, key)
		if err != nil {
			return out, err
		}
		view, ok := found.Doc.(*reconcile.ClassView)
		if !ok {
			continue
		}
		fields, err := in(view.Class)
		if err != nil {
			return out, err
		}
		new := map[string]bool{}
		for _, f := range fields {
			if m := memberOf(f.Path); m != "" && !declared[m] {
				f.From, new[m] = "class "+key, true
				out = append(out, f)
			}
		}
		for m := range new {
			declared[m] = true
		}
	}
	return out, nil
}

// memberOf is the inheritable member of a class that a path lies in, or "".
func memberOf(path string) string {
	for _, list := range []string{"/functions/", "/stateSpec/keySpecs/", "/refSpec/"} {
		if rest, ok := strings.CutPrefix(path, list); ok {
			name, _, _ := strings.Cut(rest, "/")
			return list + name
		}
	}
	return ""
}
