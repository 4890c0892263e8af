package rdb

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// Reports returns reports of an environment's CRMs: those that this consumer has
// not acknowledged, those that another one took and abandoned half a minute ago,
// or else new ones, for which it waits up to block, at most a second. A report
// that cannot be understood has Err set.
func (d *DB) Reports(ctx context.Context, env, consumer string, count int, block time.Duration) ([]oprc.ReportEntry, error) {
	msgs, err := d.readGroup(ctx, d.k.reports(env), d.group, consumer, count, block)
	if err != nil {
		return nil, err
	}
	entries := make([]oprc.ReportEntry, 0, len(msgs))
	for _, m := range msgs {
		e := oprc.ReportEntry{ID: m.ID, Raw: fields(m)}
		e.Report, e.Err = parseReport(env, e.Raw)
		entries = append(entries, e)
	}
	return entries, nil
}

// Ack acknowledges reports.
func (d *DB) Ack(ctx context.Context, env string, ids ...string) error {
	return d.ack(ctx, d.k.reports(env), d.group, ids)
}

// fold replaces statuses that are still as they were, and the runtimes made of
// them, and keeps the events of that: all, or none. A status that is already the new one counts as replaced; one
// that would go back in (generation, report id) does not.
//
//	KEYS  1 statuses  2 outbox  3 moved  4… runtimes
//	ARGV  1 number of statuses  2 number of events  3… events
//	      then for each status: id, old generation, old report id, new generation, new report id, document
//	      then for each runtime: number of fields and values (0 deletes it), those
//	      -> ids of statuses that were not as they should be
var fold = redis.NewScript(bump + `
local function stored(id)
  local doc = redis.call("HGET", KEYS[1], id)
  if not doc then return 0, "" end
  local body, sum = string.match(doc, '^(.*),"sum":"(%x+)"}$')
  if body and redis.sha1hex(body .. "}") ~= sum then return 0, "" end
  local ok, status = pcall(cjson.decode, doc)
  if not ok or type(status) ~= "table" then return 0, "" end
  return tonumber(status["generation"]) or 0, status["reportId"] or ""
end
local function position(report)
  local ms, seq = string.match(report, "^(%d+)-(%d+)$")
  return tonumber(ms) or 0, tonumber(seq) or 0
end
local function before(g1, r1, g2, r2)
  if g1 ~= g2 then return g1 < g2 end
  local m1, s1 = position(r1)
  local m2, s2 = position(r2)
  if m1 ~= m2 then return m1 < m2 end
  return s1 < s2
end
local count = tonumber(ARGV[1])
local first = 3 + tonumber(ARGV[2])
local lost, todo = {}, {}
for i = first, first + 6 * count - 1, 6 do
  local generation, report = stored(ARGV[i])
  local old, new = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
  if generation == new and report == ARGV[i + 4] and report ~= "" then
    -- written before; the answer was lost
  elseif generation == old and report == ARGV[i + 2] and not before(new, ARGV[i + 4], generation, report) then
    todo[#todo + 1] = i
  else
    lost[#lost + 1] = ARGV[i]
  end
end
if #lost > 0 then return lost end
for _, i in ipairs(todo) do redis.call("HSET", KEYS[1], ARGV[i], ARGV[i + 5]) end
if #todo > 0 then -- else they are there already
  bump(KEYS[3])
  for i = 3, first - 1 do redis.call("XADD", KEYS[2], "*", "event", ARGV[i]) end
end
local at = first + 6 * count
for k = 4, #KEYS do
  redis.call("DEL", KEYS[k])
  local n = tonumber(ARGV[at])
  for f = at + 1, at + n, 2 do redis.call("HSET", KEYS[k], ARGV[f], ARGV[f + 1]) end
  at = at + n + 1
end
return lost`)

// Fold writes every status and runtime, or, if some status is no longer as Old
// says, nothing: then it returns the ids of those. A runtime without partitions is
// deleted. The events are kept with what they tell of, until [DB.Flush].
func (d *DB) Fold(ctx context.Context, env string, writes []ingest.StatusWrite, runtimes []oprc.ClassRuntime, events []oprc.Event) ([]string, error) {
	keys := []string{d.k.statuses(env), d.k.outbox(env), d.k.moved(env)}
	args := make([]any, 2, 2+len(events)+6*len(writes))
	args[0], args[1] = len(writes), len(events)
	for _, e := range events {
		args = append(args, encodeEvent(e))
	}
	for _, w := range writes {
		w.New.Time = w.New.Time.UTC()
		args = append(args, w.ID, w.Old.Generation, w.Old.ReportID, w.New.Generation, w.New.ReportID, sealStatus(w.New))
	}
	for _, rt := range runtimes {
		keys = append(keys, d.k.runtime(env, rt.ClsKey))
		pairs := runtimeFields(rt)
		args = append(append(args, len(pairs)), pairs...)
	}
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	lost, err := fold.Run(bounded, d.c, keys, args...).StringSlice()
	return lost, d.wrap(ctx, err)
}

