package rdb_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// asCRM makes a user for the CRMs of environment edge, on each master as long as the
// test runs, and returns a URL for it.
func asCRM(t *testing.T, url string) string {
	t.Helper()
	setEdge(t, url, append([]string{"reset", "on", ">secret"}, (rdb.Keys{}).ACL("edge", true)...)...)
	t.Cleanup(func() {
		_ = rdb.EachMaster(context.Background(), raw(t, url), func(ctx context.Context, c *redis.Client) error { return c.ACLDelUser(ctx, "edge").Err() })
	})
	return strings.Replace(url, "://", "://edge:secret@", 1)
}

func setEdge(t *testing.T, url string, rules ...string) {
	t.Helper()
	err := rdb.EachMaster(t.Context(), raw(t, url), func(ctx context.Context, c *redis.Client) error {
		return c.ACLSetUser(ctx, "edge", rules...).Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// serveEdge does in environment edge all that a CRM does, and returns what failed.
// The generation makes each call another one.
func serveEdge(t *testing.T, daemon *rdb.DB, crm *rdb.DB, direct redis.UniversalClient, generation int64) []string {
	t.Helper()
	ctx := t.Context()
	u, v := unit("shop.record", 0, 0, "edge"), unit("shop.record", 0, 1, "edge")
	dispatch(t, daemon, "edge", command(u, oprc.Deploy, generation), command(v, oprc.Deploy, generation))
	var failed []string
	do := func(what string, err error) {
		if err != nil && !errors.Is(err, redis.Nil) {
			failed = append(failed, what+": "+err.Error())
		}
	}
	do("join", crm.Join(ctx, "edge"))
	_, _, err := crm.SignIn(ctx, "edge", "a", "")
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
	_, err = crm.Backlog(ctx, "edge", "a", func(string) bool { return false })
	do("backlog", err)
	_, err = crm.ClaimCommands(ctx, "edge", "b", 0)
	do("claim", err)
	_, err = crm.Own(ctx, "edge", "a", []string{u.ID}, false)
	do("own", err)
	report := oprc.Report{
		Type: oprc.ReportStatus, CRM: "a", Time: at(0), ID: u.ID, Generation: generation, SpecHash: oprc.Digest(u), Condition: oprc.Running,
	}
	first, err := crm.Report(ctx, "edge", report, "")
	do("report", err)
	_, err = crm.Report(ctx, "edge", report, first)
	do("report again", err)
	if len(cmds) == 2 {
		do("hand", crm.HandCommands(ctx, "edge", "a", cmds[0].StreamID))
		_, err = crm.Settle(ctx, "edge", "a", []rdb.Settlement{{Report: report, Acks: []string{cmds[0].StreamID}}})
		do("settle", err)
		do("bury", crm.BuryCommand(ctx, "edge", "a", cmds[1], "no"))
		do("ack", crm.AckCommands(ctx, "edge", cmds[1].StreamID))
	}
	do("sign out", crm.SignOut(ctx, "edge", "a", []string{u.ID}))
	// What the CRMs in docs/crm and those of other languages do besides.
	for _, line := range []string{
		"PING", "HKEYS oaas_pm:{env:edge}:units", "HGET oaas_pm:{env:edge}:units x", "HGET oaas_pm:{env:edge}:status x",
		"HSCAN oaas_pm:{env:edge}:units 0", "HLEN oaas_pm:{env:edge}:units", "XLEN oaas.pm.{env:edge}.reports",
		"XREVRANGE oaas.pm.{env:edge}.commands + - COUNT 1", "XRANGE oaas.pm.{env:edge}.commands - + COUNT 1",
		"XADD oaas.pm.{env:edge}.dead * reason x",
		"EVAL return(redis.call('XRANGE',KEYS[1],'-','+','COUNT','1')) 1 oaas.pm.{env:edge}.commands",
	} {
		var args []any
		for _, word := range strings.Fields(line) {
			args = append(args, word)
		}
		do(line, direct.Do(ctx, args...).Err())
	}
	return failed
}

func TestACLIsEnough(t *testing.T) {
	onServers(t, func(t *testing.T, url string) { // miniredis knows no ACL
		crmURL := asCRM(t, url)
		equal(t, serveEdge(t, open(t, url), open(t, crmURL), raw(t, crmURL), 1), nil)
	})
}

// Without any one of its rules a CRM cannot do all that it does.
func TestACLRulesAreAllNeeded(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		crmURL := asCRM(t, url)
		daemon, crm, direct := open(t, url), open(t, crmURL), raw(t, crmURL)
		rules, generation := (rdb.Keys{}).ACL("edge", true), int64(0)
		for i, rule := range rules {
			if rule[0] != '+' && !strings.Contains(rule, "~") || slices.Contains(onConnecting, rule) {
				continue
			}
			generation++
			setEdge(t, url, slices.Concat(rules[:i], rules[i+1:])...)
			if failed := serveEdge(t, daemon, crm, direct, generation); len(failed) == 0 {
				t.Errorf("%s is in the rule, and nobody needs it", rule)
			}
		}
	})
}

// onConnecting are what clients ask when they connect, or of a cluster alone; ASKING only
// while a slot moves.
var onConnecting = strings.Fields(`+hello +auth +select +client|setname +command +cluster|slots +cluster|shards +cluster|nodes +readonly +asking`)

func TestACLIsNoMore(t *testing.T) {
	onServers(t, func(t *testing.T, url string) {
		daemon, crmURL := open(t, url), asCRM(t, url)
		if err := write(t, daemon, shop()); err != nil {
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
			"XTRIM oaas.pm.{env:edge}.commands MAXLEN 0", "XGROUP CREATE oaas.pm.{env:edge}.reports mine 0 MKSTREAM", "XGROUP DESTROY oaas.pm.{env:edge}.commands crm",
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
	})
}

// snapshot is every key with its content.
func snapshot(t *testing.T, url string) []string {
	t.Helper()
	var mu sync.Mutex
	var out []string
	err := rdb.EachMaster(t.Context(), raw(t, url), func(ctx context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		keys, err := c.Keys(ctx, "*").Result()
		for _, key := range keys {
			out = append(out, key+" "+c.Dump(ctx, key).Val())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}
