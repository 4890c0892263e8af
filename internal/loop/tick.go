package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/trace"
)

// sourceState is what a source's ticks remember. The files of the last revision
// are kept: a tick at the same revision plans them again without reading.
type sourceState struct {
	c           SourceConfig
	token       int64 // of the leadership under which status was taken up
	status      oprc.SourceStatus
	stored      string // digest of the status as it was put last
	shown       readiness
	rev         Revision
	files       []oprc.File
	reading     *reading
	unreadFiles []string // files and directories that were passed over
	lastErr     string
	planned     planned
	told        *reading                     // of the revision whose refusals are stored
	refused     map[string]oprc.HistoryEntry // what is to be stored of this one
	refusedOf   *reading                     // of which revision they are; nil: not known yet
	next        time.Time                    // when the source is looked at again, whatever happens
	unread      unread
	suspended   *oprc.Suspension     // as the last tick found it
	rewinds     bool                 // one of the revisions that nobody asked for yet was a rewind
	empty       error                // the revision holds no package file
	readAt      time.Time            // when the files were
	asked       map[string]time.Time // by source: for which reading it was asked whether it has what is missing in this one
	soon        bool                 // something is put off, until others have looked
	notes       []string             // of the files as they were read
	unmet       error                // what was asked for, and cannot be done: for who asked alone

	dispatched time.Time // when the last command of the last plan was in its stream
}

// An unread is what kept the newest revision from being read when it was polled last.
type unread struct {
	rev Revision
	err error
}

// tick makes the source's newest revision true, once, unless it is suspended. What
// stops it is told to the observer and kept in the source's conditions; the error
// is of that keeping. It polls if a says so, or if there is no other way.
func (l *Loop) tick(ctx context.Context, s *sourceState, token int64, a look) error {
	if s.token != token {
		if err := l.resume(ctx, s); err != nil {
			return err
		}
		s.token = token
	}
	all, err := l.Store.Requests(ctx)
	if err != nil {
		return fmt.Errorf("read requests: %w", err)
	}
	asked := l.heard(ctx, s, all)
	start := l.Now()
	if until := l.suspension(ctx, s, asked, start); until != nil {
		if a.poll {
			s.next = start.Add(s.c.Interval)
		}
		s.answer(asked, oprc.Receipt{Result: oprc.ResultSuspended, Message: until.Reason}, start)
		return l.put(ctx, s, token)
	}
	forced := s.unanswered(asked)
	if forced {
		l.Store.Afresh()
		a = a.and(look{poll: true, since: start, woken: start})
		l.board.peace(s.c.Name)
	}
	if a.poll = a.poll || s.files == nil && s.unread.err == nil; a.since.IsZero() {
		a.since = start
	}
	step := Step{Source: s.c.Name}
	s.unmet = nil
	work, span := l.Tracer.Begin(ctx, trace.Internal, "tick", "")
	err = l.advance(work, s, pass{look: a, token: token, asked: asked, forced: forced, step: &step})
	step.Err = err
	if err == nil && !a.poll {
		err = s.unread.err // as long as nobody has asked the repository again
	}
	fresh := err != nil && err.Error() != s.lastErr && ctx.Err() == nil
	s.lastErr = ""
	if err != nil {
		s.lastErr = err.Error()
	}
	if fresh || step.Result != nil {
		l.observe(step)
		span.Set("oprc.source", s.c.Name)
		span.Set("oprc.commit", s.rev.ID)
		span.End(err) // a tick without news is no span
	}
	l.outrun(err)
	if ctx.Err() != nil {
		return nil // what the end of the process broke off is no news about the source
	}
	if l.Ticked != nil {
		t := Tick{Source: s.c.Name, Revision: s.rev, Read: step.Read, Took: l.Now().Sub(start), Woken: a.woken, Err: step.Err}
		if step.Result != nil {
			t.Applied, t.Plan, t.At = true, step.Plan, s.dispatched
		}
		l.Ticked(t)
	}
	now := l.Now().UTC()
	s.schedule(err, a.poll, now)
	before := s.condition("Ready")
	l.settle(s, err, now)
	if err != nil || !s.soon { // else deletions still wait for the sources that may have the packages
		told := err
		if s.unmet != nil {
			told = s.unmet
		}
		s.answer(asked, receipt(told), now)
	}
	switch ready := s.condition("Ready"); {
	case fresh && errors.Is(err, oprc.ErrHeld):
		l.say(ctx, oprc.Event{Type: "held", Key: s.c.Name, PlanID: s.status.PlanID, Commit: s.rev.ID, Message: err.Error()})
	case before.Reason != "" && before.Reason != ready.Reason, before.Reason == "" && !ready.Status:
		l.say(ctx, oprc.Event{
			Type: "source", Key: s.c.Name, From: before.Reason, To: ready.Reason, Commit: ready.Revision, Message: ready.Message,
		})
	}
	if err := l.put(ctx, s, token); err != nil {
		return err
	}
	l.settled(s, step)
	return nil
}