// Flush brings the events that folds have kept into the stream of events, each at
// least once.
func (d *DB) Flush(ctx context.Context, env string) error {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	for {
		kept, err := d.c.XRangeN(bounded, d.k.outbox(env), "-", "+", chunk).Result()
		if err != nil || len(kept) == 0 {
			return d.wrap(ctx, err)
		}
		if err := d.Emit(ctx, decodeEvents(kept), 0); err != nil {
			return err
		}
		ids := make([]string, len(kept))
		for i, m := range kept {
			ids[i] = m.ID
		}
		if err := d.c.XDel(bounded, d.k.outbox(env), ids...).Err(); err != nil {
			return d.wrap(ctx, err)
		}
	}
}

// heartbeat keeps the newest heartbeat of each CRM and forgets CRMs that were
// silent for long: pods come and go under new names.
//
//	KEYS  1 crms
//	ARGV  1 time before which a CRM is forgotten  2 time that none can have yet  3… crm, time, document
//	      times are UTC without the Z, so that text order is time order
var heartbeat = redis.NewScript(`
local function time(doc)
  local ok, beat = pcall(cjson.decode, doc or "{}")
  local ts = ok and type(beat) == "table" and tostring(beat["ts"] or "") or ""
  return (string.gsub(ts, "Z$", ""))
end
for i = 3, #ARGV, 3 do
  local was = time(redis.call("HGET", KEYS[1], ARGV[i]))
  if was <= ARGV[i + 1] or was > ARGV[2] then
    redis.call("HSET", KEYS[1], ARGV[i], ARGV[i + 2])
  end
end
local all = redis.call("HGETALL", KEYS[1])
for i = 1, #all, 2 do
  if time(all[i + 1]) < ARGV[1] then redis.call("HDEL", KEYS[1], all[i]) end
end
return redis.status_reply("OK")`)

// forgetCRM is the silence after which a CRM no longer belongs to its
// environment, provided that a colleague is alive, and the environment itself is
// forgotten if nobody declared it and nothing is left there.
const forgetCRM = 10 * time.Minute

// Heartbeat keeps the last heartbeat of each CRM, and makes the environment known.
func (d *DB) Heartbeat(ctx context.Context, env string, beats []oprc.Heartbeat) error {
	if len(beats) == 0 {
		return nil
	}
	var newest time.Time
	args := make([]any, 2, 2+3*len(beats))
	for _, b := range beats {
		b.Time, b.Since = b.Time.UTC(), b.Since.UTC()
		if b.Time.After(newest) {
			newest = b.Time
		}
		args = append(args, b.CRM, sortable(b.Time), oprc.MustCanonical(b))
	}
	args[0], args[1] = sortable(newest.Add(-forgetCRM)), sortable(newest.Add(ahead))
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := heartbeat.Run(bounded, d.c, []string{d.k.crms(env)}, args...).Err(); err != nil {
		return d.wrap(ctx, err)
	}
	return d.know(ctx, 0, env)
}

// sortable formats t as JSON does, without the Z: text order is time order.
func sortable(t time.Time) string {
	return strings.TrimSuffix(t.UTC().Format(time.RFC3339Nano), "Z")
}

// Beats returns the last heartbeat of each CRM of an environment, by name, and what
// time it is by the clock that they are to be stamped with.
func (d *DB) Beats(ctx context.Context, env string) ([]oprc.Heartbeat, time.Time, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var docs *redis.MapStringStringCmd
	var now *redis.Cmd
	_, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		docs, now = p.HGetAll(bounded, d.k.crms(env)), clock.Eval(bounded, p, []string{d.k.crms(env)})
		return nil
	})
	if err := d.wrap(ctx, err); err != nil {
		return nil, time.Time{}, err
	}
	return sortedBeats(docs.Val(), clockOf(now)), clockOf(now), nil
}
