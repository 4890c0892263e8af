package loop_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// lossy is a ledger whose lease is lost while its daemon leads.
type lossy struct {
	reconcile.Ledger
	loop.SourceStore
	acquired []time.Time
}

func (l *lossy) Live(context.Context) (plan.Live, error) { return plan.Live{}, nil }

func (l *lossy) Acquire(context.Context, string, time.Duration) (int64, bool, error) {
	l.acquired = append(l.acquired, time.Now())
	return int64(len(l.acquired)), true, nil
}

func (l *lossy) Fence(context.Context, int64) error { return nil }

func (l *lossy) Release(context.Context, string, int64) error { return nil }

func (l *lossy) PutSource(_ context.Context, _ oprc.SourceStatus, _ map[string]oprc.HistoryEntry, fence int64) error {
	if fence == 1 {
		return oprc.ErrFenced
	}
	return nil
}

func (l *lossy) Sources(context.Context) (map[string]oprc.SourceStatus, error) { return nil, nil }

func (l *lossy) DropSources(context.Context, []string, int64) error { return nil }

func (l *lossy) Emit(context.Context, []oprc.Event, int64) error { return nil }

func (l *lossy) Requests(context.Context) (oprc.Requests, error) { return oprc.Requests{}, nil }

type unreachable struct{ loop.Source }

func (unreachable) Poll(context.Context, time.Time) (loop.Revision, error) {
	return loop.Revision{}, errors.New("away")
}

// A leader whose token is refused asks for the lease at once, not when it is due.
func TestRefusedTokenIsDoubted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lossy{}
		l := &loop.Loop{
			Reconciler: &reconcile.Reconciler{Ledger: store, Now: time.Now}, Lease: store, Store: store, Holder: "test",
			Sources: []loop.SourceConfig{{Name: "files", Source: unreachable{}, Interval: time.Second}},
			Now:     time.Now, Log: slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(store.acquired) != 2 || store.acquired[1].Sub(store.acquired[0]) > time.Second {
			t.Errorf("asked for the lease at %v, want twice within a second", store.acquired)
		}
	})
}

func (l *lossy) Mend(context.Context) ([]string, error) { return nil, nil }

func (l *lossy) MendIndex(context.Context, time.Time) (bool, error) { return false, nil }

func (l *lossy) Weed(context.Context, int64) ([]string, error) { return nil, nil }

func (l *lossy) BeginHistories(context.Context, plan.Live, time.Time) ([]string, error) {
	return nil, nil
}
