package loop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// listening is since when live state could be read without a break. Who has not
// listened cannot tell silence from not having heard.
type listening struct {
	mu          sync.Mutex
	since, last time.Time
}

// deafAfter is the break after which heartbeats may have been missed.
const deafAfter = 2 * oprc.HeartbeatInterval

// heard notes a reading, and reports whether silence can be believed by now.
func (h *listening) heard(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.last) > deafAfter {
		h.since = now
	}
	h.last = now
	return now.Sub(h.since) >= oprc.HeartbeatTimeout
}

// live reads live state. Environments from which nothing was heard while nobody
// listened have the benefit of the doubt: after a restart, or after Redis was away,
// placements do not flee from environments whose heartbeats are on their way. What is
// seen of environments is recorded: whoever decided otherwise decides again.
func (l *Loop) live(ctx context.Context, token int64) (plan.Live, error) {
	race := l.Reconciler.Race("")
	for {
		live, err := l.Reconciler.Ledger.Live(ctx)
		if err != nil {
			return live, fmt.Errorf("read live state: %w", err)
		}
		if !l.listening.heard(l.Now()) {
			live = withoutSilence(live)
		}
		live, err = l.Reconciler.Observe(ctx, live, reconcile.Actor{Fence: token, Place: place(token)})
		if err == nil || errors.Is(err, reconcile.ErrQueued) || !race.Again(ctx, err) {
			return live, err
		}
	}
}

// withoutSilence takes environments that seem DOWN for healthy.
func withoutSilence(live plan.Live) plan.Live {
	live.Environments = maps.Clone(live.Environments)
	for name, state := range live.Environments {
		if state.Health == oprc.EnvDown {
			state.Health = oprc.Healthy
			live.Environments[name] = state
		}
	}
	return live
}
