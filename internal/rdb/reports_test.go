package rdb_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
)

const reportStream = "oaas.pm.{env:edge}.reports"

func send(t testing.TB, url string, values map[string]string) string {
	t.Helper()
	return must(raw(t, url).XAdd(t.Context(), &redis.XAddArgs{Stream: reportStream, Values: values}).Result())(t)
}

func statusFields(generation, condition string) map[string]string {
	return map[string]string{
		"type": "status", "crm": "edge-1", "ts": "2026-03-01T13:00:05+01:00", "id": "shop.record/0/0@edge",
		"generation": generation, "specHash": "sha256:ab", "condition": condition,
	}
}

func with(f map[string]string, pairs ...string) map[string]string {
	f = maps.Clone(f)
	for i := 0; i < len(pairs); i += 2 {
		f[pairs[i]] = pairs[i+1]
	}
	return f
}

func reports(t testing.TB, db *rdb.DB, consumer string) []oprc.ReportEntry {
	t.Helper()
	return must(db.Reports(short(t), "edge", consumer, 100, 0))(t)
}

func reportIDs(entries []oprc.ReportEntry) []string {
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids
}

func TestReportsAreDecoded(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		send(t, url, with(statusFields("3", "RUNNING"), "errorMsg", "slow", "replicas", `["a","b"]`, "future", "field",
			"functions", `{"shop.pay":{"condition":"RUNNING","invocationUrl":"http://x"}}`))
		send(t, url, map[string]string{
			"type": "heartbeat", "crm": "edge-1", "ts": "2026-03-01T12:00:06Z", "availability": "0.97",
			"capacity": `{"cpu":"4","units":10}`, "templates": `["knative"]`,
		})
		got := reports(t, db, "one")
		want := []oprc.Report{
			{
				Type: "status", CRM: "edge-1", Time: at(5), ID: "shop.record/0/0@edge", Generation: 3, SpecHash: "sha256:ab",
				Condition: oprc.Running, ErrorMsg: "slow", Replicas: []string{"a", "b"},
				Functions: map[string]oprc.FunctionStatus{"shop.pay": {Condition: oprc.Running, InvocationURL: "http://x"}},
			},
			{
				Type: "heartbeat", CRM: "edge-1", Time: at(6), Availability: 0.97,
				Capacity: &oprc.Capacity{CPU: "4", Units: new(10)}, Templates: []string{"knative"},
			},
		}
		for i, e := range got {
			if e.Err != nil {
				t.Error(e.Err)
			}
			equal(t, e.Report, want[i])
		}
		equal(t, len(got), len(want))
	})
}

func TestPoisonIsRefusedWithItsReason(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		ok := statusFields("1", "RUNNING")
		beat := map[string]string{"type": "heartbeat", "crm": "edge-1", "ts": "2026-03-01T12:00:00Z"}
		without := func(name string) map[string]string {
			f := maps.Clone(ok)
			delete(f, name)
			return f
		}
		tests := map[string]struct {
			fields map[string]string
			reason string
		}{
			"nothing known":            {map[string]string{"hello": "world"}, `crm: "" is no name`},
			"unknown type":             {with(ok, "type", "gossip"), `type: "gossip" is neither status nor heartbeat`},
			"no time":                  {without("ts"), `ts: "" is no RFC 3339 time`},
			"time of the year -1":      {with(ok, "ts", "-0001-01-01T00:00:00Z"), `ts: "-0001-01-01T00:00:00Z" is no RFC 3339 time`},
			"no unit":                  {with(ok, "id", "shop.record"), `id: "shop.record" is no unit id`},
			"another environment":      {with(ok, "id", "shop.record/0/0@cloud"), `id: unit shop.record/0/0@cloud is not of environment edge`},
			"no generation":            {without("generation"), `generation: "" is no generation`},
			"generation 0":             {with(ok, "generation", "0"), `generation: "0" is no generation`},
			"generation past 2^53":     {with(ok, "generation", "9007199254740993"), `generation: "9007199254740993" is no generation`},
			"no such condition":        {with(ok, "condition", "GREAT"), `condition: "GREAT" is none of PENDING, DEPLOYING, RUNNING, DOWN, DELETED`},
			"no specHash":              {without("specHash"), `specHash: missing; echo the command's`},
			"functions are no JSON":    {with(ok, "functions", "{"), `functions: unexpected end of JSON input`},
			"function's condition":     {with(ok, "functions", `{"f":{"condition":"x"}}`), `functions: f: condition "x" is unknown`},
			"replicas are an object":   {with(ok, "replicas", `{}`), `replicas: json: cannot unmarshal object into Go value of type []string`},
			"huge":                     {with(ok, "errorMsg", strings.Repeat("x", 2<<20)), `2097272 bytes, more than the 1048576 that a report may have`},
			"long message":             {with(ok, "errorMsg", strings.Repeat("x", 20<<10)), `errorMsg: more than 16384 bytes`},
			"binary":                   {with(ok, "errorMsg", "\xff\xfe"), `errorMsg: not UTF-8`},
			"availability over 1":      {with(beat, "availability", "1.5"), `availability: "1.5" is not between 0 and 1`},
			"availability NaN":         {with(beat, "availability", "NaN"), `availability: "NaN" is not between 0 and 1`},
			"capacity below zero":      {with(beat, "capacity", `{"units":-1}`), `capacity: -1 units are less than none`},
			"the end of time":          {with(ok, "ts", "9999-12-31T23:59:59-10:00"), `ts: "9999-12-31T23:59:59-10:00" is no RFC 3339 time`},
			"capacity is a list":       {with(beat, "capacity", `[]`), `capacity: json: cannot unmarshal array into Go value of type oprc.Capacity`},
			"crm's name is a novel":    {with(beat, "crm", strings.Repeat("x", 300)), `crm: "` + strings.Repeat("x", 80) + `…" is no name`},
			"templates are a sentence": {with(beat, "templates", `"a"`), `templates: json: cannot unmarshal string into Go value of type []string`},
		}
		db := open(t, url)
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				id := send(t, url, tt.fields)
				good := send(t, url, ok)
				got := reports(t, db, "one")
				equal(t, reportIDs(got), []string{id, good})
				if got[0].Err == nil || got[0].Err.Error() != tt.reason {
					t.Errorf("got %v, want %s", got[0].Err, tt.reason)
				}
				equal(t, got[0].Report, oprc.Report{})
				equal(t, got[0].Raw, tt.fields)
				if got[1].Err != nil {
					t.Errorf("the next one: %v", got[1].Err)
				}
				if err := db.Ack(t.Context(), "edge", id, good); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
}

