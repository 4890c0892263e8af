package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// wholeHistory is more entries than a package's history keeps.
const wholeHistory = 2000

// moment reads a point in time: RFC 3339, a date, a date and a time (UTC), or how
// long ago.
func moment(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--at %q: say it as 2026-03-01T12:00:00Z, 2026-03-01, or how long ago, such as 90m", text)
}

// past lists the named packages as their histories say that they were.
func (o *getOptions) past(ctx context.Context, s *state, k kindName, names []string) error {
	switch {
	case k.kind != oprc.KindPackage || len(names) == 0:
		return usagef("--at is for packages by name: their histories are what is kept. Try oprc get package NAME --at %s", o.at)
	case o.watch:
		return usagef("--at and --watch exclude each other: the past does not change")
	}
	at, err := moment(o.at, o.now())
	if err != nil {
		return err
	}
	var list []reconcile.Object
	for _, name := range names {
		entries, err := s.History(ctx, name, wholeHistory)
		if err != nil {
			return err
		}
		rec, err := reconcile.RecordAt(entries, at)
		if err != nil {
			return stepError{fmt.Errorf("package %q: %w", name, err), fmt.Sprintf("oprc history %s lists what is known.", name)}
		}
		doc := &reconcile.PackageView{Name: name, PackageRecord: rec, Deployments: []reconcile.DeploymentBrief{}}
		list = append(list, reconcile.Object{Kind: oprc.KindPackage, Key: name, Doc: doc})
	}
	out := o.env.output(o.output)
	out.Mask = o.mask
	if len(list) == 1 {
		return out.Object(list[0])
	}
	return out.Objects(k.kind, list)
}
