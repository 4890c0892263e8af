package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

// carryOptions say how a plan is carried out.
type carryOptions struct {
	*env
	yes     bool
	dryRun  bool
	wait    bool
	timeout time.Duration
	mask    []string
	guard   guardOptions
	policy  policyOptions
	output  view.Format
}

func (o *carryOptions) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVarP(&o.yes, "yes", "y", false, "delete without asking")
	fs.BoolVar(&o.dryRun, "dry-run", false, "plan, print, and write nothing")
	fs.BoolVar(&o.wait, "wait", false, "wait until all units of the packages run, and what was deleted is gone")
	fs.DurationVar(&o.timeout, "timeout", 5*time.Minute, "longest `time` to wait with --wait")
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
}

type applyOptions struct {
	requestOptions
	verify string
	config string
	carry  carryOptions
}

func newApply(e *env) *cobra.Command {
	o := &applyOptions{requestOptions: requestOptions{env: e}, carry: carryOptions{env: e}}
	cmd := &cobra.Command{
		Use:   "apply -f PATH | apply PLANFILE",
		Short: "Apply packages from files, or a saved plan",
		Long: `Plans and applies packages and environments from files, or what a saved plan holds.
Packages that no file defines do not change.

Where somebody else writes at the same time, the request is planned again and
applied if that removes nothing more than was agreed to. A saved plan is planned
again in any case, from live state and under the policies of now, and applied if
the same comes out. Its id is a checksum of the request and what was decided about
it, not a proof of who made it: for that there are plan --sign and --verify-key.

Before anything is deleted a person is asked; without a terminal --yes is needed.
--max-delete and --max-blast hold plans that go further than you expect; --yes
carries them out all the same.

What "oprc plan --source NAME --out FILE" saved is planned again from the source, as
--config says where that is, or as the server's own configuration says. It is applied
in the source's name if the source is still at that revision. --yes approves what
the limits of the source hold; on a server that needs the role approver.` +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitHeld, exitNotFound, exitNotConverged, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc apply -f shop.yaml
  oprc apply -f packages/ --wait --timeout 2m
  oprc apply -f packages/ --max-blast units=10%
  oprc apply next.plan
  oprc plan --source main --out main.plan && oprc apply main.plan`,
		RunE: func(cmd *cobra.Command, words []string) error {
			if err := noPackages(words); err != nil {
				return err
			}
			if len(words) == 1 && len(o.files) > 0 {
				return usagef("a plan file cannot be combined with -f")
			}
			if o.verify != "" && len(words) == 0 {
				return usagef("--verify-key goes with a plan file")
			}
			if cmd.Flags().Changed("config") && len(words) == 0 {
				return usagef("--config goes with a plan file")
			}
			return o.run(cmd.Context(), words)
		},
	}
	cmd.Flags().StringVar(&o.config, "config", configFile, "configuration `file` that says where the source of the plan file is; a server has its own")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	o.bind(cmd)
	o.carry.bind(cmd)
	o.carry.guard.bind(cmd)
	o.carry.policy.bind(cmd)
	cmd.Flags().StringVar(&o.verify, "verify-key", "", "ed25519 public key that must have signed the plan file, a PEM `file`")
	return cmd
}

func (o *applyOptions) run(ctx context.Context, planFile []string) error {
	o.carry.mask = o.mask
	if err := o.carry.policy.load(); err != nil {
		return err
	}
	if len(planFile) == 1 {
		saved, err := readPlan(planFile[0], o.verify)
		if err != nil {
			return err
		}
		apply := func(s *state) error { return o.carry.run(ctx, s, saved.Request, saved.Conditions()) }
		if from := saved.Request.Source; from != nil {
			return o.followSource(ctx, o.config, from.Name, apply)
		}
		return o.with(ctx, apply)
	}
	req, err := o.request()
	if err != nil {
		return err
	}
	return o.with(ctx, func(s *state) error { return o.carry.run(ctx, s, req, reconcile.Conditions{}) })
}

// run carries a request out: plans, asks, applies, prints, waits.
func (o *carryOptions) run(ctx context.Context, s *state, req reconcile.Request, cond reconcile.Conditions) error {
	out := o.env.output(o.output)
	if o.dryRun {
		var p *plan.Plan
		err := o.during(planning(req), func(*step) (err error) {
			p, err = s.Plan(ctx, req)
			return err
		})
		if err != nil {
			return o.refused(req.Files, err, o.mask)
		}
		out.Mask = o.mask
		if err := holdsNothing(req, p); err != nil {
			return err
		}
		return errors.Join(o.tellFindings(req.Files, p.Diagnostics, o.mask), out.Plan(p, ""), o.policy.review(ctx, p, o.actor()), o.held(p))
	}
	var p *plan.Plan // as it was reviewed last
	var agreed []string
	cond.AnyRemovals, cond.Approved, cond.Exact = true, o.yes, o.policy.judge != nil || o.guard.given()
	review := func(ctx context.Context, now *plan.Plan) error {
		if p == nil {
			if err := o.tellFindings(req.Files, now.Diagnostics, o.mask); err != nil {
				return err
			}
		}
		p = now
		if err := holdsNothing(req, p); err != nil {
			return err
		}
		if err := o.policy.review(ctx, p, o.actor()); err != nil {
			return err
		}
		if err := o.held(p); err != nil {
			return err
		}
		if removals := p.Removals(); !within(removals, agreed) {
			if err := o.consent(ctx, p); err != nil {
				return err
			}
			agreed = removals
		}
		return nil
	}
	var res *reconcile.Result
	err := o.during(planning(req), func(at *step) (err error) {
		cond.Review = func(ctx context.Context, now *plan.Plan) error {
			return at.pause(func() (string, error) { return "applying " + counted(len(now.Changes), "change"), review(ctx, now) })
		}
		if res, err = s.Apply(ctx, req, cond, o.actor()); err != nil {
			return err
		}
		return s.save(ctx)
	})
	if req.Source != nil && errors.Is(err, oprc.ErrHeld) && !o.yes {
		return stepError{err, "Nothing was changed. Look at it with: oprc show PLANFILE; to approve it, add --yes."}
	}
	if err != nil {
		return o.refused(req.Files, err, o.mask)
	}
	if err := out.Applied(*res); err != nil {
		return err
	}
	o.tellWaiting(s, res)
	if !o.wait {
		return nil
	}
	return o.serveAlone(ctx, s, func(ctx context.Context) error { return o.converge(ctx, s, p, packagesOf(req)) })
}

// planning names the planning of a request, for progress.
func planning(req reconcile.Request) string { return "planning " + counted(len(req.Files), "file") }

// within reports whether all of names are among others.
func within(names, others []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(others, n) })
}

// tellWaiting names the environments in which nobody listens, with the command
// that changes that.
func (o *carryOptions) tellWaiting(s *state, res *reconcile.Result) {
	for _, name := range res.Waiting {
		if res.Summary.Commands.Deploy == 0 {
			o.hint(fmt.Sprintf("Environment %q has no active CRM. Its units will be undeployed when a CRM connects.", name))
			continue
		}
		run := o.crmCommand(s, name)
		o.hint(fmt.Sprintf("No CRM has reported from environment %q: its units stay PENDING until one does. Start one with: %s", name, run))
	}
}

// held is the error of a plan that goes further than was allowed, unless it is
// wanted anyway.
func (o *carryOptions) held(p *plan.Plan) error {
	if o.yes {
		return nil
	}
	return o.guard.held(p, "Nothing was changed. Look at the plan with: oprc plan; if it is what you want, add --yes.")
}

// consent makes sure that somebody wants what the plan deletes.
func (o *carryOptions) consent(ctx context.Context, p *plan.Plan) error {
	gone := deletions(p)
	if len(gone) == 0 || o.yes {
		return nil
	}
	if !o.terminal() {
		return stepError{
			fmt.Errorf("the plan deletes %s: %w", strings.Join(gone, ", "), oprc.ErrHeld),
			"Add --yes to delete without being asked.",
		}
	}
	seen := view.Output{W: o.err, Mask: o.mask}
	if err := seen.Plan(p, ""); err != nil {
		return err
	}
	return o.confirm(ctx, strings.Join(gone, ", "))
}

// deletions names the objects that the plan deletes; of many, only how many. What
// goes with its package is not named apart. Units come and go with placement: they
// are no deletion.
func deletions(p *plan.Plan) []string {
	const few = 5
	gone := map[string]bool{}
	var names []string
	for _, c := range p.Changes {
		if c.Kind == oprc.KindPackage && slices.Contains(c.Actions, plan.Delete) {
			gone[c.Key] = true
		}
	}
	for _, c := range p.Changes {
		inner := c.Kind != oprc.KindPackage && gone[c.Package]
		if c.Kind != oprc.KindUnit && slices.Contains(c.Actions, plan.Delete) && !inner {
			names = append(names, string(c.Kind)+" "+c.Key)
		}
	}
	if len(names) > few {
		return append(names[:few], fmt.Sprintf("and %d more", len(names)-few))
	}
	return names
}
