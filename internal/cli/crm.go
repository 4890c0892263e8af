package cli

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/process"
	"github.com/oaas-platform/oprc/crm/sim"
	"github.com/oaas-platform/oprc/crm/workload"
	"github.com/oaas-platform/oprc/internal/oprc"
)

func newCRM(e *env) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "crm",
		Short: "Run and check class runtime managers",
		Long:  "A CRM turns the units of one environment into workloads, and reports on them." + exits(exitOK, exitUsage),
	})
	cmd.AddCommand(newCRMRun(e), newCRMTest(e))
	return cmd
}

// driverOptions say what carries units out.
type driverOptions struct {
	driver  string
	images  string
	secrets string
	sim     sim.Options
}

func (o *driverOptions) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.driver, "driver", "sim", "what carries units out: sim pretends to, process runs local commands, docker runs containers, kubernetes Deployments, classruntime hands classes to the OaaS operator (the three by oprc-crm)")
	fs.StringVar(&o.images, "images", "", "`file` that maps images to local commands, for --driver process")
	fs.StringVar(&o.secrets, "secrets", "", "`directory` with a file NAME/KEY for each key of a secret that environment variables refer to")
	fs.DurationVar(&o.sim.StartDelay, "start-delay", 300*time.Millisecond, "`time` that sim takes to start a unit")
	fs.Float64Var(&o.sim.FailRate, "fail-rate", 0, "`share` of starts that fail in sim, from 0 to 1")
	completeValues(cmd, "driver", "sim", "process", "docker", "kubernetes", "classruntime")
	_ = cmd.MarkFlagFilename("images", "json")
}

// handlers returns a maker of handlers: every environment's CRM has its own. Drivers
// of oprc-crm have none here.
func (o *driverOptions) handlers(e *env) (func() crm.Handler, error) {
	switch o.driver {
	case "sim":
		return func() crm.Handler { return sim.New(o.sim) }, nil
	case "docker", "kubernetes", "classruntime":
		_, err := findCRMProgram()
		return nil, err
	case "process":
	default:
		return nil, usagef("--driver %s: known are sim, process, docker, kubernetes and classruntime", o.driver)
	}
	if o.images == "" {
		return nil, usagef("--driver process needs --images FILE, which maps images to local commands")
	}
	images, err := process.LoadImages(o.images)
	if err != nil {
		return nil, err
	}
	return func() crm.Handler {
		return process.New(process.Options{Images: images, Secrets: workload.SecretDir(o.secrets), Log: e.err, LogDir: e.logDir()})
	}, nil
}

// devFlags are what a driver of oprc-crm gets when everything runs in one process:
// containers end with it, and a cluster gets the namespace that it lacks.
func (o *driverOptions) devFlags() []string {
	if o.driver == "docker" {
		return []string{"--drain"}
	}
	return []string{"--create-namespace"}
}

// logDir is where the process driver keeps what functions print; "" if there is no
// home.
func (e *env) logDir() string {
	dir := e.directory("XDG_STATE_HOME", ".local/state")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "logs")
}

type crmRunOptions struct {
	*env
	driverOptions
	name         string
	id           string
	availability float64
}

func newCRMRun(e *env) *cobra.Command {
	o := &crmRunOptions{env: e}
	cmd := &cobra.Command{
		Use:   "run --env NAME [-- FLAGS OF OPRC-CRM]",
		Short: "Run a CRM for one environment",
		Long: `Runs a CRM: it joins the environment's commands, carries them out by its driver,
reports, and sends heartbeats until it is stopped.

The drivers sim and process are part of oprc. The drivers docker, kubernetes and
classruntime are those of the program oprc-crm, found beside oprc or on the PATH;
what follows -- goes to it (oprc-crm run --help lists its flags).

A CRM keeps its id over a restart. While another process has it, the second one ends
with a conflict.

With the embedded state and no dev or serve running, it also holds the state, so
that other commands find it.` +
			exits(exitOK, exitError, exitInvalid, exitConflict, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc crm run --env local
  oprc crm run --env cloud-1 --redis redis://localhost:6379 --start-delay 2s --fail-rate 0.1
  oprc crm run --env local --driver process --images examples/images.json
  oprc crm run --env edge --driver docker --secrets /etc/oprc/secrets -- --publish-address 10.0.0.5
  oprc crm run --env cloud --driver kubernetes -- --create-namespace --pull-secret registry`,
		Args: func(cmd *cobra.Command, words []string) error {
			if dash := cmd.ArgsLenAtDash(); len(words) > 0 && (dash != 0 || o.driver == "sim" || o.driver == "process") {
				return usagef("%s takes no arguments; what follows -- is for the drivers of oprc-crm", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, words []string) error { return o.run(cmd.Context(), words) },
	}
	o.bind(cmd)
	fs := cmd.Flags()
	fs.StringVar(&o.name, "env", "", "`name` of the environment to serve")
	fs.StringVar(&o.id, "id", "", "`name` of this CRM, unique in the environment (default: the host's)")
	fs.Float64Var(&o.availability, "availability", 0, "availability to report, between 0 and 1; 0 reports none")
	_ = cmd.MarkFlagRequired("env")
	_ = cmd.RegisterFlagCompletionFunc("env", e.completeNames(oprc.KindEnv))
	return cmd
}

func (o *crmRunOptions) run(ctx context.Context, more []string) error {
	handler, err := o.handlers(o.env)
	if err != nil {
		return err
	}
	c, err := loadConfig("", o.environ, nil)
	if err != nil {
		return err
	}
	o.id = cmp.Or(o.id, hostname())
	return o.stay(ctx, func(ctx context.Context, s *state) error {
		if s.db == nil {
			return stepError{
				fmt.Errorf("a CRM talks to Redis, not to a server: %w", oprc.ErrInvalid),
				"Name the server's Redis with --redis URL.",
			}
		}
		o.hint(fmt.Sprintf("CRM %s serves environment %q on %s. Press Ctrl-C to stop.", o.id, o.name, s.where))
		options := crm.Options{
			Redis: s.redis, Env: o.name, ID: o.id, Process: identity(), Database: c.Redis.Name, Topic: c.MQ.TopicPrefix,
			Availability: o.availability, Logger: o.logger(),
			OnEvent: func(ev crm.Event) { o.tell(ev) },
		}
		if handler == nil {
			return o.runExternal(ctx, o.driverOptions, options, more...)
		}
		return crm.Run(ctx, options, handler())
	})
}

// tell prints what the CRM did, one line each, on stderr.
func (o *crmRunOptions) tell(ev crm.Event) {
	line := ev.Time.Local().Format(time.TimeOnly) + "  " + ev.Type
	if ev.Unit != "" {
		line += fmt.Sprintf("  %s generation %d", ev.Unit, ev.Generation)
	}
	if ev.Condition != "" {
		line += "  " + string(ev.Condition)
	}
	if ev.Message != "" {
		line += "  " + ev.Message
	}
	_, _ = fmt.Fprintln(o.err, line)
}
