package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// newCommit turns a plan's changes of the catalogue into one atomic write. What comes back
// under a name that was gone goes on from the revision under which it was deleted. A
// package of which only placements and units move has that in its history, with the cause.
func newCommit(p *plan.Plan, live plan.Live, gone map[string]int64, by Actor, now time.Time) Commit {
	c := Commit{
		Ledger: live.Ledger, Version: live.Version, Fence: by.Fence, Place: by.Place,
		Packages:     map[string]oprc.PackageRecord{},
		Environments: map[string]oprc.EnvironmentRecord{},
		Classes:      map[string]oprc.Class{},
		Functions:    map[string]oprc.Function{},
		Deployments:  map[string]oprc.Deployment{},
		History:      map[string]oprc.HistoryEntry{},
	}
	w := writing{p, live, by, now}
	for _, ch := range p.Changes {
		if slices.Contains(ch.Actions, plan.Delete) && ch.Kind != oprc.KindUnit {
			c.Delete = append(c.Delete, Ref{Kind: ch.Kind, Key: ch.Key})
		}
		object := string(ch.Kind) + "/" + ch.Key
		switch doc := ch.Doc().(type) {
		case oprc.Class:
			c.Classes[ch.Key] = doc
		case oprc.Function:
			c.Functions[ch.Key] = doc
		case oprc.Deployment:
			c.Deployments[ch.Key] = doc
		case oprc.Package:
			c.Packages[ch.Key] = w.packageRecord(ch, doc, max(live.Revision(object), gone[object])+1)
		case oprc.Environment:
			c.Environments[ch.Key] = w.environmentRecord(ch, doc, max(live.Revision(object), gone[object])+1)
		}
		switch ch.Kind {
		case oprc.KindPackage:
			c.History[ch.Key] = w.historyEntry(ch, c.Packages[ch.Key], max(live.Revision(object), gone[object])+1)
			c.Events = append(c.Events, w.event(ch))
		case oprc.KindEnv:
			c.History[object] = w.environmentEntry(ch, c.Environments[ch.Key], max(live.Revision(object), gone[object])+1)
			c.Events = append(c.Events, w.event(ch))
		}
	}
	w.moves(&c)
	return c
}

// writing is what all that a commit writes has in common.
type writing struct {
	p    *plan.Plan
	live plan.Live
	by   Actor
	now  time.Time
}

func (w writing) packageRecord(ch plan.Change, spec oprc.Package, rev int64) oprc.PackageRecord {
	rec := oprc.PackageRecord{
		Spec: spec, Digest: ch.Will, Rev: rev, Origin: w.p.Scope.Origin, Source: sourceOf(ch, w.p.Scope, w.by),
		AppliedAt: w.now, AppliedBy: w.actor(ch),
	}
	if was := w.live.Packages[ch.Key]; ch.Source == nil { // the same spec again, e.g. lost records: it stays whose it was
		rec.Origin, rec.Source = cmp.Or(was.Origin, rec.Origin), was.Source
	}
	return rec
}

func (w writing) environmentRecord(ch plan.Change, spec oprc.Environment, rev int64) oprc.EnvironmentRecord {
	rec := oprc.EnvironmentRecord{
		Spec: spec, Rev: rev, Origin: w.p.Scope.Origin, Source: sourceOf(ch, w.p.Scope, w.by),
		AppliedAt: w.now, AppliedBy: w.by.Name,
	}
	if was := w.live.Environments[ch.Key]; ch.Source == nil { // as in packageRecord
		rec.Origin, rec.Source = cmp.Or(was.Origin, rec.Origin), was.Source
	}
	return rec
}

// environmentEntry is kept to have the record again, if it is lost.
func (w writing) environmentEntry(ch plan.Change, rec oprc.EnvironmentRecord, rev int64) oprc.HistoryEntry {
	h := oprc.HistoryEntry{
		Time: w.now, Rev: rev, PlanID: w.p.ID, Actor: w.by.Name, Origin: cmp.Or(rec.Origin, w.p.Scope.Origin),
		Commit: w.by.Revision, Message: w.by.Message, Action: string(ch.Actions[0]),
	}
	if rec.Rev > 0 {
		h.Digest, h.Environment = oprc.Digest(rec.Spec), &rec.Spec
		if ch.Source != nil {
			h.Path = ch.Source.Path
		}
	}
	return h
}

func (w writing) historyEntry(ch plan.Change, rec oprc.PackageRecord, rev int64) oprc.HistoryEntry {
	h := oprc.HistoryEntry{
		Time: w.now, Rev: rev, PlanID: w.p.ID, Actor: w.actor(ch), Origin: cmp.Or(w.p.Scope.Origin, rec.Origin),
		Commit: w.by.Revision, Message: w.message(ch), Action: string(ch.Actions[0]),
	}
	if rec.Rev > 0 {
		h.Digest, h.Spec, h.Lines = rec.Digest, &rec.Spec, ch.Lines()
		if ch.Source != nil {
			h.Path = ch.Source.Path
		}
	}
	return h
}

