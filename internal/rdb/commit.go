package rdb

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// How much of the past is kept, about.
const (
	historyLength = "1000"  // entries per package
	eventsLength  = "10000" // entries
)

// versions is Lua: the version of the catalogue's slot, and the next one. Where it is no
// number, the next is the server's time in milliseconds.
const versions = `
local function version(key)
  local is = redis.call("GET", key)
  if is and string.match(is, "^[1-9]%d*$") and #is < 16 then return is end
  return "0"
end
local function advance(key)
  if version(key) ~= "0" or not redis.call("GET", key) then return string.format("%.0f", redis.call("INCR", key)) end
  local t = redis.call("TIME")
  local next = string.format("%.0f", t[1] * 1000 + math.floor(t[2] / 1000))
  redis.call("SET", key, next)
  return next
end
`

// typed is Lua: it refuses before the first write, in Redis' own words, where a key holds a
// value of another type: a script that fails half-way has written half. kinds has the types
// of the first keys, "any" for what the script gets along with; the last one is that of all
// that follow.
const typed = `
local function mistyped(kinds)
  for i, key in ipairs(KEYS) do
    local is, want = redis.call("TYPE", key)["ok"], kinds[math.min(i, #kinds)]
    if is ~= "none" and is ~= want and want ~= "any" then
      return redis.error_reply("WRONGTYPE Operation against a key holding the wrong kind of value: " .. key .. " is a " .. is .. ", not a " .. want)
    end
  end
end
`

