package loop

import (
	"sync"
	"time"
)

// A look is a reason to look at a source now.
type look struct {
	poll  bool      // ask the repository; else only what is known is held against live state
	since time.Time // what was found out since then need not be asked again
	woken time.Time // when somebody asked; zero: it was time
}

// and is the look that serves both reasons.
func (a look) and(b look) look {
	a.poll = a.poll || b.poll
	if b.since.After(a.since) {
		a.since = b.since
	}
	if a.woken.IsZero() || !b.woken.IsZero() && b.woken.Before(a.woken) {
		a.woken = b.woken
	}
	return a
}

// A waker adds up the reasons until somebody takes them.
type waker struct {
	ch   chan struct{}
	mu   sync.Mutex
	next look
}

func newWaker() *waker { return &waker{ch: make(chan struct{}, 1)} }

func (w *waker) wake(a look) {
	w.mu.Lock()
	w.next = w.next.and(a)
	w.mu.Unlock()
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

// owe puts a look back that could not be carried out, for the next one to take up.
func (w *waker) owe(a look) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = w.next.and(a)
}

func (w *waker) take() look {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.next
	w.next = look{}
	return a
}

// Wake asks for the named source to be polled now. It does not block; wakes that
// arrive during a tick add up to one more.
func (l *Loop) Wake(source string) {
	now := l.Now()
	l.wake(source, look{poll: true, since: now, woken: now})
}

// Replan asks for every source, and what was applied by hand, to be held against
// live state now. Nothing is polled for it.
func (l *Loop) Replan() { l.wakeAll(look{}) }

func (l *Loop) wake(source string, a look) {
	l.prepare()
	if w := l.wakers[source]; w != nil {
		w.wake(a)
	}
}

func (l *Loop) wakeAll(a look) {
	l.prepare()
	for _, w := range l.wakers {
		w.wake(a)
	}
}
