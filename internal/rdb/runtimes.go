package rdb

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

const partitionField = "partition:"

// runtimeFields are the fields and values of a runtime's hash; none if it has no
// partitions.
func runtimeFields(rt oprc.ClassRuntime) []any {
	if len(rt.Partitions) == 0 {
		return nil
	}
	pairs := []any{
		"clsKey", rt.ClsKey, "env", rt.Env, "status", string(rt.Status), "lastUpdate", rt.LastUpdate.UTC().Format(time.RFC3339Nano),
	}
	for _, p := range rt.Partitions {
		p.Time = p.Time.UTC()
		if p.Replicas == nil {
			p.Replicas = []string{}
		}
		pairs = append(pairs, fmt.Sprint(partitionField, p.ID), oprc.MustCanonical(p))
	}
	return pairs
}

func parseRuntime(env string, f map[string]string) oprc.ClassRuntime {
	rt := oprc.ClassRuntime{
		Key: f["clsKey"] + "@" + env, ClsKey: f["clsKey"], Env: env,
		Status: oprc.RuntimeStatus(f["status"]), Partitions: []oprc.RuntimePartition{},
	}
	rt.LastUpdate, _ = time.Parse(time.RFC3339Nano, f["lastUpdate"]) // zero for what nobody wrote
	for name, doc := range f {
		var p oprc.RuntimePartition
		if strings.HasPrefix(name, partitionField) && json.Unmarshal([]byte(doc), &p) == nil {
			rt.Partitions = append(rt.Partitions, p)
		}
	}
	slices.SortFunc(rt.Partitions, func(a, b oprc.RuntimePartition) int { return cmp.Compare(a.ID, b.ID) })
	return rt
}

// Runtimes returns the class runtimes of an environment, by key.
func (d *DB) Runtimes(ctx context.Context, env string) ([]oprc.ClassRuntime, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	ids, err := d.c.HKeys(bounded, d.k.unitDigests(env)).Result()
	if err := d.wrap(ctx, err); err != nil {
		return nil, err
	}
	classes := map[string]bool{}
	for _, id := range ids {
		if cls, _, _, _, ok := oprc.ParseUnitID(id); ok {
			classes[cls] = true
		}
	}
	return d.RuntimesOf(ctx, env, slices.Sorted(maps.Keys(classes)))
}

// RuntimesOf returns the runtimes of some classes in an environment, of those that have one.
func (d *DB) RuntimesOf(ctx context.Context, env string, classes []string) ([]oprc.ClassRuntime, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	var hashes []*redis.MapStringStringCmd
	out := []oprc.ClassRuntime{}
	if len(classes) == 0 {
		return out, nil
	}
	_, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		for _, cls := range classes {
			hashes = append(hashes, p.HGetAll(bounded, d.k.runtime(env, cls)))
		}
		return nil
	})
	if err := d.wrap(ctx, err); err != nil {
		return nil, err
	}
	for _, h := range hashes {
		if len(h.Val()) > 0 {
			out = append(out, parseRuntime(env, h.Val()))
		}
	}
	return out, nil
}

// merge takes those partitions of a runtime that are newer than the stored ones.
//
//	KEYS  1 runtime
//	ARGV  1 status, "" to keep it  2 lastUpdate  3… field, time, document of partitions
//	      times are UTC without the Z, so that text order is time order
//	      -> {applied (1 or 0), field, value, …} of the merged runtime; {} if there is none
var merge = redis.NewScript(`
if redis.call("EXISTS", KEYS[1]) == 0 then return {} end
local function bare(ts) return (string.gsub(ts or "", "Z$", "")) end
local applied = 0
for i = 3, #ARGV, 3 do
  local doc = redis.call("HGET", KEYS[1], ARGV[i])
  local ok, was = pcall(cjson.decode, doc or "{}")
  if not ok or bare(was["ts"]) < ARGV[i + 1] then
    redis.call("HSET", KEYS[1], ARGV[i], ARGV[i + 2])
    applied = 1
  end
end
if bare(redis.call("HGET", KEYS[1], "lastUpdate")) < ARGV[2] then
  if ARGV[1] ~= "" and redis.call("HGET", KEYS[1], "status") ~= ARGV[1] then
    redis.call("HSET", KEYS[1], "status", ARGV[1])
    applied = 1
  end
  if applied == 1 then redis.call("HSET", KEYS[1], "lastUpdate", ARGV[2] .. "Z") end
end
local answer = redis.call("HGETALL", KEYS[1])
table.insert(answer, 1, tostring(applied))
return answer`)

// MergeRuntime takes over what is newer in rt: its partitions one by one, and its
// status. It returns the runtime as it is now; applied is false if rt had nothing
// newer. A runtime that is not there is an oprc.ErrNotFound.
func (d *DB) MergeRuntime(ctx context.Context, rt oprc.ClassRuntime) (merged oprc.ClassRuntime, applied bool, err error) {
	args := []any{string(rt.Status), sortable(rt.LastUpdate)}
	for _, p := range rt.Partitions {
		if p.Time.IsZero() {
			p.Time = rt.LastUpdate
		}
		if p.Time = p.Time.UTC(); p.Time.Year() > 9999 {
			return oprc.ClassRuntime{}, false, fmt.Errorf("partition %d: %w: its time is in the year %d", p.ID, oprc.ErrInvalid, p.Time.Year())
		}
		args = append(args, fmt.Sprint(partitionField, p.ID), sortable(p.Time), oprc.MustCanonical(p))
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := merge.Run(bounded, d.c, []string{d.k.runtime(rt.Env, rt.ClsKey)}, args...).StringSlice()
	if err := d.wrap(ctx, err); err != nil {
		return oprc.ClassRuntime{}, false, err
	}
	if len(answer) == 0 {
		return oprc.ClassRuntime{}, false, fmt.Errorf("runtime %s@%s: %w", rt.ClsKey, rt.Env, oprc.ErrNotFound)
	}
	f := map[string]string{}
	for pair := range slices.Chunk(answer[1:], 2) {
		f[pair[0]] = pair[1]
	}
	return parseRuntime(rt.Env, f), answer[0] == "1", nil
}
