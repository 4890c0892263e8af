package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// inbox is a strict stand-in for the streams and hashes of one environment: an
// entry comes again until it is acknowledged, a fold is refused when the stored
// status has changed.
type inbox struct {
	mu       sync.Mutex
	entries  []oprc.ReportEntry
	records  map[string]oprc.UnitRecord
	statuses map[string]oprc.Status
	runtimes map[string]oprc.ClassRuntime
	beats    map[string]oprc.Heartbeat
	events   []oprc.Event
	dead     map[string]string
	lose     int // how many folds another daemon wins
	deaf     int // how many answers to folds are lost
	outbox   []oprc.Event
	skew     time.Duration // of the clock that stamps heartbeats, before ours
	sent     []oprc.Command
}

func (b *inbox) EnvironmentNames(context.Context) ([]string, error) { return []string{"edge"}, nil }

func (b *inbox) Reports(ctx context.Context, _, _ string, count int, block time.Duration) ([]oprc.ReportEntry, error) {
	b.mu.Lock()
	out := slices.Clone(b.entries[:min(count, len(b.entries))])
	b.mu.Unlock()
	if len(out) == 0 {
		select {
		case <-ctx.Done():
		case <-time.After(block):
		}
	}
	return out, nil
}

func (b *inbox) UnitDigests(context.Context, string) (map[string]oprc.UnitDigest, error) {
	out := map[string]oprc.UnitDigest{}
	for id, rec := range b.records {
		out[id] = oprc.UnitDigest{Generation: rec.Generation, SpecHash: rec.SpecHash}
	}
	return out, nil
}

func (b *inbox) UnitRecordsOf(_ context.Context, _ string, ids []string) (map[string]oprc.UnitRecord, error) {
	return only(b.records, ids), nil
}

func (b *inbox) StatusesOf(_ context.Context, _ string, ids []string) (map[string]oprc.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return only(b.statuses, ids), nil
}

func only[V any](all map[string]V, ids []string) map[string]V {
	out := map[string]V{}
	for _, id := range ids {
		if v, ok := all[id]; ok {
			out[id] = v
		}
	}
	return out
}

func (b *inbox) Beats(context.Context, string) ([]oprc.Heartbeat, time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []oprc.Heartbeat
	for _, h := range b.beats {
		out = append(out, h)
	}
	return out, time.Now().Add(b.skew), nil
}

func (b *inbox) Fold(_ context.Context, _ string, writes []ingest.StatusWrite, rts []oprc.ClassRuntime, events []oprc.Event) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lose > 0 {
		b.lose--
		return []string{writes[0].ID}, nil
	}
	for _, w := range writes {
		if !cmp.Equal(b.statuses[w.ID], w.Old) {
			return []string{w.ID}, nil
		}
	}
	for _, w := range writes {
		b.statuses[w.ID] = w.New
	}
	for _, rt := range rts {
		b.runtimes[rt.ClsKey] = rt
	}
	b.outbox = append(b.outbox, events...)
	if b.deaf > 0 {
		b.deaf--
		return nil, context.DeadlineExceeded
	}
	return nil, nil
}

func (b *inbox) Heartbeat(_ context.Context, _ string, beats []oprc.Heartbeat) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range beats {
		b.beats[h.CRM] = h
	}
	return nil
}

func (b *inbox) Flush(context.Context, string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events, b.outbox = append(b.events, b.outbox...), nil
	return nil
}

func (b *inbox) Ack(_ context.Context, _ string, ids ...string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(ids) == 0 { // XACK refuses that
		return errors.New("no ids to acknowledge")
	}
	b.entries = slices.DeleteFunc(b.entries, func(e oprc.ReportEntry) bool { return slices.Contains(ids, e.ID) })
	return nil
}

func (b *inbox) Bury(ctx context.Context, env string, e oprc.ReportEntry, reason string) error {
	b.mu.Lock()
	b.dead[e.ID] = reason
	b.mu.Unlock()
	return b.Ack(ctx, env, e.ID)
}

func (b *inbox) Dispatch(_ context.Context, _ string, commands []oprc.Command, _ int64) error {
	for _, c := range commands {
		b.records[c.ID] = oprc.UnitRecord{Unit: c.Unit, Op: c.Type, Generation: c.Generation, SpecHash: c.SpecHash}
	}
	b.sent = append(b.sent, commands...)
	return nil
}

func (b *inbox) Emit(_ context.Context, events []oprc.Event, _ int64) error {
	b.events = append(b.events, events...)
	return nil
}

func (b *inbox) Trim(context.Context, string) error { return nil }

const cart = "shop.cart/0/0@edge"

func newInbox(entries ...oprc.ReportEntry) *inbox {
	return &inbox{
		entries: entries,
		records: map[string]oprc.UnitRecord{cart: {
			Unit: oprc.DeploymentUnit{ID: cart, ClsKey: "shop.cart", TargetEnv: "edge"},
			Op:   oprc.Deploy, Generation: 2, SpecHash: "sha256:a",
		}},
		statuses: map[string]oprc.Status{}, runtimes: map[string]oprc.ClassRuntime{},
		beats: map[string]oprc.Heartbeat{}, dead: map[string]string{},
	}
}

