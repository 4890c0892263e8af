package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
)

// previewOptions say which source to plan for.
type previewOptions struct {
	source string
	config string
	ref    string
}

func (o *previewOptions) bind(cmd *cobra.Command, e *env) {
	fs := cmd.Flags()
	fs.StringVar(&o.source, "source", "", "`name` of a source: plan what the daemon would do next for it")
	fs.StringVar(&o.config, "config", configFile, "configuration `file` that says where the source is, with --source; a server has its own")
	fs.StringVar(&o.ref, "ref", "", "another `branch`, tag, range or commit of the source, with --source")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.RegisterFlagCompletionFunc("source", e.completeNames(oprc.KindSource))
}

const configFile = "oprc.yaml"

// check refuses flags that mean nothing beside others.
func (o *previewOptions) check(given func(flag string) bool) error {
	if o.source == "" {
		for _, flag := range []string{"config", "ref"} {
			if given(flag) {
				return usagef("--%s goes with --source", flag)
			}
		}
		return nil
	}
	for _, flag := range []string{"file", "pkg", "strict", "take-ownership", "against", "verify-key"} {
		if given(flag) {
			return usagef("--source and --%s exclude each other", flag)
		}
	}
	if given("ref") && given("out") {
		return usagef("--ref and --out exclude each other: what is planned of another branch cannot be applied")
	}
	return nil
}

// previewed plans the next tick of a source, shows it, and ends as that tick would.
func (o *planOptions) previewed(ctx context.Context) error {
	return o.followSource(ctx, o.preview.config, o.preview.source, func(s *state) error {
		var pre loop.Preview
		err := o.during("planning source "+o.preview.source, func(*step) (err error) {
			pre, err = s.Preview(ctx, o.preview.source, o.preview.ref)
			return err
		})
		if err != nil {
			return err
		}
		o.tellPreview(pre)
		ends, next := o.foretold(ctx, pre), ""
		if o.out != "" && (ends == nil || errors.Is(ends, oprc.ErrHeld) || errors.Is(ends, errChanges)) {
			next = o.nextOf(pre.Plan)
			planned := reconcile.Request{Source: &reconcile.SourceRevision{Name: o.preview.source, Revision: pre.Revision.ID}}
			if err := o.writePlan(o.out, reconcile.PlanFile{Request: planned, Plan: pre.Plan}, o.sign); err != nil {
				return err
			}
		}
		return o.conclude(pre.Plan, pre.Files, ends, next)
	})
}

// nextOf is the command that applies what was saved of a source's plan.
func (o *planOptions) nextOf(p *plan.Plan) string {
	words := []string{"apply", quote(o.out)}
	switch {
	case p.Empty():
		return ""
	case o.preview.config != configFile:
		words = append(words, "--config", quote(o.preview.config))
	}
	return o.command(words...)
}

