package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A poison is an entry that does not belong in its stream.
type poison struct {
	name   string
	reason string // of the dead letter; "": it is absorbed without one
	fields map[string]string
}

// with returns fields with some changed; "" takes one away.
func with(fields map[string]string, changes ...string) map[string]string {
	out := maps.Clone(fields)
	for i := 0; i < len(changes); i += 2 {
		if out[changes[i]] = changes[i+1]; changes[i+1] == "" {
			delete(out, changes[i])
		}
	}
	return out
}

// entries returns the fields of all entries of a stream, oldest first.
func entries(t *testing.T, c *redis.Client, stream string) []map[string]string {
	t.Helper()
	msgs, err := c.XRange(t.Context(), stream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, m := range msgs {
		f := map[string]string{}
		for k, v := range m.Values {
			f[k] = v.(string)
		}
		out = append(out, f)
	}
	return out
}

// badCommands are made from a command that was carried out; stale is one that
// another has followed.
func badCommands(good, stale map[string]string) []poison {
	generation, _ := strconv.Atoi(good["generation"])
	return []poison{
		{"malformed: no fields that we know", `type is "", not deploy or undeploy`, map[string]string{"hello": "world"}},
		{"malformed: no such type", `type is "explode", not deploy or undeploy`, with(good, "type", "explode")},
		{"malformed: unit is no JSON", "unit is no JSON of a deployment unit", with(good, "unit", "{")},
		{"malformed: generation", `generation "many" is no positive whole number`, with(good, "generation", "many")},
		{"huge", "specHash is not the digest of unit", with(good, "unit", strings.Replace(good["unit"], "{", `{"x":"`+strings.Repeat("x", 4<<20)+`",`, 1))},
		{"duplicate", "", good},
		{"duplicate again", "", good},
		{"reordered: an older generation", "", stale},
		{"future generation", fmt.Sprintf("generation %d was never dispatched, the last is %d", generation+7, generation), with(good, "generation", strconv.Itoa(generation+7))},
		{"forged: of another environment", "is of another environment", with(good, "id", strings.Replace(good["id"], "@east", "@west", 1))},
		{"forged: a unit that nobody dispatched", "no unit of this id was ever dispatched", with(good, "type", "undeploy", "id", "evil.c/0/0@east", "unit", "")},
		{"forged: another image", "specHash is not the digest of unit", with(good, "unit", strings.Replace(good["unit"], "registry.example", "evil.example", 1))},
		{"forged: an undeploy under a dispatched generation", "was dispatched as another command", with(good, "type", "undeploy")},
	}
}

// badReports are made from a report that was folded; stale is an older one.
func badReports(good, stale map[string]string) []poison {
	generation, _ := strconv.Atoi(good["generation"])
	return []poison{
		{"malformed: no fields that we know", `crm: "" is no name`, map[string]string{"hello": "world"}},
		{"malformed: no such type", `type: "gossip" is neither status nor heartbeat`, with(good, "type", "gossip")},
		{"malformed: no such condition", `condition: "GREAT" is none of`, with(good, "condition", "GREAT")},
		{"malformed: not UTF-8", "errorMsg: not UTF-8", with(good, "errorMsg", "\xff\xfe")},
		{"huge", "more than the 1048576 that a report may have", with(good, "errorMsg", strings.Repeat("x", 8<<20))},
		{"duplicate", "", good},
		{"reordered: of an older generation", "", stale},
		{"future generation", fmt.Sprintf("generation %d of %s was never dispatched", generation+7, good["id"]), with(good, "generation", strconv.Itoa(generation+7))},
		{"a transition that does not exist", "cannot go from RUNNING to PENDING", with(good, "condition", "PENDING")},
		{"forged: of another environment", "is not of environment east", with(good, "id", strings.Replace(good["id"], "@east", "@west", 1))},
		{"forged: of a unit that nobody dispatched", "unit evil.c/0/0@east was never dispatched here", with(good, "id", "evil.c/0/0@east")},
		{"forged: a heartbeat that promises too much", `availability: "1.5" is not between 0 and 1`, map[string]string{"type": "heartbeat", "crm": "evil", "ts": good["ts"], "availability": "1.5"}},
	}
}

// Every stream of an environment is poisoned in every way. What can never be used
// is in the dead letters with its reason; what was said before is absorbed; the
// rest goes on as if nothing had happened, there and in the other environment.
func TestPoison(t *testing.T) {
	t.Parallel()
	store := rdbtest.Server(t)
	files := newFiles(t)
	wishes := []wish{{version: 1, partitions: 2}, {version: 1, partitions: 1}}
	change := func(version int) {
		for i := range wishes {
			wishes[i].version = version
			wishes[i].write(t, files, i)
		}
	}
	change(1)
	crms, db, c := startCRMs(t, store, crm.Options{}), openLedger(t, store), chaosClient(t, store)
	startDaemon(t, store, files)
	var commands, reports []map[string]string
	for version := 1; version <= 3; version++ {
		change(version)
		runsWhatIsAsked(t, patience, crms, wishes)
		recorded(t, patience, db, wishes)
		commands = append(commands, entries(t, c, "oaas.pm.{env:east}.commands")...) // before they are trimmed
		reports = append(reports, entries(t, c, "oaas.pm.{env:east}.reports")...)
	}
	deploys, undeploys := crms["east"].calls()

	want := map[string]int{}
	send := func(stream string, list []poison) {
		for _, p := range list {
			if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: "oaas.pm.{env:east}." + stream, Values: p.fields}).Err(); err != nil {
				t.Fatal(err)
			}
			if p.reason != "" {
				want[stream+": "+p.reason]++
			}
		}
	}
	send("commands", badCommands(lastOf(t, commands, "3"), lastOf(t, commands, "2")))
	send("reports", badReports(lastOf(t, reports, "3"), lastOf(t, reports, "2")))
	for _, stream := range []string{"oaas.pm.{env:east}.dead", "oaas.pm.{catalog}.events", "oaas_pm:{catalog}:history:p0"} {
		if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: map[string]string{"event": "{", "entry": "[]", "hello": "\xff"}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	buried := within(t, patience, "poison is refused with its reason", func() string {
		letters, err := db.Dead(t.Context(), "east", 1000)
		if err != nil {
			return err.Error()
		}
		got := map[string]int{}
		for _, e := range letters {
			for reason := range want {
				if strings.HasPrefix(reason, e.Stream+": ") && strings.Contains(e.Reason, reason[len(e.Stream)+2:]) && e.Stream != "" {
					got[reason]++
				}
			}
		}
		if d := cmp.Diff(got, want); d != "" {
			return d
		}
		if len(letters) != sum(want)+1 { // the one that is poison itself
			return fmt.Sprintf("%d dead letters for %d kinds of poison", len(letters), len(want))
		}
		return ""
	})
	nothingPending(t, patience, chaosClient(t, store))
	d, u := crms["east"].calls()
	if diff := cmp.Diff([]any{d, u}, []any{deploys, undeploys}); diff != "" {
		t.Errorf("poison made the CRM act (-got +want):\n%s", diff)
	}
	recorded(t, patience, db, wishes)

	change(4)
	went := runsWhatIsAsked(t, patience, crms, wishes)
	recorded(t, patience, db, wishes)
	t.Logf("%d poisoned entries were refused within %s; the change after them took %s", sum(want), buried.Round(time.Millisecond), went.Round(time.Millisecond))

	// What looks right is believed; the next tick puts it right.
	lie := with(lastOf(t, entries(t, c, "oaas.pm.{env:east}.reports"), "4"), "condition", "DELETED")
	if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: "oaas.pm.{env:east}.reports", Values: lie}).Err(); err != nil {
		t.Fatal(err)
	}
	healed := within(t, patience, "a unit that is said to be gone is deployed again", func() string {
		digests, err := db.UnitDigests(t.Context(), "east")
		if err != nil || digests[lie["id"]].Generation < 5 {
			return fmt.Sprint(digests[lie["id"]], err)
		}
		return ""
	})
	recorded(t, patience, db, wishes)
	t.Logf("a forged DELETED was answered after %s", healed.Round(time.Millisecond))
	for _, args := range [][]string{{"events"}, {"history", "p0"}, {"get", "units"}, {"dead", "list"}} {
		if _, stderr, code := oprc(t, t.TempDir(), append(args, "--redis", store)...); code != 0 {
			t.Errorf("oprc %s: exit %d: %s", strings.Join(args, " "), code, stderr)
		}
	}
}

func sum(counts map[string]int) int {
	n := 0
	for v := range maps.Values(counts) {
		n += v
	}
	return n
}

// lastOf is the last entry about a deployed unit of p0 in a generation.
func lastOf(t *testing.T, list []map[string]string, generation string) map[string]string {
	t.Helper()
	for _, f := range slices.Backward(list) {
		if f["id"] == "p0.c/0/0@east" && f["generation"] == generation && (f["type"] == "deploy" || f["condition"] == "RUNNING") {
			return f
		}
	}
	t.Fatalf("no entry of generation %s among %d", generation, len(list))
	return nil
}
