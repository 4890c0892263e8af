package rdb_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const turnsKey = "oaas_pm:{catalog}:turns"

// ahead takes or keeps a place, and checks how many are ahead.
func ahead(t *testing.T, db *rdb.DB, place string, join bool, want int) {
	t.Helper()
	if got := must(db.AwaitTurn(t.Context(), place, join))(t); got != want {
		t.Errorf("ahead of %s are %d, want %d", place, got, want)
	}
}

// Whose turn it is writes; the others are refused, until it has written or given up.
func TestTurns(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		write := func(place, pkg string, rev int64) error {
			return write(t, db, reconcile.Commit{Place: place, Packages: map[string]oprc.PackageRecord{pkg: record(pkg, rev, "1")}})
		}
		observe := func(place string, units int) error {
			_, err := db.Observe(t.Context(), must(db.Live(t.Context()))(t).Version, map[string]*oprc.Observation{"edge": {Units: &units}}, 0, place)
			return err
		}
		if err := write("", "a", 1); err != nil {
			t.Fatal("while nobody waits:", err)
		}
		ahead(t, db, "ann", false, -1)
		ahead(t, db, "ann", true, 0)
		ahead(t, db, "bob", true, 1)
		ahead(t, db, "cid", true, 2)
		ahead(t, db, "ann", true, 0)
		for _, place := range []string{"", "bob", "nobody"} {
			if err := write(place, "a", 2); !errors.Is(err, reconcile.ErrQueued) || !errors.Is(err, oprc.ErrConflict) {
				t.Errorf("%q writes while it is the turn of ann: %v", place, err)
			}
			if err := observe(place, 1); !errors.Is(err, reconcile.ErrQueued) {
				t.Errorf("%q observes while it is the turn of ann: %v", place, err)
			}
		}
		if err := errors.Join(observe("ann", 1), write("ann", "a", 2)); err != nil {
			t.Error("the turn of ann:", err)
		}
		ahead(t, db, "ann", false, -1)
		ahead(t, db, "cid", false, 1)
		if err := errors.Join(db.EndTurn(t.Context(), "bob"), write("cid", "b", 1), write("", "b", 2)); err != nil {
			t.Error("after bob gave up:", err)
		}
	})
}

// Who died holds nobody up for long, and neither does what no program of ours wrote.
func TestTurnsOfTheDead(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, redis := open(t, url), raw(t, url)
		next := func(rev int64) error {
			return write(t, db, reconcile.Commit{Packages: map[string]oprc.PackageRecord{"a": record("a", rev, "1")}})
		}
		now := must(redis.Time(t.Context()).Result())(t)
		micro := func(d time.Duration) int64 { return now.Add(d).UnixMicro() }
		for i, alter := range []func() error{
			func() error {
				return redis.HSet(t.Context(), turnsKey, "killed", fmt.Sprint(micro(-time.Minute), micro(-time.Millisecond))).Err()
			},
			func() error {
				return redis.HSet(t.Context(), turnsKey, "for ever", fmt.Sprint(micro(-time.Minute), micro(time.Hour))).Err()
			},
			func() error { return redis.HSet(t.Context(), turnsKey, "junk", "x", "more", "").Err() },
			func() error { return redis.Set(t.Context(), turnsKey, "junk", 0).Err() },
		} {
			if err := alter(); err != nil {
				t.Fatal(err)
			}
			if err := next(int64(i + 1)); err != nil {
				t.Errorf("%d: %v", i, err)
			}
			ahead(t, db, "ann", true, 0)
			if err := db.EndTurn(t.Context(), "ann"); err != nil {
				t.Error(err)
			}
		}
	})
}
