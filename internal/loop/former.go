package loop

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// resume takes up what is stored about a source: from this process before it
// restarted, or from the one that led before it.
func (l *Loop) resume(ctx context.Context, s *sourceState) error {
	s.stored = ""
	all, err := l.Store.Sources(ctx)
	if err != nil {
		return fmt.Errorf("read what is stored about the source: %w", err)
	}
	was, known := all[s.c.Name]
	if !known && s.status.ID != "" {
		return nil // seen by this process, and lost by Redis
	}
	if !known && !s.c.Anew {
		live, err := l.Reconciler.Ledger.Live(ctx)
		if err != nil {
			return fmt.Errorf("read live state: %w", err)
		}
		s.status.Moved = inherited(live, s.c.origin())
	}
	if known {
		s.status = s.c.takeUp(was)
	}
	s.shown = s.readiness()
	if s.status.ID == "" {
		s.status.ID = s.c.identity(l.Now())
	}
	return s.retrace()
}

// retrace makes the source judge its next revision against the one that was seen before.
func (s *sourceState) retrace() error {
	before, moved := s.status.Revision, s.status.Moved
	if moved != nil {
		before = moved.From
	}
	if r, can := s.c.Source.(Resumer); can && before != "" && before != s.rev.ID {
		s.rev, s.files, s.planned = Revision{}, nil, planned{}
		return r.Resume(before, moved != nil)
	}
	return nil
}

// takeUp is a stored status as the source is configured now. What it says is of the
// source as it was: from which revision it moved on is kept until it is read as it is.
func (c SourceConfig) takeUp(was oprc.SourceStatus) oprc.SourceStatus {
	what, other := c.differs(was)
	switch {
	case what == "":
	case was.Moved != nil:
		was.Moved = &oprc.SourceMove{From: was.Moved.From, What: was.Moved.What + "; " + what, Other: was.Moved.Other || other}
	default:
		if from := cmp.Or(was.RewoundFrom, was.Applied, was.Revision); from != "" {
			was.Moved = &oprc.SourceMove{From: from, What: what, Other: other}
		}
	}
	if was.URL != c.URL || was.Path != c.Path {
		was.ID = ""
	}
	if what != "" {
		was.Revision, was.Applied = "", ""
	}
	was.URL, was.Ref, was.Path, was.Rules = c.URL, c.Ref, c.Path, c.rules()
	return was
}

// differs says how a source is configured otherwise than a status says. other means that
// it reads other files, so that a revision's descent says nothing about them.
func (c SourceConfig) differs(was oprc.SourceStatus) (what string, other bool) {
	var all []string
	for _, key := range []struct{ name, was, is string }{{"url", was.URL, c.URL}, {"ref", was.Ref, c.Ref}, {"path", was.Path, c.Path}} {
		if key.was != key.is {
			all = append(all, fmt.Sprintf("%s was %s, now %s", key.name, cmp.Or(key.was, "not set"), cmp.Or(key.is, "not set")))
		}
	}
	_, judges := c.Source.(Resumer)
	return strings.Join(all, ", "), was.Path != c.Path || len(all) > 0 && !judges
}

// inherited is the move to a source of which nothing is stored, where its name has
// packages already: from the revision that was applied last; nil if it has none.
func inherited(live plan.Live, origin string) *oprc.SourceMove {
	var last oprc.PackageRecord
	for _, rec := range live.Packages {
		if rec.Origin == origin && rec.Source != nil && !rec.AppliedAt.Before(last.AppliedAt) {
			last = rec
		}
	}
	if last.Source == nil || last.Source.Commit == "" {
		return nil
	}
	return &oprc.SourceMove{From: last.Source.Commit, What: "the name had packages of an earlier source"}
}

// identity tells the source from all others that ever have its name.
func (c SourceConfig) identity(now time.Time) string {
	return shortID(oprc.Digest([]string{c.URL, c.Path, now.UTC().Format(time.RFC3339Nano)}))
}

func shortID(digest string) string {
	id := strings.TrimPrefix(digest, "sha256:")
	return id[:min(len(id), 12)]
}

// heard is what is asked of the source. What was said of a former one of its name ends.
func (l *Loop) heard(ctx context.Context, s *sourceState, all oprc.Requests) oprc.Requests {
	asked, former := all.For(s.c.Name, s.status.ID)
	for _, a := range former {
		if err := l.Store.DropRequest(ctx, a); err != nil {
			l.Log.Warn("end what was asked of a former source", "source", s.c.Name, "error", err)
			continue
		}
		what := fmt.Sprintf("%s of %s by %s ends: it was said of a former source of this name", a.Verb, a.Name, cmp.Or(a.By, "somebody"))
		l.Log.Info(what, "source", s.c.Name)
		l.say(ctx, oprc.Event{Type: "source", Key: s.c.Name, PlanID: a.PlanID, Message: what})
	}
	return asked
}

// arrive takes a revision for the newest one, and sees whether it goes on from what was
// there before.
func (l *Loop) arrive(ctx context.Context, s *sourceState, rev Revision) {
	was, now, moved := s.status.Revision, l.Now().UTC(), s.status.Moved
	s.status.Moved = nil
	switch {
	case moved != nil && (moved.Other || rev.Rewind):
		s.status.RewoundFrom, s.status.RewoundBy = moved.From, moved.What
		c := oprc.SourceCondition{Type: "Rewound", Status: true, Reason: "Moved", Revision: rev.ID}
		if c.Message = "it reads other files than before: " + moved.What; rev.ID != moved.From {
			c.Message = fmt.Sprintf("revision %s does not descend from %s, which was applied before: %s", shortID(rev.ID), shortID(moved.From), moved.What)
		}
		s.set(c, now)
		l.Log.Warn("rewind", "source", s.c.Name, "revision", rev.ID, "before", moved.From, "cause", moved.What)
		l.say(ctx, oprc.Event{Type: "source", Key: s.c.Name, From: moved.From, To: rev.ID, Commit: rev.ID, Message: "rewind: " + moved.What})
		return
	case moved != nil: // it goes on from there
		s.status.RewoundFrom, s.status.RewoundBy = "", ""
		if s.has("Rewound") {
			s.set(oprc.SourceCondition{Type: "Rewound"}, now)
		}
		return
	case was == rev.ID:
		return
	}
	s.rewound(rev, was, now)
	switch {
	case rev.ID == s.status.RewoundFrom && s.status.RewoundBy == "": // back where it was before
		s.status.RewoundFrom = ""
	case rev.Rewind:
		s.status.RewoundFrom = cmp.Or(s.status.RewoundFrom, was)
		l.Log.Warn("rewind", "source", s.c.Name, "revision", rev.ID, "before", was)
		l.say(ctx, oprc.Event{Type: "source", Key: s.c.Name, From: was, To: rev.ID, Commit: rev.ID, Message: "rewind"})
	}
}
