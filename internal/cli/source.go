package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

func newSource(e *env) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "source",
		Aliases: []string{"sources", "src"},
		Short:   "List, reconcile, suspend and approve sources",
		Long: `Lists the sources of a running daemon and controls them. Requests are stored in Redis,
also with --server, and the leading daemon handles them within one second. Suspensions
and approvals are kept while no daemon runs.` + exits(exitOK, exitUsage),
	})
	cmd.AddCommand(newSourceList(e), newSourceReconcile(e), newSourceSuspend(e), newSourceResume(e), newSourceApprove(e))
	return cmd
}

func newSourceList(e *env) *cobra.Command {
	o := &getOptions{env: e}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List sources with their revision, suspension and held plan",
		Long: "Lists the sources that a daemon follows, or followed." +
			exits(exitOK, exitError, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: "  oprc source list\n  oprc source list -o wide",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := parseKind(string(oprc.KindSource))
			if err != nil {
				return err
			}
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, []kindRef{{kindName: k}}) })
		},
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "go on and print what changes, until interrupted")
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML, view.Name)
	return cmd
}

// steerOptions are what the commands that ask something have in common.
type steerOptions struct {
	*env
	timeout time.Duration
	output  view.Format
}

func (o *steerOptions) bind(cmd *cobra.Command) {
	cmd.ValidArgsFunction = o.completeNames(oprc.KindSource)
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML)
}

func (o *steerOptions) bindTimeout(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.timeout, "timeout", 2*time.Minute, "longest `time` to wait for the daemon's receipt")
}

// show prints a source as it is now.
func (o *steerOptions) show(ctx context.Context, s *state, name string) error {
	obj, err := s.find(ctx, oprc.KindSource, name)
	if err != nil {
		return err
	}
	return o.env.output(o.output).Object(obj)
}

func newSourceReconcile(e *env) *cobra.Command {
	o := &steerOptions{env: e}
	cmd := &cobra.Command{
		Use:   "reconcile NAME",
		Short: "Reconcile a source now, and wait for the result",
		Long: `Has the daemon reconcile a source now, and waits for the result of a reconciliation
that began after this command did. It ends with that result's exit code.` +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitHeld, exitNotFound, exitNotConverged, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: "  oprc source reconcile main\n  oprc source reconcile main --timeout 10s -o json | jq -r .receipt.revision",
		Args:    args(cobra.ExactArgs(1), oprc.KindSource),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.reconcile(cmd.Context(), s, words[0]) })
		},
	}
	o.bind(cmd)
	o.bindTimeout(cmd)
	return cmd
}

// reconcile asks for a tick, waits for its receipt, and shows the source.
func (o *steerOptions) reconcile(ctx context.Context, s *state, name string) error {
	if _, err := s.find(ctx, oprc.KindSource, name); err != nil {
		return err
	}
	ticket, err := s.Wake(ctx, name)
	if err != nil {
		return err
	}
	return o.conclude(ctx, s, name, ticket)
}

// conclude waits for the receipt of a ticket, shows the source, and ends as that look
// did.
func (o *steerOptions) conclude(ctx context.Context, s *state, name string, ticket int64) error {
	receipt, err := o.await(ctx, s, name, ticket)
	if err != nil {
		return err
	}
	if err := o.show(ctx, s, name); err != nil {
		return err
	}
	return o.verdict(name, receipt)
}

func (o *steerOptions) await(ctx context.Context, s *state, name string, ticket int64) (oprc.Receipt, error) {
	bounded, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	led, leader := time.Now(), "a server" // one that answers is a daemon
	progress := o.progress(lineAfter)
	defer progress.end()
	for {
		obj, err := s.Find(ctx, oprc.KindSource, name)
		if err != nil {
			return oprc.Receipt{}, err
		}
		st, _ := obj.Doc.(*oprc.SourceStatus)
		if st != nil && st.Receipt != nil && st.Receipt.Ticket >= ticket {
			return *st.Receipt, nil
		}
		progress.say(func() string { return fmt.Sprintf("waiting for source %s%s", name, busyWith(st)) })
		if s.db != nil {
			if leader, err = s.db.Leader(ctx); err != nil {
				return oprc.Receipt{}, err
			}
		}
		if leader != "" {
			led = time.Now()
		}
		if leader == "" && (time.Since(led) > betweenLeaders || bounded.Err() != nil) {
			return oprc.Receipt{}, stepError{
				told{errNotConverged, fmt.Sprintf("source %s: no daemon is running", name)},
				"oprc serve --config oprc.yaml starts one.",
			}
		}
		if bounded.Err() != nil && ctx.Err() == nil {
			return oprc.Receipt{}, stepError{
				told{errNotConverged, fmt.Sprintf("source %s: the daemon did not answer within %s%s", name, o.timeout, busyWith(st))},
				o.command("describe", "source", quote(name)) + " shows more.",
			}
		}
		select {
		case <-tick.C:
		case <-bounded.Done():
			if ctx.Err() != nil {
				return oprc.Receipt{}, ctx.Err()
			}
		}
	}
}

// betweenLeaders is how long no daemon may lead before there is taken to be none.
const betweenLeaders = 3 * time.Second

