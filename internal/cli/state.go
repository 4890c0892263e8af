package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/embedded"
	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
	"github.com/oaas-platform/oprc/internal/schema"
)

// control is what commands ask of the state, wherever it is: a Redis, reached
// directly, or a server, over REST.
type control interface {
	Plan(ctx context.Context, req reconcile.Request) (*plan.Plan, error)
	Apply(ctx context.Context, req reconcile.Request, cond reconcile.Conditions, by reconcile.Actor) (*reconcile.Result, error)
	List(ctx context.Context, kind oprc.Kind) ([]reconcile.Object, error)
	// Find fails with oprc.ErrNotFound.
	Find(ctx context.Context, kind oprc.Kind, key string) (reconcile.Object, error)
	// PlanAs is [loop.PlanAs] of those files that the source reads.
	PlanAs(ctx context.Context, source string, next loop.Proposal) (loop.Preview, error)
	// History returns the newest entries first.
	History(ctx context.Context, pkg string, limit int) ([]oprc.HistoryEntry, error)
	// What people ask of the daemon: as reconcile.Steering.
	Wake(ctx context.Context, source string) (ticket int64, err error)
	Suspend(ctx context.Context, source, reason string, length time.Duration, by reconcile.Actor) error
	Resume(ctx context.Context, source string, by reconcile.Actor) (was bool, err error)
	Approve(ctx context.Context, planID string, by reconcile.Actor) (source string, ticket int64, err error)
	Adopt(ctx context.Context, pkg, source string, by reconcile.Actor) (ticket int64, err error)
	// HeldPlan returns the plan whose id begins so that waits for an approval.
	HeldPlan(ctx context.Context, id string) (*plan.Plan, error)
	PlanUndo(ctx context.Context, pkg string, to int64) (*plan.Plan, error)
	Undo(ctx context.Context, pkg string, to int64, planID string, by reconcile.Actor) (*reconcile.Undone, error)
	// Events returns up to limit events after a stream id, oldest first.
	Events(ctx context.Context, after string, limit int) ([]oprc.Event, error)
	// Snapshot takes live state, and what is stored about sources, without secrets. A
	// server hides what its own configuration says, too.
	Snapshot(ctx context.Context, hide plan.Redaction) (*plan.Snapshot, error)
}

// direct is control over a Redis of our own.
type direct struct {
	*reconcile.Reconciler
	*reconcile.Inspector
	reconcile.Steering
	db *rdb.DB
}

func newDirect(r *reconcile.Reconciler, db *rdb.DB) direct {
	return direct{r, &reconcile.Inspector{Ledger: db, Reader: db, Parts: db}, reconcile.Steering{Desk: db, Reconciler: r}, db}
}

func (d direct) HeldPlan(ctx context.Context, id string) (*plan.Plan, error) {
	return d.db.HeldPlan(ctx, id)
}

func (d direct) History(ctx context.Context, pkg string, limit int) ([]oprc.HistoryEntry, error) {
	return d.db.History(ctx, pkg, limit)
}

func (d direct) Events(ctx context.Context, after string, limit int) ([]oprc.Event, error) {
	return d.db.Events(ctx, after, limit)
}

func (d direct) Snapshot(ctx context.Context, hide plan.Redaction) (*plan.Snapshot, error) {
	taken, err := d.Reconciler.Snapshot(ctx, hide)
	if err != nil {
		return nil, err
	}
	if taken.Sources, err = d.db.Sources(ctx); err != nil {
		return nil, err
	}
	taken.Asked, err = d.db.Requests(ctx)
	return taken, err
}

// letters is where dead letters are: a server, or Redis.
type letters interface {
	EnvironmentNames(ctx context.Context) ([]string, error)
	Dead(ctx context.Context, env string, limit int) ([]oprc.DeadEntry, error)
	RetryDead(ctx context.Context, env, id string) error
	DropDead(ctx context.Context, env string, ids ...string) (int64, error)
}

func (s *state) letters() letters {
	if client, ok := s.control.(*rest.Client); ok {
		return client
	}
	return s.db
}

// A state is an open place of state. Close it.
type state struct {
	control

	where string // for people; without passwords

	// Of state that is reached directly; nil over REST.
	db         *rdb.DB
	reconciler *reconcile.Reconciler
	redis      string             // its URL, password included
	embedded   *embedded.Instance // nil unless it is the embedded state
	// follows opens a source of the configuration, at another ref where one is given; nil
	// without a configuration.
	follows func(name, ref string) (loop.SourceConfig, error)
}