// A readiness is what others know of a source once it is stored.
type readiness struct {
	status                   bool
	reason, revision, planID string
}

func (s *sourceState) readiness() readiness {
	c := s.condition("Ready")
	return readiness{c.Status, c.Reason, c.Revision, s.status.PlanID}
}

// settled tells of a source's condition Ready where it is another than was stored before,
// by this process or by another: so that a restart repeats nothing, and what went by
// itself is told as well.
func (l *Loop) settled(s *sourceState, step Step) {
	was := s.shown
	s.shown = s.readiness()
	if l.Settled != nil && was != s.shown {
		l.Settled(step, s.condition("Ready"))
	}
}

// schedule says when the source is looked at next: at its interval or, where
// something is wrong that may go by itself, after pauses that grow.
func (s *sourceState) schedule(err error, polled bool, now time.Time) {
	var reading readError
	first := s.c.Interval
	switch {
	case errors.As(err, &reading) && !polled:
		return // that pause is running
	case err != nil && !needsSomeone(err):
		if !errors.As(err, &reading) {
			first = min(first, retryFirst)
		}
		s.status.Failures++
		pause := nextTry(first, s.status.Failures)
		pause -= time.Duration(rand.Int64N(int64(pause)/10 + 1))
		if asks, is := errors.AsType[interface {
			error
			RetryAfter() time.Duration
		}](err); is {
			pause = max(pause, asks.RetryAfter())
		}
		s.next = now.Add(pause)
		s.status.NextTry = s.next
		return
	case polled || !s.status.NextTry.IsZero():
		s.next = now.Add(untilNext(s.c.URL, s.c.Interval, now))
	}
	s.status.Failures, s.status.NextTry = 0, time.Time{}
	if s.soon {
		s.next = now.Add(time.Second)
	}
}

// unanswered reports whether somebody waits for a tick.
func (s *sourceState) unanswered(asked oprc.Requests) bool {
	ticket := asked.Tickets[s.c.Name]
	return ticket != 0 && (s.status.Receipt == nil || s.status.Receipt.Ticket < ticket)
}

// suspension is why the source is to be left alone, or nil. That one ran out is told.
func (l *Loop) suspension(ctx context.Context, s *sourceState, asked oprc.Requests, now time.Time) *oprc.Suspension {
	was, until := s.suspended, s.suspension(asked, now)
	s.suspended = until
	if until == nil && was != nil && !was.Until.IsZero() && !now.Before(was.Until) {
		l.say(ctx, oprc.Event{Type: "source", Key: s.c.Name, Message: "the suspension by " + was.Author + " ran out: " + was.Reason})
	}
	return until
}

