package crm

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// resync makes the world like the records: what should run and does not is
// deployed, what runs and should not is undeployed, and units whose owner is gone
// find a new one. With full set, at the start and after a loss, the control plane
// may have forgotten: everything is said again, deletions included.
func (r *runner) resync(ctx context.Context, full bool) error {
	digests, err := r.db.UnitDigests(ctx, r.Env)
	if err != nil {
		return err
	}
	moved, ended, mine := r.compare(ctx, digests)
	if full {
		unsaid, err := r.unsaid(ctx, ended, digests)
		if err != nil {
			return err
		}
		moved = append(moved, unsaid...)
	}
	records, err := r.db.UnitRecordsOf(ctx, r.Env, moved)
	if err != nil {
		return err
	}
	ids := slices.Sorted(maps.Keys(records))
	owners, err := r.db.Own(ctx, r.Env, r.ID, append(ids, mine...), true)
	if err != nil {
		return err
	}
	for _, id := range mine {
		if owners[id] != r.ID {
			r.disown(ctx, id)
		}
	}
	for _, id := range ids {
		if owners[id] == r.ID {
			r.assign(ctx, fromRecord(id, records[id]), "")
		}
	}
	if full {
		r.mu.Lock()
		for _, s := range r.units {
			s.written = written{} // a colleague may have reported since
		}
		r.mu.Unlock()
		r.repeat(func(*slot) bool { return true })
	}
	return nil
}

func fromRecord(id string, rec oprc.UnitRecord) order {
	return order{Command{
		Type: rec.Op, ID: id, Generation: rec.Generation, SpecHash: rec.SpecHash,
		Revision: rec.Revision, Time: rec.DispatchedAt, Unit: rec.Unit,
	}}
}

// compare sorts units by what the records say of them: moved are those on which
// this CRM may have to act, ended those that it does not know and that should not
// run, mine all that it has.
func (r *runner) compare(ctx context.Context, digests map[string]oprc.UnitDigest) (moved, ended, mine []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, d := range digests {
		s := r.units[id]
		switch {
		case s == nil && d.Runs():
			moved = append(moved, id)
		case s == nil:
			ended = append(ended, id)
		case s.foreign || s.want.Generation != d.Generation || (s.want.Type == oprc.Deploy) != d.Runs():
			moved = append(moved, id)
		case d.Runs() && s.want.SpecHash != d.SpecHash:
			moved = append(moved, id)
		}
	}
	now := time.Now()
	for id, s := range r.units {
		mine = append(mine, id)
		if _, known := digests[id]; known {
			s.unknown = time.Time{}
			continue
		}
		r.doubt(ctx, s, len(digests) > 0, now)
	}
	return moved, ended, mine
}

// doubt stops a unit that the ledger has no record of, but not at once: the record of
// what runs is kept, so Redis lost its data, and it will be written again. A
// ledger without any record says nothing.
func (r *runner) doubt(ctx context.Context, s *slot, hasRecords bool, now time.Time) {
	switch {
	case !hasRecords:
		s.unknown = time.Time{}
	case s.unknown.IsZero():
		s.unknown = now
	case now.Sub(s.unknown) >= 2*r.ReportEvery && s.want.Type == oprc.Deploy:
		s.want.Type, s.settled, s.failures = oprc.Undeploy, false, 0
		if s.cancel != nil {
			s.cancel()
		}
		r.start(ctx, s)
	}
}

// unsaid returns those of the ended units whose deletion the control plane has not
// heard of.
func (r *runner) unsaid(ctx context.Context, ended []string, digests map[string]oprc.UnitDigest) ([]string, error) {
	statuses, err := r.db.StatusesOf(ctx, r.Env, ended)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ended, func(id string) bool {
		st := statuses[id]
		return st.Condition == Deleted && st.Generation >= digests[id].Generation
	}), nil
}

// repeatOld says again what was last said long ago: a report may have been lost
// with a Redis that failed over. What still waits to be read is not written twice.
func (r *runner) repeatOld() {
	now := time.Now()
	r.repeat(func(s *slot) bool { return now.Sub(s.said) >= r.ReportEvery })
}

func (r *runner) repeat(which func(*slot) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.units {
		if !s.foreign && s.state.Condition != "" && s.at.Generation > 0 && which(s) {
			r.say(s, s.state, nil)
		}
	}
}
