package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/console"
	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/notify"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
	"github.com/oaas-platform/oprc/internal/rpc"
	"github.com/oaas-platform/oprc/internal/schema"
)

// daemonCommands are those that keep running, and what steers them.
func daemonCommands(e *env) []*cobra.Command {
	return []*cobra.Command{newDev(e), newServe(e), newCRM(e), newSource(e), newAuth(e), newToken(e)}
}

// A daemon is what serve and dev have in common: the loop, the reports, and the
// HTTP API on one ledger.
type daemon struct {
	loop   *loop.Loop
	ingest *ingest.Ingest
	server *rest.Server
	login  *rest.Login // nil: people paste tokens
}

// site is the HTTP API, with the console at /.
func (d *daemon) site() http.Handler {
	c := &console.Console{API: d.server.Handler(), Now: d.server.Now, Log: d.server.Log}
	if d.login != nil {
		c.Provider = d.login
	}
	return c.Handler()
}

func (e *env) newDaemon(s *state, sources []loop.SourceConfig, c Config, log *slog.Logger, metrics *rest.Metrics) (*daemon, error) {
	access, err := c.Security.access(e.now)
	if err != nil {
		return nil, err
	}
	if access.Stored = s.db; !c.Security.closed() {
		access.Hosts = ownHosts(access.Hosts)
	}
	login, err := e.login(c.Security)
	if err != nil {
		return nil, err
	}
	d := &daemon{ingest: e.ingest(s), login: login}
	d.loop = &loop.Loop{
		Reconciler: s.reconciler, Sources: sources, Lease: s.db, Store: s.db, Holder: identity(), Now: e.now, Log: log,
		Resend: loop.Resend(c.Resend),
	}
	d.ingest.Log = log
	d.ingest.Changed = func(string) { d.loop.Replan() }
	metrics.Reports(d.ingest.Counts)
	d.loop.Ticked = metrics.Tick
	d.loop.Resent = metrics.Resent
	metrics.Leading(d.loop.Leading)
	metrics.Differing(func() int { return len(d.loop.Differing()) })
	d.ingest.Lag = metrics.Lag
	d.server = &rest.Server{
		Control: ledger{newDirect(s.reconciler, s.db), s.db}, Load: schema.Load, Now: e.now, Ready: ready(s.db), Log: log, Metrics: metrics,
		Unavailable: unavailable, HealthPath: c.Health.Endpoint, MetricsPath: c.Metrics.Endpoint, Access: access, Bounds: rest.Bounds(c.Limits),
		Procedures: rpc.Handlers,
	}
	return d, nil
}

func (e *env) login(c SecurityConfig) (*rest.Login, error) {
	l, err := c.login(e.now)
	if err != nil || l == nil || c.OIDC.Login.ClientSecretEnv == "" {
		return l, err
	}
	l.ClientSecret, err = e.secret("security.oidc.login.clientSecretEnv", c.OIDC.Login.ClientSecretEnv)
	return l, err
}

// ready says what db keeps from being done.
func ready(db *rdb.DB) func(context.Context) (string, error) {
	return func(ctx context.Context) (degraded string, err error) {
		err = db.Writable(ctx)
		if rdb.TakesNoWrites(err) {
			return err.Error() + ". " + nextStep(err), nil
		}
		return "", err
	}
}

// watchers make the loop look at directories as soon as something changes there.
// Where that cannot be watched, polling has to do.
func (d *daemon) watchers(sources []loop.SourceConfig, log *slog.Logger) []func(context.Context) error {
	var out []func(context.Context) error
	for _, sc := range sources {
		dir, is := sc.Source.(*dirFiles)
		if !is {
			continue
		}
		out = append(out, func(ctx context.Context) error {
			if err := dirsource.Watch(ctx, dir.paths, watchQuiet, func() { d.loop.Wake(sc.Name) }); err != nil {
				log.Warn("watch", "source", sc.Name, "error", err)
			}
			return nil
		})
	}
	return out
}

// watchQuiet is how long nothing has to change in a directory before it is looked at.
const watchQuiet = 100 * time.Millisecond

// notifier tells of the sources what the configuration asks for.
func (e *env) notifier(c Config, log *slog.Logger) (*notify.Notifier, error) {
	n := &notify.Notifier{Log: log}
	for _, sc := range c.Sources {
		for i, nc := range sc.Notify {
			token, err := e.secret("tokenEnv", nc.TokenEnv)
			secret, err2 := e.secret("secretEnv", nc.SecretEnv)
			err = cmp.Or(err, err2)
			if err == nil {
				err = n.Add(sc.Name, notify.Options{Type: nc.Type, URL: nc.URL, Repository: sc.URL, Token: token, Secret: secret})
			}
			if err != nil {
				return nil, fmt.Errorf("source %s: notify[%d]: %w", sc.Name, i, err)
			}
		}
	}
	return n, nil
}

// ledger is what the HTTP API asks beyond what commands do.
type ledger struct {
	direct
	*rdb.DB
}

// Both parts have these.
func (l ledger) Events(ctx context.Context, after string, limit int) ([]oprc.Event, error) {
	return l.DB.Events(ctx, after, limit)
}

func (l ledger) History(ctx context.Context, pkg string, limit int) ([]oprc.HistoryEntry, error) {
	return l.DB.History(ctx, pkg, limit)
}

// run blocks until ctx ends or a part fails.
func (d *daemon) run(ctx context.Context, more ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	parts := append([]func(context.Context) error{d.loop.Run, d.ingest.Run}, more...)
	for _, part := range parts {
		g.Go(func() error { return part(ctx) })
	}
	return g.Wait()
}

// quiet is the silence after which follow takes things to have come to rest.
const quiet = 300 * time.Millisecond

// follow calls show for everything that happens from now on, and rest each time
// that nothing more does. While Redis is away it waits.
func follow(ctx context.Context, db *rdb.DB, show func(oprc.Event) error, rest func(context.Context) error) error {
	after := ""
	for {
		events, last, err := nextEvents(ctx, db, after)
		after = last
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, rdb.ErrUnavailable) {
			return err
		}
		for _, ev := range events {
			if err := show(ev); err != nil {
				return err
			}
		}
		if len(events) == 0 && err == nil {
			if err := rest(ctx); err != nil {
				return err
			}
		}
		if err != nil && !reconcile.Sleep(ctx, time.Second) {
			return nil
		}
	}
}

// nextEvents waits for events after an id and returns them with the id to go on
// from; without an id it only finds where to start.
func nextEvents(ctx context.Context, db *rdb.DB, after string) ([]oprc.Event, string, error) {
	if after == "" {
		last, err := db.LastEvent(ctx)
		return nil, last, err
	}
	events, err := db.WatchEvents(ctx, after, quiet)
	if len(events) > 0 {
		after = events[len(events)-1].ID
	}
	return events, after, err
}

// HeldPlan is that of Steering, which knows plans by the beginning of their ids.
func (l ledger) HeldPlan(ctx context.Context, id string) (*plan.Plan, error) {
	return l.direct.HeldPlan(ctx, id)
}
