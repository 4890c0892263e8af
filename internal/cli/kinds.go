package cli

import (
	"cmp"
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
	if near := cmp.Or(otherKinds[w], oprc.Nearest(w, all)); near != "" {
		return kindName{}, usagef("unknown kind %q: did you mean %s?", word, near)
	}
	return kindName{}, usagef("unknown kind %q: one of %s", word, strings.Join(all, ", "))
}

// otherKinds are words of Kubernetes, and what is most like them here.
var otherKinds = map[string]string{
	"po": "units", "pod": "units", "pods": "units", "rs": "units", "replicas": "units", "svc": "functions", "service": "functions", "services": "functions",
	"no": "environments", "node": "environments", "nodes": "environments", "cluster": "environments", "clusters": "environments",
	"ns": "packages", "namespace": "packages", "namespaces": "packages", "crd": "classes", "crds": "classes", "gitrepository": "sources", "repo": "sources", "repos": "sources",
}

// isKind reports whether a word is the name of one of the kinds.
func isKind(word string, kinds []oprc.Kind) bool {
	k, err := parseKind(word)
	return err == nil && slices.Contains(kinds, k.kind)
}

// A kindRef is a kind, and names of it; no name means all.
type kindRef struct {
	kindName
	names []string
}

// parseRefs reads KIND[,KIND…] [NAME…], or KIND/NAME…, as -o name prints them.
func parseRefs(words []string) ([]kindRef, error) {
	if kind, _, ok := strings.Cut(words[0], "/"); ok {
		if _, err := parseKind(kind); err == nil {
			return parseSlashed(words)
		}
	}
	if words[0] == wordAll {
		words = append([]string{"packages,classes,functions,deployments,units,environments"}, words[1:]...)
	}
	var out []kindRef
	for word := range strings.SplitSeq(words[0], ",") {
		k, err := parseKind(word)
		if err != nil {
			return nil, err
		}
		out = append(out, kindRef{kindName: k})
	}
	if len(out) > 1 && len(words) > 1 {
		return nil, usagef("names go with one kind; or write KIND/NAME for each")
	}
	out[0].names = words[1:]
	return out, nil
}

// wordAll stands for the kinds that packages and environments amount to.
const wordAll = "all"

func parseSlashed(words []string) ([]kindRef, error) {
	var out []kindRef
	for _, word := range words {
		kind, name, ok := strings.Cut(word, "/")
		k, err := parseKind(kind)
		if !ok || err != nil || name == "" {
			return nil, usagef("%q: expected KIND/NAME, as the words before", word)
		}
		if i := slices.IndexFunc(out, func(r kindRef) bool { return r.kind == k.kind }); i >= 0 {
			out[i].names = append(out[i].names, name)
			continue
		}
		out = append(out, kindRef{k, []string{name}})
	}
	return out, nil
}

// unslashed divides KIND/NAME, where it stands alone, into two words.
func unslashed(words []string) []string {
	if len(words) != 1 {
		return words
	}
	if kind, name, ok := strings.Cut(words[0], "/"); ok {
		if _, err := parseKind(kind); err == nil {
			return []string{kind, name}
		}
	}
	return words
}

// nameOf is the name of an object of one of the kinds, which may be given as KIND/NAME.
func nameOf(word string, kinds ...oprc.Kind) string {
	if kind, name, ok := strings.Cut(word, "/"); ok {
		if k, err := parseKind(kind); err == nil && slices.Contains(kinds, k.kind) {
			return name
		}
	}
	return word
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
