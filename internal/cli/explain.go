package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/schema"
	"github.com/oaas-platform/oprc/internal/view"
)

type explainOptions struct {
	*env
	output view.Format
}

func newExplain(e *env) *cobra.Command {
	o := &explainOptions{env: e}
	cmd := &cobra.Command{
		Use:   "explain [FIELD | CODE]",
		Short: "Show what a field or the code of a finding means",
		Long: `Documents a field of packages or environments, with its type, values, limits,
default and the fields inside it. The path starts at the package, or with one of
` + strings.Join(schema.Roots(), ", ") + `.

The code of a finding is explained with an example that fails and one that passes.` +
			exits(exitOK, exitError, exitNotFound, exitUsage),
		Example: `  oprc explain
  oprc explain classes.functions.access
  oprc explain environment.capacity
  oprc explain E007
  oprc explain placement example.record`,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeFields,
		RunE: func(_ *cobra.Command, words []string) error {
			return o.run(strings.Join(words, ""))
		},
	}
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML)
	cmd.AddCommand(newExplainPlacement(e))
	return cmd
}

// findingCode is how codes look, whatever their case.
var findingCode = lazyregexp.New(`^[EeWw][0-9]+$`)

func (o *explainOptions) run(path string) error {
	if findingCode().MatchString(path) {
		return o.code(strings.ToUpper(path))
	}
	doc, err := schema.Fields(path)
	if errors.Is(err, oprc.ErrNotFound) {
		return stepError{err, "oprc explain, without a field, lists what a package may hold."}
	}
	if err != nil {
		return err
	}
	return o.env.output(o.output).Field(fieldView(doc))
}

func (o *explainOptions) code(code string) error {
	var known []string
	for _, d := range view.Codes() {
		if string(d.Code) == code {
			return o.env.output(o.output).Code(d)
		}
		known = append(known, string(d.Code))
	}
	return stepError{
		fmt.Errorf("code %s: %w", code, oprc.ErrNotFound),
		"Codes are " + strings.Join(known, ", ") + ".",
	}
}

func fieldView(d schema.FieldDoc) view.Field {
	f := view.Field{
		Path: d.Path, Type: d.Type, Required: d.Required, Default: d.Default, Values: d.Values, Limits: d.Limits,
		Code: string(d.Code), Extra: d.Extra, System: d.System, Older: d.Older, Was: d.Was, Doc: d.Doc,
	}
	for _, c := range d.Children {
		f.Fields = append(f.Fields, fieldView(c))
	}
	return f
}

// completeFields offers the next step of a path.
func completeFields(_ *cobra.Command, given []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	parent := ""
	if i := strings.LastIndex(prefix, "."); i >= 0 {
		parent = prefix[:i]
	}
	doc, err := schema.Fields(parent)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, c := range view.Codes() {
		if strings.HasPrefix(string(c.Code), strings.ToUpper(prefix)) {
			out = append(out, cobra.CompletionWithDesc(string(c.Code), c.Title))
		}
	}
	for _, c := range doc.Children {
		name := c.Path[strings.LastIndex(c.Path, ".")+1:]
		if parent != "" {
			name = parent + "." + name
		}
		if strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func newSchema(e *env) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "schema",
		Short: "Get the schema of package files for editors and other tools",
		Long:  "The schema of package and environment files." + exits(exitOK, exitUsage),
	})
	cmd.AddCommand(newSchemaExport(e))
	return cmd
}

func newSchemaExport(e *env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the schema as CUE, JSON Schema or OpenAPI",
		Long: `Prints the schema. Editors complete and check package files with the JSON Schema;
"cue vet" checks them with the CUE form.` + exits(exitOK, exitError, exitUsage),
		Example: `  oprc schema export --format jsonschema > package.schema.json
  oprc schema export --format cue > package.cue`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			data, err := schema.Export(format)
			if errors.Is(err, oprc.ErrInvalid) {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			_, err = e.raw.Write(data)
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "jsonschema", "`format`: "+strings.Join(schema.Formats(), ", "))
	completeValues(cmd, "format", schema.Formats()...)
	return cmd
}
