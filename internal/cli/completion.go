package cli

import (
	"strings"

	"github.com/spf13/cobra"

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
