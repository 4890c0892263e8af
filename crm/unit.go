package crm

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// An order is a command, as the unit's record has it.
type order struct{ Command }

// same reports whether two orders ask for the same thing under the same number.
func (o order) same(p order) bool {
	return o.Type == p.Type && o.Generation == p.Generation && o.SpecHash == p.SpecHash
}

// A slot is what the CRM knows of one unit. The runner's lock guards it.
type slot struct {
	id      string
	want    order    // the last order
	acks    []string // stream ids of the commands that want answers
	settled bool     // want was carried out
	foreign bool     // a colleague has the unit: stop it quietly

	at       order // what the handler was last asked for
	attempt  int   // counts calls of the handler; a reporter is of one of them
	failures int
	state    State // last said
	said     time.Time
	saidOf   int64 // generation
	written  written

	busy    bool               // a worker is at it
	cancel  context.CancelFunc // ends the call in flight
	wake    chan struct{}      // ends the wait before another try
	unknown time.Time          // since when the ledger has no record of it
}

// written is the last report on a unit that is in the stream, and where.
type written struct {
	report   oprc.Report
	streamID string // "" when it is not known
}

// says reports whether r says nothing else.
func (w written) says(r oprc.Report) bool {
	r.Time, r.Traceparent = w.report.Time, w.report.Traceparent
	return reflect.DeepEqual(w.report, r)
}

// normal fills in what a zero State means.
func (st State) normal() State {
	if st.Condition == "" {
		st.Condition = Running
	}
	return st
}

// serving are the functions that run: they go on until what replaces them does, and calls
// can go to them meanwhile.
func (st State) serving() map[string]FunctionStatus {
	var out map[string]FunctionStatus
	for key, f := range st.Functions {
		if f.Condition != Running {
			continue
		}
		if out == nil {
			out = map[string]FunctionStatus{}
		}
		out[key] = f
	}
	return out
}

// assign gives a unit its order. streamID is the command's that brought it, or ""
// if it was read from the records.
func (r *runner) assign(ctx context.Context, o order, streamID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.units[o.ID]
	if s == nil {
		s = &slot{id: o.ID, wake: make(chan struct{}, 1)}
		r.units[o.ID] = s
	}
	s.unknown = time.Time{}
	if s.foreign { // it was being stopped for a colleague, and is ours again
		s.foreign, s.want = false, order{}
	}
	if streamID != "" {
		r.holds[streamID] = true
		s.acks = append(s.acks, streamID)
	}
	switch {
	case s.want.same(o):
		s.want.Traceparent = o.Traceparent // it may have been read from the records first
		r.repeated(ctx, s, streamID)
		return
	case s.settled && s.want.Type == o.Type && s.want.SpecHash == o.SpecHash && o.Generation < s.want.Generation:
		// The ledger lost its count and began again; what runs is what it asks for.
		s.want, s.at = o, o
		r.say(s, s.state, r.claimAcks(s))
		return
	}
	s.want, s.settled, s.failures = o, false, 0
	if s.cancel != nil {
		s.cancel()
	}
	r.start(ctx, s)
}

// repeated answers a command that is known: with the state, if it was carried out;
// else the answer will come with the work. Called with the lock held.
func (r *runner) repeated(ctx context.Context, s *slot, streamID string) {
	if streamID != "" {
		r.out.tell(Event{Type: EventRepeated, Unit: s.id, Generation: s.want.Generation})
	}
	if streamID != "" && (s.settled || s.failures > 0) {
		s.at.Traceparent = s.want.Traceparent
		r.say(s, s.state, r.claimAcks(s))
	}
	if !s.settled {
		r.start(ctx, s)
	}
}

// start makes sure that a worker is at s, and looks at it now. Called with the lock
// held.
func (r *runner) start(ctx context.Context, s *slot) {
	poke(s.wake)
	if s.busy {
		return
	}
	select {
	case <-r.stop:
		return
	default:
	}
	s.busy = true
	r.workers.Go(func() { r.work(context.WithoutCancel(ctx), s) })
}

// work carries out orders on s until there is none.
func (r *runner) work(ctx context.Context, s *slot) {
	for {
		select {
		case <-r.stop:
			return
		case r.room <- struct{}{}:
		}
		wait, done := r.attemptOnce(ctx, s)
		<-r.room
		if done {
			return
		}
		if wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-r.stop:
			case <-s.wake:
			case <-t.C:
			}
			t.Stop()
		}
	}
}

// A try is one call of the handler.
type try struct {
	order
	foreign bool // the call is to stop the unit, for a colleague
	report  Reporter
}

// attemptOnce calls the handler with the order that stands now. It returns how long
// to wait before the next try, or that there is nothing more to do.
func (r *runner) attemptOnce(ctx context.Context, s *slot) (wait time.Duration, done bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, ok := r.begin(s, cancel)
	if !ok {
		return 0, true
	}
	var st State
	var err error
	releaser, releases := r.h.(Releaser)
	switch {
	case t.foreign && releases:
		err = releaser.Release(ctx, t.Command)
	case t.foreign || t.Type == oprc.Undeploy:
		err = r.h.Undeploy(ctx, t.Command)
	default:
		st, err = r.h.Deploy(ctx, t.Command, t.report)
	}
	return r.finish(ctx, s, t, st.normal(), err)
}

