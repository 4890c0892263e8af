package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Source is where desired state comes from: a Git repository, or a directory.
type Source interface {
	// Poll says which revision is the newest. It is cheap: nothing is fetched when
	// nothing moved.
	Poll(ctx context.Context) (Revision, error)

	// Files returns the packages and environments of a revision that Poll returned.
	Files(ctx context.Context, rev Revision) ([]oprc.File, error)
}

// A Revision is one state of a source.
type Revision struct {
	ID      string // commit, or digest of a directory's content
	Author  string
	Message string
	Rewind  bool // not a descendant of the revision before it
}

// A SourceConfig is a source and what may be done in its name.
type SourceConfig struct {
	Name, URL, Ref, Path string // for status; Name is the origin "git:NAME"

	Source   Source
	Interval time.Duration // between polls
	NoPrune  bool          // keep packages that the source no longer has
	NoHeal   bool          // show drift, leave it
	Suspend  bool
	Guard    plan.Guard
}

func (c SourceConfig) origin() string { return "git:" + c.Name }

// A Step is what the loop tells its observer: a plan before it is applied, its
// result after, or an error that is not the one before.
type Step struct {
	Source   string
	Revision Revision
	Files    []oprc.File
	Plan     *plan.Plan // nil when there is none
	Result   *Result    // set once applied
	Err      error
}

// runSource keeps one source true until ctx ends.
func (l *Loop) runSource(ctx context.Context, c SourceConfig, wake <-chan struct{}) error {
	s := &sourceState{c: c, status: oprc.SourceStatus{Name: c.Name, URL: c.URL, Ref: c.Ref, Path: c.Path}}
	for {
		if token, ok := l.token(); ok && !c.Suspend {
			if err := l.tick(ctx, s, token); err != nil && ctx.Err() == nil {
				l.Log.Warn("keep status", "source", c.Name, "error", err)
			}
		}
		if !wait(ctx, c.Interval, wake) {
			return nil
		}
	}
}

// sourceState is what a source's ticks remember. The files of the last revision
// are kept: a tick at the same revision plans them again without reading.
type sourceState struct {
	c       SourceConfig
	status  oprc.SourceStatus
	rev     Revision
	files   []oprc.File
	lastErr string
}

// tick makes the source's newest revision true, once. What stops it is told to the
// observer and kept in the source's conditions; the error is of that keeping.
func (l *Loop) tick(ctx context.Context, s *sourceState, token int64) error {
	step := Step{Source: s.c.Name}
	err := l.advance(ctx, s, token, &step)
	step.Err = err
	fresh := err != nil && err.Error() != s.lastErr && ctx.Err() == nil
	s.lastErr = ""
	if err != nil {
		s.lastErr = err.Error()
	}
	if fresh || step.Result != nil {
		l.observe(step)
	}
	s.settle(step, l.Now().UTC())
	kept := l.Store.PutSource(ctx, s.status, token)
	l.outrun(errors.Join(err, kept))
	return kept
}

func (l *Loop) advance(ctx context.Context, s *sourceState, token int64, step *Step) error {
	rev, err := s.c.Source.Poll(ctx)
	if err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	moved := rev.ID != s.rev.ID || s.files == nil
	if moved {
		files, err := s.c.Source.Files(ctx, rev)
		if err != nil {
			return fmt.Errorf("read %s: %w", rev.ID, err)
		}
		s.rev, s.files = rev, files
	}
	step.Revision, step.Files = s.rev, s.files
	s.status.Revision = s.rev.ID

	l.turn.Lock() // one plan at a time: they would only refuse each other
	defer l.turn.Unlock()
	p, err := l.Reconciler.Plan(ctx, Request{
		Files: s.files, KeepGoing: true, Heal: !s.c.NoHeal,
		Scope: plan.Scope{Origin: s.c.origin(), Complete: !s.c.NoPrune},
	})
	if err != nil {
		return err
	}
	if moved || !p.Empty() {
		step.Plan = p
	}
	if reason, held := p.Held(s.c.Guard); held {
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
	return p.Diagnostics.Err()
}

// settle writes the conditions that a person reads.
func (s *sourceState) settle(step Step, now time.Time) {
	s.status.LastTick = now
	ready := oprc.SourceCondition{Type: "Ready", Status: true, Reason: "Applied", Message: "revision " + s.status.Applied}
	stalled := oprc.SourceCondition{Type: "Stalled"}
	if err := step.Err; err != nil {
		ready = oprc.SourceCondition{Type: "Ready", Reason: reasonOf(err), Message: err.Error()}
		if errors.Is(err, oprc.ErrInvalid) || errors.Is(err, oprc.ErrHeld) {
			stalled = oprc.SourceCondition{Type: "Stalled", Status: true, Reason: ready.Reason, Message: "until someone acts"}
		}
	}
	s.set(ready, now)
	s.set(stalled, now)
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, oprc.ErrInvalid):
		return "InvalidPackages"
	case errors.Is(err, oprc.ErrHeld):
		return "ApprovalNeeded"
	case errors.Is(err, oprc.ErrConflict):
		return "Conflict"
	case errors.Is(err, oprc.ErrNotFound):
		return "RevisionNotFound"
	}
	return "Unreachable"
}

// set replaces a condition; Since moves only when its status or reason does.
func (s *sourceState) set(c oprc.SourceCondition, now time.Time) {
	c.Since = now
	for i, old := range s.status.Conditions {
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status && old.Reason == c.Reason {
			c.Since = old.Since
		}
		s.status.Conditions[i] = c
		return
	}
	s.status.Conditions = append(s.status.Conditions, c)
}

// wait returns after d, or at once when woken; false when ctx ended.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
		return true
	case <-t.C:
		return true
	}
}
