package rdb_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A crmSide is a CRM's view of an environment, and a client to look behind it.
type crmSide struct {
	*rdb.DB
	c redis.UniversalClient
}

// onEveryCRMSide runs a test of the CRMs' end on every Redis.
func onEveryCRMSide(t *testing.T, test func(t *testing.T, s crmSide)) {
	t.Helper()
	onEveryRedis(t, func(t *testing.T, url string) { test(t, newCRMSide(t, url)) })
}

func newCRMSide(t *testing.T, url string) crmSide {
	t.Helper()
	db, err := rdb.Open(t.Context(), rdb.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return crmSide{db, raw(t, url)}
}

func edgeUnit(n int) oprc.Command {
	u := oprc.DeploymentUnit{
		ID: oprc.UnitID("shop.cart", n, 0, "edge"), ClsKey: "shop.cart", TargetEnv: "edge",
		Functions: []oprc.UnitFunction{{Key: "shop.add", Image: "a"}}, PartitionInfo: oprc.PartitionInfo{PartitionID: n},
	}
	return oprc.Command{
		Type: oprc.Deploy, ID: u.ID, Generation: 1, SpecHash: oprc.Digest(u), Revision: "abc",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Unit: u,
	}
}

func (s crmSide) dispatch(t *testing.T, cmds ...oprc.Command) {
	t.Helper()
	if err := s.Dispatch(t.Context(), "edge", cmds, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Join(t.Context(), "edge"); err != nil {
		t.Fatal(err)
	}
}

func ids(entries []rdb.CommandEntry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.ID)
	}
	return out
}

func TestCommandsArriveAsTheyWereDispatched(t *testing.T) {
	onEveryCRMSide(t, func(t *testing.T, s crmSide) {
		c := edgeUnit(0)
		s.dispatch(t, c)
		got, err := s.Commands(t.Context(), "edge", "crm-1", 10, 0)
		if err != nil || len(got) != 1 {
			t.Fatalf("got %v, %v", got, err)
		}
		if diff := cmp.Diff(got[0].Command, c); diff != "" || got[0].Err != nil {
			t.Errorf("%v, command (-got +want):\n%s", got[0].Err, diff)
		}
	})
}

func TestBacklogHoldsWhatIsNotAcknowledged(t *testing.T) {
	onEveryCRMSide(t, func(t *testing.T, s crmSide) {
		ctx := t.Context()
		const n = 1200 // more than one page
		var cmds []oprc.Command
		for i := range n {
			cmds = append(cmds, edgeUnit(i))
		}
		s.dispatch(t, cmds...)
		read, err := s.Commands(ctx, "edge", "crm-1", n, 0)
		if err != nil || len(read) != n {
			t.Fatalf("read %d, %v", len(read), err)
		}
		if err := s.AckCommands(ctx, "edge", read[0].StreamID, read[n-1].StreamID); err != nil {
			t.Fatal(err)
		}
		s.c.XTrimMinID(ctx, "oaas.pm.{env:edge}.commands", read[2].StreamID) // entry 1 is gone, and pending
		got, err := s.Backlog(ctx, "edge", "crm-1", func(id string) bool { return id == read[3].StreamID })
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Concat(ids(read[2:3]), ids(read[4:n-1]))
		if diff := cmp.Diff(ids(got), want); diff != "" {
			t.Errorf("backlog (-got +want):\n%s", diff)
		}
		if p := s.c.XPending(ctx, "oaas.pm.{env:edge}.commands", "crm").Val(); p.Count != n-3 {
			t.Errorf("pending: got %d, want %d without the trimmed one", p.Count, n-3)
		}
		if other, err := s.Backlog(ctx, "edge", "crm-2", func(string) bool { return false }); err != nil || len(other) > 0 {
			t.Errorf("a colleague's backlog: %v, %v", ids(other), err)
		}
	})
}

