package reconcile

import (
	"fmt"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// RecordAt returns a package's record as it was at a time, from its whole history,
// newest first. It is an oprc.ErrNotFound if there was none then, or if the history
// does not reach so far back.
func RecordAt(history []oprc.HistoryEntry, at time.Time) (oprc.PackageRecord, error) {
	history = oprc.Writes(history)
	for _, h := range history {
		if h.Time.After(at) {
			continue
		}
		if h.Spec == nil {
			return oprc.PackageRecord{}, fmt.Errorf("at %s it was deleted, since %s: %w",
				at.UTC().Format(time.RFC3339), h.Time.UTC().Format(time.RFC3339), oprc.ErrNotFound)
		}
		rec := oprc.PackageRecord{
			Spec: *h.Spec, Digest: h.Digest, Rev: h.Rev, Origin: h.Origin, AppliedAt: h.Time, AppliedBy: h.Actor,
		}
		if h.Commit != "" {
			rec.Source = &oprc.SourceRef{Commit: h.Commit}
		}
		return rec, nil
	}
	if n := len(history); n > 0 {
		return oprc.PackageRecord{}, fmt.Errorf("at %s nothing is known of it: its history begins %s: %w",
			at.UTC().Format(time.RFC3339), history[n-1].Time.UTC().Format(time.RFC3339), oprc.ErrNotFound)
	}
	return oprc.PackageRecord{}, fmt.Errorf("it has no history: %w", oprc.ErrNotFound)
}
