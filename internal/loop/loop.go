package loop

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/trace"
)

// Lease decides which of several daemons acts.
type Lease interface {
	// Acquire takes or renews the lease for ttl. ok is false while another holder
	// has it. The token grows whenever the holder changes; writes that carry an
	// outrun token are refused.
	Acquire(ctx context.Context, holder string, ttl time.Duration) (token int64, ok bool, err error)
	Release(ctx context.Context, holder string, token int64) error
	// Fence makes every environment refuse what former leaders still have on the way.
	// After a failure some may not.
	Fence(ctx context.Context, token int64) error
}

// SourceStore keeps what a person may ask about sources.
type SourceStore interface {
	// Afresh lets the next reading of live state keep nothing of those before it.
	Afresh()
	// PutSource keeps a status and, with it or not at all, what was refused, by package.
	PutSource(ctx context.Context, s oprc.SourceStatus, refused map[string]oprc.HistoryEntry, fence int64) error
	Sources(ctx context.Context) (map[string]oprc.SourceStatus, error)
	// DropSources forgets the status of sources that nobody follows any more.
	DropSources(ctx context.Context, names []string, fence int64) error

	// HoldPlan keeps the plan of a source that waits for an approval, for people to look
	// at; nil: none does.
	HoldPlan(ctx context.Context, source string, p *plan.Plan, fence int64) error

	// Requests returns what people ask of the daemon; DropRequest takes one back, if
	// it is still that one.
	Requests(ctx context.Context) (oprc.Requests, error)
	DropRequest(ctx context.Context, r oprc.SourceRequest) error

	// Emit appends events, all or none; a stale fence is an oprc.ErrFenced.
	Emit(ctx context.Context, events []oprc.Event, fence int64) error
	UnitRecordsOf(ctx context.Context, env string, ids []string) (map[string]oprc.UnitRecord, error)
	// CommandsRead returns the stream ids of the last command that env's CRMs were given
	// and of the last that there is; "0-0" where there is none.
	CommandsRead(ctx context.Context, env string) (read, last string, err error)
	// CommandsHeld returns the units whose commands a CRM of env was given and has not
	// acknowledged, with their generations; except what it seems to have abandoned.
	CommandsHeld(ctx context.Context, env string) (map[string]int64, error)
	// Mend sets aside what holds a value of another type where the ledger has a key;
	// MendIndex makes the index of references anew where it was altered;
	// BeginHistories begins histories that are gone anew. All say what they did.
	Mend(ctx context.Context) ([]string, error)
	MendIndex(ctx context.Context, now time.Time) (altered bool, err error)
	BeginHistories(ctx context.Context, live plan.Live, now time.Time) ([]string, error)
	// Weed drops what the last reading found among the units of environments that is none
	// of them, or half of one that does not run, and returns the ids.
	Weed(ctx context.Context, fence int64) ([]string, error)
	// Forget drops what is kept of units that were undeployed in these generations, and
	// reported to be gone; what has changed since is left.
	Forget(ctx context.Context, env string, generations map[string]int64, fence int64) error
	// Retire deletes all that is kept of an environment, unless somebody is there or
	// something runs there; DeadLetters counts its dead letters.
	Retire(ctx context.Context, env string, fence int64) (done bool, err error)
	DeadLetters(ctx context.Context, env string) (int64, error)
}

// A Loop keeps sources, and everything that was applied by hand, true. Fields are
// set before Run.
type Loop struct {
	Reconciler *reconcile.Reconciler
	Sources    []SourceConfig
	Lease      Lease
	Store      SourceStore
	Holder     string // unique per process
	// Environments are those of the configuration; nil: it says nothing of any.
	Environments []oprc.File
	Peers        Peers  // nil: there are no other daemons
	Config       string // digest of what the configuration says of all that daemons share
	Now          func() time.Time
	Log          *slog.Logger
	Observe      func(Step) // may be nil
	Ticked       func(Tick) // may be nil
	// Settled is called with the last step of a source whose condition Ready is stored as
	// another than before: in status, reason, revision or held plan. It may be nil.
	Settled func(Step, oprc.SourceCondition)
	Resend  Resend
	Tracer  trace.Tracer                   // of a span for each tick that brings news
	Resent  func(env string, commands int) // commands that nobody had answered; may be nil

	turn   sync.Mutex
	fence  atomic.Int64
	once   sync.Once
	wakers map[string]*waker
	doubt  chan struct{} // the lease may not be ours any more
	keeper keeperState
	board  board

	declared declared // with the turn
	met      met
	stamps   stamps

	listening listening
}

const leaseTTL = 10 * time.Second

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
		l.wakers = map[string]*waker{keeper: newWaker()}
		l.doubt = make(chan struct{}, 1)
		for _, c := range l.Sources {
			l.wakers[c.Name] = newWaker()
		}
		l.keeper = newKeeperState()
		l.board = newBoard()
	})
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
	fenced := int64(0) // the token under which every environment is fenced
	for {
		l.meet(ctx)
		token, ok, err := l.Lease.Acquire(ctx, l.Holder, leaseTTL)
		if had := l.fence.Load(); err == nil && ok && had > 0 && token < had {
			// Somebody altered the token. Environments refuse it: take a new one.
			if err = l.Lease.Release(ctx, l.Holder, token); err == nil {
				token, ok, err = l.Lease.Acquire(ctx, l.Holder, leaseTTL)
			}
		}
		if err == nil && ok && fenced != token {
			// Where this fails we lead all the same: one environment that cannot be
			// reached must not hold the others up, and is fenced when it is back.
			if err := l.Lease.Fence(ctx, token); err == nil {
				fenced = token
			} else if ctx.Err() == nil {
				l.Log.Warn("fence former leaders off", "error", err)
			}
		}
		switch {
		case err != nil && ctx.Err() == nil:
			l.Log.Warn("lease", "error", err)
			l.fence.Store(0)
			l.mend(ctx)
		case err == nil && ok && l.fence.Swap(token) != token:
			l.Log.Info("leading", "token", token)
			l.wakeAll(look{poll: true, since: l.Now()})
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
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if l.Peers != nil {
		_ = l.Peers.Unregister(bye, l.Holder) // else it is forgotten when it is silent
	}
	if token, ok := l.token(); ok {
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