// run runs Ingest on the inbox until nothing is left to do.
func run(t *testing.T, b *inbox, changed func(string)) ingest.Counts {
	t.Helper()
	in := &ingest.Ingest{Reports: b, Consumer: "test", Now: time.Now, Log: slog.New(slog.DiscardHandler), Changed: changed}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := in.Run(ctx); err != nil {
			t.Fatal(err)
		}
	})
	if len(b.entries) > 0 {
		t.Errorf("left unacknowledged: %v", b.entries)
	}
	return in.Counts()
}

func TestIngestFoldsInStreamOrder(t *testing.T) {
	b := newInbox(entry2(oprc.Deploying, "1-0"), entry2(oprc.Running, "2-0"))
	counts := run(t, b, nil)
	if got := b.statuses[cart].Condition; got != oprc.Running {
		t.Errorf("condition: got %s, want RUNNING", got)
	}
	if got := b.runtimes["shop.cart"].Status; got != oprc.RuntimeRunning {
		t.Errorf("class runtime: got %s, want RUNNING", got)
	}
	var steps []string
	for _, e := range b.events {
		steps = append(steps, e.From+">"+e.To)
	}
	if d := cmp.Diff(steps, []string{"PENDING>DEPLOYING", "DEPLOYING>RUNNING"}); d != "" {
		t.Errorf("events: -got +want\n%s", d)
	}
	if d := cmp.Diff(counts, ingest.Counts{Folded: 2}); d != "" {
		t.Errorf("counts: -got +want\n%s", d)
	}
}

func entry2(c oprc.Condition, id string) oprc.ReportEntry {
	e := entry(2, c, id)
	e.Report.SpecHash = "sha256:a"
	return e
}

func TestIngestRetriesWhenAnotherDaemonFoldedFirst(t *testing.T) {
	b := newInbox(entry2(oprc.Running, "1-0"))
	b.lose = 3
	run(t, b, nil)
	if got := b.statuses[cart].Condition; got != oprc.Running {
		t.Errorf("condition: got %q, want RUNNING", got)
	}
}

func TestNoEventIsLostWithAnAnswer(t *testing.T) {
	b := newInbox(entry2(oprc.Deploying, "1-0"), entry2(oprc.Running, "2-0"))
	b.deaf = 1
	run(t, b, nil)
	var steps []oprc.Condition
	for _, e := range b.events {
		steps = append(steps, oprc.Condition(e.To))
	}
	if diff := cmp.Diff([]oprc.Condition{oprc.Deploying, oprc.Running}, steps); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
}

func TestIngestBuriesWhatCanNeverBeUsed(t *testing.T) {
	future, unknown, broken := entry(9, oprc.Running, "1-0"), entry2(oprc.Running, "2-0"), oprc.ReportEntry{ID: "3-0"}
	unknown.Report.ID = "shop.ghost/0/0@edge"
	broken.Err = oprc.ErrInvalid
	b := newInbox(future, unknown, broken, entry2(oprc.Running, "4-0"))
	run(t, b, nil)
	want := map[string]string{
		"1-0": "generation 9 of shop.cart/0/0@edge was never dispatched; the last one is 2",
		"2-0": "unit shop.ghost/0/0@edge was never dispatched here",
		"3-0": "invalid",
	}
	if d := cmp.Diff(b.dead, want); d != "" {
		t.Errorf("dead letters: -got +want\n%s", d)
	}
	if got := b.statuses[cart].Condition; got != oprc.Running {
		t.Errorf("the good report behind them: got %q, want RUNNING", got)
	}
}

// A CRM says every 30 s what it runs, also where no record knows of it.
func TestOneLetterForAUnitThatNoRecordKnows(t *testing.T) {
	var entries []oprc.ReportEntry
	for i := range 40 { // more than one batch
		ghost, future := entry2(oprc.Running, fmt.Sprintf("%d-0", i+1)), entry(9, oprc.Running, fmt.Sprintf("%d-1", i+1))
		ghost.Report.ID = "shop.ghost/0/0@edge"
		entries = append(entries, ghost, future)
	}
	b := newInbox(append(entries, entry(10, oprc.Running, "50-0"))...)
	run(t, b, nil)
	want := map[string]string{
		"1-0":  "unit shop.ghost/0/0@edge was never dispatched here",
		"1-1":  "generation 9 of shop.cart/0/0@edge was never dispatched; the last one is 2",
		"50-0": "generation 10 of shop.cart/0/0@edge was never dispatched; the last one is 2",
	}
	if d := cmp.Diff(b.dead, want); d != "" {
		t.Errorf("dead letters: -got +want\n%s", d)
	}
}

func TestIngestWakesTheLoopOnDriftAndHealth(t *testing.T) {
	drifted := entry2(oprc.Running, "1-0")
	drifted.Report.SpecHash = "sha256:other"
	beat := oprc.ReportEntry{ID: "2-0", Report: oprc.Report{Type: oprc.ReportHeartbeat, CRM: "crm-1"}}
	for name, tc := range map[string]struct {
		entry oprc.ReportEntry
		want  int
	}{
		"drift":           {drifted, 1},
		"taken away":      {entry2(oprc.Deleted, "1-0"), 1},
		"first heartbeat": {beat, 1},
		"as it should be": {entry2(oprc.Running, "1-0"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			woken := 0
			run(t, newInbox(tc.entry), func(string) { mu.Lock(); woken++; mu.Unlock() })
			if woken != tc.want {
				t.Errorf("woken %d times, want %d", woken, tc.want)
			}
		})
	}
}
