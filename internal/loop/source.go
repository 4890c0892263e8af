package loop

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Source is where desired state comes from: a Git repository, or a directory.
type Source interface {
	// Poll says which revision is the newest, as of since or later: what somebody else
	// found out since then need not be asked again. It is cheap: nothing is fetched
	// when nothing moved.
	Poll(ctx context.Context, since time.Time) (Revision, error)

	// Files returns the packages and environments of a revision that Poll returned.
	Files(ctx context.Context, rev Revision) ([]oprc.File, error)
}

// A Noter is a source that has something to say about the files it returned last:
// "PATH: what is odd".
type Noter interface{ Notes() []string }

// A Passer is a source that passes files over: Unread names those, and directories,
// that were there and were not read when files were returned last.
type Passer interface{ Unread() []string }

// A Resumer is a source that can be told which revision was seen last, by this
// process or another, before it is polled again. moved means that the source was another
// one then, by its configuration.
type Resumer interface {
	Resume(revision string, moved bool) error
}

// A Revision is one state of a source.
type Revision struct {
	ID      string // commit, or digest of a directory's content
	Author  string
	Message string
	When    time.Time // zero where nobody knows
	Rewind  bool      // not a descendant of the revision before it
}

// A SourceConfig is a source and what may be done in its name.
type SourceConfig struct {
	Name, URL, Ref, Path string   // for status; Name is the origin "git:NAME"
	Ignore               []string // for status: what Source does not read
	Dir                  string   // for status: the absolute path of a directory

	Source   Source
	Interval time.Duration // between polls
	NoPrune  bool          // keep packages that the source no longer has
	NoHeal   bool          // show drift, leave it
	NoTrack  bool          // show new revisions; take one when somebody asks for it
	Suspend  bool
	Take     bool // take over what others own (takeOwnership)
	Anew     bool // what an earlier source of the name applied is no measure for this one
	Guard    plan.Guard
}

func (c SourceConfig) origin() string { return "git:" + c.Name }

// A Step is what the loop tells its observer: a plan before it is applied, its
// result after, or an error that is not the one before.
type Step struct {
	Source   string
	Revision Revision
	Files    []oprc.File
	Read     int               // how many of them differ from what was read before; 0 while the revision is the same
	Plan     *plan.Plan        // nil when there is none
	Result   *reconcile.Result // set once applied
	Err      error
}

// A Tick is one look at a source, for those who count and measure.
type Tick struct {
	Source   string
	Revision Revision
	Read     int // files that had to be read
	Took     time.Duration
	Woken    time.Time  // when somebody asked for it, a webhook or a person; zero: it was time
	Applied  bool       // something was changed:
	Plan     *plan.Plan // this, and nil when nothing was
	At       time.Time  // when its last command was in its stream
	Err      error
}

// runSource keeps one source true until ctx ends.
func (l *Loop) runSource(ctx context.Context, c SourceConfig, w *waker) error {
	s := &sourceState{c: c, status: c.status(), reading: &reading{}, asked: map[string]time.Time{}, next: l.Now().Add(c.Interval)}
	due := time.NewTimer(c.Interval)
	defer due.Stop()
	for {
		var a look
		select {
		case <-ctx.Done():
			return nil
		case <-due.C: // what another source of the same repository just found out will do
			a = w.take().and(look{poll: true, since: l.Now().Add(-c.Interval / 2)})
		case <-w.ch:
			a = w.take()
		}
		token, ok := l.token()
		if !ok { // whoever comes to lead is woken
			due.Reset(c.Interval)
			continue
		}
		if err := l.tick(ctx, s, token, a); err != nil && ctx.Err() == nil {
			l.Log.Warn("keep status", "source", c.Name, "error", err)
			w.owe(a)
			s.next = l.Now().Add(retryFirst)
		}
		due.Reset(max(0, s.next.Sub(l.Now())))
	}
}

func (c SourceConfig) rules() *oprc.SourceRules {
	return &oprc.SourceRules{
		Ignore: c.Ignore, Dir: c.Dir, Prune: !c.NoPrune, Heal: !c.NoHeal, Take: c.Take,
		MaxDelete: c.Guard.MaxDelete, MaxDeletePercent: c.Guard.MaxDeletePercent, MaxBlastUnits: c.Guard.MaxBlastUnits, Stops: c.Guard.Stops,
	}
}

func (c SourceConfig) status() oprc.SourceStatus {
	return oprc.SourceStatus{Name: c.Name, URL: c.URL, Ref: c.Ref, Path: c.Path, Rules: c.rules()}
}

// ReasonOf says in one word what keeps a revision from being carried out, as the
// condition Ready of a source does.
func ReasonOf(err error) string {
	var fight *fightError
	var reading readError
	switch {
	case errors.As(err, &fight):
		return "Fight"
	case errors.Is(err, oprc.ErrUnverified):
		return "VerificationFailed"
	case errors.Is(err, oprc.ErrInvalid):
		return "InvalidPackages"
	case errors.Is(err, oprc.ErrHeld):
		return "ApprovalNeeded"
	case errors.Is(err, oprc.ErrConflict):
		return "Conflict"
	case errors.Is(err, oprc.ErrNotFound):
		return "RevisionNotFound"
	case errors.Is(err, oprc.ErrDenied):
		return "Denied"
	case errors.As(err, &reading):
		return "Unreachable"
	}
	return "ApplyFailed"
}

// set replaces a condition; Since moves only when its status or reason does.
func (s *sourceState) set(c oprc.SourceCondition, now time.Time) {
	c.Since, c.Revision = now, cmp.Or(c.Revision, s.rev.ID)
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
