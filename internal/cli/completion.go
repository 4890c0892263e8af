package cli

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/oaas-platform/oprc/internal/oprc"
)

func newCompletion(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script of a shell",
		Long: `Prints a script that completes commands, flags, kinds and the names of live objects
in bash, zsh, fish or powershell.` + exits(exitOK, exitError, exitUsage),
		Example: `  source <(oprc completion bash)
  oprc completion zsh > "${fpath[1]}/_oprc"
  oprc completion fish > ~/.config/fish/completions/oprc.fish`,
		Args:      args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, words []string) error {
			switch words[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(e.raw, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(e.raw)
			case "fish":
				return cmd.Root().GenFishCompletion(e.raw, true)
			}
			return cmd.Root().GenPowerShellCompletionWithDesc(e.raw)
		},
	}
}

// newMan writes the manual that packages carry. The release build calls it.
func newMan(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages into a directory", Hidden: true,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if err := os.MkdirAll(words[0], 0o755); err != nil {
				return fmt.Errorf("manual pages: %w", err)
			}
			day := e.now().UTC()
			if epoch := e.getenv("SOURCE_DATE_EPOCH"); epoch != "" {
				seconds, err := strconv.ParseInt(epoch, 10, 64)
				if err != nil {
					return errors.New("manual pages: SOURCE_DATE_EPOCH is not a number")
				}
				day = time.Unix(seconds, 0).UTC()
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			plainStars(root)
			return doc.GenManTree(root, &doc.GenManHeader{Title: "OPRC", Section: "1", Source: "oprc " + build().Version, Date: &day}, words[0])
		},
	}
}

// plainStars keeps the stars of texts, which a manual page would take for emphasis.
func plainStars(cmd *cobra.Command) {
	keep := func(text *string) { *text = strings.ReplaceAll(*text, "*", `\*`) }
	keep(&cmd.Short)
	keep(&cmd.Long)
	each := func(f *pflag.Flag) {
		keep(&f.Usage)
		keep(&f.DefValue)
	}
	cmd.LocalNonPersistentFlags().VisitAll(each)
	cmd.PersistentFlags().VisitAll(each)
	for _, c := range cmd.Commands() {
		plainStars(c)
	}
}

// completePlans offers the ids of plans that sources hold.
func (e *env) completePlans(cmd *cobra.Command, given []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	err := e.with(cmd.Context(), func(s *state) error {
		list, err := s.List(cmd.Context(), oprc.KindSource)
		for _, obj := range list {
			if src, ok := obj.Doc.(*oprc.SourceStatus); ok && src.PlanID != "" && strings.HasPrefix(src.PlanID, prefix) && len(given) == 0 {
				out = append(out, cobra.CompletionWithDesc(src.PlanID, "held by source "+src.Name))
			}
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return out, cobra.ShellCompDirectiveDefault
}
