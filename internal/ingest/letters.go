package ingest

import (
	"sync"
	"time"
)

// letters are the last dead letter about each unit: a CRM that runs what no record knows
// reports it again and again, and one dead letter is enough. The zero letters are empty.
// What they forget, with the process or when they are many, is buried once more.
type letters struct {
	mu   sync.Mutex
	last map[[2]string]letter // by environment and unit
}

type letter struct {
	reason string
	since  time.Time // the first for this reason
}

const mostLetters = 10_000

// since says when the last report on the unit was buried, if it was for that reason.
func (l *letters) since(env, unit, reason string) (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.last[[2]string{env, unit}]
	return was.since, was.reason == reason
}

func (l *letters) keep(env, unit, reason string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil || len(l.last) >= mostLetters {
		l.last = map[[2]string]letter{}
	}
	l.last[[2]string{env, unit}] = letter{reason, at}
}
