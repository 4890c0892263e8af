package loop

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// slowPoll is how long a source's repository may take before its status says so.
const slowPoll = 2 * time.Second

// showPolling says in the source's status that its repository is being read, and since
// when, if that takes long. done ends it; the status that follows replaces what it said.
func (l *Loop) showPolling(ctx context.Context, s *sourceState, token int64) (done func()) {
	busy, since := s.status, l.Now().UTC()
	busy.Conditions = append(slices.DeleteFunc(slices.Clone(busy.Conditions), func(c oprc.SourceCondition) bool { return c.Type == "Reconciling" }),
		oprc.SourceCondition{
			Type: "Reconciling", Status: true, Reason: "Polling", Since: since, Revision: s.rev.ID,
			Message: "waiting for the repository since " + since.Format(time.RFC3339),
		})
	ended, shown := make(chan struct{}), false
	var watcher sync.WaitGroup
	watcher.Go(func() {
		late := time.NewTimer(slowPoll)
		defer late.Stop()
		select {
		case <-ended:
		case <-late.C:
			if shown = l.Store.PutSource(ctx, busy, nil, token) == nil; shown { // else the tick itself will notice why not
				l.board.stored(busy)
			}
		}
	})
	return func() {
		close(ended)
		watcher.Wait()
		if shown {
			s.stored = ""
		}
	}
}
