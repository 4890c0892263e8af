package crm

import (
	"context"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// An item is a report to send, commands to acknowledge, an event to tell of, or
// several of these. The event is told when the rest has been done.
type item struct {
	settle rdb.Settlement
	event  Event
}

// An outbox holds what is to be sent, in order.
type outbox struct {
	mu    *sync.Mutex
	items []item
	taken int // of items: being sent
	wake  chan struct{}
}

func newOutbox() outbox { return outbox{mu: new(sync.Mutex), wake: make(chan struct{}, 1)} }

// crowded is when the outbox begins to forget: of reports on one unit that have
// not been sent, the last one says what the others said, and more.
const crowded = 4096

func (o *outbox) put(it item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.items = append(o.items, it)
	if len(o.items) >= crowded && len(o.items)%crowded == 0 {
		o.items = append(o.items[:o.taken:o.taken], latest(o.items[o.taken:])...)
	}
	poke(o.wake)
}

func (o *outbox) tell(e Event) { o.put(item{event: e}) }

// latest keeps the last report on each unit, with all acknowledgements.
func latest(items []item) []item {
	last := map[string]int{}
	for i, it := range items {
		last[it.settle.Report.ID] = i
	}
	acks := map[string][]string{}
	var kept []item
	for i, it := range items {
		id := it.settle.Report.ID
		if id == "" {
			if len(it.settle.Acks) > 0 {
				kept = append(kept, it)
			}
			continue
		}
		acks[id] = append(acks[id], it.settle.Acks...)
		if last[id] == i {
			it.settle.Acks = acks[id]
			kept = append(kept, it)
		}
	}
	return kept
}

// take returns the front of the queue, which stays in it until done.
func (o *outbox) take(most int) []item {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken = min(most, len(o.items))
	return append([]item(nil), o.items[:o.taken]...)
}

// done removes the first n.
func (o *outbox) done(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.items = o.items[n:]
	o.taken = 0
}

// flush waits until everything is sent; false if that takes longer than d.
func (o *outbox) flush(d time.Duration) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		o.mu.Lock()
		left := len(o.items)
		o.mu.Unlock()
		if left == 0 {
			return true
		}
		select {
		case <-deadline.C:
			return false
		case <-look.C:
		}
	}
}

// deliverLoop sends reports in order. What cannot be sent waits.
func (r *runner) deliverLoop(ctx context.Context) {
	failures := 0
	for {
		batch := r.out.take(256)
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-r.out.wake:
			}
			continue
		}
		n, err := r.deliver(ctx, batch)
		r.out.done(n)
		if err == nil {
			failures = 0
			continue
		}
		failures++
		if failures == 1 && ctx.Err() == nil {
			r.Logger.Warn("report", "env", r.Env, "error", err)
		}
		if !pause(ctx, backoff(failures, 50*time.Millisecond, 2*time.Second)) {
			return
		}
	}
}

// deliver sends a batch, and returns how many from its front are done.
func (r *runner) deliver(ctx context.Context, batch []item) (int, error) {
	var settlements []rdb.Settlement
	var index []int // in batch, of each settlement
	for i, it := range batch {
		if it.settle.Report.Type == oprc.ReportStatus {
			settlements, index = append(settlements, it.settle), append(index, i)
		}
	}
	r.spare(settlements)
	ids, err := r.db.Settle(ctx, r.Env, r.ID, settlements)
	end := len(batch)
	if err != nil {
		if end = 0; len(ids) < len(index) {
			end = index[len(ids)]
		}
	}
	var plain []string
	for n, id := range ids {
		if id == "" { // the unit's new owner answers for it
			plain = append(plain, settlements[n].Acks...)
			r.disown(ctx, settlements[n].Report.ID)
		}
	}
	r.note(settlements, ids)
	for _, it := range batch[:end] {
		if it.settle.Report.Type == "" {
			plain = append(plain, it.settle.Acks...)
		}
	}
	if ackErr := r.db.AckCommands(ctx, r.Env, plain...); ackErr != nil {
		return 0, ackErr // reports are sent again, and say the same
	}
	r.dropHolds(batch[:end])
	for _, it := range batch[:end] {
		if it.event.Type != "" {
			r.event(it.event)
		}
	}
	return end, err
}

// spare marks the reports that need not be written while the one before them on their
// unit, which says the same, is unread. Until it is known how the writing of another went,
// none is known to be there.
func (r *runner) spare(settlements []rdb.Settlement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range settlements {
		s := r.units[settlements[i].Report.ID]
		if s == nil {
			continue
		}
		if !s.written.says(settlements[i].Report) {
			s.written = written{}
		}
		settlements[i].Unless = s.written.streamID
	}
}

// note keeps where the last report on each unit stands.
func (r *runner) note(settlements []rdb.Settlement, streamIDs []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, id := range streamIDs {
		if s := r.units[settlements[i].Report.ID]; s != nil {
			s.written = written{settlements[i].Report, id}
		}
	}
}

func (r *runner) dropHolds(batch []item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, it := range batch {
		for _, id := range it.settle.Acks {
			delete(r.holds, id)
		}
	}
}
