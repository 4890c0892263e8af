package cli

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/view"
)

// requestOptions are what plan and apply have in common.
type requestOptions struct {
	*env
	files  []string
	pkg    string
	strict bool
	take   bool
	mask   []string
}

func (o *requestOptions) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	bindFiles(cmd, &o.files)
	fs.StringVar(&o.pkg, "pkg", "", "`name` for a package that has none")
	fs.BoolVar(&o.strict, "strict", false, "accept only fields and spellings that the specification defines")
	fs.BoolVar(&o.take, "take-ownership", false, "take over packages that another origin owns")
	bindMask(cmd, &o.mask)
}

// request reads the files.
func (o *requestOptions) request() (reconcile.Request, error) {
	files, err := o.packageFiles(o.files)
	return reconcile.Request{
		Files: files, Scope: plan.Scope{Origin: oprc.OriginCLI, TakeOwnership: o.take}, Strict: o.strict, Package: o.pkg,
	}, err
}

// refused is the error of a request that cannot be planned, with its findings printed and
// the way out.
func (e *env) refused(files []oprc.File, err error, mask []string) error {
	var invalid *oprc.InvalidError
	if !errors.As(err, &invalid) {
		return ownership(err)
	}
	return cmp.Or(e.tellFindings(files, invalid.Diagnostics, mask), error(shown{err}))
}

// ownership adds the way out to a conflict about who owns a package.
func ownership(err error) error {
	var conflict *oprc.ConflictError
	if errors.As(err, &conflict) && strings.Contains(strings.Join(conflict.Objects, " "), "owned by") {
		return stepError{err, "Change it where it is owned, or add --take-ownership to take it over."}
	}
	return err
}

type planOptions struct {
	requestOptions
	out      string
	sign     string
	detailed bool
	output   view.Format
	reports  []string
	maxBytes int
	asSource string
	path     func(string) string // of a file in its repository; nil: as it is
	guard    guardOptions
	against  againstOptions
	policy   policyOptions
	preview  previewOptions
}