// busyWith says what a source's daemon is doing, where its status tells.
func busyWith(st *oprc.SourceStatus) string {
	if st == nil {
		return ""
	}
	for _, c := range st.Conditions {
		if c.Type == "Reconciling" && c.Status {
			return "; it is " + c.Message
		}
	}
	return ""
}

// verdict turns a receipt into what the command ends with.
func (o *steerOptions) verdict(name string, r oprc.Receipt) error {
	kinds := map[string]error{
		oprc.ResultInvalid: oprc.ErrInvalid, oprc.ResultHeld: oprc.ErrHeld, oprc.ResultSuspended: oprc.ErrHeld,
		oprc.ResultConflict: oprc.ErrConflict, oprc.ResultNotFound: oprc.ErrNotFound, oprc.ResultUnreachable: gitsource.ErrUnavailable,
		oprc.ResultDenied: oprc.ErrDenied,
	}
	switch r.Result {
	case oprc.ResultOK:
		return nil
	case oprc.ResultSuspended:
		return stepError{
			told{oprc.ErrHeld, fmt.Sprintf("source %s is suspended: %s", name, r.Message)},
			o.command("source", "resume", quote(name)) + " ends that.",
		}
	case oprc.ResultHeld:
		return stepError{told{oprc.ErrHeld, fmt.Sprintf("source %s: %s", name, r.Message)}, o.command("why", quote(name)) + " says what to do."}
	}
	return stepError{told{kinds[r.Result], fmt.Sprintf("source %s: %s", name, r.Message)}, o.command("describe", "source", quote(name)) + " shows more."}
}

// told is an error in the words of whoever met it.
type told struct {
	kind error
	text string
}

func (e told) Error() string { return e.text }
func (e told) Unwrap() error { return e.kind }

type suspendOptions struct {
	steerOptions
	reason string
	length time.Duration
}

func newSourceSuspend(e *env) *cobra.Command {
	o := &suspendOptions{steerOptions: steerOptions{env: e}}
	cmd := &cobra.Command{
		Use:   "suspend NAME --reason TEXT",
		Short: "Suspend a source: apply none of its revisions for a while",
		Long: `Pauses a source: nothing is fetched, applied or reverted in its
name. Who suspended it, why and until when is shown wherever the source is.` +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc source suspend main --reason "release freeze" --for 2h
  oprc source suspend main --reason "until the incident is over"`,
		Args: args(cobra.ExactArgs(1), oprc.KindSource),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words[0]) })
		},
	}
	o.bind(cmd)
	cmd.Flags().StringVar(&o.reason, "reason", "", "`reason`, shown in the status of the source")
	cmd.Flags().DurationVar(&o.length, "for", 0, "how `long`; without it, until somebody resumes it")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

func (o *suspendOptions) run(ctx context.Context, s *state, name string) error {
	if strings.TrimSpace(o.reason) == "" || o.length < 0 {
		return usagef("--reason must say something, and --for must not be negative")
	}
	if _, err := s.find(ctx, oprc.KindSource, name); err != nil {
		return err
	}
	if err := s.Suspend(ctx, name, o.reason, o.length, o.actor()); err != nil {
		return err
	}
	return o.show(ctx, s, name)
}

func newSourceResume(e *env) *cobra.Command {
	o := &steerOptions{env: e}
	cmd := &cobra.Command{
		Use:   "resume NAME",
		Short: "Resume a suspended source",
		Long: "Ends a suspension. The daemon reconciles the source within a second." +
			exits(exitOK, exitError, exitConflict, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: "  oprc source resume main",
		Args:    args(cobra.ExactArgs(1), oprc.KindSource),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.resume(cmd.Context(), s, words[0]) })
		},
	}
	o.bind(cmd)
	return cmd
}

func (o *steerOptions) resume(ctx context.Context, s *state, name string) error {
	if _, err := s.find(ctx, oprc.KindSource, name); err != nil {
		return err
	}
	was, err := s.Resume(ctx, name, o.actor())
	if err != nil {
		return err
	}
	if !was {
		o.hint("Source " + name + " is not suspended.")
	}
	return o.show(ctx, s, name)
}

func newSourceApprove(e *env) *cobra.Command {
	o := &steerOptions{env: e}
	cmd := &cobra.Command{
		Use:   "approve PLANID",
		Short: "Approve a held plan",
		Long: `Approves a plan that a source holds because it deletes too much, and waits until the
daemon has applied it. The approval is for exactly that plan: if a new commit, or
anything else, changes what would be done, the new plan is held again. The first
digits of the id are enough.` +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitHeld, exitNotFound, exitNotConverged, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example:           "  oprc source list -o wide        # the column HELD has the id\n  oprc source approve 4f0c1d2e3a4b",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: o.completePlans,
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.approve(cmd.Context(), s, words[0]) })
		},
	}
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML)
	o.bindTimeout(cmd)
	return cmd
}

func (o *steerOptions) approve(ctx context.Context, s *state, id string) error {
	source, ticket, err := s.Approve(ctx, id, o.actor())
	if err != nil {
		return err
	}
	return o.conclude(ctx, s, source, ticket)
}