// commit writes everything if the catalogue's slot is as it was read, and nothing else.
//
//	KEYS  1 lease  2 digests  3 packages  4 environments  5 classes  6 functions
//	      7 deployments  8 sources  9 events  10 known  11 ledger  12 version  13 gone
//	      14 index  15 refs  16 turns  17… histories
//	ARGV  1 fence, 0 for none  2 version that must still be  3 ledger that it must be of,
//	      "" for none yet  4 id for a ledger that has none  5 format  6 token of this commit
//	      7 place in the queue of writers, "" for none
//	      then four lists, each behind its length:
//	      writes    hash (index of KEYS), field, document, object, revision or "" for the next, "digest blob",
//	                entry of the index or ""
//	      deletes   hash (index of KEYS), field, object
//	      histories key (index of KEYS), entry
//	      events    entry
//	ARGV  last two: length of a history, length of the events
//	      -> {"done", version, "" or "unindexed": the index does not follow}, {"fenced", token},
//	         {"moved", version now, ledger now}, or {"queued"}: it is somebody else's turn
var commit = redis.NewScript(versions + indexed + typed + turns + `
local wrong = mistyped({ -- the index is derived, and is deleted below
  "hash", "hash", "hash", "hash", "hash", "hash", "hash", "hash", "stream", "set", "hash", "string", "hash", "any", "any", "any", "stream",
})
if wrong then return wrong end
local at = 0
local function take() at = at + 1 return ARGV[at] end
local function revision(object)
  local entry = redis.call("HGET", KEYS[2], object)
  return entry and string.match(entry, "^%d+") or "0"
end

local fence, decided, ledger = take(), take(), take()
local new, format, token, place = take(), take(), take(), take()
if fence ~= "0" then
  local leads = redis.call("HGET", KEYS[1], "token")
  if leads ~= fence then return {"fenced", leads or "0"} end
end
local is, of = version(KEYS[12]), redis.call("HGET", KEYS[11], "id") or ""
if decided ~= is or ledger ~= of then
  -- The same commit again, whose answer was lost on the way.
  if redis.call("HGET", KEYS[11], "commit") == token then return {"done", is, ""} end
  return {"moved", is, of}
end
if others(KEYS[16], place) then return {"queued"} end

if of == "" then redis.call("HSET", KEYS[11], "id", new, "format", format) end
redis.call("HSET", KEYS[11], "commit", token)
local index, refs = KEYS[14], KEYS[15]
if not fits(index, "hash") then redis.call("DEL", index) end
if not fits(refs, "zset") then redis.call("DEL", refs) end
local follows = names(index, refs, is)
if not follows and redis.call("EXISTS", KEYS[3], KEYS[7], index, refs) == 0 then follows = true end
local function keep(object, entry) -- what somebody altered cannot be counted from: then it does not follow
  follows = follows and pcall(put, index, refs, object, entry)
end
local now = advance(KEYS[12])
local rows = {} -- fields and values by hash: one HSET for a hundred of them takes a third less time
local function write(hash)
  if rows[hash] and #rows[hash] > 0 then redis.call("HSET", KEYS[hash], unpack(rows[hash])) end
  rows[hash] = {}
end
local function set(hash, field, value)
  local row = rows[hash] or {}
  rows[hash] = row
  row[#row + 1], row[#row + 2] = field, value
  if #row == 200 then write(hash) end
end
for _ = 1, tonumber(take()) do
  local hash = tonumber(take())
  local field = take()
  set(hash, field, take())
  local object = take()
  local rev = take()
  if rev == "" then rev = string.format("%.0f", tonumber(revision(object)) + 1) end
  set(2, object, rev .. " " .. take())
  local entry = take()
  if hash == 3 or hash == 7 then keep(object, entry) end
  if hash == 4 then redis.call("SADD", KEYS[10], field) end
end
for hash in pairs(rows) do write(hash) end
for _ = 1, tonumber(take()) do
  local hash = tonumber(take())
  local field = take()
  redis.call("HDEL", KEYS[hash], field)
  local object = take()
  if hash == 3 or hash == 4 then redis.call("HSET", KEYS[13], object, string.format("%.0f", tonumber(revision(object)) + 1)) end
  redis.call("HDEL", KEYS[2], object)
  if hash == 3 or hash == 7 then keep(object, "") end
end
if follows then name(index, refs, now) else redis.call("HDEL", index, "version") end
for _ = 1, tonumber(take()) do
  redis.call("XADD", KEYS[tonumber(take())], "MAXLEN", "~", ARGV[#ARGV - 1], "*", "entry", take())
end
for _ = 1, tonumber(take()) do
  redis.call("XADD", KEYS[9], "MAXLEN", "~", ARGV[#ARGV], "*", "event", take())
end
if redis.call("EXISTS", KEYS[16]) == 1 then leave(KEYS[16], place) end
return {"done", now, follows and "" or "unindexed"}`)

// parseVersion reads a version as the scripts do: what they cannot have written is 0, as
// before the first commit.
func parseVersion(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || len(text) >= 16 || n < 0 || strconv.FormatInt(n, 10) != text {
		return 0
	}
	return n
}

// hashOf is the index in KEYS of the hash that holds a kind.
var hashOf = map[oprc.Kind]int{
	oprc.KindPackage: 3, oprc.KindEnv: 4, oprc.KindClass: 5, oprc.KindFunction: 6,
	oprc.KindDeployment: 7, oprc.KindSource: 8,
}

const firstHistory = 17

