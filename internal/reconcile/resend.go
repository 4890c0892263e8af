package reconcile

import (
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

const (
	resendFirst = 15 * time.Second
	resendMax   = 10 * time.Minute
)

// A resend is when a command that nobody answered goes out again. Its clock does not
// run while the command waits to be read: more of them would only make the queue longer.
type resend struct {
	generation int64
	tries      int
	behind     string    // no later in the stream than this; "" before that was looked up
	at         time.Time // zero until the CRMs have read past it
}

// redeliver queues commands again that no report has answered, with exponential
// backoff, in environments where someone is alive to hear them. The jitter is
// derived from the unit's id, so that runs can be repeated.
func (l *Loop) redeliver(ctx context.Context, live plan.Live, token int64) error {
	var errs []error
	for env, digests := range live.Units {
		waiting := l.unanswered(env, digests, live.Statuses[env])
		if h := live.Environments[env].Health; len(waiting) == 0 || h != oprc.Healthy && h != oprc.Degraded {
			continue
		}
		if err := l.redeliverTo(ctx, env, waiting, token); err != nil {
			errs = append(errs, fmt.Errorf("send again to %s: %w", env, err))
		}
	}
	return errors.Join(errs...)
}

// unanswered returns what is known of the units of env whose last command no report
// has answered, and forgets the others.
func (l *Loop) unanswered(env string, digests map[string]oprc.UnitDigest, statuses map[string]oprc.Status) map[string]resend {
	before, now := l.keeper.resend[env], map[string]resend{}
	for id, d := range digests {
		if statuses[id].Generation >= d.Generation {
			continue
		}
		now[id] = before[id]
		if before[id].generation != d.Generation {
			now[id] = resend{generation: d.Generation}
		}
	}
	l.keeper.resend[env] = now
	return now
}

func (l *Loop) redeliverTo(ctx context.Context, env string, waiting map[string]resend, token int64) error {
	read, last, err := l.Store.CommandsRead(ctx, env)
	if err != nil {
		return err
	}
	now := l.Now()
	var due []string
	for _, id := range slices.Sorted(maps.Keys(waiting)) {
		r := waiting[id]
		if r.watch(id, read, last, now); r.isDue(now) {
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
		r.wait(id, now) // somebody has it in hand, and says so
		waiting[id] = r
		return true
	})
	return l.sendAgain(ctx, env, due, token)
}

// watch starts the clock of a command once it has been read: what the group was given
// last is read, the stream's last entry last.
func (r *resend) watch(id, read, last string, now time.Time) {
	if !r.at.IsZero() {
		return
	}
	if r.behind == "" {
		r.behind = last
	}
	queued := compareStreamIDs(read, last) < 0 && compareStreamIDs(read, r.behind) < 0 &&
		compareStreamIDs(r.behind, last) <= 0 // else Redis lost what it was behind
	if !queued {
		r.wait(id, now)
	}
}

// wait sets the clock to the pause that is due after so many tries.
func (r *resend) wait(id string, now time.Time) {
	pause := min(resendFirst<<min(r.tries, 10), resendMax)
	r.at = now.Add(pause + jitter(id, pause))
}

func (r *resend) isDue(now time.Time) bool { return !r.at.IsZero() && now.After(r.at) }

func (l *Loop) sendAgain(ctx context.Context, env string, ids []string, token int64) error {
	if len(ids) == 0 {
		return nil
	}
	recs, err := l.Store.UnitRecords(ctx, env)
	if err != nil {
		return err
	}
	now := l.Now().UTC()
	var cmds []oprc.Command
	for _, id := range ids {
		if r, ok := recs[id]; ok {
			cmds = append(cmds, oprc.Command{
				Type: r.Op, ID: id, Generation: r.Generation, SpecHash: r.SpecHash,
				Revision: r.Revision, Time: now, Unit: r.Unit,
			})
		}
		was := l.keeper.resend[env][id]
		l.keeper.resend[env][id] = resend{generation: was.generation, tries: was.tries + 1}
	}
	if err := l.Reconciler.Ledger.Dispatch(ctx, env, cmds, token); err != nil {
		return err
	}
	l.Log.Info("sent again", "env", env, "commands", len(cmds))
	if l.Resent != nil {
		l.Resent(env, len(cmds))
	}
	return nil
}

// jitter spreads d by up to a quarter, the same for the same id.
func jitter(id string, d time.Duration) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(id))
	return time.Duration(h.Sum32()%1000) * d / 4000
}
