package loop

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const (
	keepEvery = 5 * time.Second
	keeper    = "" // the waker of the keeper: no source has this name
)

// keeperState is what one pass of the keeper remembers for the next.
type keeperState struct {
	standing map[string]string // of environments, as placement saw them
	health   map[string]oprc.Health
	resend   map[string]map[string]resend      // by environment where somebody is alive, and unit
	answered map[string]uint64                 // by environment: the reading in which unanswered commands were sought last
	heard    map[string]map[string]oprc.Status // the pass before, by environment and unit
	maintain planned
	packages map[string]owned // nil before the first pass
	swept    int64            // token under which sources that are gone were dropped
	looked   looked           // what progress was counted of
	unmended string           // why something could not be set aside, as it was logged
}

// looked stands for all that the progress of sources hangs on.
type looked struct {
	reading uint64
	health  uint64
}

func lookedAt(live plan.Live) looked {
	l := looked{reading: live.Reading}
	for name, state := range live.Environments {
		l.health += maphash.String(seed, name+" "+string(state.Health))
	}
	return l
}

// owned is what makes a package's record another one.
type owned struct {
	origin string
	rev    int64
}

func newKeeperState() keeperState {
	return keeperState{standing: map[string]string{}, health: map[string]oprc.Health{}, resend: map[string]map[string]resend{}, answered: map[string]uint64{}}
}

// keep looks after what no source does: the health of environments, packages that
// were applied by hand, and commands that nobody answered.
func (l *Loop) keep(ctx context.Context) error {
	logged := ""
	for {
		if token, ok := l.token(); ok {
			err := l.keepInTurn(ctx, token)
			l.outrun(err)
			if err != nil && ctx.Err() == nil && err.Error() != logged {
				l.Log.Warn("keeper", "error", err)
			}
			logged = ""
			if err != nil {
				logged = err.Error()
			}
		}
		if !wait(ctx, l.untilResend(), l.wakers[keeper].ch) {
			return nil
		}
	}
}

// mend puts what of the ledger cannot be used out of the way.
func (l *Loop) mend(ctx context.Context) {
	keys, err := l.Store.Mend(ctx)
	for _, key := range keys {
		l.Log.Warn("a key held a value of another type: it is set aside", "key", key)
	}
	was := l.keeper.unmended
	l.keeper.unmended = ""
	if err != nil && ctx.Err() == nil {
		if l.keeper.unmended = err.Error(); l.keeper.unmended != was {
			l.Log.Warn("set aside what holds a value of another type", "error", err)
		}
	}
}

// keepInTurn is keepOnce, once more in turn where others wait to write, and come first.
func (l *Loop) keepInTurn(ctx context.Context, token int64) error {
	race := l.Reconciler.Race(place(token))
	defer race.End(ctx)
	for {
		err := l.keepOnce(ctx, token)
		if !errors.Is(err, reconcile.ErrQueued) || !race.Again(ctx, err) {
			return err
		}
	}
}

// place is the leader's in the queue of writers: it writes one thing at a time.
func place(token int64) string { return fmt.Sprint("leader ", token) }

func (l *Loop) keepOnce(ctx context.Context, token int64) error {
	l.mend(ctx)
	live, err := l.live(ctx, token)
	if err != nil {
		return err
	}
	dropped, err := l.Store.Weed(ctx, token)
	if err != nil {
		return err
	}
	if len(dropped) > 0 {
		l.Log.Warn("among the records of units was what is no unit: it is dropped", "ids", strings.Join(dropped, ", "))
	}
	altered, err := l.Store.MendIndex(ctx, l.Now())
	if altered {
		l.Log.Warn("the index of who refers to whom was altered by hand: it is made anew")
	}
	if err != nil {
		return err
	}
	if err := l.watchEnvironments(ctx, live, token); err != nil {
		return err
	}
	if err := l.sweep(ctx, token); err != nil {
		return err
	}
	if live, err = l.declareNow(ctx, live, token); err != nil {
		return err
	}
	if now, guessed := lookedAt(live), l.board.recount(); guessed || now.reading == 0 || now != l.keeper.looked {
		far := progressByOrigin(live)
		for _, c := range l.Sources {
			if l.board.report(c.Name, far[c.origin()]) {
				l.wake(c.Name, look{})
			}
		}
		l.watchLedger(live)
		l.keeper.looked = now
	}
	begun, err := l.Store.BeginHistories(ctx, live, l.Now())
	if err != nil {
		l.mend(ctx)
		return err
	}
	for _, object := range begun {
		l.Log.Warn("the history was lost: it begins again", "object", object)
	}
	if err := l.restate(ctx); err != nil {
		return err
	}
	defer func() { l.keeper.heard = live.Statuses }()
	return errors.Join(l.maintain(ctx, live, token), l.redeliver(ctx, live, token), l.forget(ctx, live, token), l.retire(ctx, live, token))
}