// own reports whether the daemon writes a change of a package or environment by itself.
func (w writing) own(ch plan.Change) bool {
	own := ch.Reason == plan.ReasonNew || ch.Reason == plan.ReasonSpec || ch.Reason == plan.ReasonNoReport
	return w.by.Daemon != "" && w.by.Again && own && !slices.Contains(w.by.Waited, ch.Key) && !slices.Contains(ch.Actions, plan.Delete)
}

func (w writing) actor(ch plan.Change) string {
	if w.own(ch) {
		return w.by.Daemon
	}
	return w.by.Name
}

func (w writing) message(ch plan.Change) string {
	switch {
	case !w.own(ch):
		return w.by.Message
	case ch.Reason == plan.ReasonSpec:
		return "reverted to its file, from which it differed"
	}
	return "written again: its record was lost"
}

// ownMoves reports whether the daemon moves a package by itself: nothing of the cause is in
// what was asked for.
func (w writing) ownMoves(pkg string) bool {
	if w.by.Daemon == "" || w.by.Again {
		return w.by.Daemon != "" && !slices.Contains(w.by.Waited, pkg)
	}
	return !slices.ContainsFunc(w.p.Changes, func(ch plan.Change) bool {
		switch ch.Reason {
		case plan.ReasonPlacement, plan.ReasonDrift, plan.ReasonNoReport:
			return ch.Kind == oprc.KindEnv
		}
		return ch.Package == pkg || ch.Kind == oprc.KindEnv
	})
}

func (w writing) event(ch plan.Change) oprc.Event {
	e := oprc.Event{
		Time: w.now, Type: "applied", Kind: ch.Kind, Key: ch.Key, Actor: w.actor(ch),
		Origin: w.p.Scope.Origin, PlanID: w.p.ID, Commit: w.by.Revision, Message: string(ch.Reason),
	}
	if w.own(ch) {
		e.Message += ": " + w.message(ch)
	}
	if ch.Doc() == nil {
		e.Type = "deleted"
	}
	return e
}

// moves tells in events and histories of what changes in packages that are not written
// themselves: by whom, and why.
func (w writing) moves(c *Commit) {
	why := map[string][]string{}
	for _, ch := range w.p.Changes {
		if _, written := c.History[ch.Package]; written || ch.Package == "" || ch.Kind == oprc.KindEnv {
			continue
		}
		cause := string(ch.Kind) + " " + ch.Key + ": " + string(ch.Reason)
		if ch.Kind == oprc.KindUnit {
			cause = fmt.Sprintf("units of %s: %s", ch.Class(), ch.Reason)
		}
		if ch.Reason == plan.ReasonPlacement && ch.Kind == oprc.KindDeployment {
			after, _ := ch.Doc().(oprc.Deployment)
			cause += whyMoved(w.live.Deployments[ch.Key].Members, after.Members, w.live.Environments)
		}
		if !slices.Contains(why[ch.Package], cause) {
			why[ch.Package] = append(why[ch.Package], cause)
		}
	}
	for pkg, causes := range why {
		message := strings.Join(causes, "; ")
		actor := w.by.Name
		if w.ownMoves(pkg) {
			actor = w.by.Daemon
		} else if w.by.Message != "" {
			message += " (" + w.by.Message + ")"
		}
		rec := w.live.Packages[pkg]
		c.History[pkg] = oprc.HistoryEntry{
			Time: w.now, Rev: rec.Rev, Action: oprc.ActionMove, PlanID: w.p.ID, Digest: rec.Digest,
			Actor: actor, Origin: cmp.Or(rec.Origin, w.p.Scope.Origin), Commit: w.by.Revision, Message: message,
		}
		c.Events = append(c.Events, oprc.Event{
			Time: w.now, Type: "moved", Kind: oprc.KindPackage, Key: pkg, Actor: actor,
			Origin: cmp.Or(rec.Origin, w.p.Scope.Origin), PlanID: w.p.ID, Commit: w.by.Revision, Message: message,
		})
	}
	slices.SortStableFunc(c.Events, func(a, b oprc.Event) int { return cmp.Compare(a.Type+a.Key, b.Type+b.Key) })
}

// whyMoved says of a placement which environments it was in that cannot be used now, and
// which it comes to that could not be used until a while ago; "" where it is neither.
func whyMoved(before, after []oprc.Member, environments map[string]oprc.EnvironmentState) string {
	var out []string
	add := func(cause string) {
		if !slices.Contains(out, cause) {
			out = append(out, cause)
		}
	}
	in := map[string]bool{}
	for _, m := range before {
		in[m.Env] = true
		if environments[m.Env].Health == oprc.EnvDown {
			add(m.Env + " is DOWN")
		}
	}
	for _, m := range after {
		if env := environments[m.Env]; !in[m.Env] && env.Health != oprc.EnvDown && slices.ContainsFunc(env.Beats, func(b oprc.Heartbeat) bool {
			return b.Returned && env.Read.Sub(b.Since) < 10*oprc.SteadyAfter
		}) {
			add(m.Env + " was DOWN and is back")
		}
	}
	if len(out) == 0 {
		return ""
	}
	return ", " + strings.Join(out, ", ")
}
