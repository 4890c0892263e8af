package ingest

import "sync"

// letters are the reasons for which the last report on each unit was buried: a CRM that
// runs what no record knows says so again and again, and one dead letter is enough. The
// zero letters are empty. What they forget, with the process or when they are many, is
// buried once more.
type letters struct {
	mu   sync.Mutex
	last map[[2]string]string // by environment and unit
}

const mostLetters = 10_000

func (l *letters) has(env, unit, reason string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last[[2]string{env, unit}] == reason
}

func (l *letters) keep(env, unit, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil || len(l.last) >= mostLetters {
		l.last = map[[2]string]string{}
	}
	l.last[[2]string{env, unit}] = reason
}
