package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/notify"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
	"github.com/oaas-platform/oprc/internal/schema"
)

type serveOptions struct {
	*env
	config   string
	insecure bool
	cmd      *cobra.Command
}

func newServe(e *env) *cobra.Command {
	o := &serveOptions{env: e}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: sources, reconciliation, reports, REST",
		Long: `Runs the daemon on a real Redis: it polls the sources in oprc.yaml, applies each
new revision, processes the reports of CRMs, and serves the HTTP API.

Flags win over the environment (OAAS_PM_*, OPRC_REDIS_URL), which wins over the
configuration file, which wins over the defaults. An unknown key stops the start.
Without tokens, OpenID Connect or client certificates in the configuration the API
listens on loopback only.

While Redis is away the daemon waits and recovers. Several daemons may run on one
Redis: a lease decides which of them acts.

Ctrl-C and SIGTERM end it in order, with exit code 0.` +
			exits(exitOK, exitError, exitInvalid, exitUsage, exitDenied),
		Example: `  oprc serve --config oprc.yaml
  OAAS_PM_DB_HOST=redis.internal oprc serve --config /etc/oprc/oprc.yaml --port 9090`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	o.cmd = cmd
	cmd.Flags().StringVar(&o.config, "config", "", "configuration `file`, usually oprc.yaml")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	cmd.Flags().BoolVar(&o.insecure, "insecure", false, "answer everybody on every address, although the configuration does not say who may")
	bindConfig(cmd.Flags())
	return cmd
}

func (o *serveOptions) run(ctx context.Context) (err error) {
	c, err := loadConfig(o.config, o.environ, o.cmd.Flags())
	if err != nil {
		return err
	}
	if o.redis != "" {
		c.Redis.URL = o.redis
	}
	log := o.loggerAt(c.LogLevel)
	metrics := rest.NewMetrics()
	sources, err := o.sources(&gitsource.Hub{Observe: metrics.GitRequest, Now: o.now}, "git", c.Sources)
	if err != nil {
		return err
	}
	notifier, err := o.notifier(c, log)
	if err != nil {
		return err
	}
	environments, err := c.EnvironmentFiles()
	if err != nil {
		return err
	}
	if _, found := schema.Load(environments, false, ""); found.Err() != nil {
		return fmt.Errorf("configuration: %w", found.Err())
	}
	judge, err := policies(filepath.Dir(o.config), c.Policies)
	if err != nil {
		return err
	}
	listener, secure, err := o.listen(ctx, c, log)
	if err != nil {
		return err
	}
	profiles, err := listenPprof(ctx, c.Pprof)
	if err != nil {
		return err
	}
	door := newDoor(c.Health.Endpoint)
	serve := func(ctx context.Context) error { return rest.Serve(ctx, listener, door, secure) }
	return besides(ctx, alsoPprof(profiles, log, serve),
		func(ctx context.Context, end func()) (err error) {
			s, err := o.connect(ctx, c, log.With("address", listener.Addr().String()), door)
			if ctx.Err() != nil {
				return nil // told to stop while Redis was away
			}
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			tracer, endTraces, err := o.tracer(ctx, c.Traces, log)
			if err != nil {
				return err
			}
			defer endTraces()
			s.reconciler.Judge = judge
			if err := s.db.Claim(ctx); err != nil && !errors.Is(err, rdb.ErrUnavailable) {
				return err
			}
			d, err := o.newDaemon(s, sources, c, log, metrics)
			if err != nil {
				return err
			}
			d.loop.Environments = environments
			if d.loop.Config, err = c.digest(filepath.Dir(o.config)); err != nil {
				return err
			}
			d.loop.Peers = s.db
			d.loop.Tracer, d.ingest.Tracer, d.server.Tracer = tracer, tracer, tracer
			o.follow(s, c)
			d.server.Preview = o.preview(s)
			notifier.Sent = metrics.Notified
			metrics.Expect(names(sources), notify.Types())
			d.loop.Observe = func(st loop.Step) {
				logStep(log, st)
				if outcome, ok := notify.Begun(st, o.now()); ok {
					notifier.Tell(outcome)
				}
			}
			d.loop.Settled = func(st loop.Step, ready oprc.SourceCondition) {
				notifier.Tell(notify.OutcomeOf(st, ready, o.now()))
			}
			if err := d.hooks(ctx, o.env, s.db, c.Sources, log); err != nil {
				return err
			}
			door.open(d.site())
			log.Info("serving", "address", listener.Addr().String(), "redis", s.db.Addr(), "sources", len(sources))
			err = d.run(ctx, append(d.watchers(sources, log), notifier.Run)...)
			end() // requests that still run need s
			if ctx.Err() != nil {
				log.Info("stopped")
				return nil
			}
			return err
		})
}