// suspension is why the source is to be left alone, or nil. Of what people ask the
// status keeps nothing: whoever reads it reads that, too.
func (s *sourceState) suspension(asked oprc.Requests, now time.Time) *oprc.Suspension {
	s.status.Suspended = nil
	if s.c.Suspend {
		s.status.Suspended = &oprc.Suspension{Reason: "the configuration says so", Author: "configuration"}
		return s.status.Suspended
	}
	return asked.Suspension(s.c.Name, now)
}

// put stores the status where it changed.
func (l *Loop) put(ctx context.Context, s *sourceState, token int64) error {
	digest := oprc.Digest(s.status)
	if digest == s.stored && !l.board.unstored(s.c.Name) {
		return nil
	}
	if err := l.Store.PutSource(ctx, s.status, s.refused, token); err != nil {
		l.outrun(err)
		return err
	}
	l.board.stored(s.status)
	s.stored, s.refused = digest, nil
	if s.refusedOf != nil {
		s.told = s.refusedOf
	}
	return nil
}

// say emits an event about a source. Losing one is no reason to stop.
func (l *Loop) say(ctx context.Context, e oprc.Event) {
	token, leading := l.token()
	if !leading {
		return // who leads now says it
	}
	e.Time, e.Kind, e.Actor = l.Now().UTC(), oprc.KindSource, l.self()
	if err := l.Store.Emit(ctx, []oprc.Event{e}, token); err != nil && ctx.Err() == nil {
		l.Log.Warn("event", "source", e.Key, "error", err)
	}
}

// A pass is one tick's work on a source.
type pass struct {
	look
	token  int64
	asked  oprc.Requests
	moved  bool     // the revision is another than in the tick before
	forced bool     // somebody asked for it by name
	rested bool     // what is not held was applied
	waited []string // packages that could not be applied before
	// approvedBy let the plan through that was held.
	approvedBy string
	step       *Step
}

func (l *Loop) advance(ctx context.Context, s *sourceState, w pass) error {
	var err error
	if w.moved, w.step.Revision, err = l.fetch(ctx, s, w); err != nil {
		return err
	}
	if s.files == nil {
		return s.unread.err
	}
	if w.moved {
		l.board.peace(s.c.Name)
		w.step.Read = s.reading.fresh
	}
	w.step.Revision, w.step.Files = s.rev, s.files
	l.turn.Lock() // one plan at a time: they would only refuse each other
	defer l.turn.Unlock()
	race := l.Reconciler.Race(place(w.token))
	defer race.End(ctx)
	for {
		err := l.carry(ctx, s, w)
		if needsSomeone(err) || w.step.Result != nil || s.planned.done || !race.Again(ctx, err) {
			return err
		}
	}
}

// fetch polls if it is time to, and reads the files if the revision moved. It
// returns the newest revision that is known, even one that is refused.
func (l *Loop) fetch(ctx context.Context, s *sourceState, w pass) (moved bool, newest Revision, err error) {
	if !w.poll {
		return false, s.rev, nil
	}
	defer func() { s.unread = unread{newest, err} }()
	defer l.showPolling(ctx, s, w.token)()
	rev, err := s.c.Source.Poll(ctx, w.since)
	if err != nil {
		return false, rev, readError{fmt.Errorf("poll: %w", err)}
	}
	defer func() {
		if err == nil {
			l.board.looked(s.c.Name, w.since)
		}
	}()
	rev = s.taken(rev, w.forced, l.Now().UTC())
	if rev.ID == s.rev.ID && s.files != nil {
		return false, rev, nil
	}
	files, err := s.c.Source.Files(ctx, rev)
	s.empty = nil
	if errors.Is(err, oprc.ErrNotFound) { // the last package may be gone: that is for a person to say
		s.empty, files, err = readError{fmt.Errorf("read %s: %w", rev.ID, err)}, []oprc.File{}, nil
	}
	if err != nil {
		return false, rev, readError{fmt.Errorf("read %s: %w", rev.ID, err)}
	}
	was := s.status.Revision
	l.arrive(ctx, s, rev)
	s.rewinds = false
	s.rev, s.files, s.status.Revision = rev, files, rev.ID
	s.reading = s.reading.next(files, l.Reconciler.Load)
	if was == rev.ID { // what is stored of it is known
		s.told = s.reading
	}
	s.note(l)
	s.readAt = l.Now()
	l.want(s)
	return true, rev, nil
}

