package crm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// How commands are read.
const (
	batchSize  = 128
	mostHeld   = 1024 // commands in hand at once
	readBlock  = time.Second
	firstPause = 100 * time.Millisecond // after a failure, doubling
	lastPause  = 2 * time.Second        // Redis fails over in seconds; more would double the time without it
)

// consumeLoop reads commands until ctx ends. After a failure it begins again, with
// the records.
func (r *runner) consumeLoop(ctx context.Context) {
	failures, full := 0, true
	for ctx.Err() == nil {
		began := time.Now()
		err := r.session(ctx, full)
		if err == nil || ctx.Err() != nil {
			continue // asked to begin again, or to end
		}
		full = errors.Is(err, rdb.ErrNoGroup) || errors.Is(err, errLost) || full && failures > 0
		if time.Since(began) > time.Minute {
			failures = 0
		}
		failures++
		if failures == 1 || errors.Is(err, rdb.ErrNoGroup) {
			r.Logger.Warn("commands", "env", r.Env, "error", err)
			r.event(Event{Type: EventLost, Message: err.Error()})
		}
		pause(ctx, backoff(failures, firstPause, lastPause))
	}
}

// errLost means that the lease was not held, so others may have taken units, or
// Redis lost its data.
var errLost = errors.New("the lease was lost")

// session joins, makes the world like the records, and then follows the commands
// until something fails. With full set, or if others may have acted meanwhile, it also
// says again what it runs.
func (r *runner) session(ctx context.Context, full bool) error {
	if err := r.db.Join(ctx, r.Env); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	held, _, err := r.signIn(ctx)
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	if err := r.resync(ctx, full || !held); err != nil {
		return fmt.Errorf("read the records: %w", err)
	}
	r.event(Event{Type: EventJoined})
	var next schedule
	for first := true; ctx.Err() == nil; first = false {
		select {
		case <-r.lost:
			return errLost
		case <-r.orphaned:
			next.resync = time.Time{}
		default:
		}
		if err := r.upkeep(ctx, &next, first); err != nil {
			return err
		}
		if err := r.read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// A schedule says when to do what is not done each time.
type schedule struct{ resync, claim, keep, backlog time.Time }

// due reports whether t has come, and sets it to d from now.
func due(t *time.Time, d time.Duration) bool {
	now := time.Now()
	if now.Before(*t) {
		return false
	}
	*t = now.Add(d)
	return true
}

// upkeep does what is due now, besides reading commands.
func (r *runner) upkeep(ctx context.Context, next *schedule, first bool) error {
	if first {
		due(&next.resync, r.ReportEvery)
	}
	if due(&next.resync, r.ReportEvery) {
		if err := r.resync(ctx, false); err != nil {
			return err
		}
	}
	r.repeatOld()
	held := r.held()
	if due(&next.keep, r.LeaseTime/3) && len(held) > 0 {
		if err := r.db.HandCommands(ctx, r.Env, r.ID, held...); err != nil {
			return err
		}
	}
	if due(&next.claim, r.LeaseTime/2) {
		if err := r.claim(ctx); err != nil {
			return err
		}
	}
	if !due(&next.backlog, readBlock) || !first && r.isAlone() {
		return nil
	}
	entries, err := r.db.Backlog(ctx, r.Env, r.ID, r.holding)
	if err != nil {
		return err
	}
	return r.handle(ctx, entries)
}

// claim takes over what dead colleagues left.
func (r *runner) claim(ctx context.Context) error {
	entries, err := r.db.ClaimCommands(ctx, r.Env, r.ID, r.LeaseTime)
	if err != nil {
		return err
	}
	fresh := entries[:0]
	for _, e := range entries {
		if !r.holding(e.StreamID) {
			fresh = append(fresh, e)
			r.event(Event{Type: EventTaken, Unit: e.ID, Generation: e.Generation})
		}
	}
	return r.handle(ctx, fresh)
}

// read waits for new commands, as many as there is room for.
func (r *runner) read(ctx context.Context) error {
	room := mostHeld - len(r.held())
	if room <= 0 {
		pause(ctx, 100*time.Millisecond)
		return nil
	}
	entries, err := r.db.Commands(ctx, r.Env, r.ID, min(batchSize, room), min(readBlock, r.LeaseTime/3))
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		ctx, entries = context.WithoutCancel(ctx), r.inHand(entries) // the others stay pending, for who comes next
	}
	return r.handle(ctx, entries)
}

// inHand returns the commands that repeat what is being done, or was.
func (r *runner) inHand(entries []rdb.CommandEntry) []rdb.CommandEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []rdb.CommandEntry
	for _, e := range entries {
		if s := r.units[e.ID]; s != nil && e.Err == nil && s.want.same(order{e.Command}) {
			out = append(out, e)
		}
	}
	return out
}