// besides runs work, and serve for as long as that lasts. If serve fails, the context of
// work ends. With end work ends serve earlier, and waits for it.
func besides(ctx context.Context, serve func(context.Context) error, work func(ctx context.Context, end func()) error) error {
	g, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	end := func() {
		stop()
		<-ended
	}
	g.Go(func() error {
		defer close(ended)
		return serve(serving)
	})
	g.Go(func() error {
		defer end()
		return work(ctx, end)
	})
	return g.Wait()
}

func names(sources []loop.SourceConfig) []string {
	out := make([]string, len(sources))
	for i, sc := range sources {
		out[i] = sc.Name
	}
	return out
}

// listen opens the port of the API.
func (o *serveOptions) listen(ctx context.Context, c Config, log *slog.Logger) (net.Listener, *tls.Config, error) {
	address, err := c.address(o.insecure)
	if err != nil {
		return nil, nil, err
	}
	secure, err := c.Security.TLS.secure(o.now, log)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: security.tls: %w", err)
	}
	if !c.Security.closed() {
		log.Warn("the API does not know its callers: everybody who reaches it may do everything", "address", address)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	return listener, secure, nil
}

// preview plans the next tick of one of the sources, in mirrors of its own.
func (o *serveOptions) preview(s *state) func(context.Context, string, string) (*rest.SourcePlan, error) {
	return func(ctx context.Context, name, ref string) (*rest.SourcePlan, error) {
		pre, err := s.Preview(ctx, name, ref)
		if err != nil {
			return nil, err
		}
		return &rest.SourcePlan{
			Revision: pre.Revision.ID, Author: pre.Revision.Author, Plan: pre.Plan, Held: pre.Held, Suspended: pre.Suspended, Untracked: pre.NoTrack,
			Left: slices.Sorted(maps.Keys(pre.Left)),
		}, nil
	}
}

// connect opens Redis, and keeps trying until it answers: the daemon outlives it.
func (o *serveOptions) connect(ctx context.Context, c Config, log *slog.Logger, door *door) (*state, error) {
	for {
		s, err := o.openRedis(ctx, c)
		if !errors.Is(err, rdb.ErrUnavailable) {
			return s, err
		}
		log.Warn("waiting for Redis", "error", err)
		door.closed(err)
		if !reconcile.Sleep(ctx, time.Second) {
			return nil, ctx.Err()
		}
	}
}

// logStep says what a tick did: one line, with the findings that stop a package.
func logStep(log *slog.Logger, st loop.Step) {
	if st.Err == nil && st.Result == nil && st.Plan != nil && (!st.Plan.Empty() || st.Plan.Diagnostics.Err() != nil) {
		return // a line follows that says how it ends
	}
	attrs := []any{"source", st.Source}
	if st.Revision.ID != "" {
		attrs = append(attrs, "revision", st.Revision.ID, "files", len(st.Files), "read", st.Read)
	}
	if st.Plan != nil {
		sum := st.Plan.Summary
		attrs = append(attrs, "plan", st.Plan.ID, "create", sum.Create, "update", sum.Update, "delete", sum.Delete,
			"deploy", sum.Commands.Deploy, "undeploy", sum.Commands.Undeploy)
		for _, d := range st.Plan.Diagnostics {
			if d.Severity == oprc.SeverityError {
				log.Error("finding", "source", st.Source, "package", d.Package, "finding", d.String())
			}
		}
	}
	switch {
	case st.Err != nil:
		log.Error("not applied", append(attrs, "error", st.Err)...)
		if f, is := errors.AsType[*gitsource.Fault](st.Err); is && f.Raw != "" {
			log.Debug("what the repository's fault is in the words of the library", "source", st.Source, "error", f.Raw)
		}
	case st.Result != nil:
		log.Info("applied", attrs...)
	default:
		log.Info("in sync", attrs...)
	}
}