// note keeps what is odd about the files that were read, and which were not.
func (s *sourceState) note(l *Loop) {
	s.notes, s.unreadFiles = nil, nil
	if n, ok := s.c.Source.(Noter); ok {
		s.notes = n.Notes()
	}
	if p, ok := s.c.Source.(Passer); ok {
		s.unreadFiles = p.Unread()
	}
	for _, note := range s.notes {
		l.Log.Warn("note", "source", s.c.Name, "revision", s.rev.ID, "note", note)
	}
	s.notes = append(s.notes, s.reading.passedOver()...)
	s.status.Notes = s.notes
}

// keepNotes adds what a plan keeps because of what became of its file.
func (s *sourceState) keepNotes(p *plan.Plan) {
	var kept []string
	for _, d := range p.Diagnostics {
		if d.Code == oprc.CodeNothing && d.Severity == oprc.SeverityWarning {
			kept = append(kept, d.File+": "+d.Message)
		}
	}
	s.status.Notes = append(kept, s.notes...)
}

// taken is the revision to go on with: the newest, or where that has to be asked for
// the one that was taken last.
func (s *sourceState) taken(newest Revision, forced bool, now time.Time) Revision {
	c, rev := oprc.SourceCondition{Type: "Behind"}, newest
	if before := s.status.Revision; s.c.NoTrack && !forced && before != "" && before != newest.ID {
		c.Status, c.Reason = true, "NotTracked"
		c.Message = fmt.Sprintf("revision %s by %s waits: %s; `oprc source reconcile %s` takes it", newest.ID, newest.Author, newest.Message, s.c.Name)
		if rev = s.rev; rev.ID != before { // taken before this process began
			rev = Revision{ID: before}
		}
		s.rewinds = s.rewinds || newest.Rewind
	} else {
		rev.Rewind = rev.Rewind || s.rewinds
	}
	if c.Status || s.has(c.Type) {
		s.set(c, now)
	}
	return rev
}

// rewound shows whether the newest revision descends from the one before it.
func (s *sourceState) rewound(rev Revision, before string, now time.Time) {
	c := oprc.SourceCondition{Type: "Rewound"}
	switch known := s.has("Rewound"); {
	case rev.Rewind:
		c.Status, c.Reason = true, "NotADescendant"
		c.Message = fmt.Sprintf("revision %s does not descend from %s, which was seen before: the branch was rewound or force-pushed", shortID(rev.ID), shortID(before))
	case !known:
		return
	}
	s.set(c, now)
}