// Commit writes all of c if the catalogue's slot is as c was decided on, else nothing: then
// it is an *oprc.ConflictError. It returns the new version. A stale fence is an
// [oprc.ErrFenced] and a conflict. Where it is somebody else's turn it is a
// [reconcile.ErrQueued]; a commit gives up the place in the queue that it names.
//
// When the answer is lost on the way and the client asks again, the second answer is the
// first. Where no answer comes at all, the commit may have happened: the caller reads again.
func (d *DB) Commit(ctx context.Context, c reconcile.Commit) (int64, error) {
	keys := []string{
		d.k.lease(), d.k.catalogueDigests(), d.k.packages(), d.k.environments(), d.k.classes(), d.k.functions(),
		d.k.deployments(), d.k.sources(), d.k.events(), d.k.known(), d.k.ledger(), d.k.version(), d.k.gone(),
		d.k.index(), d.k.refs(), d.k.turns(),
	}
	args := []any{c.Fence, c.Version, c.Ledger, rand.Text(), Format, rand.Text(), c.Place}
	args, err := appendWrites(args, c)
	if err != nil {
		return 0, err
	}
	if args, err = appendDeletes(args, c.Delete); err != nil {
		return 0, err
	}
	args = append(args, len(c.History))
	for i, pkg := range slices.Sorted(maps.Keys(c.History)) {
		keys = append(keys, d.k.history(pkg))
		h := c.History[pkg]
		h.ID, h.Time = "", h.Time.UTC()
		args = append(args, firstHistory+i, oprc.MustCanonical(h))
	}
	args = append(args, len(c.Events))
	for _, e := range c.Events {
		args = append(args, encodeEvent(e))
	}
	args = append(args, historyLength, eventsLength)

	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	answer, err := commit.Run(bounded, d.c, keys, args...).StringSlice()
	if err != nil {
		return 0, d.wrap(ctx, err)
	}
	switch answer[0] {
	case "fenced":
		return 0, fenced(c.Fence, answer[1])
	case "moved":
		return 0, movedOn(c.Version, answer[1])
	case "queued":
		return 0, reconcile.ErrQueued
	}
	if answer[2] != "" {
		_ = d.reindex(ctx) // what was asked for is written; without an index everything is read
	}
	return strconv.ParseInt(answer[1], 10, 64)
}

// movedOn is the conflict of a write that was decided on another version.
func movedOn(from int64, to string) error {
	return &oprc.ConflictError{
		Reason:  "live state moved since it was read",
		Objects: []string{fmt.Sprintf("catalogue: write %d, now %s", from, to)},
	}
}

// observe records what is observed of environments, if the catalogue's slot is as it was
// read. The version moves only when an observation does.
//
//	KEYS  1 lease  2 version  3 observed  4 index  5 refs  6 turns
//	ARGV  1 fence, 0 for none  2 version that must still be  3 place in the queue of writers
//	      then for each environment: name, observation or "" for none
//	      -> {"done", version}, {"fenced", token}, {"moved", version now}, or {"queued"}
var observe = redis.NewScript(versions + indexed + turns + `
if ARGV[1] ~= "0" then
  local leads = redis.call("HGET", KEYS[1], "token")
  if leads ~= ARGV[1] then return {"fenced", leads or "0"} end
end
local is = version(KEYS[2])
if ARGV[2] ~= is then return {"moved", is} end
if others(KEYS[6], ARGV[3]) then return {"queued"} end
local changed = false
for i = 4, #ARGV, 2 do
  if (redis.call("HGET", KEYS[3], ARGV[i]) or "") ~= ARGV[i + 1] then
    changed = true
    if ARGV[i + 1] == "" then redis.call("HDEL", KEYS[3], ARGV[i]) else redis.call("HSET", KEYS[3], ARGV[i], ARGV[i + 1]) end
  end
end
if not changed then return {"done", is} end
local follows, now = names(KEYS[4], KEYS[5], is), advance(KEYS[2])
if follows then name(KEYS[4], KEYS[5], now) end
return {"done", now}`)

// Observe records what is observed of environments, nil where one is not there any more,
// and returns the version that this makes. Where the version is no longer the one given
// it is an *oprc.ConflictError; a stale fence is an [oprc.ErrFenced]; where it is somebody
// else's turn, a [reconcile.ErrQueued].
func (d *DB) Observe(ctx context.Context, version int64, seen map[string]*oprc.Observation, fence int64, place string) (int64, error) {
	args := []any{fence, version, place}
	for _, env := range slices.Sorted(maps.Keys(seen)) {
		value := []byte{}
		if o := seen[env]; o != nil {
			value = oprc.MustCanonical(o)
		}
		args = append(args, env, value)
	}
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	answer, err := observe.Run(bounded, d.c, []string{d.k.lease(), d.k.version(), d.k.observed(), d.k.index(), d.k.refs(), d.k.turns()}, args...).StringSlice()
	if err != nil {
		return 0, d.wrap(ctx, err)
	}
	switch answer[0] {
	case "fenced":
		return 0, fenced(fence, answer[1])
	case "moved":
		return 0, movedOn(version, answer[1])
	case "queued":
		return 0, reconcile.ErrQueued
	}
	return strconv.ParseInt(answer[1], 10, 64)
}