func TestDeletedNeedsNoSpecHash(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		send(t, url, with(statusFields("2", "DELETED"), "specHash", ""))
		if got := reports(t, open(t, url), "one"); got[0].Err != nil {
			t.Error(got[0].Err)
		}
	})
}

func TestReportsComeAgainUntilAcknowledged(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		if got := reports(t, db, "one"); len(got) > 0 {
			t.Fatalf("got %v from an empty stream", got)
		}
		a, b := send(t, url, statusFields("1", "PENDING")), send(t, url, statusFields("1", "RUNNING"))
		equal(t, reportIDs(reports(t, db, "one")), []string{a, b})
		equal(t, reportIDs(reports(t, db, "two")), nil)
		c := send(t, url, statusFields("2", "RUNNING"))
		equal(t, reportIDs(reports(t, db, "one")), []string{a, b}) // it has pending ones: those first
		if err := db.Ack(t.Context(), "edge", a, b); err != nil {
			t.Fatal(err)
		}
		equal(t, reportIDs(reports(t, open(t, url), "one")), []string{c})
	})
}

func TestAbandonedReportsAreTakenOver(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		id := send(t, url, statusFields("1", "RUNNING"))
		equal(t, reportIDs(reports(t, db, "dead")), []string{id})
		equal(t, reportIDs(reports(t, db, "heir")), nil)
		abandon(t, url, id, "dead", 31*time.Second)
		equal(t, reportIDs(reports(t, db, "heir")), []string{id})
		equal(t, reportIDs(reports(t, db, "heir")), []string{id})
		equal(t, reportIDs(reports(t, db, "dead")), nil)
	})
}

// abandon makes an entry look as if its consumer had left it alone for idle.
func abandon(t testing.TB, url, id, consumer string, idle time.Duration) {
	t.Helper()
	err := raw(t, url).Do(t.Context(), "XCLAIM", reportStream, "package-manager", consumer, "0", id,
		"IDLE", idle.Milliseconds(), "JUSTID").Err()
	if err != nil {
		t.Fatal(err)
	}
}

// A blocked read comes back soon after its context ended, and does not lose what
// arrives in that moment.
func TestBlockedReadEndsWithItsContext(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		reports(t, db, "one")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		start := time.Now()
		_, err := db.Reports(ctx, "edge", "one", 10, time.Minute)
		if took := time.Since(start); took > 1500*time.Millisecond {
			t.Errorf("came back after %v, with %v", took, err)
		}
		id := send(t, url, statusFields("1", "RUNNING"))
		equal(t, reportIDs(reports(t, db, "one")), []string{id})
	})
}

func TestBlockedReadWakesUp(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		reports(t, db, "one")
		sent := make(chan string, 1)
		time.AfterFunc(50*time.Millisecond, func() { sent <- send(t, url, statusFields("1", "RUNNING")) })
		got := must(db.Reports(t.Context(), "edge", "one", 10, time.Second))(t)
		equal(t, reportIDs(got), []string{<-sent})
	})
}

