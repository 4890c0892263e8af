package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const pollEvery = 200 * time.Millisecond

// converge waits until every unit that the plan touched runs, or is gone.
func (o *carryOptions) converge(ctx context.Context, s *state, p *plan.Plan) error {
	want := wanted(p)
	if len(want) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var open []string
	for {
		units, err := s.List(bounded, oprc.KindUnit)
		switch {
		case err == nil:
			if open = unsettled(want, units); len(open) == 0 {
				o.hint(fmt.Sprintf("Converged: %d units are as planned.", len(want)))
				return nil
			}
		case ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		select {
		case <-bounded.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return stepError{
				fmt.Errorf("%w within %s: %s", errNotConverged, o.timeout, strings.Join(some(open), "; ")),
				"oprc describe unit ID shows what a unit waits for; oprc get crms shows who is alive.",
			}
		case <-tick.C:
		}
	}
}

// A goal is what a plan asks of one unit.
type goal struct {
	generation int64
	gone       bool
}

func wanted(p *plan.Plan) map[string]goal {
	out := map[string]goal{}
	for _, c := range p.Changes {
		if c.Kind == oprc.KindUnit {
			out[c.Key] = goal{c.Generation, slices.Contains(c.Actions, plan.Delete)}
		}
	}
	return out
}

// unsettled lists the units that are not yet as wanted, each with its state. A
// newer generation takes the place of the one that was waited for.
func unsettled(want map[string]goal, units []reconcile.Object) []string {
	left := make(map[string]string, len(want))
	for id, g := range want {
		if !g.gone {
			left[id] = "unknown"
		}
	}
	for _, obj := range units {
		u, ok := obj.Doc.(*reconcile.UnitView)
		if !ok {
			continue
		}
		g, asked := want[u.Unit.ID]
		switch {
		case !asked:
		case g.gone && (u.Generation > g.generation || u.Op == oprc.Undeploy && u.Settled && u.Condition == oprc.Deleted):
			delete(left, u.Unit.ID)
		case !g.gone && u.Generation >= g.generation && u.Settled && u.Condition == oprc.Running:
			delete(left, u.Unit.ID)
		default:
			left[u.Unit.ID] = string(u.Condition)
			if u.Status != nil && u.Status.ErrorMsg != "" {
				left[u.Unit.ID] += " (" + u.Status.ErrorMsg + ")"
			}
		}
	}
	var out []string
	for id, is := range left {
		out = append(out, id+" is "+is)
	}
	slices.Sort(out)
	return out
}

// some shortens a list for one line.
func some(list []string) []string {
	const few = 3
	if len(list) <= few {
		return list
	}
	return append(slices.Clone(list[:few]), fmt.Sprintf("and %d more", len(list)-few))
}
