package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
	"github.com/oaas-platform/oprc/internal/schema"
)

type devOptions struct {
	*env
	driverOptions
	source   string
	ref      string
	port     int
	interval time.Duration
}

func newDev(e *env) *cobra.Command {
	o := &devOptions{env: e}
	cmd := &cobra.Command{
		Use:   "dev [PATH or URL]",
		Short: "Run everything in one process: state, control plane, and a runtime for each environment",
		Long: `Runs everything in one process, for development: the embedded Redis, the control
plane with its HTTP API, and one reference CRM for each environment that the
packages name. Packages come from a directory, which is watched, or from a Git
repository, which is polled. Every change is shown with its plan and its way to
RUNNING.

While dev runs, other commands find it and use its state.` +
			exits(exitOK, exitError, exitNotFound, exitUnavailable, exitUsage),
		Example: `  oprc dev examples/
  oprc dev examples/ --driver process --images examples/images.json
  oprc dev examples/ --driver docker
  oprc dev https://git.example/team/packages.git --ref main`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if e.redis != "" || e.server != "" || e.context != "" {
				return usagef("dev runs on a Redis of its own: --redis, --server and --context have no meaning here; oprc serve runs on the one that you name")
			}
			o.source = "."
			if len(words) == 1 {
				o.source = words[0]
			}
			return o.run(cmd.Context())
		},
	}
	o.bind(cmd)
	fs := cmd.Flags()
	fs.IntVar(&o.port, "port", 8080, "`port` of the HTTP API on loopback; a free one if it is taken")
	fs.StringVar(&o.ref, "ref", "", "branch, tag or commit of a repository (default: its own)")
	fs.DurationVar(&o.interval, "interval", 5*time.Second, "`time` between looks at a repository, and between full checks")
	return cmd
}

func (o *devOptions) run(ctx context.Context) (err error) {
	handler, err := o.handlers(o.env)
	if err != nil {
		return err
	}
	src, watch, err := o.openSource()
	if err != nil {
		return err
	}
	c, err := loadConfig("", o.environ, nil)
	if err != nil {
		return err
	}
	s, err := o.openEmbedded(ctx, c, embeddedWait)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if !s.alone() {
		return stepError{
			fmt.Errorf("another process already serves the %s", s.where),
			"Stop it first, or set XDG_STATE_HOME to another directory.",
		}
	}
	if err := s.embedded.Hold(); err != nil {
		return err
	}
	listener, err := listenNear(ctx, o.port)
	if err != nil {
		return err
	}
	log := o.logger()
	d, err := o.newDaemon(s, []loop.SourceConfig{src}, c, log, rest.NewMetrics())
	if err != nil {
		return err
	}
	screen := &devScreen{env: o.wrapped(), state: s, console: fmt.Sprintf("http://%s/", listener.Addr())}
	d.loop.Observe = screen.step
	o.banner(s, listener, src)
	err = d.run(ctx,
		func(ctx context.Context) error { return rest.Serve(ctx, listener, d.site(), nil) },
		s.embedded.Run,
		func(ctx context.Context) error { return watch(ctx, func() { d.loop.Wake(src.Name) }) },
		func(ctx context.Context) error { return follow(ctx, s.db, screen.event, screen.rest) },
		func(ctx context.Context) error { return o.runCRMs(ctx, s, c, handler, log) },
	)
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.db.DropSources(bye, []string{devSource}, 0); err != nil {
		log.Warn("what dev applied still seems to be followed", "error", err)
	}
	if ctx.Err() != nil {
		return nil // stopped by the user: that is how dev ends
	}
	return err
}

// devSource is the name of the source that dev follows. What it applied belongs to
// nobody once it has ended.
const devSource = "dev"

func (o *devOptions) banner(s *state, l net.Listener, src loop.SourceConfig) {
	hide := oprc.Secrets{Patterns: rest.DefaultMask}
	_, _ = fmt.Fprintf(o.wrapped().err, `source   %s
console  http://%s/
api      http://%[2]s/api
redis    %s (embedded, for development)
state    %s; embedded.json there has the password of Redis
Press Ctrl-C to stop. In another terminal: oprc get deployments
`, hide.URLs(src.URL), l.Addr(), hide.URLs(s.redis), s.where)
}

// openSource opens the directory or repository, and says how to hear of changes.
func (o *devOptions) openSource() (loop.SourceConfig, func(context.Context, func()) error, error) {
	if isGitURL(o.source) {
		git, err := newGitFiles(&gitsource.Hub{}, gitsource.Options{
			Name: devSource, URL: o.source, Ref: o.ref, CacheDir: filepath.Join(o.directory("XDG_CACHE_HOME", ".cache"), "git"),
		})
		if err != nil {
			return loop.SourceConfig{}, nil, err
		}
		src := declared{Source: git, load: schema.Load}
		idle := func(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }
		return loop.SourceConfig{Name: devSource, URL: o.source, Ref: o.ref, Source: src, Interval: o.interval, Guard: plan.DefaultGuard(), Anew: true}, idle, nil
	}
	paths := []string{o.source}
	if _, err := dirsource.Read(paths, strings.NewReader("")); err != nil {
		return loop.SourceConfig{}, nil, err
	}
	watch := func(ctx context.Context, wake func()) error {
		return dirsource.Watch(ctx, paths, watchQuiet, wake)
	}
	src := declared{Source: &dirFiles{paths: paths}, load: schema.Load}
	return loop.SourceConfig{Name: devSource, URL: o.source, Source: src, Interval: o.interval, Guard: plan.DefaultGuard(), Anew: true}, watch, nil
}

// listenNear listens on the loopback port, or on a free one when it is taken.
func listenNear(ctx context.Context, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	return l, nil
}

// runCRMs runs one reference CRM for every environment, also for those that appear
// later.
func (o *devOptions) runCRMs(ctx context.Context, s *state, c Config, handler func() crm.Handler, log *slog.Logger) error {
	g, ctx := errgroup.WithContext(ctx)
	running := map[string]bool{}
	for {
		names, err := s.db.EnvironmentNames(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, rdb.ErrUnavailable) {
			return err
		}
		for _, name := range names {
			if running[name] {
				continue
			}
			running[name] = true
			g.Go(func() error {
				options := crm.Options{
					Redis: s.redis, Env: name, ID: "dev-" + name, Logger: log,
					Database: c.Redis.Name, Topic: c.MQ.TopicPrefix,
				}
				if handler == nil {
					return o.runExternal(ctx, o.driverOptions, options, o.devFlags()...)
				}
				return crm.Run(ctx, options, handler())
			})
		}
		if !reconcile.Sleep(ctx, 200*time.Millisecond) {
			return g.Wait()
		}
	}
}
