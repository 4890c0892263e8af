package cli

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
)

//go:embed templates
var templates embed.FS

// schemaFile is where init puts the JSON Schema for editors, beside the package: no
// package is read from a hidden directory.
const schemaFile = ".oprc/oprc.schema.json"

type initOptions struct {
	*env
	template string
	dir      string
}

func newInit(e *env) *cobra.Command {
	o := &initOptions{env: e}
	cmd := &cobra.Command{
		Use:   "init [NAME]",
		Short: "Write a package to start from",
		Long: `Writes NAME.yaml, a package that is valid as it is and explains itself, and the schema
that editors complete and check it with. Without a name the directory's is taken. A
file that exists is not replaced.

Templates: class (one class with one function), macro (a function made of others),
environment (a place where classes run).` +
			exits(exitOK, exitError, exitUsage),
		Example: `  oprc init shop
  oprc init orders --template macro --dir packages
  oprc validate -f shop.yaml`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, words []string) error { return o.run(words) },
	}
	cmd.Flags().StringVarP(&o.template, "template", "t", "class", "`name` of the template: "+strings.Join(templateNames(), ", "))
	cmd.Flags().StringVar(&o.dir, "dir", ".", "`directory` to write into")
	completeValues(cmd, "template", templateNames()...)
	_ = cmd.MarkFlagDirname("dir")
	return cmd
}

func templateNames() []string { return []string{"class", "macro", "environment"} }

func (o *initOptions) run(words []string) error {
	text, err := templates.ReadFile("templates/" + o.template + ".yaml")
	if err != nil {
		return usagef("unknown template %q: one of %s", o.template, strings.Join(templateNames(), ", "))
	}
	name, err := o.name(words)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.dir, filepath.Dir(schemaFile)), 0o755); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	path := filepath.Join(o.dir, name+".yaml")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return stepError{fmt.Errorf("%s exists already", path), "Choose another name, or another --dir."}
	}
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	_, err = fmt.Fprintf(f, "# yaml-language-server: $schema=%s\n%s", schemaFile, strings.ReplaceAll(string(text), "NAME", name))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	forEditors, err := schema.Export("jsonschema")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.dir, schemaFile), forEditors, 0o644); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	_, _ = fmt.Fprintln(o.out, path)
	o.hint("See what it would do: " + o.command("plan", "-f", quote(path)))
	return nil
}

// name is the given one, or the directory's.
func (o *initOptions) name(words []string) (string, error) {
	if len(words) == 1 {
		if !oprc.ValidName(words[0]) {
			return "", usagef("%q cannot be the name of a package: letters and digits, and between them dots, - and _", words[0])
		}
		return words[0], nil
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return "", fmt.Errorf("init: %w", err)
	}
	if name := filepath.Base(dir); oprc.ValidName(name) {
		return name, nil
	}
	return "", usagef("%q cannot be the name of a package: give one, oprc init NAME", filepath.Base(dir))
}
