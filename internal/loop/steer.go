package loop

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// listenEvery is how often requests are looked for.
const listenEvery = 400 * time.Millisecond

// listen wakes the sources about which somebody asks something. What is asked is
// read again by the tick itself.
func (l *Loop) listen(ctx context.Context) error {
	nothing := l.standing(oprc.Requests{})
	before, tickets := nothing, map[string]int64{}
	for wait(ctx, listenEvery, nil) {
		if _, ok := l.token(); !ok {
			before, tickets = nothing, nil
			continue
		}
		asked, err := l.Store.Requests(ctx)
		if err != nil {
			continue // ticks say that the state is away
		}
		now := l.standing(asked)
		for _, c := range l.Sources {
			if before[c.Name] != now[c.Name] || before[""] != now[""] {
				l.Wake(c.Name)
			} else if tickets[c.Name] != asked.Tickets[c.Name] {
				l.wake(c.Name, look{woken: l.Now()}) // a tick that finds it unanswered polls
			}
		}
		before, tickets = now, asked.Tickets
	}
	return nil
}

// standing puts what is asked of each source, but its ticket, into one word; under "" is what
// concerns all of them. A suspension that runs out is a change.
func (l *Loop) standing(asked oprc.Requests) map[string]string {
	out := map[string]string{}
	for _, c := range l.Sources {
		approved, _ := asked.Find(oprc.VerbApprove, c.Name)
		out[c.Name] = strconv.Itoa(len(adoptions(asked, c.Name))) + " " + approved.PlanID + " " +
			strconv.FormatBool(asked.Suspension(c.Name, l.Now()) != nil)
	}
	out[""] = oprc.Digest(quarantined(asked))
	return out
}

// quarantined returns the specs that are not to be applied again, by package.
func quarantined(asked oprc.Requests) map[string]oprc.SourceRequest {
	out := map[string]oprc.SourceRequest{}
	for _, a := range asked.Asked {
		if a.Verb == oprc.VerbQuarantine {
			out[a.Name] = a
		}
	}
	return out
}

// release ends quarantines: of packages that have another spec by now, which was
// not refused, and of packages that were deleted. It is false if one could not be
// ended, which is to be tried again.
func (l *Loop) release(ctx context.Context, s *sourceState, p *plan.Plan, seen reconcile.Withheld) bool {
	all := true
	over := slices.DeleteFunc(slices.Clone(seen.Over), func(name string) bool { return slices.Contains(p.Kept, name) })
	for _, c := range p.Changes {
		if c.Kind == oprc.KindPackage && slices.Contains(c.Actions, plan.Delete) {
			over = append(over, c.Key)
		}
	}
	s.status.Quarantined = nil
	for _, name := range slices.Sorted(maps.Keys(seen.Asked)) {
		q := seen.Asked[name]
		if seen.Live.Packages[name].Origin != s.c.origin() {
			continue
		}
		if !slices.Contains(over, name) {
			s.status.Quarantined = append(s.status.Quarantined, name)
			continue
		}
		if err := l.Store.DropRequest(ctx, q); err != nil {
			l.Log.Warn("end quarantine", "source", s.c.Name, "package", name, "error", err)
			all = false
			continue
		}
		l.Log.Info("quarantine ends", "source", s.c.Name, "package", name, "revision", s.rev.ID, "bad", q.Commit)
		l.say(ctx, oprc.Event{
			Type: "source", Key: s.c.Name, Commit: s.rev.ID,
			Message: fmt.Sprintf("package %s is followed again: revision %s changes it", name, s.rev.ID),
		})
	}
	return all
}