// restate has sources store their status again where it is lost or altered.
func (l *Loop) restate(ctx context.Context) error {
	all, err := l.Store.Sources(ctx)
	if err != nil {
		return fmt.Errorf("read sources: %w", err)
	}
	for _, name := range l.board.missing(all) {
		l.wake(name, look{})
	}
	return nil
}

// sweep drops, once in each leadership, the status of sources that the configuration
// does not name any more: it would look as if they were followed. Their packages stay.
func (l *Loop) sweep(ctx context.Context, token int64) error {
	if l.keeper.swept == token || len(l.Differing()) > 0 {
		return nil
	}
	all, err := l.Store.Sources(ctx)
	if err != nil {
		return fmt.Errorf("read sources: %w", err)
	}
	for _, c := range l.Sources {
		delete(all, c.Name)
	}
	if err := l.dropRequests(ctx); err != nil {
		return err
	}
	if len(all) > 0 {
		gone := slices.Sorted(maps.Keys(all))
		if err := l.Store.DropSources(ctx, gone, token); err != nil {
			return err
		}
		l.Log.Info("no longer followed", "sources", strings.Join(gone, ", "))
		for _, name := range gone {
			l.say(ctx, oprc.Event{Type: "source", Key: name, Message: "no longer followed: the configuration does not name it"})
		}
	}
	l.keeper.swept = token
	return nil
}