// followSource uses the state in which a source is followed: a server, which has the
// configuration, or the Redis that flags, context, environment or else the configuration
// name.
func (e *env) followSource(ctx context.Context, config, source string, use func(*state) error) (err error) {
	at, err := e.contextPlace()
	if err != nil {
		return err
	}
	if e.server != "" || e.redis == "" && at.Server != "" {
		return e.with(ctx, use)
	}
	c, err := loadConfig(config, e.environ, nil)
	if err != nil {
		return err
	}
	if err := c.has(config, source); err != nil {
		return err
	}
	c.Redis.URL = cmp.Or(e.redis, at.Redis, c.Redis.URL)
	s, err := e.openRedis(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.reconciler.Judge, err = policies(filepath.Dir(config), c.Policies); err != nil {
		return err
	}
	e.follow(s, c)
	return use(s)
}

// has is the error of a source that a configuration does not name.
func (c Config) has(config, source string) error {
	names := make([]string, 0, len(c.Sources))
	for _, sc := range c.Sources {
		names = append(names, sc.Name)
	}
	if slices.Contains(names, source) {
		return nil
	}
	err := fmt.Errorf("source %s in %s: %w", source, config, oprc.ErrNotFound)
	if len(names) > 0 {
		return stepError{err, "It has " + strings.Join(names, ", ") + "."}
	}
	return err
}

// follow lets a state read the sources of a configuration.
func (e *env) follow(s *state, c Config) {
	s.follows = func(name, ref string) (loop.SourceConfig, error) { return e.openNamed(c, name, ref) }
	s.reconciler.Read = func(ctx context.Context, at reconcile.SourceRevision) (*reconcile.Derivation, error) {
		src, err := s.follows(at.Name, "")
		if err != nil {
			return nil, err
		}
		return loop.Derive(ctx, s.reconciler, src, s.db, at.Revision)
	}
}

// openNamed opens one source of a configuration, at another ref where one is given.
func (e *env) openNamed(c Config, name, ref string) (loop.SourceConfig, error) {
	i := slices.IndexFunc(c.Sources, func(sc SourceConfig) bool { return sc.Name == name })
	if i < 0 {
		return loop.SourceConfig{}, fmt.Errorf("source %s in the configuration: %w", name, oprc.ErrNotFound)
	}
	sc := c.Sources[i]
	sc.Ref = cmp.Or(ref, sc.Ref)
	// A directory of its own: a daemon may run beside it.
	opened, err := e.sources(&gitsource.Hub{}, "git-plan", []SourceConfig{sc})
	if err != nil {
		return loop.SourceConfig{}, err
	}
	opened[0].Anew = ref != ""
	return opened[0], nil
}

// Preview plans the next tick of a source of the configuration.
func (s *state) Preview(ctx context.Context, source, ref string) (loop.Preview, error) {
	if client, ok := s.control.(*rest.Client); ok {
		return client.SourcePlan(ctx, source, ref)
	}
	src, err := s.follows(source, ref)
	if err != nil {
		return loop.Preview{}, err
	}
	return loop.PreviewOf(ctx, s.reconciler, src, s.db)
}

// tellPreview says what the plan leaves out, and why it may not be carried out yet.
func (o *planOptions) tellPreview(pre loop.Preview) {
	o.hint(fmt.Sprintf("Source %s at revision %s.", o.preview.source, pre.Revision.ID))
	if len(pre.Left) > 0 {
		o.hint(fmt.Sprintf("Left as it was changed by hand: %s.", strings.Join(slices.Sorted(maps.Keys(pre.Left)), ", ")))
	}
	if pre.NoTrack {
		o.hint("The daemon does not track it: " + o.command("source", "reconcile", quote(o.preview.source)) + " carries this out.")
	}
	if by := pre.Suspended; by != nil {
		o.hint(fmt.Sprintf("The source is suspended by %s: %s.", by.Author, by.Reason))
	}
}

// foretold ends as the tick would.
func (o *planOptions) foretold(ctx context.Context, pre loop.Preview) error {
	p := pre.Plan
	if errs := p.Diagnostics.Errors(); len(errs) > 0 {
		if slices.ContainsFunc(errs, func(d oprc.Diagnostic) bool { return d.Code != oprc.CodePolicy }) {
			return &oprc.InvalidError{Diagnostics: p.Diagnostics}
		}
		denied := &oprc.DeniedError{Reason: "policy forbids it", Findings: errs}
		for _, d := range errs {
			denied.Objects = append(denied.Objects, d.String())
		}
		return denied
	}
	if len(p.Conflicts) > 0 {
		return stepError{
			&oprc.ConflictError{Reason: "another origin owns it", Objects: p.Conflicts},
			"The daemon leaves these alone until their owner gives them up.",
		}
	}
	if pre.Held != "" {
		return stepError{
			fmt.Errorf("the daemon will hold plan %s: %s: %w", p.ID, pre.Held, oprc.ErrHeld),
			"To let it through, once it is held: " + o.command("source", "approve", p.ID),
		}
	}
	if err := o.policy.review(ctx, p, reconcile.Actor{Name: pre.Revision.Author}); err != nil {
		return err
	}
	if err := o.guard.held(p, "The daemon's own limits let it through."); err != nil {
		return err
	}
	if o.detailed && !p.Empty() {
		return errChanges
	}
	return nil
}