// An entry that was trimmed while it was pending must not be pending for ever.
func TestPendingEntryThatWasTrimmedIsForgotten(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db, c := open(t, url), raw(t, url)
		id := send(t, url, statusFields("1", "RUNNING"))
		reports(t, db, "one")
		if err := c.XDel(t.Context(), reportStream, id).Err(); err != nil {
			t.Fatal(err)
		}
		equal(t, reportIDs(reports(t, db, "one")), nil)
		equal(t, must(c.XPending(t.Context(), reportStream, "package-manager").Result())(t).Count, int64(0))
	})
}

func status(generation int64, condition oprc.Condition, report string) oprc.Status {
	return oprc.Status{Generation: generation, SpecHash: "sha256:ab", Condition: condition, CRM: "edge-1", Time: at(1), ReportID: report}
}

func TestFold(t *testing.T) {
	const id = "shop.record/0/0@edge"
	two := status(2, oprc.Running, "20-1")
	tests := map[string]struct {
		old, new oprc.Status
		lost     bool
	}{
		"next report":                   {two, status(2, oprc.Down, "20-2"), false},
		"next generation":               {two, status(3, oprc.Pending, "21-0"), false},
		"stream id grows as a number":   {two, status(2, oprc.Down, "100-0"), false},
		"written before, answer lost":   {status(1, oprc.Pending, "3-0"), two, false},
		"somebody was faster":           {status(1, oprc.Pending, "3-0"), status(2, oprc.Down, "20-0"), true},
		"nothing was there":             {oprc.Status{}, status(1, oprc.Pending, "30-0"), true},
		"back to an older generation":   {two, status(1, oprc.Down, "40-0"), true},
		"back to an older report":       {two, status(2, oprc.Down, "20-0"), true},
		"older report, longer as text":  {two, status(2, oprc.Down, "3-11111"), true},
		"older report, greater as text": {two, status(2, oprc.Down, "9-0"), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, url string) {
				db := open(t, url)
				fold := func(w ...ingest.StatusWrite) []string {
					return must(db.Fold(t.Context(), "edge", w, []oprc.ClassRuntime{runtime(at(9), "a")}, nil))(t)
				}
				fold(ingest.StatusWrite{ID: id, New: two})
				if err := raw(t, url).Del(t.Context(), "oaas_pm:{env:edge}:runtime:shop.record").Err(); err != nil {
					t.Fatal(err)
				}
				other := status(1, oprc.Running, "50-0")
				lost := fold(ingest.StatusWrite{ID: id, Old: tt.old, New: tt.new}, ingest.StatusWrite{ID: "other", New: other})
				want := map[string]oprc.Status{id: tt.new, "other": other}
				runtimes := int64(1)
				if tt.lost { // then nothing is written
					equal(t, lost, []string{id})
					want, runtimes = map[string]oprc.Status{id: two}, 0
				}
				equal(t, must(db.Statuses(t.Context(), "edge"))(t), want)
				equal(t, must(raw(t, url).Exists(t.Context(), "oaas_pm:{env:edge}:runtime:shop.record").Result())(t), runtimes)
			})
		})
	}
}

func TestEventsOfFoldsAreEmittedOnce(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		write := []ingest.StatusWrite{{ID: "u", New: status(1, oprc.Running, "1-0")}}
		events := []oprc.Event{{Type: "condition", Key: "u", To: "DEPLOYING"}, {Type: "condition", Key: "u", To: "RUNNING"}}
		keys := func() (out []string) {
			for _, e := range must(db.Events(t.Context(), "", 10))(t) {
				out = append(out, e.Key+" "+e.To)
			}
			return out
		}
		for range 2 { // the second time as if the first answer had been lost
			equal(t, must(db.Fold(t.Context(), "edge", write, nil, events))(t), nil)
		}
		equal(t, keys(), nil)
		for range 2 {
			if err := db.Flush(t.Context(), "edge"); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, keys(), []string{"u DEPLOYING", "u RUNNING"})
	})
}

func TestFoldOfThousands(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		var writes []ingest.StatusWrite
		want := map[string]oprc.Status{}
		for i := range 3000 {
			id := oprc.UnitID("shop.record", i, 0, "edge")
			want[id] = status(1, oprc.Running, "7-1")
			writes = append(writes, ingest.StatusWrite{ID: id, New: want[id]})
		}
		equal(t, must(db.Fold(t.Context(), "edge", writes, nil, nil))(t), nil)
		equal(t, must(db.Statuses(t.Context(), "edge"))(t), want)
	})
}

