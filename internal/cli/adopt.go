package cli

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

type adoptOptions struct {
	steerOptions
	source string
}

func newAdopt(e *env) *cobra.Command {
	o := &adoptOptions{steerOptions: steerOptions{env: e}}
	cmd := &cobra.Command{
		Use:   "adopt PACKAGE --by SOURCE",
		Short: "Make a source the owner of a package",
		Long: `Makes a Git source the owner of a package that its files define, and that was applied
by hand, through the API, or by another source. Where the source's file is the
same as what was applied, only the owner changes, and no unit is touched; else the
file's version is applied. Waits until the daemon has done it, whatever else is wrong
with the source.` +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitHeld, exitNotFound, exitNotConverged, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: "  oprc adopt shop --by main",
		Args:    args(cobra.ExactArgs(1), oprc.KindPackage),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words[0]) })
		},
	}
	cmd.ValidArgsFunction = o.completeNames(oprc.KindPackage)
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML)
	o.bindTimeout(cmd)
	cmd.Flags().StringVar(&o.source, "by", "", "`source` that is to own the package")
	_ = cmd.MarkFlagRequired("by")
	return cmd
}

func (o *adoptOptions) run(ctx context.Context, s *state, pkg string) error {
	ticket, err := s.Adopt(ctx, pkg, o.source, o.actor())
	if err != nil {
		return err
	}
	verdict := o.conclude(ctx, s, o.source, ticket)
	obj, err := s.Find(ctx, oprc.KindPackage, pkg)
	if err != nil {
		return cmp.Or(verdict, err)
	}
	if p, is := obj.Doc.(*reconcile.PackageView); is && p.Origin == "git:"+o.source {
		return nil
	}
	return verdict
}
