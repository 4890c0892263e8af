package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Resend says when a command goes out again that no report has answered: after First,
// then after pauses that double, up to Max. Zero stands for the default.
type Resend struct{ First, Max time.Duration }

// The defaults of [Resend].
const (
	ResendFirst = 15 * time.Second
	ResendMax   = 10 * time.Minute
)

// pause is how long a command on the unit waits for an answer after so many tries. It
// is up to a quarter longer than asked for, by the unit's id, so that units do not keep
// in step and runs can be repeated.
func (r Resend) pause(tries int, id string) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(id))
	d := min(r.first()<<min(tries, 10), cmp.Or(r.Max, ResendMax))
	return d + time.Duration(h.Sum32()%1000)*d/4000
}

func (r Resend) first() time.Duration { return cmp.Or(r.First, ResendFirst) }

// A resend is when a command that nobody answered goes out again. Its clock does not
// run while the command waits to be read: more of them would only make the queue longer.
type resend struct {
	generation int64
	tries      int
	since      time.Time // it waits for an answer; zero if that is not known from before
	behind     string    // no later in the stream than this; "" before that was looked up
	at         time.Time // zero until the CRMs have read past it
}

// redeliver queues commands again that no report has answered, with exponential
// backoff, in environments where someone is alive to hear them.
func (l *Loop) redeliver(ctx context.Context, live plan.Live, token int64) error {
	if l.Reconciler.DispatchOff {
		return nil
	}
	maps.DeleteFunc(l.keeper.resend, func(env string, _ map[string]resend) bool {
		_, there := live.Environments[env]
		return !there
	})
	var errs []error
	for env, state := range live.Environments {
		if state.Health != oprc.Healthy && state.Health != oprc.Degraded {
			delete(l.keeper.resend, env)
			continue
		}
		heard := oprc.HeardSince(state.Beats, state.Read)
		if heard.IsZero() { // it only counts as healthy for as long as we may have been deaf
			continue
		}
		heard = l.Now().Add(heard.Sub(state.Read)) // by our clock, as records are
		if err := l.redeliverTo(ctx, env, heard, live, token); err != nil {
			errs = append(errs, fmt.Errorf("send again to %s: %w", env, err))
		}
	}
	return errors.Join(errs...)
}

func (l *Loop) redeliverTo(ctx context.Context, env string, heard time.Time, live plan.Live, token int64) error {
	waiting, err := l.unanswered(ctx, env, heard, live)
	if err != nil || len(waiting) == 0 {
		return err
	}
	read, last, err := l.Store.CommandsRead(ctx, env)
	if err != nil {
		return err
	}
	now := l.Now()
	var due []string
	for _, id := range slices.Sorted(maps.Keys(waiting)) {
		r := waiting[id]
		if r.watch(l.Resend, id, read, last, now); r.isDue(now) {
			due = append(due, id)
		}
		waiting[id] = r
	}
	if len(due) == 0 {
		return nil
	}
	held, err := l.Store.CommandsHeld(ctx, env)
	if err != nil {
		return err
	}
	due = slices.DeleteFunc(due, func(id string) bool {
		r := waiting[id]
		if held[id] < r.generation {
			return false
		}
		r.at = now.Add(l.Resend.pause(r.tries, id)) // somebody has it in hand, and says so
		waiting[id] = r
		return true
	})
	return l.sendAgain(ctx, env, due, token)
}

// unanswered returns what is known of the units of env whose last command no report
// has answered, and forgets the others.
func (l *Loop) unanswered(ctx context.Context, env string, heard time.Time, live plan.Live) (map[string]resend, error) {
	before, followed := l.keeper.resend[env]
	if answered := l.keeper.answered[env]; followed && len(before) == 0 && answered != 0 && answered == live.Reading {
		return nil, nil
	}
	l.keeper.answered[env] = live.Reading
	now := map[string]resend{}
	for id, d := range live.Units[env] {
		if live.Statuses[env][id].Generation >= d.Generation {
			continue
		}
		now[id] = before[id]
		if before[id].generation != d.Generation {
			now[id] = resend{generation: d.Generation}
			if l.keeper.heard[env][id].Generation >= d.Generation { // the answer was lost: ask for it at once
				now[id] = resend{generation: d.Generation, at: l.Now()}
			}
		}
	}
	if !followed {
		if err := l.recall(ctx, env, heard, now); err != nil {
			return nil, err
		}
	}
	l.keeper.resend[env] = now
	return now, nil
}

