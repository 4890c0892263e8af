package reconcile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// newCommit turns a plan's changes of the catalogue into one atomic write. What
// comes back under a name that was gone goes on from the revision under which it was
// deleted.
func newCommit(p *plan.Plan, live plan.Live, gone map[string]int64, by Actor, now time.Time) (Commit, error) {
	c := Commit{
		Base:         p.Base,
		Packages:     map[string]oprc.PackageRecord{},
		Environments: map[string]oprc.EnvironmentRecord{},
		Classes:      map[string]oprc.Class{},
		Functions:    map[string]oprc.Function{},
		Deployments:  map[string]oprc.Deployment{},
		History:      map[string]oprc.HistoryEntry{},
		Gone:         gone,
		Fence:        by.Fence,
	}
	for _, ch := range p.Changes {
		if err := c.add(p, ch, live, by, now); err != nil {
			return Commit{}, fmt.Errorf("plan %s: %s/%s: %w: %w", p.ID, ch.Kind, ch.Key, oprc.ErrInvalid, err)
		}
	}
	return c, nil
}

func (c *Commit) add(p *plan.Plan, ch plan.Change, live plan.Live, by Actor, now time.Time) error {
	if ch.Kind == oprc.KindUnit {
		return nil // dispatched, not committed
	}
	if slices.Contains(ch.Actions, plan.Delete) {
		c.Delete = append(c.Delete, Ref{Kind: ch.Kind, Key: ch.Key})
	}
	switch ch.Kind {
	case oprc.KindPackage:
		was := live.Packages[ch.Key]
		was.Rev = max(was.Rev, c.Gone["package/"+ch.Key])
		return c.addPackage(p, ch, was, by, now)
	case oprc.KindEnv:
		was := live.Environments[ch.Key]
		was.Rev = max(was.Rev, c.Gone["environment/"+ch.Key])
		return c.addEnvironment(p, ch, was, by, now)
	case oprc.KindClass:
		return decodeInto(c.Classes, ch)
	case oprc.KindFunction:
		return decodeInto(c.Functions, ch)
	case oprc.KindDeployment:
		return decodeInto(c.Deployments, ch)
	}
	return fmt.Errorf("unknown kind")
}

func decodeInto[T any](into map[string]T, ch plan.Change) error {
	if ch.After == nil {
		return nil
	}
	var v T
	if err := json.Unmarshal(ch.After, &v); err != nil {
		return err
	}
	into[ch.Key] = v
	return nil
}

func (c *Commit) addPackage(p *plan.Plan, ch plan.Change, was oprc.PackageRecord, by Actor, now time.Time) error {
	rec := oprc.PackageRecord{
		Rev: was.Rev + 1, Origin: p.Scope.Origin, Source: sourceOf(ch, p.Scope, by),
		AppliedAt: now, AppliedBy: by.Name,
	}
	h := oprc.HistoryEntry{
		Time: now, Rev: rec.Rev, PlanID: p.ID, Actor: by.Name, Origin: p.Scope.Origin,
		Commit: by.Revision, Message: by.Message, Action: string(ch.Actions[0]),
	}
	ev := oprc.Event{
		Time: now, Type: "applied", Kind: oprc.KindPackage, Key: ch.Key, Actor: by.Name,
		Origin: p.Scope.Origin, PlanID: p.ID, Commit: by.Revision, Message: string(ch.Reason),
	}
	if ch.After == nil {
		ev.Type = "deleted"
	} else {
		if err := json.Unmarshal(ch.After, &rec.Spec); err != nil {
			return err
		}
		rec.Digest = oprc.Digest(rec.Spec)
		h.Digest, h.Spec = rec.Digest, &rec.Spec
		if ch.Source == nil { // the same spec again, e.g. lost records: it stays whose it was
			rec.Origin, rec.Source = cmp.Or(was.Origin, rec.Origin), was.Source
		}
		c.Packages[ch.Key] = rec
	}
	c.History[ch.Key] = h
	c.Events = append(c.Events, ev)
	return nil
}

func (c *Commit) addEnvironment(p *plan.Plan, ch plan.Change, was oprc.EnvironmentState, by Actor, now time.Time) error {
	rec := oprc.EnvironmentRecord{
		Rev: was.Rev + 1, Origin: p.Scope.Origin, Source: sourceOf(ch, p.Scope, by),
		AppliedAt: now, AppliedBy: by.Name,
	}
	ev := oprc.Event{
		Time: now, Type: "applied", Kind: oprc.KindEnv, Key: ch.Key, Actor: by.Name,
		Origin: p.Scope.Origin, PlanID: p.ID, Commit: by.Revision, Message: string(ch.Reason),
	}
	if ch.After == nil {
		ev.Type = "deleted"
	} else {
		if err := json.Unmarshal(ch.After, &rec.Spec); err != nil {
			return err
		}
		c.Environments[ch.Key] = rec
	}
	c.Events = append(c.Events, ev)
	return nil
}
