package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

type undoOptions struct {
	*env
	to    int64
	carry carryOptions
}

func newUndo(e *env) *cobra.Command {
	o := &undoOptions{env: e, carry: carryOptions{env: e}}
	cmd := &cobra.Command{
		Use:   "undo PACKAGE",
		Short: "Apply an earlier revision of a package again",
		Long: `Applies an earlier spec of a package again: the last one that differs, or that of a
revision. A package that was deleted is created again.

If a Git source owns the package, the commit's version of it is quarantined: the daemon
goes on with all other packages, and does not change this one until a new revision
brings another version of it.` +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitHeld, exitNotFound, exitNotConverged, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example:           "  oprc undo shop\n  oprc history shop\n  oprc undo shop --to 3 --wait",
		Args:              args(cobra.ExactArgs(1), oprc.KindPackage),
		ValidArgsFunction: e.completeNames(oprc.KindPackage),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words[0]) })
		},
	}
	cmd.Flags().Int64Var(&o.to, "to", 0, "`revision` of the package to go back to, as oprc history shows it")
	bindMask(cmd, &o.carry.mask)
	o.carry.bind(cmd)
	return cmd
}

func (o *undoOptions) run(ctx context.Context, s *state, pkg string) error {
	p, err := s.PlanUndo(ctx, pkg, o.to)
	if errors.Is(err, oprc.ErrNotFound) {
		return stepError{err, o.command("history", quote(pkg)) + " shows what there is."}
	}
	if err != nil {
		return err
	}
	out := o.env.output(o.carry.output)
	if o.carry.dryRun {
		out.Mask = o.carry.mask
		return out.Plan(p, "")
	}
	if err := o.carry.consent(ctx, p); err != nil {
		return err
	}
	res, err := s.Undo(ctx, pkg, o.to, p.ID, o.actor())
	if err != nil {
		return err
	}
	if err := s.save(ctx); err != nil {
		return err
	}
	if err := out.Applied(res.Result); err != nil {
		return err
	}
	if res.Source != "" {
		o.hint(fmt.Sprintf("Source %s leaves package %s alone until a revision brings another version of it.", res.Source, pkg))
	}
	o.carry.tellWaiting(s, &res.Result)
	if !o.carry.wait {
		return nil
	}
	return o.serveAlone(ctx, s, func(ctx context.Context) error { return o.carry.converge(ctx, s, p, []string{pkg}) })
}

// writes returns the writes of a package's record, newest first.
func (s *state) writes(ctx context.Context, pkg string) ([]oprc.HistoryEntry, error) {
	entries, err := s.History(ctx, pkg, wholeHistory)
	return oprc.Writes(entries), err
}

type diffOptions struct {
	*env
	from, to int64
	mask     []string
	output   view.Format
}

func newDiff(e *env) *cobra.Command {
	o := &diffOptions{env: e}
	cmd := &cobra.Command{
		Use:   "diff PACKAGE",
		Short: "Show how a package changed between two revisions",
		Long: `Compares two specs in a package's history, as YAML. Without --to it is the newest;
without --from the one before it. Secrets are masked: a change of one does not show.` +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example:           "  oprc diff shop\n  oprc diff shop --from 3 --to 5",
		Args:              args(cobra.ExactArgs(1), oprc.KindPackage),
		ValidArgsFunction: e.completeNames(oprc.KindPackage),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words[0]) })
		},
	}
	cmd.Flags().Int64Var(&o.from, "from", 0, "`revision` before")
	cmd.Flags().Int64Var(&o.to, "to", 0, "`revision` after")
	bindMask(cmd, &o.mask)
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *diffOptions) run(ctx context.Context, s *state, pkg string) error {
	entries, err := s.writes(ctx, pkg)
	if err != nil {
		return err
	}
	to, err := o.entry(entries, pkg, o.to, 0)
	if err != nil {
		return err
	}
	from, err := o.entry(entries, pkg, o.from, to+1)
	if err != nil {
		return err
	}
	out := o.env.output(o.output)
	out.Mask = o.mask
	return out.Diff(pkg, entries[from], entries[to])
}

// entry is the index of a revision; of otherwise without one.
func (o *diffOptions) entry(entries []oprc.HistoryEntry, pkg string, rev int64, otherwise int) (int, error) {
	i := otherwise
	if rev != 0 {
		i = slices.IndexFunc(entries, func(e oprc.HistoryEntry) bool { return e.Rev == rev })
	}
	if i < 0 || i >= len(entries) {
		what := "an earlier revision"
		if rev != 0 {
			what = fmt.Sprintf("revision %d", rev)
		}
		return 0, stepError{fmt.Errorf("package %q: %s: %w in its history", pkg, what, oprc.ErrNotFound), o.command("history", quote(pkg)) + " shows what there is."}
	}
	return i, nil
}
