package reconcile

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Lease decides which of several daemons acts.
type Lease interface {
	// Acquire takes or renews the lease for ttl. ok is false while another holder
	// has it. The token grows whenever the holder changes; writes that carry an
	// outrun token are refused.
	Acquire(ctx context.Context, holder string, ttl time.Duration) (token int64, ok bool, err error)
	Release(ctx context.Context, holder string, token int64) error
}

// SourceStore keeps what a person may ask about sources.
type SourceStore interface {
	PutSource(ctx context.Context, s oprc.SourceStatus, fence int64) error
	Sources(ctx context.Context) (map[string]oprc.SourceStatus, error)

	// Requests returns what people ask of the daemon; DropRequest takes one back, if
	// it is still that one.
	Requests(ctx context.Context) (oprc.Requests, error)
	DropRequest(ctx context.Context, r oprc.SourceRequest) error

	Emit(ctx context.Context, events []oprc.Event) error
	UnitRecords(ctx context.Context, env string) (map[string]oprc.UnitRecord, error)
}

// A Loop keeps sources, and everything that was applied by hand, true. Fields are
// set before Run.
type Loop struct {
	Reconciler *Reconciler
	Sources    []SourceConfig
	Lease      Lease
	Store      SourceStore
	Holder     string // unique per process
	Now        func() time.Time
	Log        *slog.Logger
	Observe    func(Step) // may be nil
	Ticked     func(Tick) // may be nil

	turn   sync.Mutex
	fence  atomic.Int64
	once   sync.Once
	wakers map[string]chan struct{}
	doubt  chan struct{} // the lease may not be ours any more
	health map[string]oprc.Health
	resend map[string]resend
}

const (
	leaseTTL  = 10 * time.Second
	keepEvery = 5 * time.Second
	keeper    = "" // the waker of the keeper: no source has this name
)

// Run acts whenever it holds the lease, until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	l.prepare()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.lead(ctx) })
	g.Go(func() error { return l.keep(ctx) })
	g.Go(func() error { return l.listen(ctx) })
	for _, c := range l.Sources {
		g.Go(func() error { return l.runSource(ctx, c, l.wakers[c.Name]) })
	}
	return g.Wait()
}

func (l *Loop) prepare() {
	l.once.Do(func() {
		l.wakers = map[string]chan struct{}{keeper: make(chan struct{}, 1)}
		l.doubt = make(chan struct{}, 1)
		for _, c := range l.Sources {
			l.wakers[c.Name] = make(chan struct{}, 1)
		}
		l.health, l.resend = map[string]oprc.Health{}, map[string]resend{}
	})
}

// Wake asks for a tick of the named source now. It does not block; wakes that
// arrive during a tick add up to one more.
func (l *Loop) Wake(source string) {
	l.prepare()
	select {
	case l.wakers[source] <- struct{}{}:
	default:
	}
}

// WakeAll asks every source, and the keeper, for a tick now.
func (l *Loop) WakeAll() {
	l.prepare()
	for name := range l.wakers {
		l.Wake(name)
	}
}

func (l *Loop) observe(s Step) {
	if l.Observe != nil {
		l.Observe(s)
	}
}

// Leading reports whether this daemon is the one that acts.
func (l *Loop) Leading() bool {
	_, ok := l.token()
	return ok
}

// token returns the fencing token, and whether we lead.
func (l *Loop) token() (int64, bool) {
	t := l.fence.Load()
	return t, t > 0
}

// lead takes the lease and renews it. When it cannot be renewed we stop acting; the
// fencing token stops what is already under way.
func (l *Loop) lead(ctx context.Context) error {
	for {
		token, ok, err := l.Lease.Acquire(ctx, l.Holder, leaseTTL)
		switch {
		case err != nil && ctx.Err() == nil:
			l.Log.Warn("lease", "error", err)
			l.fence.Store(0)
		case err == nil && ok && l.fence.Swap(token) != token:
			l.Log.Info("leading", "token", token)
			l.WakeAll()
		case err == nil && !ok && l.fence.Swap(0) != 0:
			l.Log.Warn("lost the lease")
		}
		every := leaseTTL / 3
		if l.fence.Load() == 0 {
			every = time.Second
		}
		if !wait(ctx, every, l.doubt) {
			break
		}
	}
	if token, ok := l.token(); ok {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return l.Lease.Release(bye, l.Holder, token)
	}
	return nil
}

// outrun looks at the lease now if err says that our token is no longer the last:
// another daemon leads, or Redis lost the lease.
func (l *Loop) outrun(err error) {
	if !errors.Is(err, oprc.ErrFenced) {
		return
	}
	select {
	case l.doubt <- struct{}{}:
	default:
	}
}

// keep looks after what no source does: the health of environments, packages that
// were applied by hand, and commands that nobody answered.
func (l *Loop) keep(ctx context.Context) error {
	logged := ""
	for {
		if token, ok := l.token(); ok {
			err := l.keepOnce(ctx, token)
			l.outrun(err)
			if err != nil && ctx.Err() == nil && err.Error() != logged {
				l.Log.Warn("keeper", "error", err)
			}
			logged = ""
			if err != nil {
				logged = err.Error()
			}
		}
		if !wait(ctx, keepEvery, l.wakers[keeper]) {
			return nil
		}
	}
}

