package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

type deleteOptions struct {
	*env
	files []string
	pkg   string
	take  bool
	carry carryOptions
}

func newDelete(e *env) *cobra.Command {
	o := &deleteOptions{env: e, carry: carryOptions{env: e}}
	cmd := &cobra.Command{
		Use:   "delete -f PATH | delete package NAME",
		Short: "Undeploy and remove packages",
		Long: `Plans the deletion of packages (and environments), asks, and carries it out: their
units are undeployed, their records removed. A package that others require stays.` +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitHeld, exitNotFound, exitNotConverged, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc delete package shop
  oprc delete -f shop.yaml --yes --wait
  oprc delete environment edge-1`,
		ValidArgsFunction: e.completeKindAndNames,
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.run(cmd.Context(), words)
		},
	}
	bindFiles(cmd, &o.files)
	cmd.Flags().StringVar(&o.pkg, "pkg", "", "`name` for a package that has none")
	cmd.Flags().BoolVar(&o.take, "take-ownership", false, "delete packages that another origin owns, too")
	bindMask(cmd, &o.carry.mask)
	o.carry.bind(cmd)
	o.carry.policy.bind(cmd)
	return cmd
}

func (o *deleteOptions) run(ctx context.Context, words []string) error {
	if err := o.carry.policy.load(); err != nil {
		return err
	}
	refs, err := o.named(words)
	if err != nil {
		return err
	}
	if len(o.files) > 0 {
		more, err := o.inFiles()
		if err != nil {
			return err
		}
		refs = append(refs, more...)
	}
	if len(refs) == 0 {
		return usagef("nothing to delete: name packages, or files with -f")
	}
	return o.with(ctx, func(s *state) error {
		req, err := s.deletion(ctx, refs, o.take)
		if err != nil {
			return err
		}
		return o.carry.run(ctx, s, req, reconcile.Conditions{})
	})
}

// deletion asks for the deletion of packages and environments that must exist.
func (s *state) deletion(ctx context.Context, refs []reconcile.Ref, take bool) (reconcile.Request, error) {
	scope := plan.Scope{Origin: oprc.OriginCLI, TakeOwnership: take}
	for _, ref := range refs {
		if _, err := s.find(ctx, ref.Kind, ref.Key); err != nil {
			return reconcile.Request{}, err
		}
		name := ref.Key
		if ref.Kind == oprc.KindEnv {
			name = string(oprc.KindEnv) + "/" + name
		}
		scope.Delete = append(scope.Delete, name)
	}
	slices.Sort(scope.Delete)
	scope.Delete = slices.Compact(scope.Delete)
	return reconcile.Request{Scope: scope}, nil
}

// named reads `KIND NAME…`.
func (o *deleteOptions) named(words []string) ([]reconcile.Ref, error) {
	if len(words) == 0 {
		return nil, nil
	}
	if kind, _, ok := strings.Cut(words[0], "/"); ok {
		if _, err := parseKind(kind); err == nil {
			return slashed(words)
		}
	}
	k, err := parseKind(words[0])
	switch {
	case err != nil && looksLikeFiles(words):
		return nil, usagef("delete takes files by -f: oprc delete -f %s", quotedWords(words, " -f "))
	case err != nil:
		return nil, stepError{err, "To delete a package: oprc delete package " + quote(words[0])}
	case k.kind != oprc.KindPackage && k.kind != oprc.KindEnv:
		return nil, usagef("%s cannot be deleted one by one: delete their package, or change it and apply", k.plural)
	case len(words) == 1:
		return nil, usagef("which %s? Name at least one", k.kind)
	}
	var out []reconcile.Ref
	for _, name := range words[1:] {
		out = append(out, reconcile.Ref{Kind: k.kind, Key: name})
	}
	return out, nil
}

// slashed reads KIND/NAME….
func slashed(words []string) ([]reconcile.Ref, error) {
	refs, err := parseSlashed(words)
	if err != nil {
		return nil, err
	}
	var out []reconcile.Ref
	for _, ref := range refs {
		if ref.kind != oprc.KindPackage && ref.kind != oprc.KindEnv {
			return nil, usagef("%s cannot be deleted one by one: delete their package, or change it and apply", ref.plural)
		}
		for _, name := range ref.names {
			out = append(out, reconcile.Ref{Kind: ref.kind, Key: name})
		}
	}
	return out, nil
}

// inFiles names the packages and environments that the files define.
func (o *deleteOptions) inFiles() ([]reconcile.Ref, error) {
	files, err := o.packageFiles(o.files)
	if err != nil {
		return nil, err
	}
	docs, found := schema.Load(files, false, o.pkg)
	var out []reconcile.Ref
	for _, d := range docs {
		switch {
		case d.Name() == "":
		case d.Package != nil:
			out = append(out, reconcile.Ref{Kind: oprc.KindPackage, Key: d.Name()})
		default:
			out = append(out, reconcile.Ref{Kind: oprc.KindEnv, Key: d.Name()})
		}
	}
	if len(out) == 0 {
		if err := found.Err(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the files define no package: %w", oprc.ErrNotFound)
	}
	return out, nil
}
