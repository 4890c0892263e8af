package cli

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

type convertOptions struct {
	*env
	write bool
}

func newConvert(e *env) *cobra.Command {
	o := &convertOptions{env: e}
	cmd := &cobra.Command{
		Use:   "convert PATH...",
		Short: "Rewrite files of the snake_case dialect, or with older spellings",
		Long: `Converts package files of the other dialect (function_bindings, target_envs, …), and
older spellings, into what oprc reads without a warning. Comments stay. What could
not be carried over is reported on stderr. One file is printed; --write rewrites
files where they are.` + exits(exitOK, exitError, exitInvalid, exitNotFound, exitUsage),
		Example: `  oprc convert old.yaml > new.yaml
  oprc convert --write packages/`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, words []string) error { return o.run(words) },
	}
	cmd.Flags().BoolVarP(&o.write, "write", "w", false, "rewrite the files")
	return cmd
}

func (o *convertOptions) run(paths []string) error {
	files, err := dirsource.Read(paths, o.in)
	if err != nil {
		return err
	}
	if len(files) > 1 && !o.write {
		return usagef("%d files: only one can be printed, --write rewrites all of them", len(files))
	}
	var errs []error
	for _, f := range files {
		errs = append(errs, o.convert(f))
	}
	return errors.Join(errs...)
}

func (o *convertOptions) convert(f oprc.File) error {
	out, report, err := schema.Convert(f.Data)
	if err != nil {
		return inFile(f.Path, err)
	}
	for _, line := range report {
		o.hint(f.Path + ": " + line)
	}
	if !o.write || f.Path == dirsource.Stdin {
		_, err := o.raw.Write(out)
		return err
	}
	if bytes.Equal(out, f.Data) {
		return nil
	}
	if err := replace(f.Path, out); err != nil {
		return err
	}
	_, err = fmt.Fprintln(o.out, f.Path)
	return err
}