// begin picks the order, and says DEPLOYING for the first try at it.
func (r *runner) begin(s *slot, cancel context.CancelFunc) (t try, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.settled && !s.foreign {
		s.busy = false
		return try{}, false
	}
	select { // an earlier poke is answered by this look
	case <-s.wake:
	default:
	}
	s.cancel = cancel
	s.attempt++
	s.at = s.want
	if s.at.Type == oprc.Deploy && !s.foreign && s.failures == 0 {
		r.say(s, State{Condition: Deploying, Functions: s.state.serving()}, nil)
	}
	return try{s.at, s.foreign, r.reporter(s, s.attempt)}, true
}

// finish notes what came of a call and reports it, unless a newer order came
// meanwhile.
func (r *runner) finish(ctx context.Context, s *slot, t try, st State, err error) (wait time.Duration, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cut := ctx.Err() != nil
	s.cancel = nil
	switch {
	case !s.want.same(t.order) || s.foreign != t.foreign:
		return 0, false
	case err != nil && cut: // Run is ending; the command stays pending for who comes next
		s.busy = false
		return 0, true
	case err != nil:
		return r.failed(s, t, err)
	case t.foreign || t.Type == oprc.Undeploy:
		r.gone(s, t.foreign)
		return 0, true
	}
	s.settled, s.failures = true, 0
	s.busy = false
	r.say(s, st, r.claimAcks(s))
	return 0, true
}

// failed reports DOWN, and says when to try again. The command is answered by
// that: trying again is the CRM's own affair.
func (r *runner) failed(s *slot, t try, err error) (wait time.Duration, done bool) {
	s.failures++
	message := err.Error()
	if t.Type == oprc.Undeploy || t.foreign {
		message = "undeploy: " + message
	}
	r.Logger.Warn("unit", "id", s.id, "op", string(t.Type), "generation", t.Generation, "error", err)
	if !t.foreign {
		r.say(s, State{Condition: Down, ErrorMsg: message}, r.claimAcks(s))
	}
	if errors.Is(err, ErrInvalid) {
		s.settled, s.busy = true, false
		if t.foreign {
			delete(r.units, s.id)
		}
		return 0, true
	}
	return backoff(s.failures, time.Second, time.Minute), false
}

// gone forgets a unit that runs no more. Called with the lock held.
func (r *runner) gone(s *slot, foreign bool) {
	s.settled, s.busy = true, false
	if foreign {
		r.out.put(item{settle: rdb.Settlement{Acks: r.claimAcks(s)}})
		r.out.tell(Event{Type: EventReleased, Unit: s.id, Generation: s.at.Generation})
	} else {
		r.say(s, State{Condition: Deleted}, r.claimAcks(s))
	}
	if r.units[s.id] == s {
		delete(r.units, s.id)
	}
}

// claimAcks takes the stream ids that the next report answers. Called with the lock
// held.
func (r *runner) claimAcks(s *slot) []string {
	acks := s.acks
	s.acks = nil
	return acks
}

// reporter is the handler's way to report on one attempt at a unit.
func (r *runner) reporter(s *slot, attempt int) Reporter {
	return func(st State) bool {
		st = st.normal()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.closed || s.foreign || r.units[s.id] != s || s.attempt != attempt || !s.want.same(s.at) {
			return false
		}
		if !reflect.DeepEqual(st, s.state) {
			r.say(s, st, nil)
		}
		return true
	}
}

// say queues a report on a unit. Called with the lock held.
func (r *runner) say(s *slot, st State, acks []string) {
	now := time.Now().UTC()
	changed := st.Condition != s.state.Condition || st.ErrorMsg != s.state.ErrorMsg || s.said.IsZero() || s.saidOf != s.at.Generation
	s.state, s.said, s.saidOf = st, now, s.at.Generation
	it := item{settle: rdb.Settlement{
		Report: oprc.Report{
			Type: oprc.ReportStatus, CRM: r.ID, Time: now,
			ID: s.id, Generation: s.at.Generation, SpecHash: s.at.SpecHash,
			Condition: st.Condition, ErrorMsg: st.ErrorMsg, Functions: st.Functions, Replicas: slices.Clone(st.Replicas),
			Traceparent: s.at.Traceparent,
		},
		Acks:    acks,
		Release: st.Condition == Deleted,
	}}
	if changed {
		it.event = Event{Time: now, Type: EventReported, Unit: s.id, Generation: s.at.Generation, Condition: st.Condition, Message: st.ErrorMsg}
	}
	r.out.put(it)
	if st.Condition != Deploying { // the command is answered; what happens later is not of its trace
		s.at.Traceparent = ""
		if s.want.same(s.at) {
			s.want.Traceparent = ""
		}
	}
}

// disown stops a unit that a colleague has taken over.
func (r *runner) disown(ctx context.Context, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.units[id]
	if s == nil || s.foreign {
		return
	}
	s.foreign = true
	if s.cancel != nil {
		s.cancel()
	}
	r.start(ctx, s)
}
