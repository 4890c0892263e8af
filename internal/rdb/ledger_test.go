package rdb_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

func isNotFound(err error) bool { return errors.Is(err, oprc.ErrNotFound) }

func TestLease(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		acquire := func(holder string, ttl time.Duration) (int64, bool) {
			t.Helper()
			token, ok, err := db.Acquire(t.Context(), holder, ttl)
			if err != nil {
				t.Fatal(err)
			}
			return token, ok
		}
		first, ok := acquire("a", time.Minute)
		if !ok || first == 0 {
			t.Fatalf("got %d, %v for a free lease", first, ok)
		}
		if again, ok := acquire("a", time.Millisecond); !ok || again != first {
			t.Errorf("renewing: got %d, %v, want %d", again, ok, first)
		}
		acquire("a", time.Minute)
		if theirs, ok := acquire("b", time.Minute); ok || theirs != first {
			t.Errorf("held by a: got %d, %v", theirs, ok)
		}
		acquire("a", time.Millisecond)
		time.Sleep(5 * time.Millisecond)
		second, ok := acquire("b", time.Minute)
		if !ok || second <= first {
			t.Errorf("over: got %d, %v, want more than %d", second, ok, first)
		}
		if err := db.Release(t.Context(), "a", first); err != nil {
			t.Fatal(err)
		}
		if _, ok := acquire("c", time.Minute); ok {
			t.Error("a former holder released the lease of the next")
		}
		if err := db.Release(t.Context(), "b", second); err != nil {
			t.Fatal(err)
		}
		third, ok := acquire("c", time.Minute)
		if !ok || third <= second {
			t.Errorf("released: got %d, %v, want more than %d", third, ok, second)
		}
	})
}

func TestFormerLeaderWritesNothing(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		old, _, _ := db.Acquire(t.Context(), "a", time.Millisecond)
		u := unit("shop.record", 0, 0, "edge")
		if err := db.Dispatch(t.Context(), "edge", []oprc.Command{command(u, oprc.Deploy, 1)}, old); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		now, ok, err := db.Acquire(t.Context(), "b", time.Minute)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if err := db.Dispatch(t.Context(), "edge", []oprc.Command{command(u, oprc.Deploy, 2)}, now); err != nil {
			t.Fatal(err)
		}
		before := must(db.Live(t.Context()))(t)
		c := shop()
		c.Fence = old
		for name, err := range map[string]error{
			"commit":   write(t, db, c),
			"dispatch": db.Dispatch(t.Context(), "edge", []oprc.Command{command(u, oprc.Deploy, 3)}, old),
			"source":   db.PutSource(t.Context(), oprc.SourceStatus{Name: "main"}, nil, old),
			"sources":  db.DropSources(t.Context(), []string{"main"}, old),
			"event":    db.Emit(t.Context(), []oprc.Event{{Type: "x"}}, old),
			"new env":  db.Dispatch(t.Context(), "new", []oprc.Command{command(unit("shop.record", 0, 0, "new"), oprc.Deploy, 1)}, old),
		} {
			if !errors.Is(err, oprc.ErrFenced) || !errors.Is(err, oprc.ErrConflict) {
				t.Errorf("%s: got %v, want fenced", name, err)
			}
		}
		equal(t, must(db.Live(t.Context()))(t), before)
		equal(t, must(db.Sources(t.Context()))(t), nil)
		c.Fence = now
		if err := write(t, db, c); err != nil {
			t.Error(err)
		}
		if err := db.Release(t.Context(), "b", now); err != nil {
			t.Fatal(err)
		}
		if err := write(t, db, reconcile.Commit{Fence: now}); !errors.Is(err, oprc.ErrFenced) {
			t.Errorf("after release: got %v, want fenced", err)
		}
	})
}

// A new leader that has nothing to tell an environment keeps the old one from
// writing there nevertheless.
func TestFormerLeaderIsFencedEverywhere(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		old, _, _ := db.Acquire(t.Context(), "a", time.Millisecond)
		u := unit("shop.record", 0, 0, "edge")
		if err := db.Dispatch(t.Context(), "edge", []oprc.Command{command(u, oprc.Deploy, 1)}, old); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		now, _, _ := db.Acquire(t.Context(), "b", time.Minute)
		if err := db.Fence(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		next := []oprc.Command{command(u, oprc.Deploy, 2)}
		// As if the old leader had been stopped behind its first look at the catalogue.
		if err := rdb.DispatchOnly(db, t.Context(), "edge", next, old); !errors.Is(err, oprc.ErrFenced) {
			t.Errorf("the former leader: got %v, want fenced", err)
		}
		if err := db.Fence(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if err := db.Dispatch(t.Context(), "edge", next, now); err != nil {
			t.Errorf("the leader: %v", err)
		}
	})
}