// CommandQueue tells how far commands have come.
func (s *state) CommandQueue(ctx context.Context, env string) (oprc.CommandQueue, error) {
	if client, ok := s.control.(*rest.Client); ok {
		return client.CommandQueue(ctx, env)
	}
	return s.db.CommandQueue(ctx, env)
}

// Close ends connections, and saves the embedded state if this process owns it.
func (s *state) Close() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.embedded != nil {
		errs = append(errs, s.embedded.Close())
	}
	return errors.Join(errs...)
}

// save returns once what was written is durable, as far as that is ours to see to: what
// is said to be applied is still there after a loss of power.
func (s *state) save(ctx context.Context) error {
	if s.embedded == nil {
		return nil
	}
	return s.embedded.Save(ctx)
}

// alone reports whether this process owns the embedded state, so that nobody
// else serves it.
func (s *state) alone() bool { return s.embedded != nil && !s.embedded.Shared() }

// with opens the state, uses it and closes it.
func (e *env) with(ctx context.Context, use func(*state) error) (err error) {
	s, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return use(s)
}

// open finds the state in the order that the contract gives.
func (e *env) open(ctx context.Context) (*state, error) {
	if e.server != "" {
		return e.openServer(e.server), nil
	}
	if e.redis != "" {
		return e.openRedisURL(ctx, e.redis)
	}
	at, err := e.contextPlace()
	switch {
	case err != nil:
		return nil, err
	case at.Server != "":
		s := e.openServer(at.Server)
		s.where += " (context " + e.inContext + ")"
		return s, nil
	case at.Redis != "":
		return e.openRedisURL(ctx, at.Redis)
	}
	c, err := loadConfig("", e.environ, nil)
	if err != nil {
		return nil, err
	}
	if e.getenv("OPRC_REDIS_URL") != "" || e.getenv("OAAS_PM_DB_HOST") != "" {
		return e.openRedis(ctx, c)
	}
	return e.openEmbedded(ctx, c, embeddedWait)
}

// embeddedWait is how long a command waits for another one to finish.
const embeddedWait = 10 * time.Second

// contextPlace is where the named or the current context points; the zero place
// without one.
func (e *env) contextPlace() (place, error) {
	all, err := e.readContexts()
	if err != nil {
		return place{}, err
	}
	name := e.context
	if name == "" {
		name = all.Current
	}
	if name == "" {
		return place{}, nil
	}
	at, err := all.find(name)
	if err == nil {
		e.inContext = name
	}
	return at, err
}

// openRedisURL opens a Redis that was named, with the key names and credentials
// of the environment.
func (e *env) openRedisURL(ctx context.Context, url string) (*state, error) {
	c, err := loadConfig("", e.environ, nil)
	if err != nil {
		return nil, err
	}
	c.Redis.URL = url
	return e.openRedis(ctx, c)
}

// openRedis opens the Redis that a configuration names.
func (e *env) openRedis(ctx context.Context, c Config) (*state, error) {
	o := c.redisOptions()
	db, err := rdb.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return e.state(c, db, o.URL, "redis at "+db.Addr()), nil
}

