package ingest_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func status(gen int64, c oprc.Condition, id string) oprc.Status {
	return oprc.Status{Generation: gen, Condition: c, CRM: "crm-1", Time: noon, ReportID: id}
}

func entry(gen int64, c oprc.Condition, id string) oprc.ReportEntry {
	return oprc.ReportEntry{ID: id, Report: oprc.Report{
		Type: oprc.ReportStatus, CRM: "crm-1", Time: noon, ID: "shop.cart/0/0@edge", Generation: gen, Condition: c,
	}}
}

func TestFold(t *testing.T) {
	conditions := func(cs ...oprc.Condition) []oprc.Condition { return cs }
	tests := map[string]struct {
		record  int64
		old     oprc.Status
		report  oprc.ReportEntry
		want    oprc.Status
		passed  []oprc.Condition
		outcome ingest.Outcome
	}{
		"first report": {
			1,
			oprc.Status{},
			entry(1, oprc.Deploying, "5-0"),
			status(1, oprc.Deploying, "5-0"), conditions(oprc.Deploying), ingest.Folded,
		},
		"skipped DEPLOYING: both are passed through": {
			1,
			oprc.Status{},
			entry(1, oprc.Running, "5-0"),
			status(1, oprc.Running, "5-0"), conditions(oprc.Deploying, oprc.Running), ingest.Folded,
		},
		"confirmed": {
			1, status(1, oprc.Running, "5-0"), entry(1, oprc.Running, "6-0"),
			status(1, oprc.Running, "6-0"), nil, ingest.Folded,
		},
		"same entry twice": {
			1, status(1, oprc.Running, "5-0"), entry(1, oprc.Running, "5-0"),
			status(1, oprc.Running, "5-0"), nil, ingest.Stale,
		},
		"ids are numbers, not strings": {
			1, status(1, oprc.Running, "9-0"), entry(1, oprc.Down, "10-0"),
			status(1, oprc.Down, "10-0"), conditions(oprc.Down), ingest.Folded,
		},
		"later sequence in one millisecond": {
			1, status(1, oprc.Running, "9-9"), entry(1, oprc.Down, "9-10"),
			status(1, oprc.Down, "9-10"), conditions(oprc.Down), ingest.Folded,
		},
		"older generation, later entry": {
			2, status(2, oprc.Running, "5-0"), entry(1, oprc.Down, "99-0"),
			status(2, oprc.Running, "5-0"), nil, ingest.Stale,
		},
		"a new generation starts at PENDING": {
			2, status(1, oprc.Deleted, "5-0"), entry(2, oprc.Deploying, "6-0"),
			status(2, oprc.Deploying, "6-0"), conditions(oprc.Deploying), ingest.Folded,
		},
		"DELETED cannot run again in its generation": {
			1, status(1, oprc.Deleted, "5-0"), entry(1, oprc.Running, "6-0"),
			status(1, oprc.Deleted, "5-0"), nil, ingest.Refused,
		},
		"DEPLOYING cannot become PENDING": {
			1, status(1, oprc.Deploying, "5-0"), entry(1, oprc.Pending, "6-0"),
			status(1, oprc.Deploying, "5-0"), nil, ingest.Refused,
		},
		"a generation nobody dispatched": {
			1, status(1, oprc.Running, "5-0"), entry(7, oprc.Running, "6-0"),
			status(1, oprc.Running, "5-0"), nil, ingest.Future,
		},
		"a unit nobody dispatched": {
			0,
			oprc.Status{},
			entry(1, oprc.Running, "6-0"),
			oprc.Status{},
			nil, ingest.Unknown,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, passed, outcome := ingest.Fold(oprc.UnitRecord{Generation: tc.record}, tc.old, tc.report)
			if d := cmp.Diff(got, tc.want); d != "" {
				t.Errorf("status: -got +want\n%s", d)
			}
			if d := cmp.Diff(passed, tc.passed); d != "" {
				t.Errorf("passed: -got +want\n%s", d)
			}
			if outcome != tc.outcome {
				t.Errorf("outcome: got %v, want %v", outcome, tc.outcome)
			}
		})
	}
}

// Every pair of conditions, against the specification's list written out again.
func TestFoldKnowsEveryTransition(t *testing.T) {
	allowed := map[string]bool{
		"PENDING DEPLOYING": true, "PENDING DOWN": true, "PENDING DELETED": true, "PENDING RUNNING": true,
		"DEPLOYING RUNNING": true, "DEPLOYING DOWN": true, "DEPLOYING DELETED": true,
		"RUNNING DEPLOYING": true, "RUNNING DOWN": true, "RUNNING DELETED": true,
		"DOWN DEPLOYING": true, "DOWN RUNNING": true, "DOWN DELETED": true,
		"DELETED PENDING": true,
	}
	all := []oprc.Condition{oprc.Pending, oprc.Deploying, oprc.Running, oprc.Down, oprc.Deleted}
	for _, from := range all {
		for _, to := range all {
			_, _, outcome := ingest.Fold(oprc.UnitRecord{Generation: 1}, status(1, from, "1-0"), entry(1, to, "2-0"))
			want := ingest.Refused
			if from == to || allowed[string(from+" "+to)] {
				want = ingest.Folded
			}
			if outcome != want {
				t.Errorf("%s -> %s: got %v, want %v", from, to, outcome, want)
			}
		}
	}
}
