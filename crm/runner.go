package crm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// A runner is one call of Run. Three loops work beside the units' workers:
//
//	consume  records and commands  -> slots   (consume.go, resync.go)
//	work     slots                 -> handler (unit.go)
//	deliver  states                -> reports (outbox.go)
//	beat     heartbeats, lease
type runner struct {
	Options
	h   Handler
	db  *rdb.DB
	out outbox

	mu       sync.Mutex
	units    map[string]*slot
	holds    map[string]bool // stream ids of commands in hand
	alone    bool            // no colleague lives
	signed   time.Time       // when the lease was last renewed, or before
	damaged  time.Time       // when the name of this process was last found overwritten
	closed   bool            // reporters are told to stop
	events   sync.Mutex
	workers  sync.WaitGroup
	room     chan struct{} // one token per call of the handler
	stop     chan struct{} // closed when workers must begin nothing more
	lost     chan struct{} // the lease was not held: read everything again
	orphaned chan struct{} // a colleague is gone: its units may need an owner
}

func newRunner(o Options, h Handler, db *rdb.DB) *runner {
	return &runner{
		Options:  o,
		h:        h,
		db:       db,
		out:      newOutbox(),
		units:    map[string]*slot{},
		holds:    map[string]bool{},
		alone:    true,
		room:     make(chan struct{}, o.Concurrency),
		stop:     make(chan struct{}),
		lost:     make(chan struct{}, 1),
		orphaned: make(chan struct{}, 1),
	}
}

// claimID makes the ID this process's. Where another one has it, which may be dead,
// claimID waits until that one has missed a heartbeat, or fails when it has not.
func (r *runner) claimID(ctx context.Context) error {
	if r.Process == "" {
		return nil
	}
	var last time.Duration
	for {
		_, _, err := r.signIn(ctx)
		taken, is := errors.AsType[*rdb.TakenError](err)
		if !is {
			return err
		}
		if taken.Age < last {
			return fmt.Errorf("crm: %w: %w; give one of them another id", oprc.ErrConflict, err)
		}
		last = taken.Age
		if !pause(ctx, time.Second) {
			return nil
		}
	}
}

// signIn renews the lease. Where another process's name is found while the lease cannot
// have run out, no process has written it: the record is damaged, and is mended. That
// happens once a minute at most, so that of two processes one yields whatever is wrong.
func (r *runner) signIn(ctx context.Context) (held bool, colleagues []string, err error) {
	began := time.Now()
	held, colleagues, err = r.db.SignIn(ctx, r.Env, r.ID, r.Process)
	if _, is := errors.AsType[*rdb.TakenError](err); is && r.overwritten(began) {
		r.Logger.Warn("somebody has overwritten which process this CRM is; restored", "env", r.Env, "crm", r.ID)
		if err := r.db.RestoreProcess(ctx, r.Env, r.ID, r.Process); err != nil {
			return false, nil, err
		}
		held, colleagues, err = r.db.SignIn(ctx, r.Env, r.ID, r.Process)
	}
	if err == nil {
		r.mu.Lock()
		r.signed = began
		r.mu.Unlock()
	}
	return held, colleagues, err
}

// overwritten reports whether a name that was found is no process's.
func (r *runner) overwritten(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.signed) >= rdb.Succession || now.Sub(r.damaged) < time.Minute {
		return false
	}
	r.damaged = now
	return true
}

// run blocks until ctx ends and everything is drained. Heartbeats and reports go
// on while it drains.
func (r *runner) run(ctx context.Context) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var g errgroup.Group
	ctx, yield := context.WithCancelCause(ctx)
	defer yield(nil)
	g.Go(func() error { r.beatLoop(life, yield); return nil }) // also while Resume looks at what runs
	g.Go(func() error { r.deliverLoop(life); return nil })
	if err := r.resume(ctx); err != nil {
		end()
		_ = g.Wait()
		return err
	}
	r.consumeLoop(ctx)
	err := r.drain(life)
	if taken, is := errors.AsType[*rdb.TakenError](context.Cause(ctx)); is {
		err = errors.Join(fmt.Errorf("crm: %w: %w", oprc.ErrConflict, taken), err)
	}
	end()
	_ = g.Wait()
	r.signOut(context.WithoutCancel(ctx))
	r.event(Event{Type: EventDrained})
	return err
}

// resume adopts what still runs from before.
func (r *runner) resume(ctx context.Context) error {
	h, ok := r.h.(Resumer)
	if !ok {
		return nil
	}
	err := h.Resume(ctx, func(c Command, st State) Reporter {
		o := order{Command: c}
		s := &slot{id: c.ID, want: o, at: o, settled: true, state: st.normal(), wake: make(chan struct{}, 1)}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.units[c.ID] = s
		return r.reporter(s, 0)
	})
	if err != nil {
		return fmt.Errorf("crm: resume: %w", err)
	}
	return nil
}

