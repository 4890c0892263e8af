package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// persist is how long a request is decided again because others write, and how long it
	// may have its turn.
	persist = 30 * time.Second
	// longestWait is how long a request waits for its turn.
	longestWait = 2 * time.Minute
	// The pause after the first lost race, and the longest.
	firstPause, longestPause = 4 * time.Millisecond, 500 * time.Millisecond
	// patience is how many races a request loses before it takes a place in the queue.
	patience = 2
	// A waiting request asks for its turn after a pause for each that is ahead; whose turn
	// it is says that it lives. A place is kept for three times that.
	pauseAhead, alive = 25 * time.Millisecond, time.Second
)

// A Race is with others who write what a decision rests on. Who lost decides again, after
// pauses that double and differ between rivals. Who lost twice takes a place in the queue
// of writers: the others wait until it has written, so that a decision that takes seconds
// does not lose to small ones for ever.
type Race struct {
	place string // "": it never waits in the queue
	turns Turns
	pause pause
	lost  int
	// It waits for its turn, and had it.
	waits, begun bool
	quit         func() // ends what keeps its turn; nil: nothing does
}

// Race begins one, of whoever has the place in the queue of writers.
func (r *Reconciler) Race(place string) *Race {
	return &Race{place: place, turns: r.Ledger, pause: newPause(r.Now)}
}

// rivalName is a place in the queue of writers that nobody else has.
func rivalName() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// Again pauses after a decision that was lost because of err, or waits for the turn of the
// race, and reports whether to decide again.
func (x *Race) Again(ctx context.Context, err error) bool {
	if !Lost(err) {
		return false
	}
	if x.lost++; x.place == "" || x.lost < patience && !errors.Is(err, ErrQueued) {
		return x.pause.again(ctx)
	}
	return x.await(ctx)
}

// await waits for the turn of the race.
func (x *Race) await(ctx context.Context) bool {
	if !x.waits {
		x.waits, x.pause.until = true, x.pause.now().Add(longestWait)
	}
	x.rest()
	for {
		ahead, err := x.turns.AwaitTurn(ctx, x.place, true)
		switch {
		case err != nil: // it decides again all the same, and luck decides
			return x.pause.again(ctx)
		case ahead == 0:
			return x.begin(ctx)
		}
		if !x.pause.now().Before(x.pause.until) || !Sleep(ctx, min(time.Duration(ahead)*pauseAhead, longestPause)) {
			return false
		}
	}
}

// begin keeps the turn of the race until its time is over.
func (x *Race) begin(ctx context.Context) bool {
	if !x.begun {
		x.begun, x.pause.until = true, x.pause.now().Add(persist)
	}
	left := x.pause.until.Sub(x.pause.now())
	if left > 0 {
		x.keep(ctx, left)
	}
	return left > 0
}

// keep keeps the place for so long, in the background.
func (x *Race) keep(ctx context.Context, length time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, length)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for Sleep(ctx, alive) {
			if ahead, err := x.turns.AwaitTurn(ctx, x.place, false); err == nil && ahead < 0 {
				return
			}
		}
	}()
	x.quit = func() { cancel(); <-ended }
}

// rest stops keeping the place: it is over in seconds.
func (x *Race) rest() {
	if x.quit != nil {
		x.quit()
		x.quit = nil
	}
}

// End gives up the place in the queue.
func (x *Race) End(ctx context.Context) {
	if x.rest(); x.waits {
		_ = x.turns.EndTurn(context.WithoutCancel(ctx), x.place) // else it is over in seconds
	}
}

// extend gives the race its whole time again: a person took some to look, and the turn of
// the race may be over.
func (x *Race) extend(ctx context.Context) {
	if x.pause.until = x.pause.now().Add(persist); x.begun {
		x.keep(ctx, persist)
	}
}

// A pause comes between attempts.
type pause struct {
	now    func() time.Time
	until  time.Time
	length time.Duration
}

func newPause(now func() time.Time) pause {
	return pause{now: now, until: now().Add(persist), length: firstPause}
}

// again pauses, twice as long as before, unless it is time to give up.
func (p *pause) again(ctx context.Context) bool {
	if !p.now().Before(p.until) || !Sleep(ctx, p.length/2+rand.N(p.length)) {
		return false
	}
	p.length = min(2*p.length, longestPause)
	return true
}

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