// When Redis lost everything, tokens still grow: a leader that slept through it is
// fenced off.
func TestTokensGrowAcrossFlush(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		old, _, _ := db.Acquire(t.Context(), "a", time.Minute)
		time.Sleep(2 * time.Millisecond)
		rdbtest.Flush(t, raw(t, url))
		if now, ok, err := db.Acquire(t.Context(), "b", time.Minute); err != nil || !ok || now <= old {
			t.Errorf("got %d, %v, %v; want more than %d", now, ok, err, old)
		}
	})
}

func TestEventsAndHistory(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		equal(t, must(db.LastEvent(t.Context()))(t), "0-0")
		if err := write(t, db, shop()); err != nil {
			t.Fatal(err)
		}
		last := must(db.LastEvent(t.Context()))(t)
		var emitted []oprc.Event
		for i := range 5 {
			emitted = append(emitted, oprc.Event{Time: at(i), Type: "condition", Kind: oprc.KindUnit, Key: fmt.Sprint(i)})
		}
		if err := db.Emit(t.Context(), emitted, 0); err != nil {
			t.Fatal(err)
		}
		keys := func(events []oprc.Event, err error) []string {
			t.Helper()
			var out []string
			for _, e := range must(events, err)(t) {
				out = append(out, e.Key)
			}
			return out
		}
		equal(t, keys(db.Events(t.Context(), "", 3)), []string{"2", "3", "4"})
		equal(t, keys(db.Events(t.Context(), last, 3)), []string{"0", "1", "2"})
		equal(t, keys(db.WatchEvents(t.Context(), last, 0)), []string{"0", "1", "2", "3", "4"})
		equal(t, keys(db.WatchEvents(t.Context(), "", 0)), []string{"shop", "0", "1", "2", "3", "4"})
		newest := must(db.LastEvent(t.Context()))(t)
		start := time.Now()
		equal(t, keys(db.WatchEvents(t.Context(), newest, 50*time.Millisecond)), nil)
		if took := time.Since(start); took < 40*time.Millisecond {
			t.Errorf("did not wait: %v", took)
		}
		if _, err := db.Events(t.Context(), "yesterday", 3); !errors.Is(err, oprc.ErrInvalid) {
			t.Errorf("got %v, want invalid", err)
		}

		c := shop()
		c.History["shop"] = oprc.HistoryEntry{Time: at(2), Rev: 2, Action: "update", Origin: "cli"}
		if err := write(t, db, c); err != nil {
			t.Fatal(err)
		}
		history := must(db.History(t.Context(), "shop", 10))(t)
		for i := range history {
			if history[i].ID == "" {
				t.Error("an entry has no id")
			}
			history[i].ID = ""
		}
		equal(t, history, []oprc.HistoryEntry{c.History["shop"], shop().History["shop"]})
		equal(t, len(must(db.History(t.Context(), "shop", 1))(t)), 1)
	})
}

func TestSources(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		s := oprc.SourceStatus{Name: "main", URL: "https://git.example/x.git", Revision: "abc", LastTick: at(3)}
		if err := db.PutSource(t.Context(), s, nil, 0); err != nil {
			t.Fatal(err)
		}
		if err := db.PutSource(t.Context(), oprc.SourceStatus{Name: "left"}, nil, 0); err != nil {
			t.Fatal(err)
		}
		token, _, err := db.Acquire(t.Context(), "a", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.DropSources(t.Context(), []string{"left", "never there"}, token); err != nil {
			t.Fatal(err)
		}
		equal(t, must(db.Sources(t.Context()))(t), map[string]oprc.SourceStatus{"main": s})
		if err := write(t, db, reconcile.Commit{Delete: []reconcile.Ref{{Kind: oprc.KindSource, Key: "main"}}}); err != nil {
			t.Fatal(err)
		}
		equal(t, must(db.Sources(t.Context()))(t), nil)
	})
}

