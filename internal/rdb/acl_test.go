package rdb_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// asCRM makes a user for the CRMs of environment edge and returns a URL for it.
func asCRM(t *testing.T, url string) string {
	t.Helper()
	args := []any{"ACL", "SETUSER", "edge", "on", ">secret"}
	for _, rule := range (rdb.Keys{}).ACL("edge") {
		args = append(args, rule)
	}
	if err := raw(t, url).Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	return "redis://edge:secret@" + strings.TrimPrefix(url, "redis://")
}

func TestACLIsEnough(t *testing.T) {
	url := rdbtest.Server(t)
	daemon, crm := open(t, url), open(t, asCRM(t, url))
	ctx := t.Context()
	u, v := unit("shop.record", 0, 0, "edge"), unit("shop.record", 0, 1, "edge")
	dispatch(t, daemon, "edge", command(u, oprc.Deploy, 1), command(v, oprc.Deploy, 1))
	do := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	do("join", crm.Join(ctx, "edge"))
	_, _, err := crm.SignIn(ctx, "edge", "a")
	do("sign in", err)
	_, err = crm.UnitRecords(ctx, "edge")
	do("records", err)
	_, err = crm.UnitRecordsOf(ctx, "edge", []string{u.ID})
	do("some records", err)
	_, err = crm.StatusesOf(ctx, "edge", []string{u.ID})
	do("statuses", err)
	_, err = crm.UnitDigests(ctx, "edge")
	do("digests", err)
	cmds, err := crm.Commands(ctx, "edge", "a", 10, time.Millisecond)
	do("commands", err)
	if len(cmds) != 2 {
		t.Fatalf("got %d commands, want 2", len(cmds))
	}
	_, err = crm.Backlog(ctx, "edge", "a", func(string) bool { return false })
	do("backlog", err)
	_, err = crm.ClaimCommands(ctx, "edge", "b", 0)
	do("claim", err)
	do("hand", crm.HandCommands(ctx, "edge", "a", cmds[0].StreamID))
	_, err = crm.Own(ctx, "edge", "a", []string{u.ID}, false)
	do("own", err)
	report := oprc.Report{
		Type: oprc.ReportStatus, CRM: "a", Time: at(0), ID: u.ID, Generation: 1, SpecHash: cmds[0].SpecHash, Condition: oprc.Running,
	}
	_, err = crm.Settle(ctx, "edge", "a", []rdb.Settlement{{Report: report, Acks: []string{cmds[0].StreamID}}})
	do("settle", err)
	do("report", crm.Report(ctx, "edge", report))
	do("bury", crm.BuryCommand(ctx, "edge", "a", cmds[1], "no"))
	do("ack", crm.AckCommands(ctx, "edge", cmds[1].StreamID))
	do("sign out", crm.SignOut(ctx, "edge", "a", []string{u.ID}))
	equal(t, len(reports(t, daemon, "one")), 2)
}

func TestACLIsNoMore(t *testing.T) {
	url := rdbtest.Server(t)
	daemon, crmURL := open(t, url), asCRM(t, url)
	if err := daemon.Commit(t.Context(), shop()); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{"edge", "edge-2"} {
		dispatch(t, daemon, env, command(unit("shop.record", 0, 0, env), oprc.Deploy, 1))
	}
	before := snapshot(t, url)
	c := raw(t, crmURL)
	forbidden := []string{
		"HGETALL oaas_pm:{catalog}:packages", "HGETALL oaas_pm:{env:edge-2}:units", "HGETALL oaas_pm:{env:edge}:crms",
		"HSET oaas_pm:{env:edge}:units x {}", "HSET oaas_pm:{env:edge}:digests x 9", "HSET oaas_pm:{env:edge}:status x {}",
		"HDEL oaas_pm:{env:edge}:units shop.record/0/0@edge", "DEL oaas_pm:{env:edge}:units", "DEL oaas.pm.{env:edge}.commands",
		"XADD oaas.pm.{env:edge-2}.reports * type heartbeat", "XADD oaas.pm.{catalog}.events * event {}",
		"XTRIM oaas.pm.{env:edge}.commands MAXLEN 0", "XGROUP DESTROY oaas.pm.{env:edge}.commands crm",
		"FLUSHALL", "FLUSHDB", "CONFIG GET *", "KEYS *", "SCAN 0", "ACL LIST", "SHUTDOWN", "OBJECT HELP", "SWAPDB 0 1",
		"SCRIPT FLUSH", "CLIENT LIST", "MONITOR", "PUBLISH x y", "REPLICAOF NO ONE", "EVAL return(redis.call('FLUSHALL')) 0",
		"EVAL return(redis.call('HGETALL','oaas_pm:{catalog}:packages')) 0", "EVAL return(1) 1 oaas_pm:{env:edge-2}:units",
	}
	for _, line := range forbidden {
		args := []any{}
		for _, word := range strings.Fields(line) {
			args = append(args, word)
		}
		if err := c.Do(t.Context(), args...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "executing the script can't") {
			t.Errorf("%s: got %v, want it denied", line, err)
		}
	}
	equal(t, snapshot(t, url), before)
	db := open(t, crmURL)
	if _, err := db.Live(t.Context()); !errors.Is(err, rdb.ErrDenied) {
		t.Errorf("live state: got %v, want denied", err)
	}
}

// snapshot is every key with its content.
func snapshot(t *testing.T, url string) []string {
	t.Helper()
	c := raw(t, url)
	var out []string
	for _, key := range must(c.Keys(t.Context(), "*").Result())(t) {
		dump := must(c.Dump(t.Context(), key).Result())(t)
		out = append(out, key+" "+dump)
	}
	slices.Sort(out)
	return out
}
