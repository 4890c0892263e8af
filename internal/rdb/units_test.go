package rdb_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

const commandStream = "oaas.pm.{env:edge}.commands"

// commands lists type, id and generation of all queued commands.
func commands(t testing.TB, url string) []string {
	t.Helper()
	entries, err := raw(t, url).XRange(t.Context(), commandStream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%s %s %s", e.Values["type"], e.Values["id"], e.Values["generation"]))
	}
	return out
}

func TestDispatchRecordsAndQueues(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		u := unit("shop.record", 0, 0, "edge")
		c := command(u, oprc.Deploy, 1)
		dispatch(t, db, "edge", c)

		equal(t, must(db.UnitRecords(t.Context(), "edge"))(t), map[string]oprc.UnitRecord{u.ID: {
			Unit: u, SpecHash: c.SpecHash, Generation: 1, Op: oprc.Deploy, Revision: "abc123", DispatchedAt: at(0),
		}})
		entries := must(raw(t, url).XRange(t.Context(), commandStream, "-", "+").Result())(t)
		equal(t, entries[0].Values, map[string]any{
			"type": "deploy", "id": u.ID, "generation": "1", "specHash": c.SpecHash, "revision": "abc123",
			"ts": "2026-03-01T12:00:00Z", "unit": string(oprc.MustCanonical(u)),
		})
		live := must(db.Live(t.Context()))(t)
		equal(t, live.Units, map[string]map[string]oprc.UnitDigest{"edge": {u.ID: {Generation: 1, SpecHash: c.SpecHash}}})
		equal(t, live.Environments["edge"].Units, 1)

		dispatch(t, db, "edge", command(u, oprc.Undeploy, 2))
		live = must(db.Live(t.Context()))(t)
		equal(t, live.Units, map[string]map[string]oprc.UnitDigest{"edge": {u.ID: {Generation: 2}}})
		equal(t, must(raw(t, url).HGet(t.Context(), "oaas_pm:{env:edge}:digests", u.ID).Result())(t), "2 -")
		if _, there := live.Environments["edge"]; there {
			t.Error("an undeclared environment without units and CRMs is still listed")
		}
	})
}

func TestDispatchChecksGenerations(t *testing.T) {
	u, v := unit("shop.record", 0, 0, "edge"), unit("shop.record", 0, 1, "edge")
	other := u
	other.Primary = false
	tests := map[string]struct {
		cmd     oprc.Command
		refused string // "" for none
		queued  bool
		now     int64 // generation recorded afterwards
	}{
		"successor":                       {command(other, oprc.Deploy, 3), "", true, 3},
		"redelivery":                      {command(u, oprc.Deploy, 2), "", true, 2},
		"same generation, other spec":     {command(other, oprc.Deploy, 2), "generation 2, recorded is 2", false, 2},
		"same generation, other op":       {command(u, oprc.Undeploy, 2), "generation 2, recorded is 2", false, 2},
		"older":                           {command(u, oprc.Deploy, 1), "generation 1, recorded is 2", false, 2},
		"from the future":                 {command(u, oprc.Deploy, 5), "generation 5, recorded is 2", false, 2},
		"from the future, not even digit": {command(u, oprc.Undeploy, 1<<53), "generation 9007199254740992, recorded is 2", false, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, url string) {
				db := open(t, url)
				dispatch(t, db, "edge", command(u, oprc.Deploy, 1))
				dispatch(t, db, "edge", command(u, oprc.Deploy, 2))
				err := db.Dispatch(t.Context(), "edge", []oprc.Command{tt.cmd, command(v, oprc.Deploy, 1)}, 0)
				var conflict *oprc.ConflictError
				switch {
				case tt.refused == "" && err != nil:
					t.Fatal(err)
				case tt.refused != "" && !errors.As(err, &conflict):
					t.Fatalf("got %v, want a conflict", err)
				case tt.refused != "":
					equal(t, conflict.Objects, []string{"unit/" + u.ID + ": " + tt.refused})
				}
				want := []string{"deploy " + u.ID + " 1", "deploy " + u.ID + " 2"}
				if tt.queued {
					want = append(want, fmt.Sprintf("%s %s %d", tt.cmd.Type, u.ID, tt.cmd.Generation))
				}
				equal(t, commands(t, url), append(want, "deploy "+v.ID+" 1"))
				equal(t, must(db.UnitRecords(t.Context(), "edge"))(t)[u.ID].Generation, tt.now)
			})
		})
	}
}

