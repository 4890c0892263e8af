package reconcile

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// persist is how long a request is decided again because others write.
	persist = 30 * time.Second
	// The pause after the first lost race, and the longest.
	firstPause, longestPause = 4 * time.Millisecond, 500 * time.Millisecond
)

// A Race is with others who write what a decision rests on. Who lost decides again: after
// pauses that double and differ between rivals, for half a minute.
type Race struct {
	now   func() time.Time
	until time.Time
	pause time.Duration
}

// Race begins one.
func (r *Reconciler) Race() *Race {
	return &Race{now: r.Now, until: r.Now().Add(persist), pause: firstPause}
}

// Again pauses, and reports whether to decide again.
func (x *Race) Again(ctx context.Context) bool {
	if !x.now().Before(x.until) || !Sleep(ctx, x.pause/2+rand.N(x.pause)) {
		return false
	}
	x.pause = min(2*x.pause, longestPause)
	return true
}

// extend gives the race its whole time again: a person took some to look.
func (x *Race) extend() { x.until = x.now().Add(persist) }

// Sleep waits for d; it returns false at once when ctx ends.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
