package loop

import (
	"context"
	"errors"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// retire deletes what is left of environments that nobody declares any more, in which
// nothing runs, and from which nobody is heard. Dead letters keep one for as long as the
// records of units are kept.
func (l *Loop) retire(ctx context.Context, live plan.Live, token int64) error {
	var errs []error
	for name, state := range live.Environments {
		if state.Rev > 0 || state.Health != oprc.EnvDown && state.Health != oprc.HealthUnknown || !l.over(live, name, state) {
			continue
		}
		if n, err := l.Store.DeadLetters(ctx, name); err != nil || n > 0 && !l.longSilent(state) {
			errs = append(errs, err)
			continue
		}
		done, err := l.Store.Retire(ctx, name, token)
		errs = append(errs, err)
		if !done {
			continue
		}
		delete(l.keeper.health, name)
		delete(l.keeper.standing, name)
		l.Log.Info("environment retired", "env", name)
		errs = append(errs, l.Store.Emit(ctx, []oprc.Event{{
			Time: l.Now().UTC(), Type: "environment", Kind: oprc.KindEnv, Key: name, Env: name, From: string(state.Health), Actor: l.self(),
			Message: "retired: nobody declares it, nothing runs there, and no CRM is heard of",
		}}, token))
	}
	return errors.Join(errs...)
}

// over reports whether all units of an environment are reported to be gone, or nobody will
// report that any more.
func (l *Loop) over(live plan.Live, name string, state oprc.EnvironmentState) bool {
	for id, u := range live.Units[name] {
		st := live.Statuses[name][id]
		gone := st.Condition == oprc.Deleted && st.Generation == u.Generation
		if u.Runs() || !gone && len(state.Beats) > 0 && !l.longSilent(state) {
			return false
		}
	}
	return true
}

// longSilent reports whether nothing was heard of an environment for as long as records of
// units are kept.
func (l *Loop) longSilent(state oprc.EnvironmentState) bool {
	for _, b := range state.Beats {
		if state.Read.Sub(b.Time) < forgetAfter {
			return false
		}
	}
	return true
}