func TestCommandsChangeHands(t *testing.T) {
	onEveryCRMSide(t, func(t *testing.T, s crmSide) {
		ctx := t.Context()
		s.dispatch(t, edgeUnit(0), edgeUnit(1))
		read, err := s.Commands(ctx, "edge", "crm-1", 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.ClaimCommands(ctx, "edge", "crm-2", time.Minute); err != nil || len(got) > 0 {
			t.Errorf("claimed what is fresh: %v, %v", ids(got), err)
		}
		if err := s.HandCommands(ctx, "edge", "crm-2", read[1].StreamID); err != nil {
			t.Fatal(err)
		}
		none := func(string) bool { return false }
		if got, err := s.Backlog(ctx, "edge", "crm-2", none); err != nil || !slices.Equal(ids(got), ids(read[1:])) {
			t.Errorf("handed: %v, %v", ids(got), err)
		}
		time.Sleep(20 * time.Millisecond)
		if got, err := s.ClaimCommands(ctx, "edge", "crm-3", 10*time.Millisecond); err != nil || !slices.Equal(ids(got), ids(read)) {
			t.Errorf("claimed: %v, %v", ids(got), err)
		}
	})
}

func TestLostGroupIsTold(t *testing.T) {
	onEveryCRMSide(t, func(t *testing.T, s crmSide) {
		ctx := t.Context()
		s.dispatch(t)
		if err := s.Join(ctx, "edge"); err != nil {
			t.Fatal(err)
		}
		flushed := make(chan struct{})
		time.AfterFunc(100*time.Millisecond, func() { defer close(flushed); rdbtest.Flush(t, s.c) })
		_, blocked := s.Commands(ctx, "edge", "crm-1", 1, time.Second)
		<-flushed
		_, next := s.Commands(ctx, "edge", "crm-1", 1, 0)
		_, backlog := s.Backlog(ctx, "edge", "crm-1", func(string) bool { return false })
		_, claim := s.ClaimCommands(ctx, "edge", "crm-1", time.Minute)
		for name, err := range map[string]error{"while it waits": blocked, "then": next, "backlog": backlog, "claim": claim} {
			if !errors.Is(err, rdb.ErrNoGroup) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}

func TestUnitsHaveOneLivingOwner(t *testing.T) {
	onEveryCRMSide(t, func(t *testing.T, s crmSide) {
		ctx := t.Context()
		units := []string{"u1", "u2"}
		for _, crm := range []string{"crm-1", "crm-2"} {
			if held, _, err := s.SignIn(ctx, "edge", crm, ""); held || err != nil {
				t.Fatalf("first lease of %s: held %v, %v", crm, held, err)
			}
		}
		own := func(crm string) map[string]string {
			t.Helper()
			got, err := s.Own(ctx, "edge", crm, units, false)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		own("crm-1")
		if diff := cmp.Diff(own("crm-2"), map[string]string{"u1": "crm-1", "u2": "crm-1"}); diff != "" {
			t.Errorf("while crm-1 lives (-got +want):\n%s", diff)
		}
		held, colleagues, err := s.SignIn(ctx, "edge", "crm-2", "")
		if !held || !slices.Equal(colleagues, []string{"crm-1"}) || err != nil {
			t.Errorf("second lease: %v, %v, %v", held, colleagues, err)
		}
		ago := time.Now().Add(-oprc.HeartbeatTimeout - time.Second).UnixMilli()
		s.c.HSet(ctx, "oaas_pm:{env:edge}:leases", "crm-1", fmt.Sprint(ago))
		if _, colleagues, _ = s.SignIn(ctx, "edge", "crm-2", ""); len(colleagues) > 0 {
			t.Errorf("colleagues after the lease ran out: %v", colleagues)
		}
		if diff := cmp.Diff(own("crm-2"), map[string]string{"u1": "crm-2", "u2": "crm-2"}); diff != "" {
			t.Errorf("after the lease ran out (-got +want):\n%s", diff)
		}
		if held, _, _ = s.SignIn(ctx, "edge", "crm-1", ""); held {
			t.Error("a lease that ran out is said to be held")
		}
		if err := s.SignOut(ctx, "edge", "crm-2", []string{"u1"}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(own("crm-1"), map[string]string{"u1": "crm-1", "u2": "crm-1"}); diff != "" {
			t.Errorf("after crm-2 signed out (-got +want):\n%s", diff)
		}
	})
}

func TestSettleReportsAndAcknowledgesOrDoesNeither(t *testing.T) {
	onEveryCRMSide(t, func(t *testing.T, s crmSide) {
		ctx := t.Context()
		s.dispatch(t, edgeUnit(0), edgeUnit(1))
		read, err := s.Commands(ctx, "edge", "crm-1", 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, crm := range []string{"crm-1", "crm-2"} {
			if _, _, err := s.SignIn(ctx, "edge", crm, ""); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Own(ctx, "edge", "crm-1", ids(read[:1]), false); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Own(ctx, "edge", "crm-2", ids(read[1:]), false); err != nil {
			t.Fatal(err)
		}
		var batch []rdb.Settlement
		for _, e := range read {
			batch = append(batch, rdb.Settlement{
				Report: oprc.Report{
					Type: oprc.ReportStatus, CRM: "crm-1", Time: e.Time, ID: e.ID, Generation: 1, SpecHash: e.SpecHash,
					Condition: oprc.Running, Replicas: []string{"r"}, Functions: map[string]oprc.FunctionStatus{"shop.add": {Condition: oprc.Running}},
				},
				Acks: []string{e.StreamID},
			})
		}
		done, err := s.Settle(ctx, "edge", "crm-1", batch)
		if err != nil {
			t.Fatal(err)
		}
		reports, err := s.Reports(ctx, "edge", "c", 10, 0)
		if err != nil || len(reports) != 1 {
			t.Fatalf("reports: %v, %v", reports, err)
		}
		if diff := cmp.Diff(done, []string{reports[0].ID, ""}); diff != "" {
			t.Errorf("answers (-got +want):\n%s", diff)
		}
		if diff := cmp.Diff(reports[0].Report, batch[0].Report); diff != "" || reports[0].Err != nil {
			t.Errorf("%v, report (-got +want):\n%s", reports[0].Err, diff)
		}
		if p := s.c.XPending(ctx, "oaas.pm.{env:edge}.commands", "crm").Val(); p.Count != 1 {
			t.Errorf("pending: got %d, want the colleague's 1", p.Count)
		}
	})
}

// What waits unread need not be said again: not to a group that was given it, not where
// there is no group, and not when it is gone.
func TestReportIsLeftOutWhileAnEarlierOneWaits(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		const stream = "oaas.pm.{env:edge}.reports"
		db, c, ctx := open(t, url), raw(t, url), t.Context()
		beat := oprc.Report{Type: oprc.ReportHeartbeat, CRM: "a", Time: at(1)}
		say := func(unless string) string {
			t.Helper()
			return must(db.Report(ctx, "edge", beat, unless))(t)
		}
		first := say("")
		if second := say(first); second != "" {
			t.Errorf("nobody has ever read, and it was said again: %s", second)
		}
		equal(t, reportIDs(reports(t, db, "one")), []string{first})
		second := say(first)
		if second == "" {
			t.Fatal("it was read, and not said again")
		}
		if third := say(second); third != "" {
			t.Errorf("it waits, and was said again: %s", third)
		}
		if err := c.XGroupCreate(ctx, stream, "other", second).Err(); err != nil {
			t.Fatal(err)
		}
		third := say(second) // one group was given it
		if third == "" || say(third) != "" {
			t.Errorf("got %q", third)
		}
		if err := c.XDel(ctx, stream, third).Err(); err != nil {
			t.Fatal(err)
		}
		if say(third) == "" {
			t.Error("the one that should wait is gone, and it was not said again")
		}
	})
}

// A command is acknowledged also when the report that answers it waits already.
func TestSettleAcknowledgesWithAReportThatWaits(t *testing.T) {
	onEveryCRMSide(t, func(t *testing.T, s crmSide) {
		ctx := t.Context()
		c := edgeUnit(0)
		s.dispatch(t, c, c)
		read, err := s.Commands(ctx, "edge", "crm-1", 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		unless := ""
		var got []string
		for _, e := range read {
			report := oprc.Report{Type: oprc.ReportStatus, CRM: "crm-1", Time: c.Time, ID: c.ID, Generation: 1, SpecHash: c.SpecHash, Condition: oprc.Running}
			ids, err := s.Settle(ctx, "edge", "crm-1", []rdb.Settlement{{Report: report, Acks: []string{e.StreamID}, Unless: unless}})
			if err != nil {
				t.Fatal(err)
			}
			got, unless = append(got, ids...), ids[0]
		}
		if len(got) != 2 || got[0] == "" || got[0] != got[1] {
			t.Errorf("got %q, want one stream id twice", got)
		}
		left := map[string]int64{
			"reports": s.c.XLen(ctx, "oaas.pm.{env:edge}.reports").Val(),
			"pending": s.c.XPending(ctx, "oaas.pm.{env:edge}.commands", "crm").Val().Count,
		}
		if diff := cmp.Diff(left, map[string]int64{"reports": 1, "pending": 0}); diff != "" {
			t.Errorf("-got +want:\n%s", diff)
		}
	})
}

// A Redis that is full refuses the report, so the command stays.
func TestSettleOnAFullRedis(t *testing.T) {
	onServers(t, func(t *testing.T, url string) { // memory of miniredis has no bound
		s := newCRMSide(t, url)
		ctx := t.Context()
		s.dispatch(t, edgeUnit(0))
		read, err := s.Commands(ctx, "edge", "crm-1", 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		memory := func(ctx context.Context, most string) {
			err := rdb.EachMaster(ctx, s.c, func(ctx context.Context, c *redis.Client) error { return c.ConfigSet(ctx, "maxmemory", most).Err() })
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { memory(context.Background(), "0") })
		memory(ctx, "1")
		batch := []rdb.Settlement{{Report: oprc.Report{Type: oprc.ReportStatus, CRM: "crm-1", ID: read[0].ID, Generation: 1}, Acks: []string{read[0].StreamID}}}
		if done, err := s.Settle(ctx, "edge", "crm-1", batch); err == nil || len(done) > 0 {
			t.Errorf("got %v, %v", done, err)
		}
		if p := s.c.XPending(ctx, "oaas.pm.{env:edge}.commands", "crm").Val(); p.Count != 1 {
			t.Errorf("pending: got %d, want 1", p.Count)
		}
	})
}

func TestHeartbeatsArriveAsTheyWereSent(t *testing.T) {
	onEveryCRMSide(t, func(t *testing.T, s crmSide) {
		ctx := t.Context()
		want := oprc.Report{
			Type: oprc.ReportHeartbeat, CRM: "crm-1", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			Availability: 0.999, Capacity: &oprc.Capacity{CPU: "8", Units: new(3)}, Templates: []string{"gpu"},
		}
		if _, err := s.Report(ctx, "edge", want, ""); err != nil {
			t.Fatal(err)
		}
		got, err := s.Reports(ctx, "edge", "c", 10, 0)
		if err != nil || len(got) != 1 {
			t.Fatalf("got %v, %v", got, err)
		}
		if diff := cmp.Diff(got[0].Report, want); diff != "" || got[0].Err != nil {
			t.Errorf("%v, heartbeat (-got +want):\n%s", got[0].Err, diff)
		}
	})
}

func TestBuriedCommandCanBeSentAgain(t *testing.T) {
	onEveryCRMSide(t, func(t *testing.T, s crmSide) {
		ctx := t.Context()
		s.dispatch(t, edgeUnit(0))
		read, err := s.Commands(ctx, "edge", "crm-1", 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // two CRMs that were given it, or one that is not sure
			if err := s.BuryCommand(ctx, "edge", "crm-1", read[0], "no room"); err != nil {
				t.Fatal(err)
			}
		}
		letters, err := s.Dead(ctx, "edge", 10)
		if err != nil || len(letters) != 1 || letters[0].Reason != "no room" || letters[0].By != "crm-1" {
			t.Fatalf("got %v, %v", letters, err)
		}
		if err := s.RetryDead(ctx, "edge", letters[0].ID); err != nil {
			t.Fatal(err)
		}
		again, err := s.Commands(ctx, "edge", "crm-1", 10, 0)
		if err != nil || len(again) != 1 {
			t.Fatalf("got %v, %v", again, err)
		}
		if diff := cmp.Diff(again[0].Command, read[0].Command); diff != "" {
			t.Errorf("command (-got +want):\n%s", diff)
		}
	})
}

// Two processes under one id would both take the other's units for their own.
func TestOneProcessHasACRMsID(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, ctx := open(t, url), t.Context()
		for range 2 {
			if _, _, err := db.SignIn(ctx, "edge", "crm-1", "first"); err != nil {
				t.Fatal(err)
			}
		}
		_, _, err := db.SignIn(ctx, "edge", "crm-1", "second")
		if taken, is := errors.AsType[*rdb.TakenError](err); !is || taken.CRM != "crm-1" || taken.Age > oprc.HeartbeatTimeout {
			t.Fatalf("another process under the id of a living one: %v", err)
		}
		long := time.Now().Add(-oprc.HeartbeatTimeout - time.Minute).UnixMilli()
		if err := raw(t, url).HSet(ctx, "oaas_pm:{env:edge}:leases", "crm-1", long).Err(); err != nil {
			t.Fatal(err)
		}
		if held, _, err := db.SignIn(ctx, "edge", "crm-1", "second"); held || err != nil {
			t.Errorf("the id of one that is gone: held %v, %v", held, err)
		}
		if _, _, err = db.SignIn(ctx, "edge", "crm-1", "first"); err == nil {
			t.Error("the first one comes back, and is not refused")
		}
		if err := db.SignOut(ctx, "edge", "crm-1", nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := db.SignIn(ctx, "edge", "crm-1", "first"); err != nil {
			t.Errorf("after a sign-out: %v", err)
		}
	})
}