func TestHeartbeats(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		now := time.Now().UTC().Truncate(time.Millisecond)
		at := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
		beat := func(crm string, seconds int, availability float64) oprc.Heartbeat {
			return oprc.Heartbeat{CRM: crm, Time: at(seconds), Since: at(-900), Availability: availability}
		}
		hear := func(beats ...oprc.Heartbeat) {
			t.Helper()
			if err := db.Heartbeat(t.Context(), "edge", beats); err != nil {
				t.Fatal(err)
			}
		}
		a, b := beat("a", -1, 0.9), beat("b", -2, 0.8)
		a.Capacity, b.Capacity = &oprc.Capacity{Units: new(7)}, &oprc.Capacity{CPU: "8", Units: new(9)}
		hear(a, b)
		hear(beat("a", -5, 0.5)) // late
		edge := must(db.Live(t.Context()))(t).Environments["edge"]
		equal(t, edge, oprc.EnvironmentState{
			EnvironmentRecord: oprc.EnvironmentRecord{Spec: oprc.Environment{Kind: "Environment", Name: "edge"}},
			Health:            oprc.Healthy, Availability: 0.8, ReportedUnits: new(7), Beats: []oprc.Heartbeat{a, b},
		})
		b.Time, b.Capacity = at(0), &oprc.Capacity{Units: new(0)} // takes nothing new
		hear(b)
		equal(t, must(db.Live(t.Context()))(t).Environments["edge"].ReportedUnits, new(0))
		equal(t, must(db.EnvironmentNames(t.Context()))(t), []string{"edge"})
		hear(beat("a", 700, 0.9)) // b was silent for more than ten minutes
		equal(t, beats(t, db), []oprc.Heartbeat{beat("a", 700, 0.9)})
	})
}

func TestSilentEnvironmentIsDown(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		err := db.Heartbeat(t.Context(), "edge", []oprc.Heartbeat{
			{CRM: "a", Time: at(-60), Availability: 0.9}, {CRM: "b", Time: at(-60).Add(time.Millisecond), Availability: 0.7},
		})
		if err != nil {
			t.Fatal(err)
		}
		u := unit("shop.record", 0, 0, "edge")
		dispatch(t, db, "edge", command(u, oprc.Deploy, 1))
		edge := must(db.Live(t.Context()))(t).Environments["edge"]
		equal(t, edge.Health, oprc.EnvDown)
		equal(t, edge.Availability, 0.7)
	})
}

func runtime(last time.Time, replicas ...string) oprc.ClassRuntime {
	return oprc.ClassRuntime{
		Key: "shop.record@edge", ClsKey: "shop.record", Env: "edge", Status: oprc.RuntimeRunning, LastUpdate: last,
		Partitions: []oprc.RuntimePartition{{ID: 0, Replicas: replicas, Time: last}, {ID: 10, Replicas: []string{"z"}, Time: at(0)}, {ID: 2, Replicas: []string{}, Time: at(0)}},
	}
}

func TestRuntimes(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, url string) {
		db := open(t, url)
		dispatch(t, db, "edge", command(unit("shop.record", 0, 0, "edge"), oprc.Deploy, 1))
		if _, _, err := db.MergeRuntime(t.Context(), runtime(at(1))); !isNotFound(err) {
			t.Errorf("got %v, want not found", err)
		}
		write := func(rt oprc.ClassRuntime) {
			must(db.Fold(t.Context(), "edge", nil, []oprc.ClassRuntime{rt}, nil))(t)
		}
		write(runtime(at(5), "a"))
		sorted := runtime(at(5), "a")
		p := sorted.Partitions
		p[1], p[2] = p[2], p[1]
		equal(t, must(db.Runtimes(t.Context(), "edge"))(t), []oprc.ClassRuntime{sorted})

		update := oprc.ClassRuntime{ClsKey: "shop.record", Env: "edge", Status: oprc.RuntimeScaling, LastUpdate: at(4), Partitions: []oprc.RuntimePartition{
			{ID: 0, Replicas: []string{"old"}, Time: at(4)}, {ID: 2, Replicas: []string{"new"}, Time: at(0).Add(time.Millisecond)},
		}}
		merged, applied, err := db.MergeRuntime(t.Context(), update)
		if err != nil || !applied {
			t.Fatalf("got %v, %v; want it applied", applied, err)
		}
		want := sorted
		want.Partitions = []oprc.RuntimePartition{p[0], update.Partitions[1], p[2]}
		equal(t, merged, want) // status and time are older: as they were
		if _, applied, _ = db.MergeRuntime(t.Context(), update); applied {
			t.Error("the same update was applied twice")
		}
		write(oprc.ClassRuntime{ClsKey: "shop.record", Env: "edge"})
		equal(t, must(db.Runtimes(t.Context(), "edge"))(t), nil)
	})
}