func (l *Loop) keepOnce(ctx context.Context, token int64) error {
	live, err := l.Reconciler.Ledger.Live(ctx)
	if err != nil {
		return fmt.Errorf("read live state: %w", err)
	}
	if err := l.watchHealth(ctx, live); err != nil {
		return err
	}
	return errors.Join(l.maintain(ctx, live, token), l.redeliver(ctx, live, token))
}

// watchHealth emits an event for every environment whose health changed, and wakes
// the sources: placements may have to move.
func (l *Loop) watchHealth(ctx context.Context, live plan.Live) error {
	var events []oprc.Event
	for _, name := range slices.Sorted(maps.Keys(live.Environments)) {
		was, is := l.health[name], live.Environments[name].Health
		if was == is {
			continue
		}
		l.health[name] = is
		if was != "" {
			events = append(events, oprc.Event{
				Time: l.Now().UTC(), Type: "environment", Kind: oprc.KindEnv, Key: name, Env: name,
				From: string(was), To: string(is),
			})
			l.Log.Info("environment", "env", name, "from", was, "to", is)
		}
	}
	if len(events) == 0 {
		return nil
	}
	for _, c := range l.Sources {
		l.Wake(c.Name)
	}
	return l.Store.Emit(ctx, events)
}

// maintain plans what no source of ours speaks for again as it is recorded: lost
// records, drift and changed environments ask for commands.
func (l *Loop) maintain(ctx context.Context, live plan.Live, token int64) error {
	ours := map[string]bool{}
	for _, c := range l.Sources {
		ours[c.origin()] = true
	}
	var origins []string
	for _, rec := range live.Packages {
		if !ours[rec.Origin] && !slices.Contains(origins, rec.Origin) {
			origins = append(origins, rec.Origin)
		}
	}
	if len(origins) == 0 {
		return nil
	}
	slices.Sort(origins)
	l.turn.Lock()
	defer l.turn.Unlock()
	p, err := l.Reconciler.Plan(ctx, Request{KeepGoing: true, Heal: true, Scope: plan.Scope{Maintain: origins}})
	if err != nil || p.Empty() {
		return err
	}
	res, err := l.Reconciler.Apply(ctx, p, Actor{Name: l.Holder, Message: "maintain " + strings.Join(origins, ", "), Fence: token})
	l.observe(Step{Plan: p, Result: res, Err: err})
	return err
}

// A resend is when a command that nobody answered goes out again.
type resend struct {
	generation int64
	tries      int
	at         time.Time
}

const (
	resendFirst = 15 * time.Second
	resendMax   = 10 * time.Minute
)

// redeliver queues commands again that no report has answered, with exponential
// backoff, in environments where someone is alive to hear them. The jitter is
// derived from the unit's id, so that runs can be repeated.
func (l *Loop) redeliver(ctx context.Context, live plan.Live, token int64) error {
	var errs []error
	for env, digests := range live.Units {
		if h := live.Environments[env].Health; h != oprc.Healthy && h != oprc.Degraded {
			continue
		}
		due := l.due(env, digests, live)
		if len(due) == 0 {
			continue
		}
		recs, err := l.Store.UnitRecords(ctx, env)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		now := l.Now().UTC()
		var cmds []oprc.Command
		for _, id := range due {
			if r, ok := recs[id]; ok {
				cmds = append(cmds, oprc.Command{
					Type: r.Op, ID: id, Generation: r.Generation, SpecHash: r.SpecHash,
					Revision: r.Revision, Time: now, Unit: r.Unit,
				})
			}
		}
		errs = append(errs, l.Reconciler.Ledger.Dispatch(ctx, env, cmds, token))
		l.Log.Info("sent again", "env", env, "commands", len(cmds))
	}
	return errors.Join(errs...)
}

// due lists the units of env whose last command is unanswered and waited for long
// enough, in order.
func (l *Loop) due(env string, digests map[string]oprc.UnitDigest, live plan.Live) []string {
	now := l.Now()
	var due []string
	for _, id := range slices.Sorted(maps.Keys(digests)) {
		d := digests[id]
		if live.Statuses[env][id].Generation >= d.Generation {
			delete(l.resend, id)
			continue
		}
		r, ok := l.resend[id]
		switch {
		case !ok || r.generation != d.Generation:
			l.resend[id] = resend{generation: d.Generation, at: now.Add(resendFirst + jitter(id, resendFirst))}
		case now.After(r.at):
			r.tries++
			pause := min(resendFirst<<min(r.tries, 10), resendMax)
			r.at = now.Add(pause + jitter(id, pause))
			l.resend[id] = r
			due = append(due, id)
		}
	}
	return due
}

// jitter spreads d by up to a quarter, the same for the same id.
func jitter(id string, d time.Duration) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(id))
	return time.Duration(h.Sum32()%1000) * d / 4000
}