func TestDispatchOfThousandsNamesEachRefused(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		var cmds []oprc.Command
		for i := range 1203 {
			cmds = append(cmds, command(unit("shop.record", i, 0, "edge"), oprc.Deploy, 1))
		}
		cmds[3].Generation, cmds[1100].Generation = 9, 9
		err := db.Dispatch(t.Context(), "edge", cmds, 0)
		var conflict *oprc.ConflictError
		if !errors.As(err, &conflict) {
			t.Fatalf("got %v, want a conflict", err)
		}
		equal(t, conflict.Objects, []string{
			"unit/" + cmds[1100].ID + ": generation 9, recorded is 0", "unit/" + cmds[3].ID + ": generation 9, recorded is 0",
		})
		equal(t, len(must(db.UnitRecords(t.Context(), "edge"))(t)), 1201)
		equal(t, len(commands(t, url)), 1201)
	})
}

// Records were lost, a CRM still reports generation 7: the way on is 8, or it would
// take the commands for old ones.
func TestDispatchGoesOnWhereTheCRMIs(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		u := unit("shop.record", 0, 0, "edge")
		dispatch(t, db, "edge", command(u, oprc.Deploy, 1))
		must(db.Fold(t.Context(), "edge", []ingest.StatusWrite{{ID: u.ID, New: status(7, oprc.Running, "1-0")}}, nil, nil))(t)
		equal(t, must(db.Live(t.Context()))(t).Units["edge"][u.ID], oprc.UnitDigest{Generation: 7})
		if err := db.Dispatch(t.Context(), "edge", []oprc.Command{command(u, oprc.Deploy, 9)}, 0); !errors.Is(err, oprc.ErrConflict) {
			t.Errorf("9: got %v, want a conflict", err)
		}
		dispatch(t, db, "edge", command(u, oprc.Deploy, 8))
		if err := db.Dispatch(t.Context(), "edge", []oprc.Command{command(u, oprc.Undeploy, 8)}, 0); !errors.Is(err, oprc.ErrConflict) {
			t.Errorf("8 again: got %v, want a conflict", err)
		}
		dispatch(t, db, "edge", command(u, oprc.Deploy, 9))
	})
}

// A CRM is away while a hundred thousand commands come: the stream stays bounded,
// the records are right.
func TestCommandStreamIsBounded(t *testing.T) {
	onServers(t, func(t *testing.T, url string) { // miniredis can, in seconds
		db, c := open(t, url), raw(t, url)
		if err := db.Join(t.Context(), "edge"); err != nil {
			t.Fatal(err)
		}
		pipe := c.Pipeline()
		for i := range 130_000 {
			pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: commandStream, ID: fmt.Sprintf("1-%d", i+1), Values: []string{"type", "deploy"}})
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		dispatch(t, db, "edge", command(unit("shop.record", 0, 0, "edge"), oprc.Deploy, 1))
		if err := db.Trim(t.Context(), "edge"); err != nil {
			t.Fatal(err)
		}
		left := must(c.XLen(t.Context(), commandStream).Result())(t)
		equal(t, left, 100_000)
		newest := must(c.XRevRangeN(t.Context(), commandStream, "+", "-", 1).Result())(t)
		equal(t, newest[0].Values["id"], any("shop.record/0/0@edge"))
	})
}