// beatLoop sends a heartbeat and renews the lease, from the first moment on. It yields
// to another process that has taken the ID.
func (r *runner) beatLoop(ctx context.Context, yield context.CancelCauseFunc) {
	tick := time.NewTicker(oprc.HeartbeatInterval)
	defer tick.Stop()
	silent := false
	colleagues := map[string]bool{}
	var unread beats
	for first := true; ; first = false {
		held, others, err := r.beat(ctx, &unread)
		if _, is := errors.AsType[*rdb.TakenError](err); is {
			yield(err)
			return
		}
		switch {
		case err != nil && ctx.Err() == nil && !silent:
			silent = true
			r.Logger.Warn("heartbeat", "env", r.Env, "error", err)
		case err == nil && silent:
			silent = false
			r.Logger.Info("heartbeat goes through again", "env", r.Env)
		}
		if err == nil {
			if !held && !first {
				poke(r.lost)
			}
			colleagues = r.watchColleagues(colleagues, others)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// beats are the stream ids of the last heartbeats, the oldest first. While that one
// waits unread no more are sent. One would not be enough: where the reader is some
// seconds behind, it shall find that no heartbeat was missed.
type beats [4]string

func (r *runner) beat(ctx context.Context, last *beats) (held bool, colleagues []string, err error) {
	id, err := r.db.Report(ctx, r.Env, oprc.Report{
		Type: oprc.ReportHeartbeat, CRM: r.ID, Time: time.Now(),
		Availability: r.Availability, Capacity: r.Capacity, Templates: r.Templates,
	}, last[0])
	if err != nil {
		return false, nil, err
	}
	if id != "" {
		copy(last[:], last[1:])
		last[len(last)-1] = id
	}
	return r.signIn(ctx)
}

// watchColleagues notes who lives, and asks for a look at the units when one who
// lived is gone.
func (r *runner) watchColleagues(were map[string]bool, now []string) map[string]bool {
	are := make(map[string]bool, len(now))
	for _, c := range now {
		are[c] = true
	}
	for c := range were {
		if !are[c] {
			poke(r.orphaned)
		}
	}
	r.mu.Lock()
	r.alone = len(are) == 0
	r.mu.Unlock()
	return are
}

// drain lets calls in flight end, stops the workloads of a [Drainer], and gets the
// last reports out; each within a bound.
func (r *runner) drain(ctx context.Context) error {
	close(r.stop)
	var err error
	if !within(r.DrainTime, &r.workers) {
		r.cancelAll()
		if !within(r.DrainTime, &r.workers) {
			err = fmt.Errorf("crm: the handler did not return within %s of being told to", r.DrainTime)
		}
	}
	if h, ok := r.h.(Drainer); ok {
		bounded, cancel := context.WithTimeout(ctx, r.DrainTime)
		defer cancel()
		if stopped := h.Drain(bounded); stopped != nil {
			err = errors.Join(err, fmt.Errorf("crm: drain: %w", stopped))
		} else {
			r.reportStopped()
		}
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	if !r.out.flush(flushTime) {
		r.Logger.Warn("the last reports did not get out", "env", r.Env)
	}
	return err
}

// flushTime is how long the last reports may take.
const flushTime = 3 * time.Second

func (r *runner) cancelAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.units {
		if s.cancel != nil {
			s.cancel()
		}
	}
}

// reportStopped says that nothing runs any more.
func (r *runner) reportStopped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, s := range r.units {
		if s.at.Type == oprc.Deploy && !s.foreign {
			r.say(s, State{Condition: Down, ErrorMsg: "CRM " + r.ID + " was stopped"}, nil)
		}
	}
}

// signOut ends the lease. Workloads that have been stopped have no owner any more.
func (r *runner) signOut(ctx context.Context) {
	var free []string
	if _, ok := r.h.(Drainer); ok {
		r.mu.Lock()
		for id, s := range r.units {
			if !s.foreign {
				free = append(free, id)
			}
		}
		r.mu.Unlock()
	}
	if err := r.db.SignOut(ctx, r.Env, r.ID, free); err != nil {
		r.Logger.Warn("sign out", "env", r.Env, "error", err)
	}
}

func (r *runner) event(e Event) {
	if r.OnEvent == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	r.events.Lock()
	defer r.events.Unlock()
	r.OnEvent(e)
}

// poke leaves a sign that is seen once.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// within waits for wg, at most d.
func within(d time.Duration, wg *sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// pause waits for d with jitter; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// backoff doubles from first up to limit.
func backoff(failures int, first, limit time.Duration) time.Duration {
	if failures > 16 {
		return limit
	}
	return min(first<<max(failures-1, 0), limit)
}