// dropRequests ends what is asked of sources that the configuration does not name: it was
// not said of those that may have their names one day.
func (l *Loop) dropRequests(ctx context.Context) error {
	all, err := l.Store.Requests(ctx)
	if err != nil {
		return fmt.Errorf("read requests: %w", err)
	}
	for _, a := range all.Asked {
		about := a.About()
		if about == "" || slices.ContainsFunc(l.Sources, func(c SourceConfig) bool { return c.Name == about }) {
			continue
		}
		if err := l.Store.DropRequest(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

const (
	// forgetAfter is how long the record of an undeployed unit outlives the report that
	// it is gone. By then nobody has its commands or reports on the way.
	forgetAfter = 7 * 24 * time.Hour
	forgetMost  = 1000 // units of an environment at once
)

// forget drops the records of units that went long ago.
func (l *Loop) forget(ctx context.Context, live plan.Live, token int64) error {
	var errs []error
	for env, units := range live.Units {
		gone := map[string]int64{}
		for id, u := range units {
			if u.Runs() {
				continue
			}
			st := live.Statuses[env][id]
			at := oprc.ParseStreamID(st.ReportID).Time()
			old := !at.IsZero() && l.Now().Sub(at) > forgetAfter
			if st.Condition == oprc.Deleted && st.Generation == u.Generation && old && len(gone) < forgetMost {
				gone[id] = u.Generation
			}
		}
		if len(gone) > 0 {
			errs = append(errs, l.Store.Forget(ctx, env, gone, token))
		}
	}
	return errors.Join(errs...)
}

// watchLedger wakes the sources that a change of the ledger is about: who owns a
// package that changed, or owned it, and who waits for one.
func (l *Loop) watchLedger(live plan.Live) {
	before, now := l.keeper.packages, make(map[string]owned, len(live.Packages))
	for name, rec := range live.Packages {
		now[name] = owned{rec.Origin, rec.Rev}
	}
	l.keeper.packages = now
	if before == nil {
		return
	}
	about := map[string]bool{} // origins
	for name, o := range now {
		if was := before[name]; was != o {
			about[o.origin], about[was.origin] = true, true
		}
	}
	for name, was := range before {
		if _, still := now[name]; !still {
			about[was.origin] = true
		}
	}
	for _, c := range l.Sources {
		if about[c.origin()] || len(about) > 0 && l.board.waits(c.Name) {
			l.wake(c.Name, look{})
		}
	}
}

// watchEnvironments emits an event for every environment whose health changed, and
// wakes the sources when placements may have to move.
func (l *Loop) watchEnvironments(ctx context.Context, live plan.Live, token int64) error {
	var events []oprc.Event
	moved := false
	for _, name := range slices.Sorted(maps.Keys(live.Environments)) {
		state := live.Environments[name]
		was, is := l.keeper.health[name], state.Health
		if was != "" && was != is {
			events = append(events, oprc.Event{
				Time: l.Now().UTC(), Type: "environment", Kind: oprc.KindEnv, Key: name, Env: name,
				From: string(was), To: string(is), Actor: l.self(),
			})
			l.Log.Info("environment", "env", name, "from", was, "to", is)
		}
		if standing := state.Standing(); l.keeper.standing[name] != standing {
			moved = moved || was != ""
			l.keeper.standing[name] = standing
		}
	}
	if moved {
		for _, c := range l.Sources {
			l.wake(c.Name, look{})
		}
	}
	if len(events) > 0 {
		if err := l.Store.Emit(ctx, events, token); err != nil {
			return err // told again the next time
		}
	}
	for name, state := range live.Environments {
		l.keeper.health[name] = state.Health
	}
	return nil
}

// maintain plans what no source of ours speaks for again as it is recorded: lost
// records, drift and changed environments ask for commands.
func (l *Loop) maintain(ctx context.Context, live plan.Live, token int64) error {
	origins := l.foreign(live)
	if len(origins) == 0 {
		return nil
	}
	l.turn.Lock()
	defer l.turn.Unlock()
	contested := l.board.contested(keeper, l.Now())
	stamp := l.stampOf(live, origins, contested)
	if l.keeper.maintain.done && l.keeper.maintain.world == stamp {
		return l.keeper.maintain.err
	}
	p, _, err := l.Reconciler.PlanOn(ctx, reconcile.Request{
		KeepGoing: true, Heal: true, Contested: contested, Scope: plan.Scope{Maintain: origins},
	}, nil, nil, live)
	if err != nil || p.Empty() {
		l.keeper.maintain = planned{world: stamp, err: err, done: true}
		return err
	}
	l.keeper.maintain = planned{}
	res, err := l.Reconciler.Carry(ctx, p, live, reconcile.Actor{Name: l.self(), Message: "maintain " + strings.Join(origins, ", "), Fence: token, Place: place(token)})
	l.observe(Step{Plan: p, Result: res, Err: err})
	if err != nil {
		return err
	}
	l.board.putBack(keeper, p, l.Now())
	if now := l.board.contested(keeper, l.Now()); len(now) > len(contested) {
		return &fightError{describeFights(now, live)}
	}
	return nil
}

// foreign lists the origins of live packages that are no source of ours, and of
// environments whose record has to be written again.
func (l *Loop) foreign(live plan.Live) []string {
	ours := map[string]bool{}
	for _, c := range l.Sources {
		ours[c.origin()] = true
	}
	var origins []string
	add := func(origin string) {
		if !ours[origin] && !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	for _, rec := range live.Packages {
		add(rec.Origin)
	}
	for name, env := range live.Environments {
		if live.Damaged[string(oprc.KindEnv)+"/"+name] {
			add(env.Origin)
		}
	}
	slices.Sort(origins)
	return origins
}
