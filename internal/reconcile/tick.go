package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// sourceState is what a source's ticks remember. The files of the last revision
// are kept: a tick at the same revision plans them again without reading.
type sourceState struct {
	c       SourceConfig
	token   int64 // of the leadership under which status was taken up
	status  oprc.SourceStatus
	stored  string // digest of the status as it was put last
	rev     Revision
	files   []oprc.File
	lastErr string
}

// tick makes the source's newest revision true, once, unless it is suspended. What
// stops it is told to the observer and kept in the source's conditions; the error
// is of that keeping.
func (l *Loop) tick(ctx context.Context, s *sourceState, token int64) error {
	if s.token != token {
		if err := l.resume(ctx, s); err != nil {
			return err
		}
		s.token = token
	}
	asked, err := l.Store.Requests(ctx)
	if err != nil {
		return fmt.Errorf("read requests: %w", err)
	}
	start := l.Now()
	if until := s.suspension(asked, start); until != nil {
		s.answer(asked, oprc.Receipt{Result: oprc.ResultSuspended, Message: until.Reason}, start)
		return l.put(ctx, s, token)
	}
	step := Step{Source: s.c.Name}
	err = l.advance(ctx, s, token, asked, &step)
	step.Err = err
	fresh := err != nil && err.Error() != s.lastErr && ctx.Err() == nil
	s.lastErr = ""
	if err != nil {
		s.lastErr = err.Error()
	}
	if fresh || step.Result != nil {
		l.observe(step)
	}
	l.outrun(err)
	if ctx.Err() != nil {
		return nil // what the end of the process broke off is no news about the source
	}
	if l.Ticked != nil {
		l.Ticked(Tick{Source: s.c.Name, Revision: s.rev, Took: l.Now().Sub(start), Applied: step.Result != nil, Err: err})
	}
	now := l.Now().UTC()
	s.settle(step, now)
	s.answer(asked, receipt(err), now)
	if fresh && errors.Is(err, oprc.ErrHeld) {
		l.say(ctx, oprc.Event{Type: "held", Key: s.c.Name, PlanID: s.status.PlanID, Commit: s.rev.ID, Message: err.Error()})
	}
	return l.put(ctx, s, token)
}

// resume takes up what is stored about a source: from this process before it
// restarted, or from the one that led before it.
func (l *Loop) resume(ctx context.Context, s *sourceState) error {
	s.stored = ""
	all, err := l.Store.Sources(ctx)
	if err != nil {
		return fmt.Errorf("read what is stored about the source: %w", err)
	}
	was, ok := all[s.c.Name]
	if !ok || was.URL != s.c.URL || was.Ref != s.c.Ref {
		return nil // never seen, or another repository under the same name
	}
	was.Path = s.c.Path
	s.status = was
	if r, can := s.c.Source.(Resumer); can && was.Revision != "" && was.Revision != s.rev.ID {
		s.rev, s.files = Revision{}, nil
		return r.Resume(was.Revision)
	}
	return nil
}

// suspension is why the source is to be left alone, or nil.
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
	if digest == s.stored {
		return nil
	}
	if err := l.Store.PutSource(ctx, s.status, token); err != nil {
		l.outrun(err)
		return err
	}
	s.stored = digest
	return nil
}

// say emits an event about a source. Losing one is no reason to stop.
func (l *Loop) say(ctx context.Context, e oprc.Event) {
	e.Time, e.Kind, e.Actor = l.Now().UTC(), oprc.KindSource, l.Holder
	if err := l.Store.Emit(ctx, []oprc.Event{e}); err != nil && ctx.Err() == nil {
		l.Log.Warn("event", "source", e.Key, "error", err)
	}
}

// tries is how often a tick plans again when somebody else wrote in between.
const tries = 3

func (l *Loop) advance(ctx context.Context, s *sourceState, token int64, asked oprc.Requests, step *Step) error {
	moved, err := l.fetch(ctx, s)
	if err != nil {
		return err
	}
	step.Revision, step.Files = s.rev, s.files
	l.turn.Lock() // one plan at a time: they would only refuse each other
	defer l.turn.Unlock()
	for try := 1; ; try++ {
		err := l.carry(ctx, s, token, asked, moved, step)
		if !errors.Is(err, oprc.ErrConflict) || errors.Is(err, oprc.ErrFenced) || step.Result != nil || try == tries {
			return err
		}
	}
}

