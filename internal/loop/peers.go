package loop

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Peers are the daemons on one ledger. Where their configurations differ, each would take
// back at a failover what the other did.
type Peers interface {
	// Register says that a daemon lives and by which configuration, and returns the others
	// that live, by holder.
	Register(ctx context.Context, holder, config string) (map[string]oprc.Daemon, error)
	Unregister(ctx context.Context, holder string) error
}

// differingFor is how long a daemon with another configuration counts that was seen beside
// this one, and then was not any more: it may come back.
const differingFor = 10 * time.Minute

// met is what is known of the other daemons.
type met struct {
	mu  sync.Mutex
	all map[string]peer // by holder; those with another configuration
}

type peer struct {
	config string
	stamp  int64     // its last sign of life
	at     time.Time // when that was seen
	lived  bool      // it gave a sign of life since it was seen first
}

// meet registers this daemon, and says so in the log when others come or go that have
// another configuration.
func (l *Loop) meet(ctx context.Context) {
	if l.Peers == nil {
		return
	}
	others, err := l.Peers.Register(ctx, l.Holder, l.Config)
	if err != nil {
		return // the lease says that Redis is away
	}
	before := l.Differing()
	l.met.see(others, l.Config, l.Now())
	now := l.Differing()
	switch {
	case slices.Equal(before, now):
	case len(now) > 0:
		l.Log.Warn("daemons have different configurations: nothing is deleted that only one of them declares",
			"this", l.Holder, "configuration", l.Config, "others", strings.Join(now, ", "))
	default:
		l.Log.Info("all daemons have the same configuration", "configuration", l.Config)
		l.wake(keeper, look{})
	}
}

// see notes which others live.
func (m *met) see(others map[string]oprc.Daemon, config string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[string]peer{}
	}
	for holder, o := range others {
		if o.Config == config {
			continue
		}
		was, known := m.all[holder]
		m.all[holder] = peer{o.Config, o.Seen, now, was.lived || known && o.Seen != was.stamp}
	}
	maps.DeleteFunc(m.all, func(holder string, p peer) bool {
		_, lives := others[holder]
		return !lives && (!p.lived || now.Sub(p.at) > differingFor)
	})
}

// Differing names the daemons with another configuration, "HOLDER (CONFIGURATION)".
func (l *Loop) Differing() []string {
	l.met.mu.Lock()
	defer l.met.mu.Unlock()
	out := []string{}
	for _, holder := range slices.Sorted(maps.Keys(l.met.all)) {
		out = append(out, holder+" ("+l.met.all[holder].config+")")
	}
	return out
}

// self names this daemon as the one who acts.
func (l *Loop) self() string { return "daemon/" + l.Holder }
