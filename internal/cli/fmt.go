package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2/maybe"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
	"github.com/oaas-platform/oprc/internal/view"
)

// writers is how many files are rewritten at a time: each waits until it is on the disk.
const writers = 32

var errUnformatted = fmt.Errorf("files are not formatted: %w", oprc.ErrInvalid)

type fmtOptions struct {
	*env
	files []string
	check bool
	diff  bool
}

func newFmt(e *env) *cobra.Command {
	o := &fmtOptions{env: e}
	cmd := &cobra.Command{
		Use:   "fmt PATH...",
		Short: "Format package files: order and spelling of fields",
		Long: `Brings the fields of package files into canonical order and spelling. Comments stay
with what they describe, text that is in order already is not touched, and the meaning
of the files does not change. "-" formats stdin to stdout. The names of rewritten files
are printed.` + exits(exitOK, exitError, exitInvalid, exitNotFound, exitUsage),
		Example: `  oprc fmt packages/
  oprc fmt --check packages/      # for CI: exit 3 if a file would change
  oprc fmt --diff shop.yaml`,
		RunE: func(_ *cobra.Command, words []string) error { return o.run(append(words, o.files...)) },
	}
	bindFiles(cmd, &o.files)
	cmd.Flags().BoolVar(&o.check, "check", false, "rewrite nothing; exit with 3 if a file would change")
	cmd.Flags().BoolVar(&o.diff, "diff", false, "rewrite nothing; print what would change")
	return cmd
}

func (o *fmtOptions) run(paths []string) error {
	files, err := o.packageFiles(paths)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(writers)
	errs := make([]error, len(files))
	changed := make([]bool, len(files))
	for i, f := range files {
		out, err := schema.Format(f)
		switch {
		case err != nil:
			errs[i] = inFile(f.Path, err)
		case f.Path == dirsource.Stdin && !o.check && !o.diff:
			if _, err := o.raw.Write(out); err != nil {
				return err
			}
		case bytes.Equal(out, f.Data):
		case o.diff:
			changed[i], errs[i] = true, o.output(view.Text).Rewrite(f.Path, string(f.Data), string(out))
		case o.check:
			changed[i] = true
		default:
			changed[i] = true
			g.Go(func() error { errs[i] = replace(f.Path, out); return nil })
		}
	}
	_ = g.Wait() // each file has an error of its own
	for i, f := range files {
		if changed[i] && !o.diff && errs[i] == nil {
			_, errs[i] = fmt.Fprintln(o.out, f.Path)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if o.check && slices.Contains(changed, true) {
		return shown{errUnformatted}
	}
	return nil
}

// replace writes a file that exists, whole or not at all, with the permissions that
// it has. A link stays a link.
func replace(path string, data []byte) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", path, err)
	}
	info, err := os.Stat(target)
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", path, err)
	}
	if err := maybe.WriteFile(target, data, info.Mode().Perm()); err != nil {
		return fmt.Errorf("rewrite %s: %w", path, err)
	}
	return nil
}

// inFile says which file an error is about.
func inFile(path string, err error) error {
	var invalid *oprc.InvalidError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("%s: %w", path, err)
	}
	found := slices.Clone(invalid.Diagnostics)
	for i := range found {
		found[i].File = path
	}
	return &oprc.InvalidError{Diagnostics: found}
}