// fetch polls, and reads the files if the revision moved.
func (l *Loop) fetch(ctx context.Context, s *sourceState) (moved bool, err error) {
	rev, err := s.c.Source.Poll(ctx, l.Now())
	if err != nil {
		return false, readError{fmt.Errorf("poll: %w", err)}
	}
	if rev.ID == s.rev.ID && s.files != nil {
		return false, nil
	}
	files, err := s.c.Source.Files(ctx, rev)
	if err != nil {
		return false, readError{fmt.Errorf("read %s: %w", rev.ID, err)}
	}
	if was := s.status.Revision; was != rev.ID {
		s.rewound(rev, was, l.Now().UTC())
		if rev.Rewind {
			l.Log.Warn("rewind", "source", s.c.Name, "revision", rev.ID, "before", was)
			l.say(ctx, oprc.Event{Type: "source", Key: s.c.Name, From: was, To: rev.ID, Commit: rev.ID, Message: "rewind"})
		}
	}
	s.rev, s.files, s.status.Revision, s.status.Notes = rev, files, rev.ID, nil
	if n, ok := s.c.Source.(Noter); ok {
		s.status.Notes = n.Notes()
		for _, note := range s.status.Notes {
			l.Log.Warn("note", "source", s.c.Name, "revision", rev.ID, "note", note)
		}
	}
	return true, nil
}

// rewound shows whether the newest revision descends from the one before it.
func (s *sourceState) rewound(rev Revision, before string, now time.Time) {
	c := oprc.SourceCondition{Type: "Rewound"}
	switch known := slices.ContainsFunc(s.status.Conditions, func(c oprc.SourceCondition) bool { return c.Type == "Rewound" }); {
	case rev.Rewind:
		c.Status, c.Reason = true, "NotADescendant"
		c.Message = fmt.Sprintf("revision %s does not descend from %s, which was seen before: the branch was rewound or force-pushed", rev.ID, before)
	case !known:
		return
	}
	s.set(c, now)
}

// carry plans the files that were fetched, and applies the plan unless it is held.
func (l *Loop) carry(ctx context.Context, s *sourceState, token int64, asked oprc.Requests, moved bool, step *Step) error {
	p, seen, err := l.Reconciler.plan(ctx, Request{
		Files: s.files, KeepGoing: true, Heal: !s.c.NoHeal, Quarantine: quarantined(asked), Actor: s.rev.Author,
		Scope: plan.Scope{Origin: s.c.origin(), Complete: !s.c.NoPrune},
	})
	if err != nil {
		return err
	}
	s.status.Kept, s.status.Findings = p.Kept, few(p.Diagnostics.Errors())
	if moved || !p.Empty() {
		step.Plan = p
	}
	approved, _ := asked.Find(oprc.VerbApprove, s.c.Name)
	if reason, held := p.Held(s.c.Guard); held && approved.PlanID != p.ID {
		s.status.PlanID = p.ID
		return fmt.Errorf("plan %s: %s: %w", p.ID, reason, oprc.ErrHeld)
	}
	s.status.PlanID = ""
	if step.Plan != nil {
		l.observe(*step)
	}
	if !p.Empty() {
		by := Actor{Name: s.rev.Author, Revision: s.rev.ID, Message: s.rev.Message, Fence: token}
		if step.Result, err = l.Reconciler.Apply(ctx, p, by); err != nil {
			return err
		}
	}
	s.status.Applied = s.rev.ID
	l.release(ctx, s, p, seen)
	if len(p.Conflicts) > 0 {
		err = &oprc.ConflictError{Reason: "another origin owns it", Objects: p.Conflicts}
	}
	return errors.Join(p.Diagnostics.Err(), err)
}

// few keeps a status small: a source with a thousand errors shows the first.
func few(ds oprc.Diagnostics) oprc.Diagnostics { return ds[:min(len(ds), 20)] }

// settle writes the conditions that a person reads.
func (s *sourceState) settle(step Step, now time.Time) {
	s.status.LastTick = now
	ready := oprc.SourceCondition{Type: "Ready", Status: true, Reason: "Applied", Message: "revision " + s.status.Applied}
	stalled := oprc.SourceCondition{Type: "Stalled"}
	if err := step.Err; err != nil {
		ready = oprc.SourceCondition{Type: "Ready", Reason: reasonOf(err), Message: err.Error()}
		if errors.Is(err, oprc.ErrInvalid) || errors.Is(err, oprc.ErrHeld) || errors.Is(err, oprc.ErrDenied) {
			stalled = oprc.SourceCondition{Type: "Stalled", Status: true, Reason: ready.Reason, Message: "until someone acts"}
		}
	}
	if n := len(s.status.Notes); n > 0 {
		const shown = 3
		ready.Message += "; " + strings.Join(s.status.Notes[:min(n, shown)], "; ")
		if n > shown {
			ready.Message += fmt.Sprintf("; and %d more notes", n-shown)
		}
	}
	s.set(ready, now)
	s.set(stalled, now)
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
