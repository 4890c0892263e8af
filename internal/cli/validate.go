package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
	"github.com/oaas-platform/oprc/internal/view"
)

type validateOptions struct {
	*env
	files    []string
	pkg      string
	strict   bool
	live     bool
	noCache  bool
	output   view.Format
	maxBytes int
	mask     []string
}

func newValidate(e *env) *cobra.Command {
	o := &validateOptions{env: e}
	cmd := &cobra.Command{
		Use:   "validate -f PATH",
		Short: "Check packages without changing anything",
		Long: `Checks packages offline: schema, references, inheritance, macros, and the placement
rules that need no live state. Every finding of every file is reported in one run.
With --live, names that the files do not define are looked up in live state, and
placement is checked against the environments that are registered.

Files in which the same program found nothing before, as they are, are not checked
again: that is remembered in $XDG_CACHE_HOME/oprc/validated.` +
			exits(exitOK, exitError, exitInvalid, exitNotFound, exitUnavailable, exitUsage, exitInterrupted),
		Example: `  oprc validate -f shop.yaml
  oprc validate -f packages/ --strict -o sarif > findings.sarif
  oprc validate -f - --pkg shop < classes.yaml`,
		Args: noWords,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	fs := cmd.Flags()
	bindFiles(cmd, &o.files)
	fs.StringVar(&o.pkg, "pkg", "", "`name` for a package that has none")
	fs.BoolVar(&o.strict, "strict", false, "accept only fields and spellings that the specification defines")
	fs.BoolVar(&o.live, "live", false, "check against live state")
	fs.BoolVar(&o.noCache, "no-cache", false, "check files again that were found valid before")
	fs.IntVar(&o.maxBytes, "max-bytes", view.DefaultMaxBytes, "most `bytes` of markdown")
	bindMask(cmd, &o.mask)
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML, view.Markdown, view.GitHub, view.SARIF)
	return cmd
}

func (o *validateOptions) run(ctx context.Context) error {
	files, err := o.surveyed()
	if err != nil {
		return err
	}
	before := o.validated(files)
	packages, known := before.packages()
	var found oprc.Diagnostics
	var nothing error
	if !known {
		var documents int
		err := o.during("checking "+counted(len(files), "file"), func(*step) (err error) {
			documents, packages, found, err = o.check(ctx, files)
			return err
		})
		if err != nil {
			return err
		}
		if documents == 0 && found.Err() == nil {
			nothing = errNoDocument(len(files))
		}
		if len(found) == 0 && nothing == nil {
			before.remember(packages)
		}
	}
	if nothing != nil && o.output == view.Text { // it says more than "OK: 0 packages"
		return nothing
	}
	out := o.env.output(o.output)
	out.MaxBytes, out.Mask = o.maxBytes, o.mask
	if err := out.Findings(view.Findings{
		Files: len(files), Packages: packages, Diagnostics: found, Contents: contents(withFindings(files, found)),
	}); err != nil {
		return err
	}
	if errs := found.Errors(); len(errs) > 0 {
		if o.output == view.Text {
			o.hint(fmt.Sprintf("oprc explain %s shows an example that fails, and one that passes.", errs[0].Code))
		}
		return shown{found.Err()}
	}
	return nothing
}

// offline checks files without live state.
func offline(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics) {
	docs, found := schema.Load(files, strict, pkg)
	return docs, plan.Check(plan.Input{
		Documents: docs, Diagnostics: found, Scope: plan.Scope{Origin: oprc.OriginCLI}, Live: assumed(docs),
	})
}

// surveyed finds the files. Live state is asked with all of them, the offline check
// reads one after the other.
func (o *validateOptions) surveyed() ([]oprc.File, error) {
	if o.live || len(o.files) == 0 {
		return o.packageFiles(o.files)
	}
	read, err := dirsource.Survey(o.files, o.in)
	o.passed(read.Links)
	return read.Files, err
}

func (o *validateOptions) check(ctx context.Context, files []oprc.File) (documents, packages int, found oprc.Diagnostics, err error) {
	docs, found := offline(files, o.strict, o.pkg)
	for _, d := range docs {
		if d.Package != nil {
			packages++
		}
	}
	if o.live {
		found, err = o.checkLive(ctx, files)
	}
	return len(docs), packages, found, err
}

// withFindings returns the files in which something was found, with their content
// where it can still be read.
func withFindings(files []oprc.File, found oprc.Diagnostics) []oprc.File {
	named := map[string]bool{}
	for _, d := range found {
		named[d.File] = true
	}
	var out []oprc.File
	for _, f := range files {
		if named[f.Path] {
			f.Data, _ = f.Content() // without it, no source line is shown
			out = append(out, f)
		}
	}
	return out
}

func (o *validateOptions) checkLive(ctx context.Context, files []oprc.File) (found oprc.Diagnostics, err error) {
	err = o.with(ctx, func(s *state) error {
		p, err := s.Plan(ctx, reconcile.Request{
			Files: files, Scope: plan.Scope{Origin: oprc.OriginCLI, TakeOwnership: true}, Strict: o.strict, Package: o.pkg,
		})
		if p != nil && (err == nil || errors.Is(err, oprc.ErrInvalid)) {
			found = p.Diagnostics
			return nil
		}
		return err
	})
	return found, err
}

// assumed is a live state in which every environment that the documents name is
// there, healthy and all but always available: offline, only what the files say
// of an environment can be held against a package.
func assumed(docs []oprc.Document) plan.Live {
	live := plan.Live{Environments: map[string]oprc.EnvironmentState{}}
	hasDefault := false
	add := func(name string, isDefault bool) {
		live.Environments[name] = oprc.EnvironmentState{
			EnvironmentRecord: oprc.EnvironmentRecord{Spec: oprc.Environment{Kind: oprc.KindEnvironment, Name: name, Default: isDefault}, Rev: 1},
			Health:            oprc.Healthy, Availability: 1 - 1e-9,
		}
	}
	addNamed := func(name string) {
		if oprc.ValidName(name) {
			add(name, false)
		}
	}
	for _, d := range docs {
		if d.Environment != nil {
			hasDefault = hasDefault || d.Environment.Default
			continue
		}
		for _, dep := range d.Package.Deployments {
			for _, name := range dep.TargetEnvs {
				addNamed(name)
			}
			for _, m := range dep.Members {
				addNamed(m.Env)
			}
		}
	}
	for _, d := range docs {
		if d.Environment != nil {
			delete(live.Environments, d.Environment.Name)
		}
	}
	if !hasDefault {
		add("default", true)
	}
	return live
}
