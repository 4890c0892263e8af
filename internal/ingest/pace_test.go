package ingest

import (
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Batches grow while there is more to read, and shrink as soon as one is huge: otherwise a
// process that ran out of memory on a batch does so again.
func TestPace(t *testing.T) {
	of := func(n, bytes int) []oprc.ReportEntry {
		value := strings.Repeat("x", bytes)
		out := make([]oprc.ReportEntry, n)
		for i := range out {
			out[i].Raw = map[string]string{"": value}
		}
		return out
	}
	for name, test := range map[string]struct {
		count int
		batch []oprc.ReportEntry
		want  int
	}{
		"full":                {16, of(16, 1), 32},
		"not full":            {16, of(15, 1), 16},
		"full, at the most":   {mostBatch, of(mostBatch, 1), mostBatch},
		"huge":                {16, of(2, batchBytes/2+1), 4},
		"huge and full":       {2, of(2, batchBytes/2+1), 1},
		"huge, one at a time": {1, of(1, batchBytes+1), 1},
		"as big as it may be": {16, of(2, batchBytes/2), 16},
	} {
		if got := pace(test.count, test.batch); got != test.want {
			t.Errorf("%s: got %d after %d, want %d", name, got, test.count, test.want)
		}
	}
}

// A CRM is silent after the timeout, not at it; both for who says nothing and between two
// messages.
func TestSilentAfterTheTimeout(t *testing.T) {
	now := oprc.ParseStreamID("1700000000000-0").Time()
	for _, test := range []struct {
		after  time.Duration
		silent bool
	}{{-time.Millisecond, false}, {0, false}, {time.Millisecond, true}} {
		last := now.Add(-oprc.HeartbeatTimeout).Add(-test.after)
		if got := (&batch{}).silent("a", last, now); got != test.silent {
			t.Errorf("nothing was said, %s after the timeout: got %t", test.after, got)
		}
		said := oprc.ReportEntry{ID: "1700000000000-0"}
		said.Report.CRM = "a"
		if got := (&batch{beats: []oprc.ReportEntry{said}}).silent("a", last, now); got != test.silent {
			t.Errorf("said something %s after the timeout: got %t", test.after, got)
		}
	}
}