// recall finds out since when commands wait that went out while this daemon did not
// follow env: another one led, or nobody was there. That is since they were dispatched
// or, if that is later, since somebody is there to hear them.
func (l *Loop) recall(ctx context.Context, env string, heard time.Time, waiting map[string]resend) error {
	recs, err := l.Store.UnitRecordsOf(ctx, env, slices.Collect(maps.Keys(waiting)))
	if err != nil {
		return err
	}
	for id, r := range waiting {
		if !r.at.IsZero() {
			continue
		}
		if r.since = recs[id].DispatchedAt; r.since.Before(heard) {
			r.since = heard
		}
		waiting[id] = r
	}
	return nil
}

// watch starts the clock of a command once it has been read: what the group was given
// last is read, the stream's last entry last. Pauses that were over before it was
// first looked at are left out.
func (r *resend) watch(p Resend, id, read, last string, now time.Time) {
	if !r.at.IsZero() {
		return
	}
	since := now
	if r.behind == "" {
		r.behind = last
		if !r.since.IsZero() && r.since.Before(now) { // clocks of daemons differ
			since = r.since
		}
	}
	taken, newest, behind := oprc.ParseStreamID(read), oprc.ParseStreamID(last), oprc.ParseStreamID(r.behind)
	queued := taken.Compare(newest) < 0 && taken.Compare(behind) < 0 &&
		behind.Compare(newest) <= 0 // else Redis lost what it was behind
	if queued {
		return
	}
	r.at = since.Add(p.pause(r.tries, id))
	for !r.at.After(now) {
		r.tries++
		r.at = r.at.Add(p.pause(r.tries, id))
	}
}

func (r *resend) isDue(now time.Time) bool { return !r.at.IsZero() && !now.Before(r.at) }

func (l *Loop) sendAgain(ctx context.Context, env string, due []string, token int64) error {
	if len(due) == 0 {
		return nil
	}
	recs, err := l.Store.UnitRecordsOf(ctx, env, due)
	if err != nil {
		return err
	}
	now := l.Now().UTC()
	var cmds []oprc.Command
	for _, id := range due {
		if r, ok := recs[id]; ok {
			cmds = append(cmds, oprc.Command{
				Type: r.Op, ID: id, Generation: r.Generation, SpecHash: r.SpecHash,
				Revision: r.Revision, Time: now, Unit: r.Unit,
			})
		}
	}
	err = l.Reconciler.Ledger.Dispatch(ctx, env, cmds, token)
	if err != nil && (errors.Is(err, oprc.ErrFenced) || !errors.Is(err, oprc.ErrConflict)) {
		return err // else a newer generation of some has gone out meanwhile
	}
	for _, id := range due {
		was := l.keeper.resend[env][id]
		l.keeper.resend[env][id] = resend{generation: was.generation, tries: was.tries + 1}
	}
	l.Log.Info("sent again", "env", env, "commands", len(cmds))
	if l.Resent != nil {
		l.Resent(env, len(cmds))
	}
	return nil
}

// untilResend is how long the keeper may rest: until a command is due, and not longer
// than the least pause.
func (l *Loop) untilResend() time.Duration {
	now, until := l.Now(), min(keepEvery, l.Resend.first())
	for _, units := range l.keeper.resend {
		for _, r := range units {
			if d := r.at.Sub(now); d > 0 { // else it could not go out just now, or is queued
				until = min(until, d)
			}
		}
	}
	return until
}
