package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

// otherTools are the verbs of other tools, and the command that does the same here.
var otherTools = map[string]string{
	"rollback": "undo PACKAGE", "revert": "undo PACKAGE",
	"destroy": "delete package NAME", "remove": "delete package NAME", "rm": "delete package NAME", "uninstall": "delete package NAME", "down": "delete package NAME",
	"lint": "validate -f PATH", "check": "validate -f PATH", "test": "validate -f PATH", "verify": "validate -f PATH",
	"preview": "plan -f PATH", "dry-run": "plan -f PATH",
	"deploy": "apply -f PATH", "install": "apply -f PATH", "upgrade": "apply -f PATH", "update": "apply -f PATH", "create": "apply -f PATH", "push": "apply -f PATH", "replace": "apply -f PATH", "patch": "apply -f PATH",
	"list": "get KIND", "ls": "get KIND", "ps": "get units", "show-state": "get all", "state": "get all", "top": "get units -w", "watch": "get KIND -w", "resources": "get all",
	"inspect": "describe KIND NAME", "info": "describe KIND NAME", "log": "history PACKAGE", "audit": "events",
	"up": "dev PATH", "run": "dev PATH", "start": "dev PATH", "daemon": "serve", "server": "serve",
	"format": "fmt PATH", "fix": "fmt PATH", "migrate": "convert PATH",
	"sync": "source reconcile NAME", "reconcile": "source reconcile NAME", "refresh": "source reconcile NAME", "suspend": "source suspend NAME", "resume": "source resume NAME", "approve": "source approve PLANID",
	"login": "context set NAME --server URL", "config": "context list", "use-context": "context use NAME", "environments": "env list", "environment": "env list", "envs": "env list",
	"edit": "export PACKAGE > FILE, change the file, and oprc apply -f FILE", "scale": "apply -f PATH, with another replicaCount", "restart": "rollout restart DEPLOYMENT", "taint": "rollout restart DEPLOYMENT",
	"exec": "invoke CLASS FUNCTION", "call": "invoke CLASS FUNCTION", "import": "adopt PACKAGE --by SOURCE", "output": "get all -o json", "wait": "status PACKAGE --wait", "whoami": "auth whoami",
	"render": "validate -f PATH", "template": "init --template NAME", "contexts": "context list",
	"cluster-info": "doctor", "ping": "doctor", "api-resources": "explain", "docs": "explain", "man": "help",
}

// unknownCommand is the usage error for a word that is no subcommand.
func unknownCommand(cmd *cobra.Command, word string) error {
	if same := otherTools[strings.ToLower(word)]; same != "" && cmd.Parent() == nil && word == "deploy" { // short for deployments, too
		return usagef("unknown command %q for %q: use oprc %s", word, cmd.CommandPath(), same)
	}
	if k, err := parseKind(word); err == nil && cmd.Parent() == nil {
		return usagef("unknown command %q for %q: use oprc get %s", word, cmd.CommandPath(), k.plural)
	}
	if near := nearCommand(cmd, word); near != "" {
		return usagef("unknown command %q for %q: did you mean %s?", word, cmd.CommandPath(), near)
	}
	if same := otherTools[strings.ToLower(word)]; same != "" && cmd.Parent() == nil {
		return usagef("unknown command %q for %q: use oprc %s", word, cmd.CommandPath(), same)
	}
	if same := otherRollouts[word]; same != "" && cmd.Name() == "rollout" {
		return usagef("unknown command %q for %q: use oprc %s", word, cmd.CommandPath(), same)
	}
	return usagef("unknown command %q for %q", word, cmd.CommandPath())
}

// otherRollouts is what kubectl rollout can do besides.
var otherRollouts = map[string]string{"undo": "undo PACKAGE", "status": "status DEPLOYMENT --wait", "history": "history PACKAGE", "pause": "source suspend NAME", "resume": "source resume NAME"}

// otherFlags are flags of other tools in one letter, and what does the same here.
var otherFlags = map[string]string{
	"f": "oprc plan -f PATH shows what files would change",
	"v": "oprc version shows the version", "V": "oprc version shows the version",
	"n": "packages are chosen by --package, environments by --env", "A": "all packages are shown unless --package is given",
}

