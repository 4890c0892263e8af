package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

func newContext(e *env) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "context",
		Short: "List, set and choose connections to state",
		Long: `Contexts give names to servers and Redis instances, in
$XDG_CONFIG_HOME/oprc/contexts.yaml. Commands use the current one unless --server,
--redis or --context says otherwise.` + exits(exitOK, exitUsage),
	})
	cmd.AddCommand(newContextList(e), newContextSet(e), newContextUse(e), newContextDelete(e))
	return cmd
}

func newContextList(e *env) *cobra.Command {
	var output view.Format
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List contexts",
		Long:    "Lists the contexts; passwords in their URLs are not shown." + exits(exitOK, exitError, exitUsage),
		Example: "  oprc context list",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			all, err := e.readContexts()
			if err != nil {
				return err
			}
			return e.output(output).Contexts(all.listing())
		},
	}
	bindOutput(cmd, &output, view.Text, view.JSON, view.YAML, view.Name)
	return cmd
}

func newContextSet(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME (--server URL | --redis URL)",
		Short: "Make or change a context",
		Long: "Gives a name to a server or a Redis. The first context becomes the current one." +
			exits(exitOK, exitError, exitUsage),
		Example: `  oprc context set prod --server https://oprc.example.com
  oprc context set lab --redis redis://lab:6379/0`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, words []string) error {
			at := place{Server: e.server, Redis: e.redis}
			if (at.Server == "") == (at.Redis == "") {
				return usagef("a context is either --server URL or --redis URL")
			}
			if !oprc.ValidName(words[0]) {
				return usagef("%q is no name for a context", words[0])
			}
			return e.changeContexts(func(all *contexts) error {
				all.Contexts[words[0]] = at
				if all.Current == "" {
					all.Current = words[0]
				}
				return nil
			})
		},
	}
}

func newContextUse(e *env) *cobra.Command {
	var none bool
	cmd := &cobra.Command{
		Use:   "use NAME",
		Short: "Choose the current context",
		Long: "Makes a context the current one; --none goes back to the environment and the embedded state." +
			exits(exitOK, exitError, exitNotFound, exitUsage),
		Example:           "  oprc context use prod\n  oprc context use --none",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: e.completeContexts,
		RunE: func(_ *cobra.Command, words []string) error {
			if none == (len(words) == 1) {
				return usagef("name a context, or give --none")
			}
			return e.changeContexts(func(all *contexts) error {
				if none {
					all.Current = ""
					return nil
				}
				_, err := all.find(words[0])
				all.Current = words[0]
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&none, "none", false, "use no context")
	return cmd
}

func newContextDelete(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Forget a context",
		Long:              "Forgets a context. What it points to does not change." + exits(exitOK, exitError, exitNotFound, exitUsage),
		Example:           "  oprc context delete lab",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: e.completeContexts,
		RunE: func(_ *cobra.Command, words []string) error {
			return e.changeContexts(func(all *contexts) error {
				if _, err := all.find(words[0]); err != nil {
					return err
				}
				delete(all.Contexts, words[0])
				if all.Current == words[0] {
					all.Current = ""
				}
				return nil
			})
		},
	}
}

// changeContexts reads the file, changes it and writes it back.
func (e *env) changeContexts(change func(*contexts) error) error {
	all, err := e.readContexts()
	if err != nil {
		return err
	}
	if err := change(&all); err != nil {
		return err
	}
	if err := e.writeContexts(all); err != nil {
		return err
	}
	if all.Current != "" {
		e.hint(fmt.Sprintf("The current context is %q.", all.Current))
	}
	return nil
}
