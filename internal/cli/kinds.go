package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A kindName is a kind with the words that mean it.
type kindName struct {
	kind   oprc.Kind
	plural string
	short  []string
}

func kindNames() []kindName {
	return []kindName{
		{oprc.KindPackage, "packages", []string{"pkg", "pkgs"}},
		{oprc.KindClass, "classes", []string{"cls"}},
		{oprc.KindFunction, "functions", []string{"fn", "fns", "func"}},
		{oprc.KindDeployment, "deployments", []string{"deploy", "dep"}},
		{oprc.KindUnit, "units", nil},
		{oprc.KindRuntime, "runtimes", []string{"cr", "crs"}},
		{oprc.KindEnv, "environments", []string{"env", "envs"}},
		{oprc.KindCRM, "crms", nil},
		{oprc.KindSource, "sources", []string{"src"}},
	}
}

// parseKind returns the kind that a word means.
func parseKind(word string) (kindName, error) {
	w := strings.ToLower(word)
	var all []string
	for _, k := range kindNames() {
		if w == string(k.kind) || w == k.plural || slices.Contains(k.short, w) {
			return k, nil
		}
		all = append(all, k.plural)
	}
	return kindName{}, usagef("unknown kind %q: one of %s", word, strings.Join(all, ", "))
}

// kindHelp lists the kinds and their short forms for a command's help.
func kindHelp() string {
	var parts []string
	for _, k := range kindNames() {
		text := k.plural
		if len(k.short) > 0 {
			text += " (" + strings.Join(k.short, ", ") + ")"
		}
		parts = append(parts, text)
	}
	return "Kinds: " + strings.Join(parts, ", ") + "."
}

// completeKindAndNames offers kinds, then names of that kind.
func (e *env) completeKindAndNames(cmd *cobra.Command, words []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(words) == 0 {
		var out []cobra.Completion
		for _, k := range kindNames() {
			out = append(out, k.plural)
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	k, err := parseKind(words[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return e.completeNames(k.kind)(cmd, words[1:], prefix)
}

// completeNames offers the names of one kind that were not given yet.
func (e *env) completeNames(kind oprc.Kind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var out []cobra.Completion
		err := e.with(cmd.Context(), func(s *state) error {
			list, err := s.List(cmd.Context(), kind)
			for _, obj := range list {
				if strings.HasPrefix(obj.Key, prefix) && !slices.Contains(given, obj.Key) {
					out = append(out, obj.Key)
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func (e *env) completeContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	all, err := e.readContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []cobra.Completion
	for _, c := range all.listing() {
		out = append(out, c.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