// What somebody has pending is not dropped from a stream that is too long, in
// whatever group; what is between and around it is.
func TestPendingCommandsOutliveTheBound(t *testing.T) {
	onServers(t, func(t *testing.T, url string) { // miniredis can, in seconds
		db, c := open(t, url), raw(t, url)
		if err := db.Join(t.Context(), "edge"); err != nil {
			t.Fatal(err)
		}
		fill := func(from, to int) {
			t.Helper()
			pipe := c.Pipeline()
			for i := from; i <= to; i++ {
				pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: commandStream, ID: fmt.Sprintf("1-%d", i), Values: []string{"type", "deploy"}})
			}
			must(pipe.Exec(t.Context()))(t)
		}
		fill(1, 2)
		equal(t, len(must(db.Commands(t.Context(), "edge", "dead", 2, 0))(t)), 2)
		if err := db.AckCommands(t.Context(), "edge", "1-1"); err != nil {
			t.Fatal(err)
		}
		fill(3, 3001)
		if err := c.XGroupCreate(t.Context(), commandStream, "auditor", "1-3000").Err(); err != nil {
			t.Fatal(err)
		}
		must(c.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "auditor", Consumer: "x", Streams: []string{commandStream, ">"}, Count: 1}).Result())(t)
		fill(3002, 112_000)
		if err := db.Trim(t.Context(), "edge"); err != nil {
			t.Fatal(err)
		}
		equal(t, must(c.XLen(t.Context(), commandStream).Result())(t), 100_000)
		var kept []string
		for _, m := range must(c.XRangeN(t.Context(), commandStream, "-", "+", 3).Result())(t) {
			kept = append(kept, m.ID)
		}
		equal(t, kept, []string{"1-2", "1-3001", "1-12003"})
	})
}

func TestBrokenRecordsStopNobody(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, c := open(t, url), raw(t, url)
		u := unit("shop.record", 0, 0, "edge")
		dispatch(t, db, "edge", command(u, oprc.Deploy, 1))
		for _, hash := range []string{"units", "status", "crms", "digests"} {
			if err := c.HSet(t.Context(), "oaas_pm:{env:edge}:"+hash, "broken", "{").Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.HSet(t.Context(), "oaas_pm:{catalog}:environments", "edge", "[").Err(); err != nil {
			t.Fatal(err)
		}
		equal(t, len(must(db.UnitRecords(t.Context(), "edge"))(t)), 1)
		equal(t, len(must(db.Statuses(t.Context(), "edge"))(t)), 0)
		live := must(db.Live(t.Context()))(t)
		equal(t, live.Units["edge"][u.ID].Generation, 1)
		equal(t, live.Environments["edge"].Spec.Name, "edge")
		must(db.Fold(t.Context(), "edge", []ingest.StatusWrite{{ID: "broken", New: status(1, oprc.Running, "1-0")}}, nil, nil))(t)
		equal(t, must(db.Statuses(t.Context(), "edge"))(t), map[string]oprc.Status{"broken": status(1, oprc.Running, "1-0")})
		if err := db.Heartbeat(t.Context(), "edge", []oprc.Heartbeat{{CRM: "broken", Time: at(0)}}); err != nil {
			t.Error(err)
		}
		equal(t, beats(t, db), []oprc.Heartbeat{{CRM: "broken", Time: at(0)}})
	})
}

func TestForgetDropsWhatIsGone(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, ctx := open(t, url), t.Context()
		gone, running, again, older := unit("shop.record", 0, 0, "edge"), unit("shop.record", 0, 1, "edge"), unit("shop.record", 0, 2, "edge"), unit("shop.record", 0, 3, "edge")
		var writes []ingest.StatusWrite
		deleted := map[string]int64{}
		for _, u := range []oprc.DeploymentUnit{gone, running, again, older} {
			dispatch(t, db, "edge", command(u, oprc.Deploy, 1), command(u, oprc.Undeploy, 2))
			st := status(2, oprc.Deleted, "2-0")
			if u.ID == running.ID {
				st.Condition = oprc.Running
			}
			writes = append(writes, ingest.StatusWrite{ID: u.ID, New: st})
			deleted[u.ID] = 2
		}
		deleted[older.ID] = 1
		must(db.Fold(ctx, "edge", writes, nil, nil))(t)
		dispatch(t, db, "edge", command(again, oprc.Deploy, 3))
		if err := db.Fence(ctx, 7); err != nil {
			t.Fatal(err)
		}
		if err := db.Forget(ctx, "edge", deleted, 6); !errors.Is(err, oprc.ErrFenced) {
			t.Errorf("a former leader: got %v, want fenced", err)
		}
		equal(t, len(must(db.Statuses(ctx, "edge"))(t)), 4)
		if err := db.Forget(ctx, "edge", deleted, 7); err != nil {
			t.Fatal(err)
		}
		left := must(db.Statuses(ctx, "edge"))(t)
		for _, u := range []oprc.DeploymentUnit{running, again, older} {
			if _, there := left[u.ID]; !there {
				t.Errorf("%s was forgotten", u.ID)
			}
		}
		equal(t, len(left), 3)
		equal(t, len(must(db.UnitRecords(ctx, "edge"))(t)), 3)
		equal(t, len(must(db.UnitDigests(ctx, "edge"))(t)), 3)
	})
}

