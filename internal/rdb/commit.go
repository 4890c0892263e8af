package rdb

import (
	"context"
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

// commit checks the fence and every base revision, then writes everything.
//
//	KEYS  1 lease  2 digests  3 packages  4 environments  5 classes  6 functions
//	      7 deployments  8 sources  9 events  10 known  11 epoch  12 version  13 gone
//	      14… histories
//	ARGV  1 fence, 0 for none  2 version that must still be, 0 for any
//	      then five lists, each behind its length:
//	      bases     object, revision; or gone/object, the revision under which it was deleted
//	      writes    hash (index of KEYS), field, document, object, revision or "" for the next, "digest blob"
//	      deletes   hash (index of KEYS), field, object
//	      histories key (index of KEYS), entry
//	      events    entry
//	ARGV  last two: length of a history, length of the events
//	      -> {} done, {"fenced", token}, or {"moved", object, revision now, …}
var commit = redis.NewScript(`
local at = 0
local function take() at = at + 1 return ARGV[at] end
local function revision(object)
  local deleted = string.match(object, "^gone/(.*)$")
  local entry = deleted and redis.call("HGET", KEYS[13], deleted) or not deleted and redis.call("HGET", KEYS[2], object)
  return entry and string.match(entry, "^%d+") or "0"
end

local fence = take()
if fence ~= "0" then
  local token = redis.call("HGET", KEYS[1], "token")
  if token ~= fence then return {"fenced", token or "0"} end
end
local version = take()
local is = redis.call("GET", KEYS[12]) or "0"
if version ~= "0" and version ~= is then return {"moved", "catalogue", is} end
local moved = {"moved"}
for _ = 1, tonumber(take()) do
  local object = take()
  local now = revision(object)
  if now ~= take() then
    moved[#moved + 1] = object
    moved[#moved + 1] = now
  end
end
if #moved > 1 then return moved end

redis.call("INCR", KEYS[12])
if redis.call("EXISTS", KEYS[11]) == 0 then
  local t = redis.call("TIME")
  redis.call("SET", KEYS[11], t[1] .. "." .. t[2])
end
for _ = 1, tonumber(take()) do
  local hash = tonumber(take())
  local field = take()
  redis.call("HSET", KEYS[hash], field, take())
  local object = take()
  local rev = take()
  if rev == "" then rev = string.format("%.0f", tonumber(revision(object)) + 1) end
  redis.call("HSET", KEYS[2], object, rev .. " " .. take())
  if hash == 4 then redis.call("SADD", KEYS[10], field) end
end
for _ = 1, tonumber(take()) do
  local hash = tonumber(take())
  local field = take()
  redis.call("HDEL", KEYS[hash], field)
  local object = take()
  if hash == 3 or hash == 4 then redis.call("HSET", KEYS[13], object, string.format("%.0f", tonumber(revision(object)) + 1)) end
  redis.call("HDEL", KEYS[2], object)
end
for _ = 1, tonumber(take()) do
  redis.call("XADD", KEYS[tonumber(take())], "MAXLEN", "~", ARGV[#ARGV - 1], "*", "entry", take())
end
for _ = 1, tonumber(take()) do
  redis.call("XADD", KEYS[9], "MAXLEN", "~", ARGV[#ARGV], "*", "event", take())
end
return {}`)

// hashOf is the index in KEYS of the hash that holds a kind.
var hashOf = map[oprc.Kind]int{
	oprc.KindPackage: 3, oprc.KindEnv: 4, oprc.KindClass: 5, oprc.KindFunction: 6,
	oprc.KindDeployment: 7, oprc.KindSource: 8,
}

const firstHistory = 14

// Commit writes all of c or nothing. A base revision that no longer holds makes
// it an *oprc.ConflictError that names every object that moved. A stale fence is
// an [oprc.ErrFenced] and a conflict.
//
// When the answer is lost on the way, the commit may have happened; the caller
// reads again and plans again.
func (d *DB) Commit(ctx context.Context, c reconcile.Commit) error {
	keys := []string{
		d.k.lease(), d.k.catalogueDigests(), d.k.packages(), d.k.environments(), d.k.classes(), d.k.functions(),
		d.k.deployments(), d.k.sources(), d.k.events(), d.k.known(), d.k.epoch(),
		d.k.version(), d.k.gone(),
	}
	args := []any{c.Fence, c.Version}
	args = appendBases(args, c)
	args, err := appendWrites(args, c)
	if err != nil {
		return err
	}
	if args, err = appendDeletes(args, c.Delete); err != nil {
		return err
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
		return d.wrap(ctx, err)
	}
	return commitAnswer(answer, c)
}

func appendBases(args []any, c reconcile.Commit) []any {
	args = append(args, len(c.Base.Packages)+len(c.Base.Environments)+len(c.Gone))
	for _, list := range []struct {
		kind oprc.Kind
		revs map[string]int64
	}{{oprc.KindPackage, c.Base.Packages}, {oprc.KindEnv, c.Base.Environments}, {"gone", c.Gone}} {
		for _, name := range slices.Sorted(maps.Keys(list.revs)) {
			args = append(args, object(list.kind, name), list.revs[name])
		}
	}
	return args
}

// appendWrites appends every document. A record brings its revision along, in
// the document; the other kinds get the next one.
func appendWrites(args []any, c reconcile.Commit) ([]any, error) {
	count := len(c.Packages) + len(c.Environments) + len(c.Classes) + len(c.Functions) + len(c.Deployments)
	args = append(args, count)
	for name, rec := range c.Packages {
		if base, ok := c.Base.Packages[name]; ok {
			rec.Rev = max(rec.Rev, base+1)
		}
		if rec.Digest == "" {
			rec.Digest = oprc.Digest(rec.Spec)
		}
		rec.AppliedAt = rec.AppliedAt.UTC()
		args = append(args, hashOf[oprc.KindPackage], name, oprc.MustCanonical(rec), object(oprc.KindPackage, name), rec.Rev, rec.Digest+" -")
	}
	for name, rec := range c.Environments {
		if base, ok := c.Base.Environments[name]; ok {
			rec.Rev = max(rec.Rev, base+1)
		}
		rec.AppliedAt = rec.AppliedAt.UTC()
		args = append(args, hashOf[oprc.KindEnv], name, oprc.MustCanonical(rec), object(oprc.KindEnv, name), rec.Rev, oprc.Digest(rec.Spec)+" -")
	}
	args, err := appendDocuments(args, oprc.KindClass, c.Classes)
	if err != nil {
		return nil, err
	}
	if args, err = appendDocuments(args, oprc.KindFunction, c.Functions); err != nil {
		return nil, err
	}
	return appendDocuments(args, oprc.KindDeployment, c.Deployments)
}

func appendDocuments[T any](args []any, kind oprc.Kind, docs map[string]T) ([]any, error) {
	for key, doc := range docs {
		canonical, err := oprc.Canonical(doc) // a class's config may hold anything
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", object(kind, key), oprc.ErrInvalid, err)
		}
		args = append(args, hashOf[kind], key, canonical, object(kind, key), "", oprc.DigestBytes(canonical)+" -")
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

// commitAnswer turns the script's answer into an error.
func commitAnswer(answer []string, c reconcile.Commit) error {
	if len(answer) == 0 {
		return nil
	}
	if answer[0] == "fenced" {
		return fenced(c.Fence, answer[1])
	}
	base := map[string]int64{}
	for name, rev := range c.Gone {
		base["gone/"+name] = rev
	}
	for name, rev := range c.Base.Packages {
		base[object(oprc.KindPackage, name)] = rev
	}
	for name, rev := range c.Base.Environments {
		base[object(oprc.KindEnv, name)] = rev
	}
	var moved []string
	for pair := range slices.Chunk(answer[1:], 2) {
		if pair[0] == "catalogue" {
			moved = append(moved, fmt.Sprintf("catalogue: commit %d, now %s", c.Version, pair[1]))
			continue
		}
		moved = append(moved, fmt.Sprintf("%s: %s, now %s", pair[0], revision(base[pair[0]]), revisionText(pair[1])))
	}
	slices.Sort(moved)
	return &oprc.ConflictError{Reason: "live state moved since the plan was made", Objects: moved}
}

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

func revision(n int64) string { return revisionText(strconv.FormatInt(n, 10)) }

func revisionText(n string) string {
	if n == "0" {
		return "absent"
	}
	return "revision " + n
}

// fenced is what a former leader gets to hear.
func fenced(had int64, now string) error {
	return fmt.Errorf("%w: %w", oprc.ErrFenced, &oprc.ConflictError{
		Reason: fmt.Sprintf("another daemon leads now (its token is %s, ours %d)", now, had),
	})
}