// handle judges commands by the records and assigns those that hold.
func (r *runner) handle(ctx context.Context, entries []rdb.CommandEntry) error {
	var ids []string
	for _, e := range entries {
		if e.Err == nil {
			ids = append(ids, e.ID)
		}
	}
	records, err := r.db.UnitRecordsOf(ctx, r.Env, ids)
	if err != nil {
		return err
	}
	var valid []rdb.CommandEntry
	for _, e := range entries {
		ok, err := r.judge(ctx, e, records)
		if err != nil {
			return err
		}
		if ok {
			valid = append(valid, e)
		}
	}
	return r.distribute(ctx, valid)
}

// judge buries a command that contradicts the unit's record, and drops one that is
// older. A command and its record are written together, so none can be ahead.
func (r *runner) judge(ctx context.Context, e rdb.CommandEntry, records map[string]oprc.UnitRecord) (ok bool, err error) {
	if e.Err != nil {
		return false, r.bury(ctx, e, e.Err.Error())
	}
	rec, found := records[e.ID]
	switch {
	case !found:
		return false, r.bury(ctx, e, "no unit of this id was ever dispatched")
	case e.Generation > rec.Generation:
		return false, r.bury(ctx, e, fmt.Sprintf("generation %d was never dispatched, the last is %d", e.Generation, rec.Generation))
	case e.Generation < rec.Generation:
		r.event(Event{Type: EventStale, Unit: e.ID, Generation: e.Generation})
		return false, r.db.AckCommands(ctx, r.Env, e.StreamID)
	case e.Type != rec.Op || e.SpecHash != rec.SpecHash:
		return false, r.bury(ctx, e, fmt.Sprintf("generation %d was dispatched as another command", e.Generation))
	}
	return true, nil
}

func (r *runner) bury(ctx context.Context, e rdb.CommandEntry, reason string) error {
	r.Logger.Warn("command refused", "env", r.Env, "entry", e.StreamID, "reason", reason)
	r.event(Event{Type: EventBuried, Unit: e.ID, Generation: e.Generation, Message: reason})
	return r.db.BuryCommand(ctx, r.Env, r.ID, e, reason)
}

// distribute keeps the commands on units that this CRM owns, or can own now, and
// hands the others to their owners.
func (r *runner) distribute(ctx context.Context, entries []rdb.CommandEntry) error {
	if len(entries) == 0 {
		return nil
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	owners, err := r.db.Own(ctx, r.Env, r.ID, ids, false)
	if err != nil {
		return err
	}
	theirs := map[string][]string{}
	for _, e := range entries {
		owner := owners[e.ID]
		if owner != r.ID {
			theirs[owner] = append(theirs[owner], e.StreamID)
			r.event(Event{Type: EventHanded, Unit: e.ID, Generation: e.Generation, Message: "to " + owner})
			r.disown(ctx, e.ID)
			continue
		}
		r.assign(ctx, order{e.Command}, e.StreamID)
	}
	for owner, streamIDs := range theirs {
		if err := r.db.HandCommands(ctx, r.Env, owner, streamIDs...); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) held() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]string, 0, len(r.holds))
	for id := range r.holds {
		ids = append(ids, id)
	}
	return ids
}

func (r *runner) holding(streamID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holds[streamID]
}

func (r *runner) isAlone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alone
}