func TestHowFarCommandsHaveCome(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, ctx := open(t, url), t.Context()
		come := func(read, last string, held map[string]int64) {
			t.Helper()
			r, l, err := db.CommandsRead(ctx, "edge")
			if err != nil || r != read || l != last {
				t.Errorf("read up to %s of %s, %v; want %s of %s", r, l, err, read, last)
			}
			h, err := db.CommandsHeld(ctx, "edge")
			if err != nil {
				t.Error(err)
			}
			equal(t, h, held)
		}
		come("0-0", "0-0", nil)
		var cmds []oprc.Command
		for i := range 3 {
			cmds = append(cmds, command(unit("shop.cart", i, 0, "edge"), oprc.Deploy, 1))
		}
		dispatch(t, db, "edge", cmds...)
		stream := must(raw(t, url).XRange(ctx, commandStream, "-", "+").Result())(t)
		come("0-0", stream[2].ID, nil)
		if err := db.Join(ctx, "edge"); err != nil {
			t.Fatal(err)
		}
		come("0-0", stream[2].ID, nil)
		if _, err := db.Commands(ctx, "edge", "a", 2, time.Second); err != nil {
			t.Fatal(err)
		}
		come(stream[1].ID, stream[2].ID, map[string]int64{cmds[0].ID: 1, cmds[1].ID: 1})
		if err := db.AckCommands(ctx, "edge", stream[0].ID); err != nil {
			t.Fatal(err)
		}
		come(stream[1].ID, stream[2].ID, map[string]int64{cmds[1].ID: 1})
		cmds = nil
		for i := range 1200 { // more than one page
			cmds = append(cmds, command(unit("shop.cart", 3+i, 0, "edge"), oprc.Deploy, 1))
		}
		dispatch(t, db, "edge", cmds...)
		if _, err := db.Commands(ctx, "edge", "a", 2000, time.Second); err != nil {
			t.Fatal(err)
		}
		equal(t, len(must(db.CommandsHeld(ctx, "edge"))(t)), 1202)
	})
}

func TestAbandonedCommandsAreNotHeld(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		dispatch(t, db, "edge", command(unit("shop.cart", 0, 0, "edge"), oprc.Deploy, 1))
		if err := (rdb.Probe{DB: db, Env: "edge"}).Abandon(t.Context(), "a", 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		equal(t, must(db.CommandsHeld(t.Context(), "edge"))(t), nil)
	})
}

// A record is canonical JSON, whatever it is put together from.
func TestRecordsAreCanonical(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		cmd := command(unit("shop.cart", 0, 0, "edge"), oprc.Deploy, 1)
		dispatch(t, open(t, url), "edge", cmd)
		want := string(oprc.MustCanonical(oprc.UnitRecord{
			Unit: cmd.Unit, SpecHash: cmd.SpecHash, Generation: 1, Op: oprc.Deploy, Revision: cmd.Revision, DispatchedAt: cmd.Time,
		}))
		equal(t, must(raw(t, url).HGet(t.Context(), "oaas_pm:{env:edge}:units", cmd.ID).Result())(t), want)
	})
}