// openEmbedded opens the embedded state, waiting for other commands that use it.
// An empty one gets its environment.
func (e *env) openEmbedded(ctx context.Context, c Config, wait time.Duration) (*state, error) {
	dir := e.directory("XDG_STATE_HOME", ".local/state")
	if dir == "" {
		return nil, errors.New("embedded state: neither XDG_STATE_HOME nor HOME is set")
	}
	var instance *embedded.Instance
	err := e.during("opening the embedded state", func(*step) (err error) {
		instance, err = embedded.Open(ctx, dir, wait)
		return err
	})
	if err != nil {
		return nil, err
	}
	o := c.redisOptions()
	o.URL, o.Username, o.Password = instance.URL(), "", ""
	db, err := rdb.Open(ctx, o)
	if err != nil {
		return nil, errors.Join(err, instance.Close())
	}
	s := e.state(c, db, o.URL, "embedded state in "+dir)
	s.embedded = instance
	if instance.ReadOnly() {
		return s, nil
	}
	if err := s.bootstrap(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (e *env) state(c Config, db *rdb.DB, url, where string) *state {
	r := &reconcile.Reconciler{Ledger: db, Part: db.LiveFor, Load: schema.Load, Now: e.now, MaxUnits: c.MaxUnits, DispatchOff: !c.CRMEnabled, Followed: followed(db)}
	return &state{control: newDirect(r, db), where: where, db: db, reconciler: r, redis: url}
}

// followed names the sources that a daemon follows. A dev that was killed follows
// nothing once its lease is over.
func followed(db *rdb.DB) func(context.Context) (map[string]bool, error) {
	return func(ctx context.Context) (map[string]bool, error) {
		all, err := db.Sources(ctx)
		if err != nil {
			return nil, err
		}
		names := map[string]bool{}
		for name := range all {
			names[name] = true
		}
		if names[devSource] {
			server, err := db.Server(ctx)
			if err != nil {
				return nil, err
			}
			names[devSource] = server.Leader != ""
		}
		return names, nil
	}
}

// bootstrap gives an empty embedded state its one environment.
func (s *state) bootstrap(ctx context.Context) error {
	known, err := s.db.EnvironmentNames(ctx)
	if err != nil || len(known) > 0 {
		return err
	}
	local := oprc.Environment{Kind: oprc.KindEnvironment, Name: "local", Default: true, Availability: 0.99}
	_, err = s.Apply(ctx, registration(local, false), reconcile.Conditions{}, reconcile.Actor{Name: "oprc", Message: "first use of the embedded state"})
	if errors.Is(err, oprc.ErrConflict) { // another process was first
		return nil
	}
	return err
}

// registration asks for an environment.
func registration(spec oprc.Environment, take bool) reconcile.Request {
	return reconcile.Request{
		Files: []oprc.File{{Path: "environment/" + spec.Name, Data: oprc.MustCanonical(spec)}},
		Scope: plan.Scope{Origin: oprc.OriginCLI, TakeOwnership: take},
	}
}

// serveAlone does, while use runs, what a daemon would do for the embedded state:
// others can connect, reports are taken in, and what changes is saved. Where
// somebody else serves the state it only runs use.
func (e *env) serveAlone(ctx context.Context, s *state, use func(context.Context) error) error {
	if !s.alone() {
		return use(ctx)
	}
	if err := s.embedded.Hold(); err != nil {
		return err
	}
	ctx, done := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.embedded.Run(ctx) })
	g.Go(func() error { return e.ingest(s).Run(ctx) })
	g.Go(func() error {
		defer done()
		return use(ctx)
	})
	return g.Wait()
}

// errOwnerGone ends what a process does on an embedded state that it shared.
var errOwnerGone = errors.New("the process that held the embedded state has gone")

// stay is with and serveAlone for what must outlive others: when the process that
// owned the embedded state goes, the state is opened again and use is called anew.
func (e *env) stay(ctx context.Context, use func(context.Context, *state) error) error {
	for {
		err := e.with(ctx, func(s *state) error {
			return e.serveAlone(ctx, s, func(ctx context.Context) error { return s.whileOwned(ctx, use) })
		})
		if !errors.Is(err, errOwnerGone) || ctx.Err() != nil {
			return err
		}
		e.hint("The process that held the embedded state has gone: opening it again.")
	}
}

// whileOwned runs use; where the state is another process's, only for as long as
// that process serves it.
func (s *state) whileOwned(ctx context.Context, use func(context.Context, *state) error) error {
	if s.embedded == nil || s.alone() {
		return use(ctx, s)
	}
	g, ctx := errgroup.WithContext(ctx)
	ctx, done := context.WithCancel(ctx)
	g.Go(func() error { return s.watchOwner(ctx) })
	g.Go(func() error {
		defer done()
		return use(ctx, s)
	})
	return g.Wait()
}

// watchOwner returns errOwnerGone once the owner no longer answers, nil when ctx
// ends.
func (s *state) watchOwner(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.db.Ping(ctx); err != nil && ctx.Err() == nil {
				return errOwnerGone
			}
		}
	}
}

// ingest takes reports into a state.
func (e *env) ingest(s *state) *ingest.Ingest {
	return &ingest.Ingest{Reports: s.db, Consumer: identity(), Now: e.now, Log: e.logger()}
}

// identity names this process among others on the same state. Host and number do not:
// in containers every process is the first.
var identity = sync.OnceValue(func() string {
	return fmt.Sprintf("%s-%d-%s", hostname(), os.Getpid(), strings.ToLower(rand.Text()[:8]))
})

func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return host
}

// actor is who acts, for the record.
func (e *env) actor() reconcile.Actor {
	for _, variable := range []string{"OPRC_ACTOR", "USER", "USERNAME", "LOGNAME"} {
		if name := e.getenv(variable); name != "" {
			return reconcile.Actor{Name: name}
		}
	}
	if u, err := user.Current(); err == nil {
		return reconcile.Actor{Name: u.Username}
	}
	return reconcile.Actor{}
}