// carry plans the files that were fetched, and applies the plan unless it is held.
// While nothing moved since a plan that changed nothing, it is not made again.
func (l *Loop) carry(ctx context.Context, s *sourceState, w pass) error {
	live, err := l.live(ctx, w.token)
	if err != nil {
		return err
	}
	if live, err = l.declare(ctx, live, w.token); err != nil {
		return err
	}
	contested := l.board.contested(s.c.Name, l.Now())
	approved, _ := w.asked.Find(oprc.VerbApprove, s.c.Name)
	free := l.free(s, live, w.asked)
	yielded, wait := l.yield(s, live, w.asked, l.Now())
	s.soon = wait
	world := l.stampOf(live, quarantined(w.asked), adoptions(w.asked, s.c.Name), contested, approved.PlanID, free, yielded)
	before := s.planned
	same := before.done && before.world == world
	if same && before.of == s.reading {
		return before.err
	}
	s.planned = planned{}
	req := s.request(w.asked, contested)
	req.Free, req.Yield = free, yielded
	if same && before.err == nil {
		req.Settled = s.reading.settled(before.of)
	}
	waited := slices.Concat(packagesOf(l.board.claimsOf(s.c.Name)), s.status.Kept)
	w.waited = waited
	p, seen, left, err := s.plan(ctx, l.Reconciler, &req, live, waited, w.forced)
	if err != nil {
		return err
	}
	s.drifted(left, l)
	reason, held := s.holds(p)
	if held && req.Settled != nil { // what is to be approved has one id, however it was arrived at
		req.Settled = nil
		if p, seen, err = l.Reconciler.PlanOn(ctx, req, s.reading.docs, s.reading.found, live); err != nil {
			return err
		}
	}
	s.status.Kept, s.status.Findings = p.Kept, few(p.Diagnostics.Errors())
	s.refused, s.refusedOf = s.refusals(p, l.Now().UTC()), s.reading
	s.keepNotes(p)
	l.board.keep(s.c.Name, len(p.Kept) > 0)
	if w.moved || !p.Empty() {
		w.step.Plan = p
	}
	if held && approved.PlanID != p.ID {
		if done, err := l.applyRest(ctx, s, req, p, live, &w); done || err != nil {
			if err != nil {
				return err
			}
			return l.carry(ctx, s, w) // what is held is what is left
		}
		if err := l.Store.HoldPlan(ctx, s.c.Name, p, w.token); err != nil {
			return err
		}
		s.status.PlanID = p.ID
		s.planned = planned{of: s.reading, world: world, done: true, err: heldError(p, reason)}
		return s.planned.err
	}
	if s.status.PlanID != "" {
		if err := l.Store.HoldPlan(ctx, s.c.Name, nil, w.token); err != nil {
			return err
		}
	}
	s.status.PlanID = ""
	if s.empty != nil && p.Empty() && !wait { // and it never had anything
		return s.empty
	}
	if held {
		w.approvedBy = cmp.Or(approved.By, "somebody")
	}
	if err := l.apply(ctx, s, p, live, w); err != nil {
		return err
	}
	if held { // and approved, once
		if err := l.Store.DropRequest(ctx, approved); err != nil {
			return err
		}
	}
	s.status.Applied, s.status.RewoundFrom, s.status.RewoundBy = s.rev.ID, "", ""
	released := l.release(ctx, s, p, seen)
	err = errors.Join(p.Diagnostics.Err(), l.disputes(s, p, contested, live))
	if err := l.adopted(ctx, s, w.asked, p); err != nil {
		return err
	}
	if p.Empty() && released && len(left) == 0 && !wait {
		s.planned = planned{of: s.reading, world: world, done: true, err: err}
	}
	return err
}

// apply carries a plan out, and notes what it undoes.
func (l *Loop) apply(ctx context.Context, s *sourceState, p *plan.Plan, live plan.Live, w pass) (err error) {
	if w.step.Plan != nil {
		l.observe(*w.step)
	}
	if p.Empty() {
		return nil
	}
	by := reconcile.Actor{
		Name: s.rev.Author, Revision: s.rev.ID, Message: s.rev.Message, Fence: w.token, Place: place(w.token), Daemon: l.self(), Again: s.status.Applied == s.rev.ID, Waited: w.waited,
	}
	if w.approvedBy != "" {
		by.Message += "; approved by " + w.approvedBy
	}
	if w.step.Result, err = l.Reconciler.Carry(ctx, p, live, by); err != nil {
		return err
	}
	s.dispatched = l.Now()
	if s.status.Applied != s.rev.ID {
		l.wake(s.c.Name, look{}) // to see that nothing is left to do
	} else {
		l.board.putBack(s.c.Name, p, s.dispatched)
	}
	l.board.sent(s.c.Name, p.Summary.Commands.Deploy)
	l.wake(keeper, look{}) // which counts
	return nil
}

