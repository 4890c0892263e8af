package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/crm/conformance"
	"github.com/oaas-platform/oprc/internal/embedded"
	"github.com/oaas-platform/oprc/internal/view"
)

type crmTestOptions struct {
	*env
	start    string
	log      string
	rules    []string
	name     string
	image    string
	patience time.Duration
	lease    time.Duration
	output   view.Format
}

func newCRMTest(e *env) *cobra.Command {
	o := &crmTestOptions{env: e}
	cmd := &cobra.Command{
		Use:   "test --start COMMAND",
		Short: "Check a CRM, in any language, against the rules of the protocol",
		Long: `Starts a CRM, plays the control plane for it, and prints for each rule of
docs/protocol.md whether the CRM keeps it and what was seen. The CRM is started,
ended and started again several times, and Redis loses its data meanwhile.

COMMAND is run by the shell. It finds in its environment: OPRC_REDIS_URL, OPRC_ENV
(the environment to serve), OAAS_PM_DB_NAME and OAAS_PM_MQ_TOPIC_PREFIX. To end it,
its processes get SIGTERM, and SIGKILL 5 s later.

Without --redis an embedded Redis on a free port is used. EVERYTHING in the
environment --env is deleted; an environment with units of others is refused.
Without --start, the CRM that already serves the environment at --redis is checked;
it is not restarted, so some rules are not checked.

A workload may say what it is: where it answers GET <invocationUrl>/conformance with
{"instance": ID, "env": {NAME: VALUE}}, it is asked, and reports need not be believed.
A workload that takes CONFORMANCE_START_DELAY seconds to become ready shows what the
CRM does meanwhile.

The exit code is 1 if a rule that must be kept is broken. All rules take about two
minutes.` +
			exits(exitOK, exitError, exitUnavailable, exitDenied, exitUsage, exitInterrupted),
		Example: `  oprc crm test --start 'node crm.js "$OPRC_REDIS_URL" "$OPRC_ENV"'
  oprc crm test --redis redis://localhost:6379 --start ./my-crm --image registry.example/echo:1
  oprc crm test --start ./my-crm --rule repeat --rule older --log -
  oprc crm test --start ./my-crm -o junit > crm.xml`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.start, "start", "", "`command` that starts the CRM")
	fs.StringVar(&o.log, "log", "", "`file` for what the CRM prints; - is stderr")
	fs.StringSliceVar(&o.rules, "rule", nil, "`name` of a rule to check; repeat it for several (default: all)")
	fs.StringVar(&o.name, "env", "conformance", "`name` of the environment to use; everything in it is deleted")
	fs.StringVar(&o.image, "image", "registry.example/conformance:1", "`image` of the units' functions: one that the CRM can run")
	fs.DurationVar(&o.patience, "patience", 20*time.Second, "`time` that the CRM may take to do anything")
	fs.DurationVar(&o.lease, "lease", 30*time.Second, "`time` after which the CRM takes commands of others for abandoned")
	bindOutput(cmd, &o.output, view.Text, view.JSON, view.YAML, view.JUnit)
	completeValues(cmd, "rule", ruleNames()...)
	return cmd
}

func ruleNames() []string {
	var names []string
	for _, r := range conformance.Rules() {
		names = append(names, r.Rule)
	}
	return names
}

func (o *crmTestOptions) run(ctx context.Context) (err error) {
	for _, name := range o.rules {
		if !slices.Contains(ruleNames(), name) {
			return usagef("--rule %s: known are %s", name, strings.Join(ruleNames(), ", "))
		}
	}
	if o.start == "" && o.redis == "" {
		return usagef("nothing to check: name the command that starts the CRM with --start, or the Redis where it works with --redis")
	}
	c, err := loadConfig("", o.environ, nil)
	if err != nil {
		return err
	}
	url, done, err := o.testRedis(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	options := conformance.Options{
		Redis: url, Env: o.name, Database: c.Redis.Name, Topic: c.MQ.TopicPrefix,
		Image: o.image, Patience: o.patience, Lease: o.lease, Rules: o.rules,
	}
	if o.start != "" {
		child := &child{
			command: o.start, cancel: cancel,
			environ: append(slices.Clone(o.environ), "OPRC_REDIS_URL="+url, "OPRC_ENV="+o.name, "OAAS_PM_DB_NAME="+c.Redis.Name, "OAAS_PM_MQ_TOPIC_PREFIX="+c.MQ.TopicPrefix),
		}
		var closeLog func() error
		if child.log, closeLog, err = o.openLog(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeLog()) }()
		options.Start = child.start
	}
	return o.check(ctx, options)
}

// testRedis returns the Redis that was named, or starts one in a directory that is
// removed when it is done.
func (o *crmTestOptions) testRedis(ctx context.Context) (url string, done func() error, err error) {
	if o.redis != "" {
		return o.redis, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "oprc-crm-test-")
	if err != nil {
		return "", nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	instance, err := embedded.Open(ctx, dir, embeddedWait)
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	// redis-cli sends an empty name of the user where the URL has none.
	url = strings.Replace(instance.URL(), "://:", "://default:", 1)
	return url, func() error { return errors.Join(instance.Close(), remove()) }, nil
}

func (o *crmTestOptions) openLog() (io.Writer, func() error, error) {
	switch o.log {
	case "":
		return io.Discard, func() error { return nil }, nil
	case "-":
		return o.err, func() error { return nil }, nil
	}
	f, err := os.Create(o.log)
	if err != nil {
		return nil, nil, err
	}
	return f, f.Close, nil
}

// check runs the rules, prints each verdict when it is there, and says meanwhile which
// rule is checked.
func (o *crmTestOptions) check(ctx context.Context, options conformance.Options) error {
	var mu sync.Mutex // of the screen
	var now conformance.Step
	p := o.progress(0)
	out := o.env.output(o.output)
	var rules []view.RuleVerdict
	var printed error
	options.Observe = func(step conformance.Step) {
		mu.Lock()
		defer mu.Unlock()
		now = step
		if step.Finding == nil {
			return
		}
		v := verdict(*step.Finding)
		rules = append(rules, v)
		if o.output == view.Text {
			p.end()
			printed = errors.Join(printed, out.Rule(v))
		}
	}
	watched, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
				mu.Lock()
				p.say(func() string { return fmt.Sprintf("rule %d of %d: %s", now.Number, now.Of, now.Rule) })
				mu.Unlock()
			}
		}
	})
	result, err := conformance.Run(ctx, options)
	stop()
	watcher.Wait()
	p.end()
	if err != nil {
		return err
	}
	if err := errors.Join(printed, out.Rules(view.NewRuleVerdicts(o.name, rules))); err != nil {
		return err
	}
	if n := len(result.Broken()); n > 0 {
		return shown{fmt.Errorf("%d rules that a CRM must keep are broken", n)}
	}
	return nil
}

func verdict(f conformance.Finding) view.RuleVerdict {
	level := "should"
	if f.Must {
		level = "must"
	}
	return view.RuleVerdict{
		Rule: f.Rule, Level: level, Verdict: strings.ToLower(f.Verdict), Says: f.Says, Seen: f.Seen,
		Section: "docs/protocol.md#" + f.Section, Seconds: math.Round(f.Took.Seconds()*1000) / 1000,
	}
}
