package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// forgetful loses everything after some readings, as Redis does on FLUSHALL.
type forgetful struct {
	*inbox
	left int // readings
}

func (f *forgetful) read() {
	if f.left--; f.left == 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
		clear(f.records)
		clear(f.statuses)
		f.entries = nil
	}
}

func (f *forgetful) UnitDigests(ctx context.Context, env string) (map[string]oprc.UnitDigest, error) {
	defer f.read()
	return f.inbox.UnitDigests(ctx, env)
}

func (f *forgetful) UnitRecordsOf(ctx context.Context, env string, ids []string) (map[string]oprc.UnitRecord, error) {
	defer f.read()
	return f.inbox.UnitRecordsOf(ctx, env, ids)
}

func (f *forgetful) StatusesOf(ctx context.Context, env string, ids []string) (map[string]oprc.Status, error) {
	defer f.read()
	return f.inbox.StatusesOf(ctx, env, ids)
}

// A status without a record would make the planner count on from its generation,
// and deploy again what runs.
func TestNoStatusOutlivesItsRecord(t *testing.T) {
	for reading := 1; reading <= 3; reading++ {
		t.Run(fmt.Sprintf("lost after reading %d", reading), func(t *testing.T) {
			b := newInbox(entry2(oprc.Down, "2-0"))
			b.statuses[cart] = status(2, oprc.Running, "1-0")
			in := &ingest.Ingest{Reports: &forgetful{b, reading}, Consumer: "test", Now: time.Now, Log: slog.New(slog.DiscardHandler)}
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := in.Run(ctx); err != nil {
					t.Fatal(err)
				}
			})
			if st, ok := b.statuses[cart]; ok {
				t.Errorf("got a status of generation %d, %s", st.Generation, st.Condition)
			}
		})
	}
}

// slow cannot return many entries in time, because they are huge.
type slow struct{ *inbox }

func (s slow) Reports(ctx context.Context, env, consumer string, count int, block time.Duration) ([]oprc.ReportEntry, error) {
	if count > 3 && len(s.entries) > 3 {
		return nil, context.DeadlineExceeded
	}
	return s.inbox.Reports(ctx, env, consumer, count, block)
}

func TestReportsThatAreTooMuchAtOnceAreReadInParts(t *testing.T) {
	var entries []oprc.ReportEntry
	for i := range 20 {
		entries = append(entries, entry2(oprc.Running, fmt.Sprintf("%d-0", i+1)))
	}
	b := newInbox(entries...)
	in := &ingest.Ingest{Reports: slow{b}, Consumer: "test", Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := in.Run(ctx); err != nil {
			t.Fatal(err)
		}
	})
	if len(b.entries) > 0 {
		t.Errorf("%d reports were never read", len(b.entries))
	}
}
