package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

// wordDead is what get calls dead letters. They are no kind: they have no state.
const wordDead = "dead"

const deadLimit = 50 // letters of one environment that are listed

func newDead(e *env) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "dead",
		Short: "Inspect, retry or delete messages that could not be processed",
		Long: `Commands that a CRM cannot process, and reports that the control plane cannot process,
are moved to the dead letters of their environment, with the reason. Nothing waits for
them.` + exits(exitOK, exitUsage),
	})
	cmd.AddCommand(newDeadList(e), newDeadRetry(e), newDeadDrop(e))
	return cmd
}

type deadOptions struct {
	*env
	limit  int
	all    bool
	yes    bool
	mask   []string
	output view.Format
}

func newDeadList(e *env) *cobra.Command {
	o := &deadOptions{env: e}
	cmd := &cobra.Command{
		Use:     "list [ENV...]",
		Aliases: []string{"ls"},
		Short:   "List dead letters, newest first",
		Long: "Lists the dead letters of the environments, or of the named ones. -o json also prints what was in them." +
			exits(exitOK, exitError, exitInvalid, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc dead list
  oprc dead list edge-1 -o json | jq -r '.items[].fields'`,
		Args:              args(cobra.ArbitraryArgs, oprc.KindEnv),
		ValidArgsFunction: e.completeNames(oprc.KindEnv),
		RunE: func(cmd *cobra.Command, envs []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.list(cmd.Context(), s, envs) })
		},
	}
	cmd.Flags().IntVar(&o.limit, "limit", deadLimit, "most `letters` of one environment to print")
	bindMask(cmd, &o.mask)
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML, view.Name)
	return cmd
}

func newDeadRetry(e *env) *cobra.Command {
	o := &deadOptions{env: e}
	cmd := &cobra.Command{
		Use:   "retry ENV (ID... | --all)",
		Short: "Put dead letters back at the end of their stream",
		Long: `Puts dead letters back at the end of the stream that they came from, to be judged
again. One that was too long to be kept whole can only be dropped.` +
			exits(exitOK, exitError, exitInvalid, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc dead retry edge-1 1719000000000-0
  oprc dead retry edge-1 --all`,
		Args:              args(cobra.MinimumNArgs(1), oprc.KindEnv),
		ValidArgsFunction: o.completeLetters,
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.retry(cmd.Context(), s, words[0], words[1:]) })
		},
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "retry all complete dead letters of the environment")
	return cmd
}

