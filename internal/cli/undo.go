package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

// wholeHistory is more entries than a package's history keeps.
const wholeHistory = 2000

type undoOptions struct {
	*env
	to    int64
	carry carryOptions
}

func newUndo(e *env) *cobra.Command {
	o := &undoOptions{env: e, carry: carryOptions{env: e}}
	cmd := &cobra.Command{
		Use:   "undo PACKAGE",
		Short: "Put a package back to what it was",
		Long: `Applies an earlier spec of a package again: the last one that differs, or that of a
revision. A package that is gone comes back.

If a Git source owns the package, the commit's version of it is put in quarantine:
the daemon goes on with everything else, and leaves this package as it was put
back, until a revision brings another version of it.` +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitHeld, exitNotFound, exitNotConverged, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example:           "  oprc undo shop\n  oprc history shop\n  oprc undo shop --to 3 --wait",
		Args:              args(cobra.ExactArgs(1)),
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
	back, err := o.target(ctx, s, pkg)
	if err != nil {
		return err
	}
	p, err := s.Plan(ctx, reconcile.Request{
		Files: []oprc.File{{Path: fmt.Sprintf("%s@%d.json", pkg, back.entry.Rev), Data: oprc.MustCanonical(back.entry.Spec)}},
		Scope: plan.Scope{Origin: back.origin},
	})
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
	forget, err := o.quarantine(ctx, s, pkg, back)
	if err != nil {
		return err
	}
	by := o.actor()
	by.Revision, by.Message = back.entry.Commit, fmt.Sprintf("undo: back to revision %d", back.entry.Rev)
	res, err := s.Apply(ctx, p, by)
	if err != nil {
		return errors.Join(err, forget())
	}
	if err := out.Applied(*res); err != nil {
		return err
	}
	o.carry.tellWaiting(s, res.Waiting)
	if !o.carry.wait {
		return nil
	}
	return o.serveAlone(ctx, s, func(ctx context.Context) error { return o.carry.converge(ctx, s, p) })
}

// A wayBack is what an undo goes back to, and from.
type wayBack struct {
	entry  oprc.HistoryEntry
	digest string // of the spec now; "": the package is gone
	commit string // that brought it
	origin string
}

// writes returns the writes of a package's record, newest first.
func (s *state) writes(ctx context.Context, pkg string) ([]oprc.HistoryEntry, error) {
	entries, err := s.History(ctx, pkg, wholeHistory)
	return oprc.Writes(entries), err
}

// target finds the entry to go back to.
func (o *undoOptions) target(ctx context.Context, s *state, pkg string) (wayBack, error) {
	entries, err := s.writes(ctx, pkg)
	if err != nil {
		return wayBack{}, err
	}
	obj, err := s.find(ctx, oprc.KindPackage, pkg)
	switch {
	case err == nil:
	case !errors.Is(err, oprc.ErrNotFound) || len(entries) == 0:
		return wayBack{}, err
	}
	var b wayBack
	if v, ok := obj.Doc.(*reconcile.PackageView); ok {
		b.digest, b.origin = v.Digest, v.Origin
		if v.Source != nil {
			b.commit = v.Source.Commit
		}
	} else {
		b.origin, b.commit = entries[0].Origin, entries[0].Commit
	}
	i := slices.IndexFunc(entries, func(e oprc.HistoryEntry) bool {
		return e.Spec != nil && (e.Rev == o.to || o.to == 0 && e.Digest != b.digest)
	})
	if i < 0 {
		what := "another spec"
		if o.to != 0 {
			what = fmt.Sprintf("a spec of revision %d", o.to)
		}
		return b, stepError{fmt.Errorf("package %q: %s: %w in its history", pkg, what, oprc.ErrNotFound), o.command("history", quote(pkg)) + " shows what there is."}
	}
	b.entry = entries[i]
	if b.entry.Digest == b.digest {
		return b, fmt.Errorf("package %q is as revision %d says already: %w", pkg, b.entry.Rev, oprc.ErrConflict)
	}
	return b, nil
}

// quarantine makes the source that owns the package leave it as it is put back. It
// returns how to take that back.
func (o *undoOptions) quarantine(ctx context.Context, s *state, pkg string, back wayBack) (forget func() error, err error) {
	nothing := func() error { return nil }
	source, owned := strings.CutPrefix(back.origin, "git:")
	if !owned {
		return nothing, nil
	}
	if s.db == nil {
		return nothing, usagef("package %q belongs to source %s, which is steered through Redis: name it with --redis URL in place of the %s", pkg, source, s.where)
	}
	asked, err := s.db.Requests(ctx)
	if err != nil {
		return nothing, err
	}
	switch old, there := asked.Find(oprc.VerbQuarantine, pkg); {
	case there && old.Digest == back.entry.Digest: // the bad one is wanted again
		return func() error { return s.db.PutRequest(ctx, old) }, s.db.DropRequest(ctx, old)
	case there:
		return nothing, nil // what the source says is in quarantine already
	}
	r := oprc.SourceRequest{
		Verb: oprc.VerbQuarantine, Name: pkg, Digest: back.digest, Commit: back.commit, By: o.actor().Name, At: o.now(),
		Reason: fmt.Sprintf("undo to revision %d", back.entry.Rev),
	}
	if err := s.db.PutRequest(ctx, r); err != nil {
		return nothing, err
	}
	r.At = r.At.UTC()
	o.hint(fmt.Sprintf("Source %s leaves package %s alone until a revision brings another version of it.", source, pkg))
	return func() error { return s.db.DropRequest(ctx, r) }, nil
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
		Args:              args(cobra.ExactArgs(1)),
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
