package loop

import (
	"context"
	"errors"
	"fmt"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// OriginConfig owns the environments of the configuration.
const OriginConfig = "config"

// declared is what the environments of the configuration came to last.
type declared struct {
	world    uint64 // of what was planned
	reading  uint64 // of live state that needed no plan
	complete bool
	said     string
}

// declare makes the environments of the configuration be there, and deletes those that it
// had once, unless something still runs there. It returns live state as it is then. Who
// calls it has its turn.
func (l *Loop) declare(ctx context.Context, live plan.Live, token int64) (plan.Live, error) {
	if l.Environments == nil {
		return live, nil
	}
	complete := len(l.Differing()) == 0
	if live.Reading != 0 && l.declared.reading == live.Reading && l.declared.complete == complete {
		return live, nil
	}
	if l.declared.world == l.declares(live, complete) {
		l.declared.reading, l.declared.complete = live.Reading, complete
		return live, nil
	}
	docs, found := l.Reconciler.Load(l.Environments, false, "")
	p, _, err := l.Reconciler.PlanOn(ctx, reconcile.Request{
		Files: l.Environments, KeepGoing: true, Scope: plan.Scope{Origin: OriginConfig, TakeOwnership: true, Complete: complete},
	}, docs, found, live)
	if errors.Is(err, oprc.ErrDenied) { // by a policy: the sources go on
		l.sayDeclared(p.Diagnostics.Errors())
		l.declared.world = l.declares(live, complete)
		return live, nil
	}
	if err != nil {
		return live, fmt.Errorf("environments of the configuration: %w", err)
	}
	l.sayDeclared(p.Diagnostics.Errors())
	if p.Empty() {
		l.declared.world = l.declares(live, complete)
		return live, nil
	}
	if _, err := l.Reconciler.Carry(ctx, p, live, reconcile.Actor{Name: l.self(), Message: "environments of the configuration", Fence: token, Place: place(token)}); err != nil {
		return live, fmt.Errorf("environments of the configuration: %w", err)
	}
	l.wakeAll(look{})
	return l.live(ctx, token)
}

// declares stands for all that the plan of the declared environments depends on: which
// there are and, while one of them cannot go, whatever may still need it.
func (l *Loop) declares(live plan.Live, complete bool) uint64 {
	there := map[string]string{}
	for name, state := range live.Environments {
		there[name] = fmt.Sprint(live.Revision(string(oprc.KindEnv)+"/"+name), " ", state.Origin)
	}
	if l.declared.said != "" {
		return l.stampOf(live, there, complete)
	}
	return l.stampOf(plan.Live{}, there, complete, live.Ledger)
}

// sayDeclared logs why an environment that the configuration does not have any more stays.
func (l *Loop) sayDeclared(errs oprc.Diagnostics) {
	said := ""
	for _, d := range errs {
		said += d.String() + "\n"
	}
	if said == l.declared.said {
		return
	}
	l.declared.said = said
	for _, d := range errs {
		l.Log.Warn("environments of the configuration", "finding", d.String())
	}
}

// declareNow is declare for who has not the turn.
func (l *Loop) declareNow(ctx context.Context, live plan.Live, token int64) (plan.Live, error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	return l.declare(ctx, live, token)
}
