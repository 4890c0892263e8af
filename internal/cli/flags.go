package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/view"
)

// formatFlag is -o: a format among those that the command knows.
type formatFlag struct {
	to      *view.Format
	allowed []view.Format
}

func (f formatFlag) String() string {
	if f.to == nil {
		return ""
	}
	return string(*f.to)
}

func (f formatFlag) Type() string { return "format" }

func (f formatFlag) Set(s string) error {
	got, err := view.ParseFormat(s, f.allowed...)
	if err != nil {
		return err
	}
	*f.to = got
	return nil
}

// bindOutput adds -o with the first of allowed as the default.
func bindOutput(cmd *cobra.Command, to *view.Format, allowed ...view.Format) {
	*to = allowed[0]
	names := view.Usage(allowed...)
	cmd.Flags().VarP(formatFlag{to, allowed}, "output", "o", strings.Join(names, ", "))
	completeValues(cmd, "output", names...)
}

// completeValues makes the shell offer fixed values for a flag.
func completeValues(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(toCompletions(values), cobra.ShellCompDirectiveNoFileComp))
}

func toCompletions(values []string) []cobra.Completion { return slices.Clone(values) }

// defaultMask is what --mask hides unless told otherwise.
func defaultMask() []string { return []string{"*PASSWORD*", "*SECRET*", "*TOKEN*", "*KEY*"} }

// bindMask adds --mask.
func bindMask(cmd *cobra.Command, to *[]string) {
	cmd.Flags().StringSliceVar(to, "mask", defaultMask(), "`patterns` of keys whose values are never shown")
}

// bindFiles adds -f.
func bindFiles(cmd *cobra.Command, to *[]string) {
	cmd.Flags().StringArrayVarP(to, "file", "f", nil, "`path` of a file, a directory, a glob, or - for stdin; repeats")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json")
}