// disputes tells the owners of what this source claims in vain, and says what stands
// between it and what it asks for: owners, and others who write the same objects.
func (l *Loop) disputes(s *sourceState, p *plan.Plan, contested map[string]bool, live plan.Live) error {
	for _, owner := range l.board.claim(s.c.Name, p.Conflicts) {
		l.wake(strings.TrimPrefix(owner, "git:"), look{})
	}
	var errs []error
	if len(p.Conflicts) > 0 {
		errs = append(errs, ownedError{&oprc.ConflictError{Reason: "another origin owns it; " + wayOver(s.c.Name, p.Conflicts), Objects: p.Conflicts}})
	}
	if len(contested) > 0 {
		errs = append(errs, &fightError{describeFights(contested, live)})
	}
	return errors.Join(errs...)
}

// few keeps a status small: a source with a thousand errors shows the first.
func few(ds oprc.Diagnostics) oprc.Diagnostics { return ds[:min(len(ds), 20)] }

// settle writes the conditions that a person reads.
func (l *Loop) settle(s *sourceState, err error, now time.Time) {
	s.status.LastTick = now
	ready := oprc.SourceCondition{Type: "Ready", Status: true, Reason: "Applied", Message: "revision " + s.status.Applied}
	stalled := oprc.SourceCondition{Type: "Stalled"}
	if err != nil {
		ready = oprc.SourceCondition{Type: "Ready", Reason: ReasonOf(err), Message: err.Error()}
		if s.unread.err != nil {
			ready.Revision = s.unread.rev.ID
		}
		if needsSomeone(err) {
			stalled = oprc.SourceCondition{Type: "Stalled", Status: true, Reason: ready.Reason, Message: "until someone acts", Revision: ready.Revision}
		}
	}
	if next := s.status.NextTry; !next.IsZero() {
		ready.Message += "; next try at " + next.Format(time.RFC3339)
	}
	ready.Message += noted(s.status.Notes)
	s.set(ready, now)
	s.set(stalled, now)
	if p, known := l.board.progressOf(s.c.Name); known {
		healthy, reconciling := p.conditions()
		s.set(healthy, now)
		s.set(reconciling, now)
	}
	contested := oprc.SourceCondition{Type: "Contested"}
	if claims := l.board.claimed(s.c.origin()); len(claims) > 0 {
		contested.Status, contested.Reason, contested.Message = true, "AnotherClaims", "claimed as well: "+strings.Join(claims, ", ")
	}
	if contested.Status || s.has("Contested") {
		s.set(contested, now)
	}
}

// An ownedError is about what belongs to somebody else.
type ownedError struct{ error }

func (e ownedError) Unwrap() error { return e.error }

// needsSomeone reports whether trying again is of no use.
func needsSomeone(err error) bool {
	var fight *fightError
	var owned ownedError
	if fault, is := errors.AsType[interface {
		error
		Lasting() bool
	}](err); is && fault.Lasting() {
		return true
	}
	return errors.Is(err, oprc.ErrInvalid) || errors.Is(err, oprc.ErrHeld) || errors.Is(err, oprc.ErrDenied) || errors.Is(err, oprc.ErrNotFound) ||
		errors.As(err, &fight) || errors.As(err, &owned)
}

// noted adds the first notes to a message.
func noted(notes []string) string {
	const shown = 3
	if len(notes) == 0 {
		return ""
	}
	out := "; " + strings.Join(notes[:min(len(notes), shown)], "; ")
	if more := len(notes) - shown; more > 0 {
		out += fmt.Sprintf("; and %d more notes", more)
	}
	return out
}

func (s *sourceState) has(condition string) bool { return s.condition(condition).Type != "" }

// condition is the one of a type; the zero condition if there is none.
func (s *sourceState) condition(typ string) oprc.SourceCondition {
	i := slices.IndexFunc(s.status.Conditions, func(c oprc.SourceCondition) bool { return c.Type == typ })
	if i < 0 {
		return oprc.SourceCondition{}
	}
	return s.status.Conditions[i]
}