// appendWrites appends every document. A record brings its revision along, in
// the document; the other kinds get the next one.
func appendWrites(args []any, c reconcile.Commit) ([]any, error) {
	count := len(c.Packages) + len(c.Environments) + len(c.Classes) + len(c.Functions) + len(c.Deployments)
	args = append(args, count)
	for name, rec := range c.Packages {
		if rec.Digest == "" {
			rec.Digest = oprc.Digest(rec.Spec)
		}
		rec.AppliedAt = rec.AppliedAt.UTC()
		args = append(args, hashOf[oprc.KindPackage], name, oprc.MustCanonical(rec), object(oprc.KindPackage, name), rec.Rev, rec.Digest+" -", packageEntry(rec))
	}
	for name, rec := range c.Environments {
		rec.AppliedAt = rec.AppliedAt.UTC()
		args = append(args, hashOf[oprc.KindEnv], name, oprc.MustCanonical(rec), object(oprc.KindEnv, name), rec.Rev, oprc.Digest(rec.Spec)+" -", "")
	}
	args, err := appendDocuments(args, oprc.KindClass, c.Classes, unindexed)
	if err != nil {
		return nil, err
	}
	if args, err = appendDocuments(args, oprc.KindFunction, c.Functions, unindexed); err != nil {
		return nil, err
	}
	return appendDocuments(args, oprc.KindDeployment, c.Deployments, deploymentEntry)
}

// unindexed is the entry of what the index says nothing of.
func unindexed[T any](T) string { return "" }

func appendDocuments[T any](args []any, kind oprc.Kind, docs map[string]T, entry func(T) string) ([]any, error) {
	for key, doc := range docs {
		canonical, err := oprc.Canonical(doc) // a class's config may hold anything
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", object(kind, key), oprc.ErrInvalid, err)
		}
		args = append(args, hashOf[kind], key, canonical, object(kind, key), "", oprc.DigestBytes(canonical)+" -", entry(doc))
	}
	return args, nil
}

func appendDeletes(args []any, refs []reconcile.Ref) ([]any, error) {
	args = append(args, len(refs))
	for _, r := range refs {
		hash, ok := hashOf[r.Kind]
		if !ok {
			return nil, fmt.Errorf("delete %s/%s: %w: the catalogue holds no such kind", r.Kind, r.Key, oprc.ErrInvalid)
		}
		args = append(args, hash, r.Key, object(r.Kind, r.Key))
	}
	return args, nil
}

// object names an object of the catalogue: the field of its digest.
func object(kind oprc.Kind, key string) string { return string(kind) + "/" + key }

// Gone returns the revisions under which packages and environments were deleted, by
// "<kind>/<name>"; 0 for one that never was. Who comes back under a name goes on from
// there: a plan made on its third revision is none on the third of what was before.
func (d *DB) Gone(ctx context.Context, objects []string) (map[string]int64, error) {
	fields, err := d.hashFields(ctx, d.k.gone(), objects)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64, len(objects))
	for _, name := range objects {
		out[name], _ = strconv.ParseInt(fields[name], 10, 64) // 0, as if never, for what nobody wrote
	}
	return out, nil
}

// fenced is what a former leader gets to hear.
func fenced(had int64, now string) error {
	return fmt.Errorf("%w: %w", oprc.ErrFenced, &oprc.ConflictError{
		Reason: fmt.Sprintf("another daemon leads now (its token is %s, ours %d)", now, had),
	})
}