func newPlan(e *env) *cobra.Command {
	o := &planOptions{requestOptions: requestOptions{env: e}}
	cmd := &cobra.Command{
		Use:   "plan -f PATH",
		Short: "Show what apply would change",
		Long: `Compares the packages in the files with live state and prints what apply would
change, for each field the value before and after and the line that sets it.
A plan changes only packages that the files define. Planning changes nothing.

--out saves the request and the plan: "oprc apply FILE" plans the request again and
goes on if the same comes out, else it says what moved. The file holds secrets
unmasked. --sign signs it, for "oprc apply FILE --verify-key KEY".

--as-source plans the files as the next revision of a Git source that a daemon
follows: the plan, with its id, that the daemon makes once they are merged, with
deletions of what they no longer define and the limits of the source. The files
are those of the whole source, from the root of the repository.

--source shows what the daemon would apply at its next poll, by the same
configuration file, or by that of a server. Quarantined packages and objects paused
after a conflict are skipped. With --ref it plans another branch as if it were merged.
With --out, "oprc apply FILE" carries it out before the daemon does, if the source is
still at that revision and the same comes out.

A repository's .oprc.yaml may name server, policies, mask and ignore.` +
			exits(exitOK, exitError, exitChanges, exitInvalid, exitConflict, exitHeld, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc plan -f shop.yaml
  oprc plan -f packages/ --out next.plan && oprc apply next.plan
  oprc plan -f packages/ --detailed-exitcode -o markdown > comment.md
  oprc plan -f packages/ --against live.snapshot --verify-key signing.pub
  oprc plan -f . --as-source main --server https://oprc.example
  oprc plan -f . -o github --report markdown=comment.md --report sarif=plan.sarif
  oprc plan --source main --config oprc.yaml --ref feature`,
		Args: noWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.preview.check(cmd.Flags().Changed); err != nil {
				return err
			}
			if o.sign != "" && o.out == "" {
				return usagef("--sign goes with --out")
			}
			if err := o.checkAsSource(cmd.Flags().Changed); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.bind(cmd)
	o.guard.bind(cmd)
	o.against.bind(cmd)
	o.policy.bind(cmd)
	fs := cmd.Flags()
	fs.StringVar(&o.out, "out", "", "save the plan to a `file`")
	fs.StringVar(&o.asSource, "as-source", "", "plan the files as the next revision of the source of this `name`")
	_ = cmd.RegisterFlagCompletionFunc("as-source", e.completeNames(oprc.KindSource))
	fs.StringArrayVar(&o.reports, "report", nil, "write the plan in another `format=file` too (text, json, yaml, markdown, github, sarif); repeats")
	fs.StringVar(&o.sign, "sign", "", "ed25519 private key to sign the saved plan with, a PEM `file`")
	fs.BoolVar(&o.detailed, "detailed-exitcode", false, "exit with 2 when there are changes")
	fs.IntVar(&o.maxBytes, "max-bytes", view.DefaultMaxBytes, "most `bytes` of markdown")
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML, view.Markdown, view.GitHub, view.SARIF)
	o.preview.bind(cmd, e)
	return cmd
}

func (o *planOptions) run(ctx context.Context) error {
	repo, err := o.adopt()
	if err != nil {
		return err
	}
	if err := o.policy.load(); err != nil {
		return err
	}
	if o.preview.source != "" {
		return o.previewed(ctx)
	}
	if o.asSource != "" {
		return o.plannedAs(ctx, repo)
	}
	req, err := o.request()
	if err != nil {
		return err
	}
	named := len(req.Files)
	if req.Files, err = repo.wanted(req.Files); err != nil {
		return err
	}
	o.path = repo.path
	return o.on(ctx, func(s *state) error {
		var p *plan.Plan
		err := o.during(planning(req), func(*step) (err error) {
			p, err = s.Plan(ctx, req)
			return err
		})
		if p == nil {
			return o.refused(req.Files, err, o.mask)
		}
		if o.out != "" && err == nil {
			if err := o.writePlan(o.out, reconcile.PlanFile{Request: req, Plan: p}, o.sign); err != nil {
				return err
			}
		}
		if err = ownership(err); err == nil && len(req.Files) == named {
			err = holdsNothing(req, p)
		}
		if err == nil {
			err = o.policy.review(ctx, p, o.actor())
		}
		if err == nil {
			err = o.guard.held(p, "If it is what you want: "+o.next(p)+" --yes")
		}
		return o.conclude(p, req.Files, err, o.next(p))
	})
}

// conclude shows a plan with what stops it, and ends as it does.
func (o *planOptions) conclude(p *plan.Plan, files []oprc.File, err error, next string) error {
	report := view.PlanReport{Plan: p, Err: err, Next: next, Contents: contents(files)}
	if o.output == view.Text || o.output == view.Wide { // errors are part of the plan's text
		warnings := view.Findings{Diagnostics: p.Diagnostics.Except(oprc.SeverityError), Contents: report.Contents}
		if err := (view.Output{W: o.err, Mask: o.mask}).Remarks(warnings); err != nil {
			return err
		}
	}
	if failed := errors.Join(o.view().Report(report), o.writeReports(report)); failed != nil {
		return errors.Join(failed, err)
	}
	switch {
	case errors.As(err, new(*oprc.InvalidError)):
		return shown{err}
	case err == nil && o.detailed && !p.Empty():
		return errChanges
	}
	return err
}

func (o *planOptions) view() view.Output {
	out := o.env.output(o.output)
	out.MaxBytes, out.Mask, out.Path = o.maxBytes, o.mask, o.path
	if o.out == "-" {
		out.W = o.err // stdout takes the plan file
	}
	return out
}

// next is the command that carries the plan out.
func (o *planOptions) next(p *plan.Plan) string {
	switch {
	case p.Empty():
		return ""
	case o.out != "":
		return o.command("apply", quote(o.out))
	}
	words := []string{"apply"}
	for _, f := range o.files {
		words = append(words, "-f", quote(f))
	}
	if o.pkg != "" {
		words = append(words, "--pkg", quote(o.pkg))
	}
	if o.strict {
		words = append(words, "--strict")
	}
	if o.take {
		words = append(words, "--take-ownership")
	}
	return o.command(words...)
}

// command is a command line that reaches the same state.
func (e *env) command(words ...string) string {
	line := []string{"oprc"}
	for _, f := range [][2]string{{"--server", e.server}, {"--redis", redacted(e.redis)}, {"--context", e.context}} {
		if f[1] != "" {
			line = append(line, f[0], quote(f[1]))
		}
	}
	return strings.Join(append(line, words...), " ")
}

// quote protects a word from a POSIX shell.
func quote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

type showOptions struct {
	*env
	output   view.Format
	maxBytes int
	mask     []string
}

func newShow(e *env) *cobra.Command {
	o := &showOptions{env: e}
	cmd := &cobra.Command{
		Use:   "show PLANFILE|PLANID",
		Short: "Show a saved plan, or one that waits for an approval",
		Long: `Prints a plan that "oprc plan --out" saved, whether or not live state has moved
since. A file that was modified is refused. Where there is no such file, and the word
is a plan id or its first digits, prints the plan of that id that a source holds.` +
			exits(exitOK, exitError, exitInvalid, exitNotFound, exitUnavailable, exitUsage, exitInterrupted),
		Example: `  oprc show next.plan
  oprc show next.plan -o markdown
  oprc show 4f0c1d2e3a4b`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: e.completePlans,
		RunE:              func(cmd *cobra.Command, words []string) error { return o.run(cmd.Context(), words[0]) },
	}
	cmd.Flags().IntVar(&o.maxBytes, "max-bytes", view.DefaultMaxBytes, "most `bytes` of markdown")
	bindMask(cmd, &o.mask)
	bindOutput(cmd, &o.output, view.Text, view.Wide, view.JSON, view.YAML, view.Markdown, view.GitHub, view.SARIF)
	return cmd
}

func (o *showOptions) run(ctx context.Context, path string) error {
	saved, err := readPlan(path, "")
	if errors.Is(err, oprc.ErrNotFound) && planID().MatchString(path) {
		return o.with(ctx, func(s *state) error { return o.held(ctx, s, path) })
	}
	if err != nil {
		return err
	}
	p := saved.Plan
	out := o.env.output(o.output)
	out.MaxBytes, out.Mask = o.maxBytes, o.mask
	next := ""
	if !p.Empty() {
		next = o.command("apply", quote(path))
	}
	return out.Plan(p, next)
}

// planID is what may be a plan id, or its first digits.
var planID = lazyregexp.New(`^(sha256:)?[0-9a-f]{6,64}$`)

// held shows the plan of an id that a source holds.
func (o *showOptions) held(ctx context.Context, s *state, id string) error {
	p, err := s.HeldPlan(ctx, id)
	if err != nil {
		return err
	}
	out := o.env.output(o.output)
	out.MaxBytes, out.Mask = o.maxBytes, o.mask
	return out.Plan(p, o.command("source", "approve", quote(id)))
}