func TestDeadLetters(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		bad := with(statusFields("1", "GREAT"), "replicas", `["a"]`)
		id := send(t, url, bad)
		huge := send(t, url, map[string]string{"crm": string(make([]byte, 100<<10))})
		for _, e := range reports(t, db, "one") {
			for range 2 { // the second time it is buried already
				if err := db.Bury(t.Context(), "edge", e, e.Err.Error()); err != nil {
					t.Fatal(err)
				}
			}
		}
		equal(t, reportIDs(reports(t, db, "one")), nil)
		dead := must(db.Dead(t.Context(), "edge", 10))(t)
		equal(t, len(dead), 2)
		equal(t, dead[1], oprc.DeadEntry{
			ID: dead[1].ID, Env: "edge", Stream: "reports", Entry: id, By: "package-manager", Time: dead[1].Time, Fields: bad,
			Reason: `condition: "GREAT" is none of PENDING, DEPLOYING, RUNNING, DOWN, DELETED`,
		})
		if age := time.Since(dead[1].Time); age.Abs() > time.Minute {
			t.Errorf("a letter says that it is %s old", age)
		}
		equal(t, []any{dead[0].Entry, dead[0].Truncated, len(dead[0].Fields["crm"])}, []any{huge, true, 64 << 10})

		if err := db.RetryDead(t.Context(), "edge", dead[0].ID); !errors.Is(err, oprc.ErrInvalid) {
			t.Errorf("a cut letter: got %v, want invalid", err)
		}
		if err := db.RetryDead(t.Context(), "edge", dead[1].ID); err != nil {
			t.Fatal(err)
		}
		if err := db.RetryDead(t.Context(), "edge", dead[1].ID); !isNotFound(err) {
			t.Errorf("retried twice: got %v, want not found", err)
		}
		again := reports(t, db, "one")
		equal(t, len(again), 1)
		equal(t, again[0].Raw, bad)
		equal(t, must(db.DropDead(t.Context(), "edge", dead[0].ID, "1-1"))(t), int64(1))
		equal(t, must(db.Dead(t.Context(), "edge", 10))(t), nil)
	})
}

func TestTrimKeepsWhatSomebodyNeeds(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, c := open(t, url), raw(t, url)
		trim := func() {
			t.Helper()
			if err := db.Trim(t.Context(), "edge"); err != nil {
				t.Fatal(err)
			}
		}
		left := func() []string {
			t.Helper()
			var ids []string
			for _, m := range must(c.XRange(t.Context(), reportStream, "-", "+").Result())(t) {
				ids = append(ids, m.ID)
			}
			return ids
		}
		trim() // no stream yet
		var ids []string
		for range 6 {
			ids = append(ids, send(t, url, statusFields("1", "RUNNING")))
		}
		trim()
		equal(t, left(), ids) // no group: nobody has read it
		got := must(db.Reports(t.Context(), "edge", "one", 4, 0))(t)
		trim()
		equal(t, left(), ids) // four are pending
		if err := db.Ack(t.Context(), "edge", got[0].ID, got[1].ID, got[3].ID); err != nil {
			t.Fatal(err)
		}
		trim()
		equal(t, left(), ids[2:]) // the third is pending
		if err := c.XGroupCreate(t.Context(), reportStream, "auditor", ids[1]).Err(); err != nil {
			t.Fatal(err)
		}
		if err := db.Ack(t.Context(), "edge", got[2].ID); err != nil {
			t.Fatal(err)
		}
		trim()
		equal(t, left(), ids[2:]) // another group has not read it
		if err := c.XGroupDestroy(t.Context(), reportStream, "auditor").Err(); err != nil {
			t.Fatal(err)
		}
		trim()
		equal(t, left(), ids[4:]) // two were never read
		equal(t, reportIDs(reports(t, db, "one")), ids[4:])
		if err := db.Ack(t.Context(), "edge", ids[4:]...); err != nil {
			t.Fatal(err)
		}
		trim()
		equal(t, left(), nil)
		last := send(t, url, statusFields("1", "RUNNING"))
		equal(t, reportIDs(reports(t, db, "one")), []string{last})
	})
}

func TestEnvironmentsAreDiscovered(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, err := rdb.Open(t.Context(), rdb.Options{URL: url, Keys: rdb.Keys{T: "od[d]*"}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		c := raw(t, url)
		for _, stream := range []string{
			"od[d]*.{env:edge}.reports", "od[d]*.{env:cloud-1}.commands", "oddd.{env:other}.reports", "od[d]*.{env:bad name}.reports",
		} {
			if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []string{"type", "heartbeat"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, must(db.EnvironmentNames(t.Context()))(t), []string{"edge"})
	})
}
