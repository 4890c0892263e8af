package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/view"
)

// env is what all commands share: streams, clock, and where state is.
type env struct {
	in      io.Reader
	out     io.Writer // data; reduced to what the stream can show
	err     io.Writer // everything else
	raw     io.Writer // out before that
	rawErr  io.Writer // err before that
	environ []string
	now     func() time.Time

	server, redis, context string // --server, --redis, --context
	tokenless              bool   // the server gets no token
	inContext              string // the context that was used, for messages
	color                  string
	noPager                bool
	pager                  *pager // nil: output is not kept for one
}

// getenv returns the last value of a variable, or "".
func (e *env) getenv(key string) string {
	value, _ := e.lookup(key)
	return value
}

// lookup returns the last value of a variable, and whether it is set.
func (e *env) lookup(key string) (value string, set bool) {
	for _, kv := range e.environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == key {
			value, set = v, true
		}
	}
	return value, set
}

// terminal reports whether a person can be asked: data may go elsewhere.
func (e *env) terminal() bool { return isTerminal(e.in) && isTerminal(e.rawErr) }

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// output is where a command's data goes, in a format.
func (e *env) output(f view.Format) view.Output {
	columns := 0
	if out, is := e.raw.(*os.File); is {
		columns, _, _ = term.GetSize(out.Fd()) // 0 where it is no terminal
	}
	return view.Output{W: e.out, Format: f, Now: e.now(), Columns: columns}
}

// hint tells a person what to do next, on stderr.
func (e *env) hint(s string) { _, _ = io.WriteString(e.err, view.Hint(s)) }

func newEnvOf(p Process) *env {
	return &env{in: p.In, raw: p.Out, rawErr: p.Err, environ: p.Environ, now: p.Now}
}

// Root returns the tree of commands, for what describes them.
func Root(p Process) *cobra.Command { return newRoot(newEnvOf(p), p) }

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, p Process) int {
	e := newEnvOf(p)
	e.out = view.NewWriter(p.Out, p.Environ, view.ColorAuto)
	e.err = view.NewWriter(p.Err, p.Environ, view.ColorAuto)
	root := newRoot(e, p)
	root.SetArgs(p.Args)
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	cmd, err := root.ExecuteContextC(ctx)
	e.endPage()
	if err != nil && strings.HasPrefix(err.Error(), "required flag(s)") { // cobra has no type for it
		err = usageError{err}
	}
	if ctx.Err() != nil {
		err = interruptedError(context.Cause(ctx), err)
	}
	if e.inContext != "" && (unavailable(err) || denied(err)) && !silent(err) {
		err = inContextError{err, e.inContext}
	}
	if err != nil && !silent(err) {
		next := nextStep(err)
		if wrong := (usageError{}); next == "" && errors.As(err, &wrong) {
			next = usageOf(cmd)
		}
		_, _ = io.WriteString(e.err, view.Problem(err, next))
	}
	return exitCode(err)
}

func newRoot(e *env, p Process) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "oprc",
		Short: "Control plane of Object-as-a-Service: packages in, running classes out",
		Long: `oprc is the control plane of Object-as-a-Service. It reads packages of classes and
functions from files or Git, plans what must change, applies exactly that plan,
and tells the class runtime managers (CRMs) of each environment what to run.

State is found in this order: --server URL (REST) · --redis URL · the current
context · the environment (OPRC_REDIS_URL, OAAS_PM_DB_*) · the embedded state in
$XDG_STATE_HOME/oprc, which needs nothing installed and is for development.`,
		Example: `  oprc dev examples/                 # everything in one process
  oprc validate -f shop.yaml         # check a package, offline
  oprc plan -f shop.yaml             # show what apply would change
  oprc apply -f shop.yaml --wait     # change it, and wait until it runs
  oprc get deployments`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if p.Prompt != nil {
				p.Prompt.Store(prompt[cmd.CommandPath()])
			}
			c, err := view.ParseColor(e.color)
			if err != nil {
				return usageError{err}
			}
			e.out, e.err = view.NewWriter(p.Out, e.environ, c), view.NewWriter(p.Err, e.environ, c)
			e.page(cmd)
			return nil
		},
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		depth := strings.Count(cmd.CommandPath(), " ")
		if cmd.HasSubCommands() && depth < len(p.Args) && !strings.HasPrefix(p.Args[depth], "-") {
			return unknownCommand(cmd, p.Args[depth]) // its flags mean nothing here
		}
		return usageError{otherFlag(cmd, err)}
	})
	fs := root.PersistentFlags()
	fs.StringVar(&e.server, "server", "", "`URL` of an oprc server (REST)")
	fs.StringVar(&e.redis, "redis", "", "`URL` of the Redis that holds the state")
	fs.StringVar(&e.context, "context", "", "`name` of the context to use instead of the current one")
	fs.StringVar(&e.color, "color", "auto", "`when` to use colour: auto, always, never")
	fs.BoolVar(&e.noPager, "no-pager", false, "print long output at once: on a terminal, it goes through $OPRC_PAGER, $PAGER or less")
	showVersion := root.Flags().Bool("version", false, "print the version, as the command version does")
	bare := root.RunE
	root.RunE = func(cmd *cobra.Command, words []string) error {
		if *showVersion {
			return e.printVersion()
		}
		return bare(cmd, words)
	}
	completeValues(root, "color", "auto", "always", "never")
	_ = root.RegisterFlagCompletionFunc("context", e.completeContexts)

	root.AddGroup(
		&cobra.Group{ID: groupChange, Title: "Change what runs:"},
		&cobra.Group{ID: groupLook, Title: "See what runs:"},
		&cobra.Group{ID: groupRun, Title: "Run the control plane:"},
		&cobra.Group{ID: groupTool, Title: "Other:"},
	)
	root.SetHelpFunc(printHelp)
	help := newHelp(e)
	help.GroupID = groupTool
	root.SetHelpCommand(help)
	add := func(id string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	add(groupChange, newInit(e), newValidate(e), newPlan(e), newShow(e), newApply(e), newDelete(e), newUndo(e), newRollout(e), newAdopt(e), newEnv(e), newDead(e))
	add(groupLook, newGet(e), newStatus(e), newDescribe(e), newTree(e), newHistory(e), newBlame(e), newEvents(e), newWhy(e), newDiff(e), newSnapshot(e), newExport(e), newInvoke(e), newLogs(e))
	add(groupRun, daemonCommands(e)...)
	add(groupTool, newExplain(e), newFmt(e), newConvert(e), newSchema(e), newContext(e), newDoctor(e), newCompletion(e), newVersion(e))
	return root
}

// prompt are the commands that may be ended at any moment: what they do takes effect
// at once or not at all.
var prompt = map[string]bool{"oprc validate": true, "oprc plan": true, "oprc apply": true}

const (
	groupChange = "change"
	groupLook   = "look"
	groupRun    = "run"
	groupTool   = "tool"
)

// group makes a command that only holds others: alone it prints its help, and
// with a word it does not know it is a usage error.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownCommand(cmd, args[0])
	}
	return cmd
}
