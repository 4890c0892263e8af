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
	"github.com/oaas-platform/oprc/internal/reconcile"
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
	fs.StringVar(&o.config, "config", "oprc.yaml", "configuration `file` that says where the source is, with --source")
	fs.StringVar(&o.ref, "ref", "", "another `branch`, tag, range or commit of the source, with --source")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.RegisterFlagCompletionFunc("source", e.completeNames(oprc.KindSource))
}

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
	for _, flag := range []string{"file", "pkg", "strict", "take-ownership", "against", "verify-key", "out"} {
		if given(flag) {
			return usagef("--source and --%s exclude each other", flag)
		}
	}
	return nil
}

// previewed plans the next tick of a source, shows it, and ends as that tick would.
func (o *planOptions) previewed(ctx context.Context) error {
	c, err := loadConfig(o.preview.config, o.environ, nil)
	if err != nil {
		return err
	}
	src, err := o.previewSource(c)
	if err != nil {
		return err
	}
	return o.previewState(ctx, c, func(s *state) error {
		if s.reconciler.Judge, err = policies(filepath.Dir(o.preview.config), c.Policies); err != nil {
			return err
		}
		pre, err := loop.PreviewOf(ctx, s.reconciler, src, s.db)
		if err != nil {
			return err
		}
		o.tellPreview(src, pre)
		return o.conclude(pre.Plan, pre.Files, o.foretold(ctx, pre), "")
	})
}

// previewSource opens the source that is asked for, and that alone.
func (o *planOptions) previewSource(c Config) (loop.SourceConfig, error) {
	var names []string
	for _, sc := range c.Sources {
		if sc.Name != o.preview.source {
			names = append(names, sc.Name)
			continue
		}
		if o.preview.ref != "" {
			sc.Ref = o.preview.ref
		}
		// A directory of its own: a daemon may run beside it.
		opened, err := o.sources(&gitsource.Hub{}, "git-plan", []SourceConfig{sc})
		if err != nil {
			return loop.SourceConfig{}, err
		}
		opened[0].Anew = o.preview.ref != ""
		return opened[0], nil
	}
	err := fmt.Errorf("source %s in %s: %w", o.preview.source, o.preview.config, oprc.ErrNotFound)
	if len(names) > 0 {
		return loop.SourceConfig{}, stepError{err, "It has " + strings.Join(names, ", ") + "."}
	}
	return loop.SourceConfig{}, err
}

// previewState opens the state that the daemon uses: what flags, context and
// environment say, else the configuration.
func (o *planOptions) previewState(ctx context.Context, c Config, use func(*state) error) (err error) {
	at, err := o.contextPlace()
	if err != nil {
		return err
	}
	if o.server != "" || o.redis == "" && at.Server != "" {
		return usagef("--source plans on Redis itself: name it with --redis URL")
	}
	c.Redis.URL = cmp.Or(o.redis, at.Redis, c.Redis.URL)
	s, err := o.openRedis(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return use(s)
}

// tellPreview says what the plan leaves out, and why it may not be carried out yet.
func (o *planOptions) tellPreview(src loop.SourceConfig, pre loop.Preview) {
	o.hint(fmt.Sprintf("Source %s at revision %s.", src.Name, pre.Revision.ID))
	if len(pre.Left) > 0 {
		o.hint(fmt.Sprintf("Left as it was changed by hand: %s.", strings.Join(slices.Sorted(maps.Keys(pre.Left)), ", ")))
	}
	if src.NoTrack {
		o.hint("The daemon does not track it: " + o.command("source", "reconcile", quote(src.Name)) + " carries this out.")
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
