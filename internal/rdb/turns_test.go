package rdb_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const turnsKey = "oaas_pm:{catalog}:turns"

// ahead takes or keeps a place, and checks how many are ahead.
func ahead(t *testing.T, db *rdb.DB, place string, join bool, want int) error {
	t.Helper()
	if got := must(db.AwaitTurn(t.Context(), place, join))(t); got != want {
		return fmt.Errorf("ahead of %s are %d, want %d", place, got, want)
	}
	return nil
}

// Whose turn it is writes; the others are refused, until it has written or given up. A place
// is over in three seconds: where the machine stood still for longer than a part of that,
// what was seen says nothing, and is looked at again.
func TestTurns(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		for try := 1; ; try++ {
			began := time.Now()
			err := takeTurns(t, db, fmt.Sprint(" ", try))
			if took := time.Since(began); err == nil || took < 2*time.Second || try == 20 {
				if err != nil {
					t.Errorf("in %s: %v", took, err)
				}
				return
			}
			for _, place := range []string{"ann", "bob", "cid"} {
				if err := db.EndTurn(t.Context(), fmt.Sprint(place, " ", try)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func takeTurns(t *testing.T, db *rdb.DB, run string) error {
	t.Helper()
	ann, bob, cid := "ann"+run, "bob"+run, "cid"+run
	rev := int64(0)
	write := func(place string) error {
		rev++
		return write(t, db, reconcile.Commit{Place: place, Packages: map[string]oprc.PackageRecord{"a" + run: record("a"+run, rev, "1")}})
	}
	observe := func(place string, units int) error {
		_, err := db.Observe(t.Context(), must(db.Live(t.Context()))(t).Version, map[string]*oprc.Observation{"edge": {Units: &units}}, 0, place)
		return err
	}
	if err := write(""); err != nil {
		t.Fatal("while nobody waits:", err)
	}
	wrong := errors.Join(
		ahead(t, db, ann, false, -1), ahead(t, db, ann, true, 0), ahead(t, db, bob, true, 1), ahead(t, db, cid, true, 2), ahead(t, db, ann, true, 0),
	)
	for _, place := range []string{"", bob, "nobody"} {
		if err := write(place); !errors.Is(err, reconcile.ErrQueued) || !errors.Is(err, oprc.ErrConflict) {
			wrong = errors.Join(wrong, fmt.Errorf("%q writes while it is the turn of ann: %w", place, cmp.Or(err, errNone)))
		}
		if err := observe(place, rand.Int()); !errors.Is(err, reconcile.ErrQueued) {
			wrong = errors.Join(wrong, fmt.Errorf("%q observes while it is the turn of ann: %w", place, cmp.Or(err, errNone)))
		}
	}
	return errors.Join(
		wrong, observe(ann, rand.Int()), write(ann),
		ahead(t, db, ann, false, -1), ahead(t, db, cid, false, 1),
		db.EndTurn(t.Context(), bob), write(cid), write(""),
	)
}

var errNone = errors.New("no error")

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
			if err := errors.Join(ahead(t, db, "ann", true, 0), db.EndTurn(t.Context(), "ann")); err != nil {
				t.Error(err)
			}
		}
	})
}
