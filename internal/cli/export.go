package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
	"github.com/oaas-platform/oprc/internal/view"
)

type exportOptions struct {
	*env
	dir          string
	environments bool
	mask         []string
}

func newExport(e *env) *cobra.Command {
	o := &exportOptions{env: e}
	cmd := &cobra.Command{
		Use:   "export [PACKAGE...]",
		Short: "Write live packages as files",
		Long: `Writes packages as they are applied, all of them or the named ones, as YAML that can
be applied again: to stdout, or with --dir one file for each. Readers of YAML 1.1 and
1.2 read the same in it. Values that --mask hides are written as ***: they have to be
filled in before the file is applied; --mask '' writes them as they are.` +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc export shop > shop.yaml
  oprc export --dir packages --environments`,
		ValidArgsFunction: e.completeNames(oprc.KindPackage),
		Args:              args(cobra.ArbitraryArgs, oprc.KindPackage),
		RunE: func(cmd *cobra.Command, words []string) error {
			return o.with(cmd.Context(), func(s *state) error { return o.run(cmd.Context(), s, words) })
		},
	}
	cmd.Flags().StringVar(&o.dir, "dir", "", "`directory` to write NAME.yaml files into; those that exist are replaced")
	cmd.Flags().BoolVar(&o.environments, "environments", false, "environments, too")
	bindMask(cmd, &o.mask)
	_ = cmd.MarkFlagDirname("dir")
	return cmd
}

// An exported document, and the name of the file that it goes to.
type exported struct {
	name string
	data []byte
}

func (o *exportOptions) run(ctx context.Context, s *state, names []string) error {
	list, err := s.pick(ctx, oprc.KindPackage, names)
	if err != nil {
		return err
	}
	if o.environments {
		all, err := s.List(ctx, oprc.KindEnv)
		if err != nil {
			return err
		}
		list = append(all, list...)
	}
	var docs []exported
	for _, obj := range list {
		doc, err := o.document(obj)
		if err != nil {
			return err
		}
		if doc.name != "" {
			docs = append(docs, doc)
		}
	}
	if len(docs) == 0 {
		o.hint("There are no packages in the " + s.where + ".")
		return nil
	}
	return o.store(docs)
}

// document is the file of an object; without a name, if nobody declared it.
func (o *exportOptions) document(obj reconcile.Object) (exported, error) {
	var spec any
	var doc exported
	var from string
	switch v := obj.Doc.(type) {
	case *reconcile.PackageView:
		spec, doc.name, from = v.Spec, v.Name, fmt.Sprintf("revision %d, owner %s", v.Rev, v.Origin)
	case *reconcile.EnvironmentView:
		if v.Rev == 0 {
			return doc, nil
		}
		v.Spec.Kind = oprc.KindEnvironment
		spec, doc.name, from = v.Spec, v.Name, fmt.Sprintf("revision %d", v.Rev)
	default:
		return doc, fmt.Errorf("%s %s: the state holds a %T", obj.Kind, obj.Key, obj.Doc)
	}
	text, err := view.Output{Mask: o.mask}.File(spec)
	if err != nil {
		return doc, fmt.Errorf("export %s: %w", doc.name, err)
	}
	if text, err = schema.Format(oprc.File{Path: doc.name + ".yaml", Data: text}); err != nil {
		return doc, fmt.Errorf("export %s: %w", doc.name, err)
	}
	doc.data = append([]byte("# "+from+"\n"), text...)
	return doc, nil
}

func (o *exportOptions) store(docs []exported) error {
	masked := 0
	for i, doc := range docs {
		masked += bytes.Count(doc.data, []byte(view.Masked))
		if o.dir == "" {
			if i > 0 {
				doc.data = append([]byte("---\n"), doc.data...)
			}
			if _, err := o.raw.Write(doc.data); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(o.dir, 0o755); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		path := filepath.Join(o.dir, strings.ReplaceAll(doc.name, "/", "-")+".yaml")
		if err := o.save(path, doc.data, 0o600); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		_, _ = fmt.Fprintln(o.out, path)
	}
	if masked > 0 {
		o.hint(fmt.Sprintf("Masked values: %d. Fill them in before you apply, or export with --mask ''.", masked))
	}
	return nil
}
