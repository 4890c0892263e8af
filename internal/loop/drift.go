package loop

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// request is what a source wants now.
func (s *sourceState) request(asked oprc.Requests, contested map[string]bool) reconcile.Request {
	return reconcile.Request{
		Files: s.files, Unread: s.unreadFiles, KeepGoing: true, Heal: true, Quarantine: quarantined(asked), Actor: s.rev.Author,
		Contested: contested, Scope: plan.Scope{Origin: s.c.origin(), Complete: !s.c.NoPrune, TakeOwnership: s.c.Take},
	}
}

// plan plans what a source wants, without what it is told to leave alone unless
// somebody asked for that, too; req is then what was planned. waited names packages
// that the source could not apply before.
func (s *sourceState) plan(ctx context.Context, r *reconcile.Reconciler, req *reconcile.Request, live plan.Live, waited []string, forced bool) (p *plan.Plan, seen reconcile.Withheld, left map[string]bool, err error) {
	p, seen, err = r.PlanOn(ctx, *req, s.reading.docs, s.reading.found, live)
	if err != nil || !s.c.NoHeal || forced {
		return p, seen, nil, err
	}
	if left = s.left(p, waited); len(left) > 0 {
		req.Contested, req.Settled = union(req.Contested, left), nil
		p, seen, err = r.PlanOn(ctx, *req, s.reading.docs, s.reading.found, live)
	}
	return p, seen, left, err
}

// left names what a plan would put back although nobody asked for anything new, where
// the source is told to leave that alone: units that run otherwise than they were
// told, and packages that were changed or deleted by hand since the revision was
// applied. What the source could not apply then, because of an error or another
// owner, was not changed by hand.
func (s *sourceState) left(p *plan.Plan, waited []string) map[string]bool {
	out := map[string]bool{}
	for _, c := range p.Changes {
		drift := c.Kind == oprc.KindUnit && c.Reason == plan.ReasonDrift
		byHand := c.Kind == oprc.KindPackage && !slices.Contains(c.Actions, plan.Delete) &&
			s.status.Applied == s.rev.ID && !slices.Contains(waited, c.Key)
		if drift || byHand {
			out[c.Key] = true
		}
	}
	return out
}

// drifted shows what is left alone.
func (s *sourceState) drifted(left map[string]bool, l *Loop) {
	c := oprc.SourceCondition{Type: "Drifted"}
	switch {
	case len(left) > 0:
		names := slices.Sorted(maps.Keys(left))
		const few = 5
		shown := strings.Join(names[:min(len(names), few)], ", ")
		if more := len(names) - few; more > 0 {
			shown += fmt.Sprintf(" and %d more", more)
		}
		c.Status, c.Reason = true, "HealIsOff"
		c.Message = fmt.Sprintf("changed behind the source's back: %s; `oprc source reconcile %s` puts it back", shown, s.c.Name)
	case !s.has(c.Type):
		return
	}
	s.set(c, l.Now().UTC())
}

// packagesOf names the packages among objects "KIND/NAME: owned by ORIGIN".
func packagesOf(claims []string) []string {
	var out []string
	for _, c := range claims {
		object, _, _ := strings.Cut(c, ": owned by ")
		if name, is := strings.CutPrefix(object, string(oprc.KindPackage)+"/"); is {
			out = append(out, name)
		}
	}
	return out
}

func union(a, b map[string]bool) map[string]bool {
	out := maps.Clone(b)
	maps.Copy(out, a)
	return out
}
