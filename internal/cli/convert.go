package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
	"github.com/oaas-platform/oprc/internal/view"
)

type convertOptions struct {
	*env
	files []string
	write bool
}

func newConvert(e *env) *cobra.Command {
	o := &convertOptions{env: e}
	cmd := &cobra.Command{
		Use:   "convert PATH...",
		Short: "Rewrite files of the snake_case dialect, or with older spellings",
		Long: `Converts package files of the snake_case dialect (function_bindings, target_envs, …)
and older spellings into what oprc reads without a warning. Comments are kept, and
fields that need no change are not touched. What cannot be carried over is listed on
stderr. A package and its deployment file are converted together: name both, and the
deployment becomes part of the package.

The result is printed; --write rewrites the files. If the result is not valid, it is
written all the same, the findings are printed, and the exit code is 3.` + exits(exitOK, exitError, exitInvalid, exitNotFound, exitUsage),
		Example: `  oprc convert old.yaml > new.yaml
  oprc convert package.yaml deployment.yaml > new.yaml
  oprc convert --write packages/`,
		RunE: func(_ *cobra.Command, words []string) error { return o.run(append(words, o.files...)) },
	}
	cmd.Flags().BoolVarP(&o.write, "write", "w", false, "rewrite the files")
	bindFiles(cmd, &o.files)
	return cmd
}

func (o *convertOptions) run(paths []string) error {
	files, err := o.packageFiles(paths)
	if err != nil {
		return err
	}
	converted := schema.Convert(files)
	var errs []error
	for _, c := range converted {
		for _, lost := range c.Report {
			o.hint(fmt.Sprintf("%s:%d: %s", c.Path, lost.Line, lost.Message))
		}
		if c.Err != nil {
			errs = append(errs, inFile(c.Path, c.Err))
		}
	}
	done := slices.DeleteFunc(converted, func(c schema.Converted) bool { return c.Err != nil })
	if left := slices.DeleteFunc(slices.Clone(done), func(c schema.Converted) bool { return c.Moved }); len(left) > 1 && !o.write {
		return errors.Join(append(errs, usagef("%d files: only one can be printed, --write rewrites all of them", len(left)))...)
	}
	for i, c := range done {
		errs = append(errs, o.store(c, files))
		done[i].File.Data = c.Data
	}
	return errors.Join(append(errs, o.check(done))...)
}

// store prints a converted file, or writes it where it was.
func (o *convertOptions) store(c schema.Converted, files []oprc.File) error {
	was := files[slices.IndexFunc(files, func(f oprc.File) bool { return f.Path == c.Path })]
	switch {
	case !o.write || c.Path == dirsource.Stdin:
		if c.Moved {
			return nil
		}
		_, err := o.raw.Write(c.Data)
		return err
	case c.Moved:
		if err := os.Remove(c.Path); err != nil {
			return fmt.Errorf("remove %s, whose content was moved: %w", c.Path, err)
		}
		_, err := fmt.Fprintf(o.out, "%s (removed: its content was moved)\n", c.Path)
		return err
	case bytes.Equal(c.Data, was.Data):
		return nil
	}
	if err := replace(c.Path, c.Data); err != nil {
		return err
	}
	_, err := fmt.Fprintln(o.out, c.Path)
	return err
}

// check prints what is wrong with the converted files.
func (o *convertOptions) check(converted []schema.Converted) error {
	var files []oprc.File
	for _, c := range converted {
		if !c.Moved {
			files = append(files, c.File)
		}
	}
	_, found := offline(files, false, "")
	if found.Err() == nil {
		return nil
	}
	out := view.Output{W: o.err, Now: o.now()}
	if err := out.Findings(view.Findings{Files: len(files), Diagnostics: found.Errors(), Contents: contents(files)}); err != nil {
		return err
	}
	return shown{found.Err()}
}