// otherFlag adds to the error of a flag that there is none of the one that was probably meant.
func otherFlag(cmd *cobra.Command, err error) error {
	if name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --"); unknown {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		if near := oprc.Nearest(name, known); near != "" {
			return fmt.Errorf("%w: did you mean --%s?", err, near)
		}
	}
	if rest, unknown := strings.CutPrefix(err.Error(), "unknown shorthand flag: '"); unknown && otherFlags[rest[:1]] != "" {
		return fmt.Errorf("%w: %s", err, otherFlags[rest[:1]])
	}
	return err
}

// nearCommand is the subcommand that a misspelt word most probably meant, or "".
func nearCommand(cmd *cobra.Command, word string) string {
	if otherTools[strings.ToLower(word)] != "" && cmd.Parent() == nil {
		return ""
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return strings.Join(near, " or ")
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return oprc.Nearest(word, names)
}

// noWords refuses words where a command takes files by -f: they are probably files.
func noWords(cmd *cobra.Command, words []string) error {
	if len(words) == 0 {
		return nil
	}
	if looksLikeFiles(words) {
		return usagef("%s takes files by -f: %s -f %s", cmd.CommandPath(), cmd.CommandPath(), quotedWords(words, " -f "))
	}
	return usagef("%s takes no argument, got %q", cmd.CommandPath(), words[0])
}

func looksLikeFiles(words []string) bool {
	for _, w := range words {
		if _, err := os.Stat(w); err != nil && !oprc.IsPackageFile(filepath.Base(w)) && w != "-" && !strings.Contains(w, "/") {
			return false
		}
	}
	return true
}

func quotedWords(words []string, sep string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = quote(w)
	}
	return strings.Join(out, sep)
}

// noPackages refuses package files where a plan file is expected.
func noPackages(words []string) error {
	if len(words) == 0 {
		return nil
	}
	info, err := os.Stat(words[0])
	if isPlan := err == nil && !info.IsDir() && startsWithBrace(words[0]); len(words) == 1 && (isPlan || err != nil && !oprc.IsPackageFile(filepath.Base(words[0]))) {
		return nil
	}
	if looksLikeFiles(words) {
		return usagef("apply takes packages by -f: oprc apply -f %s (a plan file, which plan --out saves, is named without -f)", quotedWords(words, " -f "))
	}
	return usagef("apply takes one plan file, or packages by -f, got %q", words[0])
}

// startsWithBrace reports whether a file can be a plan: those are JSON.
func startsWithBrace(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 512)
	n, _ := f.Read(head) // an empty file is no plan
	return strings.HasPrefix(strings.TrimSpace(string(head[:n])), "{")
}

// printHelp prints what a command does, how it is used, examples, flags, and last its
// exit codes.
func printHelp(cmd *cobra.Command, _ []string) {
	long, codes, _ := strings.Cut(strings.TrimSpace(cmd.Long), "\n\n"+exitCodesTitle)
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s\n\n%s", cmd.Short+".", cmd.UsageString())
	if long != "" {
		fmt.Fprintf(out, "\nDescription:\n  %s\n", strings.ReplaceAll(strings.ReplaceAll(long, "\n", "\n  "), "\n  \n", "\n\n"))
	}
	if codes != "" {
		fmt.Fprintf(out, "\n%s%s\n", exitCodesTitle, codes)
	}
}

// newHelp prints the help of a command; a word that is none is a usage error.
func newHelp(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		Long:  "Shows the help of a command, as COMMAND --help does." + exits(exitOK, exitUsage),
		Example: `  oprc help apply
  oprc help source approve`,
		ValidArgsFunction: func(cmd *cobra.Command, words []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			at, _, err := cmd.Root().Find(words)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var out []cobra.Completion
			for _, c := range at.Commands() {
				if c.IsAvailableCommand() {
					out = append(out, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, words []string) error {
			at := cmd.Root()
			for _, word := range words {
				next, _, err := at.Find([]string{word})
				if err != nil || next == at {
					return unknownCommand(at, word)
				}
				at = next
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// printVersion is what --version does.
func (e *env) printVersion() error {
	if err := e.output(view.Text).Version(build()); err != nil {
		return fmt.Errorf("print the version: %w", err)
	}
	return nil
}