// applyRest applies what a plan does besides what it is held for. done means that there
// was something.
func (l *Loop) applyRest(ctx context.Context, s *sourceState, req reconcile.Request, p *plan.Plan, live plan.Live, w *pass) (done bool, err error) {
	if _, ends := p.Ends(s.guard()); !ends || w.rested {
		return false, nil
	}
	owners := p.Stopped().Owners
	req.Yield, req.Contested, req.Settled = union(req.Yield, owners), union(req.Contested, owners), nil
	rest, _, err := l.Reconciler.PlanOn(ctx, req, s.reading.docs, s.reading.found, live)
	if err != nil {
		return false, err
	}
	if _, held := s.holds(rest); held || rest.Empty() {
		return false, nil
	}
	w.rested, w.step.Plan = true, rest
	return true, l.apply(ctx, s, rest, live, *w)
}

// heldError says what waits for an approval, how to give it, and what is invalid besides.
func heldError(p *plan.Plan, reason string) error {
	id := strings.TrimPrefix(p.ID, "sha256:")
	id = id[:min(len(id), 12)]
	besides := ""
	if invalid := p.Diagnostics.Err(); invalid != nil {
		besides = fmt.Sprintf("; also, files are invalid: %v", invalid)
	}
	return fmt.Errorf("plan %s: %s; see it: oprc show %s, approve it: oprc source approve %s%s: %w", id, reason, id, id, besides, oprc.ErrHeld)
}

// guard is what holds plans of the source: after a rewind, every deletion.
func (s *sourceState) guard() plan.Guard {
	if s.status.RewoundFrom != "" {
		return plan.Guard{Stops: true}
	}
	return s.c.Guard
}

// holds says whether, and why, a plan must wait for an approval. What a branch no
// longer has because it was rewound is not deleted unasked.
func (s *sourceState) holds(p *plan.Plan) (reason string, held bool) {
	if reason, held = p.Held(s.c.Guard); held || s.status.RewoundFrom == "" {
		return reason, held
	}
	reason, held = p.Held(s.guard())
	switch {
	case held && s.status.RewoundBy != "":
		reason += fmt.Sprintf(", because the source is another one than when revision %s was applied (%s)", shortID(s.status.RewoundFrom), s.status.RewoundBy)
	case held:
		reason += fmt.Sprintf(", because the branch was rewound or force-pushed: revision %s does not descend from %s", shortID(s.rev.ID), shortID(s.status.RewoundFrom))
	}
	return reason, held
}

// A readError is of a source that cannot be polled or read.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// answer gives the receipt for the ticks that were asked for before this one began.
func (s *sourceState) answer(asked oprc.Requests, r oprc.Receipt, now time.Time) {
	ticket := asked.Tickets[s.c.Name]
	if ticket == 0 || s.status.Receipt != nil && s.status.Receipt.Ticket >= ticket {
		return
	}
	r.Ticket, r.Time, r.Revision = ticket, now.UTC(), s.rev.ID
	s.status.Receipt = &r
}

// receipt says in one word what became of a tick.
func receipt(err error) oprc.Receipt {
	var reading readError
	r := oprc.Receipt{Result: oprc.ResultError}
	if err != nil {
		r.Message = err.Error()
	}
	switch {
	case err == nil:
		r.Result = oprc.ResultOK
	case errors.Is(err, oprc.ErrDenied):
		r.Result = oprc.ResultDenied
	case errors.Is(err, oprc.ErrInvalid):
		r.Result = oprc.ResultInvalid
	case errors.Is(err, oprc.ErrHeld):
		r.Result = oprc.ResultHeld
	case errors.Is(err, oprc.ErrConflict):
		r.Result = oprc.ResultConflict
	case errors.Is(err, oprc.ErrNotFound):
		r.Result = oprc.ResultNotFound
	case errors.As(err, &reading):
		r.Result = oprc.ResultUnreachable
	}
	return r
}
