package reconcile_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

func TestRecordAt(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	spec := func(version string) *oprc.Package { return &oprc.Package{Name: "shop", Version: version} }
	history := []oprc.HistoryEntry{
		{Time: noon.Add(3 * time.Hour), Rev: 1, Action: "create", Spec: spec("3.0.0"), Origin: "cli"},
		{Time: noon.Add(2 * time.Hour), Rev: 3, Action: "delete", Origin: "git:main"},
		{Time: noon.Add(time.Hour), Rev: 2, Action: "update", Spec: spec("2.0.0"), Origin: "git:main", Commit: "abc", Actor: "ann"},
		{Time: noon, Rev: 1, Action: "create", Spec: spec("1.0.0"), Origin: "git:main"},
	}
	for after, want := range map[time.Duration]string{
		-time.Second:     "its history begins 2026-03-01T12:00:00Z",
		0:                "1.0.0",
		59 * time.Minute: "1.0.0",
		time.Hour:        "2.0.0",
		2 * time.Hour:    "deleted, since 2026-03-01T14:00:00Z",
		4 * time.Hour:    "3.0.0",
	} {
		rec, err := reconcile.RecordAt(history, noon.Add(after))
		switch {
		case err != nil:
			if !errors.Is(err, oprc.ErrNotFound) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", after, err, want)
			}
		case rec.Spec.Version != want:
			t.Errorf("%s: %+v, want %s", after, rec, want)
		}
	}
	if rec, _ := reconcile.RecordAt(history, noon.Add(90*time.Minute)); rec.Rev != 2 || rec.Source.Commit != "abc" || rec.AppliedBy != "ann" {
		t.Errorf("got %+v", rec)
	}
	if _, err := reconcile.RecordAt(nil, noon); !errors.Is(err, oprc.ErrNotFound) {
		t.Errorf("no history: %v", err)
	}
}
