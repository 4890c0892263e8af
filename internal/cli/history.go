package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

type historyOptions struct {
	*env
	limit  int
	mask   []string
	output view.Format
}

func newHistory(e *env) *cobra.Command {
	o := &historyOptions{env: e}
	cmd := &cobra.Command{
		Use:   "history PACKAGE",
		Short: "Show who changed a package, when, and to what",
		Long: "Lists the writes of a package's record, newest first, and the versions\nthat were refused, with why. A deleted package keeps its history." +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc history shop
  oprc history shop -o json --limit 1 | jq '.items[0].spec'`,
		Args:              args(cobra.ExactArgs(1), oprc.KindPackage),
		ValidArgsFunction: e.completeNames(oprc.KindPackage),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words[0]) })
		},
	}
	cmd.Flags().IntVar(&o.limit, "limit", 50, "most `entries` to print")
	bindMask(cmd, &o.mask)
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML)
	return cmd
}

func (o *historyOptions) run(ctx context.Context, s *state, pkg string) error {
	if o.limit < 1 {
		return usagef("--limit must be at least 1")
	}
	entries, err := s.History(ctx, pkg, o.limit)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		if _, err := s.find(ctx, oprc.KindPackage, pkg); err != nil {
			return err
		}
	}
	out := o.env.output(o.output)
	out.Mask = o.mask
	return out.History(entries)
}

type eventsOptions struct {
	*env
	limit  int
	after  string
	watch  bool
	output view.Format
}

func newEvents(e *env) *cobra.Command {
	o := &eventsOptions{env: e}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened",
		Long: "Prints the last events, oldest first; with --watch, new ones as they come." +
			exits(exitOK, exitError, exitInvalid, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc events --limit 20
  oprc events -w -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s) })
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&o.limit, "limit", 50, "most `events` to print at first")
	fs.StringVar(&o.after, "after", "", "only events after the one with this `id`")
	fs.BoolVarP(&o.watch, "watch", "w", false, "go on and print new events, until interrupted")
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	return cmd
}

func (o *eventsOptions) run(ctx context.Context, s *state) error {
	if o.limit < 1 {
		return usagef("--limit must be at least 1")
	}
	events, err := s.Events(ctx, o.after, o.limit)
	if err != nil {
		return err
	}
	if !o.watch {
		return o.env.output(o.output).Events(events)
	}
	return o.serveAlone(ctx, s, func(ctx context.Context) error { return o.follow(ctx, s, events) })
}

func (o *eventsOptions) follow(ctx context.Context, s *state, events []oprc.Event) error {
	out := o.env.output(o.output)
	last := o.after
	if last == "" {
		last = "0-0"
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		for _, e := range events {
			if err := out.Event(e); err != nil {
				return err
			}
			last = e.ID
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		var err error
		if events, err = s.Events(ctx, last, 1000); err != nil {
			return err
		}
	}
}