func newDeadDrop(e *env) *cobra.Command {
	o := &deadOptions{env: e}
	cmd := &cobra.Command{
		Use:   "drop ENV (ID... | --all)",
		Short: "Delete dead letters",
		Long: "Deletes dead letters for good." +
			exits(exitOK, exitError, exitInvalid, exitHeld, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc dead drop edge-1 1719000000000-0 1719000000001-0
  oprc dead drop edge-1 --all --yes`,
		Args:              args(cobra.MinimumNArgs(1), oprc.KindEnv),
		ValidArgsFunction: o.completeLetters,
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.drop(cmd.Context(), s, words[0], words[1:]) })
		},
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "delete all dead letters of the environment; asks first")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "drop all without asking")
	return cmd
}

// everyLetter is more than an environment keeps.
const everyLetter = 1 << 20

func (o *deadOptions) list(ctx context.Context, s *state, envs []string) error {
	if o.limit < 1 {
		return usagef("--limit must be at least 1")
	}
	names, err := s.letters().EnvironmentNames(ctx)
	if err != nil {
		return err
	}
	if len(envs) == 0 {
		envs = names
	}
	for _, name := range envs {
		if err := knownIn(names, name); err != nil {
			return err
		}
	}
	cut := false
	var all []oprc.DeadEntry
	for _, name := range envs {
		entries, err := s.letters().Dead(ctx, name, o.limit)
		if err != nil {
			return err
		}
		all, cut = append(all, entries...), cut || len(entries) == o.limit
	}
	slices.SortStableFunc(all, func(a, b oprc.DeadEntry) int { return b.Time.Compare(a.Time) })
	out := o.env.output(o.output)
	out.Mask = o.mask
	if len(all) == 0 && (o.output == view.Text || o.output == view.Wide) {
		o.hint(fmt.Sprintf("There are no dead letters in the %s.", s.where))
		return nil
	}
	if err := out.Dead(all); err != nil {
		return err
	}
	if cut {
		o.hint(fmt.Sprintf("These are the newest %d of an environment; there may be more: oprc dead list --limit %d", o.limit, 10*o.limit))
	}
	return nil
}

// knownIn refuses an environment that nobody declared or heard of.
func knownIn(names []string, name string) error {
	if slices.Contains(names, name) {
		return nil
	}
	next := "oprc get environments lists those that there are."
	if near := oprc.Nearest(name, names); near != "" {
		next = fmt.Sprintf("Did you mean %s? %s", near, next)
	}
	return stepError{fmt.Errorf("environment %q: %w", name, oprc.ErrNotFound), next}
}

func (o *deadOptions) retry(ctx context.Context, s *state, name string, ids []string) error {
	picked, left, err := o.pick(ctx, s, name, ids, true)
	if err != nil {
		return err
	}
	for i, id := range picked {
		if err := s.letters().RetryDead(ctx, name, id); err != nil {
			return stepError{
				fmt.Errorf("%d of %d were retried: %w", i, len(picked), err),
				fmt.Sprintf("oprc dead list %s shows what is there.", name),
			}
		}
	}
	o.hint(fmt.Sprintf("Put back into the streams of %s: %d. One that still cannot be used comes back as a new dead letter.", name, len(picked)))
	if left > 0 {
		o.hint(fmt.Sprintf("%d were stored truncated and cannot be retried; delete them with: oprc dead drop", left))
	}
	return nil
}

func (o *deadOptions) drop(ctx context.Context, s *state, name string, ids []string) error {
	picked, _, err := o.pick(ctx, s, name, ids, false)
	if err != nil {
		return err
	}
	if o.all && !o.yes && len(picked) > 0 {
		what := fmt.Sprintf("%d dead letters of %s", len(picked), name)
		if !o.terminal() {
			return stepError{fmt.Errorf("this deletes %s: %w", what, oprc.ErrHeld), "Add --yes to drop them without being asked."}
		}
		if err := o.confirm(ctx, what); err != nil {
			return err
		}
	}
	dropped := int64(0)
	for part := range slices.Chunk(picked, 1000) {
		n, err := s.letters().DropDead(ctx, name, part...)
		if err != nil {
			return err
		}
		dropped += n
	}
	o.hint(fmt.Sprintf("Dropped of %s: %d.", name, dropped))
	if missing := int64(len(ids)) - dropped; missing > 0 {
		return stepError{
			fmt.Errorf("%d of them were not there: %w", missing, oprc.ErrNotFound),
			fmt.Sprintf("oprc dead list %s shows what is.", name),
		}
	}
	return nil
}

// pick returns the ids that were named, or all; with whole set, without those of
// which a part is missing, and how many those are.
func (o *deadOptions) pick(ctx context.Context, s *state, name string, ids []string, whole bool) (picked []string, left int, err error) {
	if o.all == (len(ids) > 0) {
		return nil, 0, usagef("name the ids of dead letters, or give --all")
	}
	names, err := s.letters().EnvironmentNames(ctx)
	if err == nil {
		err = knownIn(names, name)
	}
	if err != nil || !o.all {
		return ids, 0, err
	}
	entries, err := s.letters().Dead(ctx, name, everyLetter)
	if err != nil {
		return nil, 0, err
	}
	slices.Reverse(entries) // in the order in which they came
	for _, e := range entries {
		if whole && e.Truncated {
			left++
			continue
		}
		picked = append(picked, e.ID)
	}
	return picked, left, nil
}

// completeLetters offers environments, then the dead letters of the named one.
func (o *deadOptions) completeLetters(cmd *cobra.Command, words []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(words) == 0 {
		return o.completeNames(oprc.KindEnv)(cmd, words, prefix)
	}
	var out []cobra.Completion
	err := o.with(cmd.Context(), func(s *state) error {
		entries, err := s.letters().Dead(cmd.Context(), words[0], deadLimit)
		for _, e := range entries {
			if strings.HasPrefix(e.ID, prefix) && !slices.Contains(words[1:], e.ID) {
				out = append(out, e.ID)
			}
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
