package ingest_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// start is when synctest's clocks start.
var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// idAt is the id of an entry that was written so long before the start.
func idAt(before time.Duration) string {
	return strconv.FormatInt(start.Add(-before).UnixMilli(), 10) + "-0"
}

// runFor runs in for d of synctest's time.
func runFor(t *testing.T, d time.Duration, in *ingest.Ingest) {
	t.Helper()
	in.Consumer, in.Now, in.Log = "test", time.Now, cmp.Or(in.Log, slog.New(slog.DiscardHandler))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		if err := in.Run(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

// listing lists what it is set to from some time on, and notes who is read when.
type listing struct {
	*inbox
	names func(since time.Duration) ([]string, error)
	read  map[string]time.Duration // the last time
	trims int
}

func (l *listing) EnvironmentNames(context.Context) ([]string, error) {
	return l.names(time.Since(start))
}

func (l *listing) Reports(ctx context.Context, env, consumer string, count int, block time.Duration) ([]oprc.ReportEntry, error) {
	l.mu.Lock()
	l.read[env] = time.Since(start)
	l.mu.Unlock()
	return l.inbox.Reports(ctx, env, consumer, count, block)
}

func (l *listing) Trim(context.Context, string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trims++
	return nil
}

// An environment is read for as long as it is listed; that the list cannot be read ends
// nothing.
func TestWhoIsListedIsRead(t *testing.T) {
	l := &listing{inbox: newInbox(), read: map[string]time.Duration{}, names: func(since time.Duration) ([]string, error) {
		switch {
		case since < 10*time.Second:
			return []string{"cloud", "edge"}, nil
		case since < 20*time.Second:
			return []string{"edge"}, nil
		}
		return nil, errors.New("Redis is away")
	}}
	var log strings.Builder
	runFor(t, 59*time.Second, &ingest.Ingest{Reports: l, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if n := strings.Count(log.String(), "list environments"); n != 20 {
		t.Errorf("the list could not be read 20 times, and that is logged %d times:\n%s", n, log.String())
	}
	if last := l.read["cloud"]; last < 9*time.Second || last > 15*time.Second {
		t.Errorf("an environment that was listed for 10 s was read for %s", last)
	}
	if last := l.read["edge"]; last < 55*time.Second {
		t.Errorf("an environment was read for %s, and then the list could not be read", last)
	}
}

// Streams are trimmed now and then.
func TestTrimming(t *testing.T) {
	l := &listing{inbox: newInbox(), read: map[string]time.Duration{}, names: func(time.Duration) ([]string, error) { return []string{"edge"}, nil }}
	runFor(t, 200*time.Second, &ingest.Ingest{Reports: l}) // about 200 batches of none
	if l.trims != 4 {
		t.Errorf("trimmed %d times, want once in 64 batches", l.trims)
	}
}

func TestCountsSayWhatBecameOfReports(t *testing.T) {
	future, broken := entry(9, oprc.Running, "4-0"), oprc.ReportEntry{ID: "5-0", Err: oprc.ErrInvalid}
	b := newInbox(
		entry2(oprc.Deploying, "2-0"), entry2(oprc.Running, "1-0"), entry2(oprc.Deleted, "2-1"), entry2(oprc.Running, "3-0"),
		future, broken, beatOf("6-0", "crm-1"),
	)
	want := ingest.Counts{Folded: 2, Stale: 1, Refused: 1, Buried: 3, Heartbeats: 1}
	if diff := gocmp.Diff(want, run(t, b, nil)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	broken.ID = "7-0"
	if got := run(t, newInbox(broken), nil); got != (ingest.Counts{Buried: 1}) {
		t.Errorf("nothing could be used: got %+v", got)
	}
	if got, want := b.dead["3-0"], "shop.cart/0/0@edge cannot go from DELETED to RUNNING"; got != want {
		t.Errorf("buried because of %q, want %q", got, want)
	}
}

// The lag is how long the oldest report of a batch waited; without one that says when it
// was written there is none.
func TestLag(t *testing.T) {
	for name, test := range map[string]struct {
		entries []oprc.ReportEntry
		want    []time.Duration
	}{
		"the oldest":             {[]oprc.ReportEntry{entry2(oprc.Running, idAt(5*time.Second)), beatOf(idAt(2*time.Second), "crm-1")}, []time.Duration{5 * time.Second}},
		"the oldest heartbeat":   {[]oprc.ReportEntry{beatOf(idAt(2*time.Second), "crm-1"), beatOf(idAt(3*time.Second), "crm-1")}, []time.Duration{3 * time.Second}},
		"just written":           {[]oprc.ReportEntry{entry2(oprc.Running, idAt(0))}, []time.Duration{0}},
		"it is not known when":   {[]oprc.ReportEntry{entry2(oprc.Running, "0-1")}, nil},
		"nothing could be used":  {[]oprc.ReportEntry{{ID: idAt(time.Second), Err: oprc.ErrInvalid}}, nil},
		"it is of another clock": {[]oprc.ReportEntry{entry2(oprc.Running, idAt(-time.Second))}, nil},
	} {
		var got []time.Duration
		runFor(t, time.Minute, &ingest.Ingest{Reports: newInbox(test.entries...), Lag: func(_ string, d time.Duration) { got = append(got, d) }})
		if diff := gocmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Who reports on units is alive: that counts as a heartbeat, once one is due.
func TestWhoReportsIsAliveOnceABeatIsDue(t *testing.T) {
	for ago, want := range map[time.Duration]bool{oprc.HeartbeatInterval - 1: false, oprc.HeartbeatInterval: true} {
		b := newInbox(entry2(oprc.Running, idAt(0)))
		last := start.Add(-ago)
		b.beats["crm-1"] = oprc.Heartbeat{CRM: "crm-1", Time: last, Since: last, Availability: .9}
		run(t, b, nil)
		if got := b.beats["crm-1"]; got.Time.Equal(start) != want || got.Availability != .9 || !got.Since.Equal(last) {
			t.Errorf("heard last %s ago, and now of a unit: got %+v", ago, got)
		}
	}
}
