package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

const pollEvery = 200 * time.Millisecond

// converge waits until every unit that the plan touched runs, or is gone, and until all
// that the named packages deploy runs.
func (o *carryOptions) converge(ctx context.Context, s *state, p *plan.Plan, packages []string) error {
	want := wanted(p)
	running, err := s.unitsOfPackages(ctx, packages)
	if err != nil {
		return err
	}
	for _, u := range running {
		if _, touched := want[u.Unit.ID]; !touched {
			want[u.Unit.ID] = goal{generation: u.Generation}
		}
	}
	return o.settle(ctx, s, want, o.timeout)
}

// settle waits until every unit is as wanted.
func (e *env) settle(ctx context.Context, s *state, want map[string]goal, timeout time.Duration) error {
	if len(want) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	progress := e.progress(progressAfter)
	defer progress.end()
	var open []string
	if missing := e.missingDaemon(bounded, s); missing != "" {
		e.hint(missing)
	}
	for {
		units, err := s.List(bounded, oprc.KindUnit)
		switch {
		case err == nil:
			if open = unsettled(want, units); len(open) == 0 {
				progress.end()
				e.hint(fmt.Sprintf("Converged: %s as planned.", countedUnits(len(want))))
				return nil
			}
			progress.say(func() string { return waiting(want, open, units, e.now()) })
		case ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		select {
		case <-bounded.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return stepError{
				fmt.Errorf("%w within %s: %s", errNotConverged, timeout, strings.Join(some(open), "; ")),
				cmp.Or(e.missing(ctx, s, open), "oprc why unit ID explains what a unit waits for; oprc get crms shows who is alive."),
			}
		case <-tick.C:
		}
	}
}

// missingDaemon says that nobody processes reports, and how to change that; "" where
// somebody does, or it is not known.
func (e *env) missingDaemon(ctx context.Context, s *state) string {
	if s.db == nil || s.alone() { // a server is a daemon, and so is this process where it has the state to itself
		return ""
	}
	if leader, err := s.db.Leader(ctx); err != nil || leader != "" {
		return ""
	}
	return "No daemon is running: reports of CRMs are not processed, and every unit stays as it was reported last. Start one with: " + e.command("serve")
}

// missing says which of the daemon and the CRMs of open units are not there.
func (e *env) missing(ctx context.Context, s *state, open []string) string {
	bounded, cancel := context.WithTimeout(ctx, missingAnswer)
	defer cancel()
	var all []string
	if daemon := e.missingDaemon(bounded, s); daemon != "" {
		all = append(all, daemon)
	}
	environments, err := s.List(bounded, oprc.KindEnv)
	if err != nil {
		return strings.Join(all, "\n")
	}
	for _, obj := range environments {
		v, ok := obj.Doc.(*reconcile.EnvironmentView)
		served := ok && (v.Health == oprc.Healthy || v.Health == oprc.Degraded)
		if ok && !served && slices.ContainsFunc(open, func(line string) bool { return strings.Contains(line, "@"+v.Name+" is ") }) {
			all = append(all, fmt.Sprintf("No CRM serves environment %s. Start one with: %s", v.Name, e.crmCommand(s, v.Name)))
		}
	}
	return strings.Join(all, "\n")
}

// missingAnswer is how long the search for who is missing may take.
const missingAnswer = 5 * time.Second

// crmCommand is a command line that starts a CRM, which needs a Redis.
func (e *env) crmCommand(s *state, environment string) string {
	if s.db == nil {
		return "oprc --redis URL crm run --env " + quote(environment)
	}
	return e.command("crm", "run", "--env", quote(environment))
}

func countedUnits(n int) string {
	if n == 1 {
		return "1 unit is"
	}
	return fmt.Sprintf("%d units are", n)
}

// waiting says how many units are as wanted, and which waits longest.
func waiting(want map[string]goal, open []string, units []reconcile.Object, now time.Time) string {
	text := fmt.Sprintf("%d of %d units are as planned", len(want)-len(open), len(want))
	oldest := time.Time{}
	slowest := open[0]
	for _, obj := range units {
		u, ok := obj.Doc.(*reconcile.UnitView)
		if !ok {
			continue
		}
		i := slices.IndexFunc(open, func(line string) bool { return strings.HasPrefix(line, u.Unit.ID+" is ") })
		if i >= 0 && (oldest.IsZero() || u.DispatchedAt.Before(oldest)) {
			oldest, slowest = u.DispatchedAt, open[i]
		}
	}
	text += ", slowest: " + slowest
	if !oldest.IsZero() {
		text += fmt.Sprintf(", sent %s ago", max(now.Sub(oldest), 0).Round(time.Second))
	}
	return text
}

// unitsOfPackages lists the units that the deployments of packages ask for.
func (s *state) unitsOfPackages(ctx context.Context, packages []string) ([]*reconcile.UnitView, error) {
	if len(packages) == 0 {
		return nil, nil
	}
	deployments, err := s.List(ctx, oprc.KindDeployment)
	if err != nil {
		return nil, err
	}
	var classes []string
	for _, obj := range deployments {
		if d, ok := obj.Doc.(*reconcile.DeploymentView); ok && slices.Contains(packages, d.Pkg) {
			classes = append(classes, d.Key)
		}
	}
	return s.unitsOfClasses(ctx, classes)
}

// unitsOfClasses lists the units that are asked to run of classes.
func (s *state) unitsOfClasses(ctx context.Context, classes []string) ([]*reconcile.UnitView, error) {
	all, err := s.List(ctx, oprc.KindUnit)
	if err != nil {
		return nil, err
	}
	deployed := map[string]bool{}
	for _, cls := range classes {
		deployed[cls] = true
	}
	var out []*reconcile.UnitView
	for _, obj := range all {
		if u, ok := obj.Doc.(*reconcile.UnitView); ok && u.Op == oprc.Deploy && deployed[u.Unit.ClsKey] {
			out = append(out, u)
		}
	}
	return out, nil
}

// packagesOf names the packages that a request speaks of.
func packagesOf(req reconcile.Request) []string {
	docs, _ := schema.Load(req.Files, req.Strict, req.Package)
	var names []string
	for _, d := range docs {
		if d.Package != nil && d.Name() != "" {
			names = append(names, d.Name())
		}
	}
	return names
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
