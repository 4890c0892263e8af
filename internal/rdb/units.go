package rdb

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// dispatch records units and queues their commands. The generation after the
// recorded one is the successor; where a CRM has reported a later one than is
// recorded, because the records were lost, so is the one after that.
//
//	KEYS  1 units  2 digests  3 commands  4 fence  5 statuses  6 moved
//	ARGV  1 fence, 0 for none
//	      then for each command: id, type, generation, specHash, revision, ts, unit, record, traceparent or ""
//	      -> {"ok", id, generation now, …} with those that were refused, or {"fenced", token}
var dispatch = redis.NewScript(saneToken + bump + typed + `
local wrong = mistyped({"hash", "hash", "stream", "string", "hash", "any"})
if wrong then return wrong end
if ARGV[1] ~= "0" then
  local seen = redis.call("GET", KEYS[4])
  if sane(seen) > tonumber(ARGV[1]) then return {"fenced", seen} end
  if seen ~= ARGV[1] then redis.call("SET", KEYS[4], ARGV[1]) end
end
local function generationOf(doc)
  local ok, decoded = pcall(cjson.decode, doc or "{}")
  return ok and type(decoded) == "table" and tonumber(decoded["generation"]) or 0
end
local function observed(id) return generationOf(redis.call("HGET", KEYS[5], id)) end
local function traced(parent)
  if parent ~= "" then return "traceparent", parent end
end
local refused = {"ok"}
local moved = false
for i = 2, #ARGV, 9 do
  local id, op, hash = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  local generation = tonumber(ARGV[i + 2])
  local entry = ARGV[i + 2] .. " " .. (op == "deploy" and hash or "-")
  local was = redis.call("HGET", KEYS[2], id)
  local recorded = was and tonumber(string.match(was, "^%d+")) or generationOf(redis.call("HGET", KEYS[1], id))
  local successor = generation == recorded + 1
    or (generation > recorded and generation == observed(id) + 1)
  if successor then
    redis.call("HSET", KEYS[1], id, ARGV[i + 7])
    redis.call("HSET", KEYS[2], id, entry)
    moved = true
  end
  if successor or was == entry then
    redis.call("XADD", KEYS[3], "*", "type", op, "id", id, "generation", ARGV[i + 2], "specHash", hash,
      "revision", ARGV[i + 4], "ts", ARGV[i + 5], "unit", ARGV[i + 6], traced(ARGV[i + 8]))
  else
    refused[#refused + 1] = id
    refused[#refused + 1] = string.format("%.0f", recorded)
  end
end
if moved then bump(KEYS[6]) end
return refused`)

// Dispatch records each unit and queues its command, both or neither. A command
// whose generation is not the successor is refused and named in an
// *oprc.ConflictError; the others go out. A command that repeats the recorded
// generation and specHash is queued again. A stale fence stops everything with an
// [oprc.ErrFenced].
func (d *DB) Dispatch(ctx context.Context, env string, cmds []oprc.Command, fence int64) error {
	if len(cmds) == 0 {
		return nil
	}
	if err := d.know(ctx, fence, env); err != nil {
		return err
	}
	return d.dispatch(ctx, env, cmds, fence)
}

func (d *DB) dispatch(ctx context.Context, env string, cmds []oprc.Command, fence int64) error {
	keys := []string{d.k.units(env), d.k.unitDigests(env), d.k.commands(env), d.k.fence(env), d.k.statuses(env), d.k.moved(env)}
	var refused []string
	for part := range slices.Chunk(cmds, chunk) {
		args := make([]any, 1, 1+9*len(part))
		args[0] = fence
		generations := make(map[string]int64, len(part))
		for _, c := range part {
			args = appendCommand(args, c)
			generations[c.ID] = c.Generation
		}
		bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
		answer, err := dispatch.Run(bounded, d.c, keys, args...).StringSlice()
		cancel()
		if err != nil {
			return d.wrap(ctx, err)
		}
		if answer[0] == "fenced" {
			return fenced(fence, answer[1])
		}
		for pair := range slices.Chunk(answer[1:], 2) {
			refused = append(refused, fmt.Sprintf("unit/%s: generation %d, recorded is %s", pair[0], generations[pair[0]], pair[1]))
		}
	}
	if len(refused) == 0 {
		return nil
	}
	slices.Sort(refused)
	return &oprc.ConflictError{Reason: "not the next generation", Objects: refused}
}

