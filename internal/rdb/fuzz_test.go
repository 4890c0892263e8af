package rdb_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

// entryOf splits what the fuzzer made into the fields of an entry.
func entryOf(text string) map[string]string {
	f := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		name, value, _ := strings.Cut(line, "=")
		f[name] = value
	}
	return f
}

// A report that is accepted can be kept, and says the same when it is sent again.
func FuzzReport(f *testing.F) {
	for _, s := range []string{
		"type=status\ncrm=a\nts=2026-03-01T12:00:05Z\nid=shop.record/0/0@edge\ngeneration=3\nspecHash=sha256:ab\ncondition=RUNNING\nerrorMsg=x",
		`type=status` + "\ncrm=a\nts=9999-12-31T23:59:59-10:00\nid=shop.record/0/0@edge\ngeneration=1\nspecHash=s\ncondition=DOWN\n" +
			`functions={"a":{"condition":"RUNNING"},"a":{"condition":"DOWN"}}` + "\n" + `replicas=["\ud800","b\u0000"]`,
		"type=heartbeat\ncrm=a\nts=2026-03-01T12:00:05Z\navailability=NaN",
		"type=heartbeat\ncrm=a\nts=2026-03-01T12:00:05.5+01:00\navailability=1e-400\n" + `capacity={"cpu":"-1","units":-5}` + "\n" + `templates=["gpu"]`,
		"type=status\ncrm=a\nts=0000-01-01T00:00:00+14:00\nid=shop.record/0/0@edge\ngeneration=9223372036854775808\nspecHash=s\ncondition=DOWN",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		raw := entryOf(text)
		r, err := rdb.ParseReport("edge", raw)
		letter, _ := rdb.Letter(raw)
		if !json.Valid(letter) {
			t.Errorf("its dead letter is no JSON: %q", letter)
		}
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("a reason of %d bytes", len(err.Error()))
			}
			return
		}
		oprc.MustCanonical(oprc.Status{
			Generation: r.Generation, SpecHash: r.SpecHash, Condition: r.Condition, ErrorMsg: r.ErrorMsg,
			Functions: r.Functions, Replicas: r.Replicas, CRM: r.CRM, Time: r.Time,
		})
		oprc.MustCanonical(oprc.Heartbeat{CRM: r.CRM, Time: r.Time, Availability: r.Availability, Capacity: r.Capacity, Templates: r.Templates})
		if r.Generation < 0 || r.Availability < 0 || r.Availability > 1 || r.Capacity != nil && r.Capacity.Units != nil && *r.Capacity.Units < 0 {
			t.Errorf("accepted %+v", r)
		}
		again := map[string]string{}
		for pair := rdb.ReportFields(r); len(pair) > 0; pair = pair[2:] {
			again[fmt.Sprint(pair[0])] = fmt.Sprint(pair[1])
		}
		got, err := rdb.ParseReport("edge", again)
		if diff := cmp.Diff(string(oprc.MustCanonical(got)), string(oprc.MustCanonical(r))); diff != "" || err != nil {
			t.Errorf("sent again: %v\n%s", err, diff)
		}
	})
}

// A command that is accepted can be sent again, and is the same.
func FuzzCommand(f *testing.F) {
	u := unit("shop.record", 0, 0, "edge")
	good := rdb.CommandFields(command(u, oprc.Deploy, 3))
	text := func(change ...string) string {
		var lines []string
		for name, value := range with(good, change...) {
			lines = append(lines, name+"="+value)
		}
		return strings.Join(lines, "\n")
	}
	f.Add(text())
	f.Add(text("type", "undeploy", "unit", ""))
	f.Add(text("unit", `{"id":"shop.record/0/0@edge","id":"x","shardId":1e999}`))
	f.Add(text("type", "undeploy", "ts", "9999-12-31T23:59:59-10:00", "generation", "9223372036854775807"))
	f.Fuzz(func(t *testing.T, text string) {
		raw := entryOf(text)
		c, err := rdb.DecodeCommand("edge", raw)
		if err != nil {
			return
		}
		if _, err := json.Marshal(c); err != nil {
			t.Errorf("accepted %+v, which cannot be kept: %v", c, err)
		}
		if c.Generation < 1 || c.Generation >= 1<<53 {
			t.Errorf("accepted generation %d", c.Generation)
		}
		if c.Type == oprc.Deploy && c.Unit.ID != c.ID {
			t.Errorf("accepted unit %q for %q", c.Unit.ID, c.ID)
		}
	})
}

// Whatever stands in the hashes and streams, reading it does not fail, and what was
// read can be written.
func FuzzDocuments(f *testing.F) {
	for _, s := range []string{
		`{"unit":{"id":"a"},"generation":1e400}`, `{"generation":9223372036854775807,"op":"deploy","dispatchedAt":"9999-12-31T23:59:59-10:00"}`,
		`{"crm":"a","ts":"2026-03-01T12:00:05Z","availability":0.5}`, `null`, `[]`, `"x"`, "7 sha256:ab", "7 -", "99999999999999999999 x",
		`{"replicas":["a"],"ts":"2026-03-01T12:00:05Z"}`, "\xff\x00",
	} {
		f.Add(s, "partition:3")
	}
	f.Add("x", "partition:-1")
	f.Add("x", "partition:99999999999999999999")
	f.Fuzz(func(t *testing.T, doc, name string) {
		docs := map[string]string{name: doc, "x": doc}
		for _, r := range rdb.DecodeRecords(docs) {
			marshals(t, r)
		}
		for _, s := range rdb.DecodeStatuses(docs) {
			marshals(t, s)
		}
		marshals(t, rdb.SortedBeats(docs, time.Now()))
		marshals(t, rdb.ParseUnits(docs))
		marshals(t, rdb.ParseRuntime("edge", docs))
		values := map[string]any{name: doc, "event": doc, "fields": doc, "ts": doc, "stream": doc}
		message := redis.XMessage{ID: "1-0", Values: values}
		marshals(t, rdb.ParseDead("edge", message))
		marshals(t, rdb.DecodeEvents([]redis.XMessage{message}))
	})
}

func marshals(t *testing.T, v any) {
	t.Helper()
	if _, err := json.Marshal(v); err != nil {
		t.Errorf("%+v cannot be written: %v", v, err)
	}
}

// A report from the end of time would have ended the daemon each time that it read it.
func TestTheLastHourOfTheCalendar(t *testing.T) {
	for ts, ok := range map[string]bool{
		"9999-12-31T23:59:59Z": true, "9999-12-31T23:59:59-10:00": false, "0001-01-01T00:00:00+14:00": false, "2999-01-01T00:00:00Z": true,
	} {
		r, err := rdb.ParseReport("edge", with(statusFields("1", "RUNNING"), "ts", ts))
		if (err == nil) != ok {
			t.Errorf("%s: got %s, %v", ts, r.Time.Format(time.RFC3339), err)
		}
	}
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -10*3600))
	if _, _, err := open(t, "redis://"+miniredis.RunT(t).Addr()).MergeRuntime(t.Context(), runtime(last, "a")); !errors.Is(err, oprc.ErrInvalid) {
		t.Errorf("runtime: got %v", err)
	}
}