func appendCommand(args []any, c oprc.Command) []any {
	return append(args, c.ID, string(c.Type), c.Generation, c.SpecHash, c.Revision, c.Time.UTC().Format(time.RFC3339Nano),
		oprc.MustCanonical(c.Unit), recordOf(c), c.Traceparent)
}

// recordOf is what is kept of the unit once a command was sent.
func recordOf(c oprc.Command) []byte {
	return oprc.MustCanonical(oprc.UnitRecord{
		Unit: c.Unit, SpecHash: c.SpecHash, Generation: c.Generation, Op: c.Type, Revision: c.Revision, DispatchedAt: c.Time.UTC(),
	})
}

// forget drops what is kept of undeployed units whose deletion was reported.
//
//	KEYS  1 units  2 digests  3 statuses  4 fence  5 moved
//	ARGV  1 fence  2… unit id, generation
//	      -> "" done, else the token that outran the fence
var forget = redis.NewScript(saneToken + bump + `
local seen = redis.call("GET", KEYS[4])
if sane(seen) > tonumber(ARGV[1]) then return seen end
bump(KEYS[5])
for i = 2, #ARGV, 2 do
  local id = ARGV[i]
  local digest = redis.call("HGET", KEYS[2], id)
  local ok, status = pcall(cjson.decode, redis.call("HGET", KEYS[3], id) or "{}")
  if (not digest or digest == ARGV[i + 1] .. " -") and ok and type(status) == "table" and status["condition"] == "DELETED"
    and tonumber(status["generation"]) == tonumber(ARGV[i + 1]) then
    for k = 1, 3 do redis.call("HDEL", KEYS[k], id) end
  end
end
return ""`)

// Forget drops what is kept of units that were undeployed in the generations given,
// and reported to be gone; what has changed since is left. A stale fence is an
// [oprc.ErrFenced].
func (d *DB) Forget(ctx context.Context, env string, generations map[string]int64, fence int64) error {
	args := []any{fence}
	for id, generation := range generations {
		args = append(args, id, generation)
	}
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	keys := []string{d.k.units(env), d.k.unitDigests(env), d.k.statuses(env), d.k.fence(env), d.k.moved(env)}
	token, err := forget.Run(bounded, d.c, keys, args...).Text()
	if err == nil && token != "" {
		return fenced(fence, token)
	}
	return d.wrap(ctx, err)
}

// know keeps the names of environments that are used.
//
//	KEYS  1 lease  2 known
//	ARGV  1 fence, 0 for none  2… names
//	      -> "" done, else the token that outran the fence
var know = redis.NewScript(`
if ARGV[1] ~= "0" then
  local token = redis.call("HGET", KEYS[1], "token")
  if token ~= ARGV[1] then return token or "0" end
end
redis.call("SADD", KEYS[2], unpack(ARGV, 2))
return ""`)

// know keeps the names of environments that are used. A stale fence is an
// [oprc.ErrFenced].
func (d *DB) know(ctx context.Context, fence int64, envs ...string) error {
	if len(envs) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for names := range slices.Chunk(envs, chunk) {
		token, err := know.Run(bounded, d.c, []string{d.k.lease(), d.k.known()}, append([]any{fence}, anys(names)...)...).Text()
		if err != nil {
			return d.wrap(ctx, err)
		}
		if token != "" {
			return fenced(fence, token)
		}
	}
	return nil
}

func anys[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}

// UnitRecords returns what was dispatched to an environment, undeployed units
// included. A record that cannot be read is left out: its digest remains.
func (d *DB) UnitRecords(ctx context.Context, env string) (map[string]oprc.UnitRecord, error) {
	docs, err := d.scanHash(ctx, d.k.units(env))
	if err != nil {
		return nil, err
	}
	return decodeAll[oprc.UnitRecord](docs), nil
}

// Statuses returns what reports on an environment's units add up to.
func (d *DB) Statuses(ctx context.Context, env string) (map[string]oprc.Status, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	docs, err := d.c.HGetAll(bounded, d.k.statuses(env)).Result()
	if err != nil {
		return nil, d.wrap(ctx, err)
	}
	return decodeStatuses(docs), nil
}
