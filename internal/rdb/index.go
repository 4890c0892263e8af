package rdb

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// The index says of packages and deployments what a plan of others needs to know: who
// refers to whom, and how full environments are. It is a function of the records, kept by
// the scripts that write them, and names the version of the catalogue that it is of. A
// version that it does not name was written by a program that knows of no index, or the
// index was altered or lost in part: then everything is read, and the next commit has it
// written anew.
//
//	index  HASH  package/NAME     "origin", classes, then lines as in refs
//	             deployment/KEY   package, then lines "units environment"
//	             units/ENV        units placed there
//	             placed/NAME      units placed of a package
//	             origin/O/KIND    packages, classes, units of an origin
//	             version          "version, length of refs, length of index"
//	refs   ZSET  "r OWNER NAME"   package NAME reads OWNER, if there is one
//	             "d KEY NAME"     package NAME deploys class KEY
//	             "p NAME KEY"     the deployment of class KEY is recorded to be NAME's

// indexed is Lua: what keeps the index. It needs versions.
const indexed = `
local function length(index, refs) return redis.call("ZCARD", refs) .. " " .. redis.call("HLEN", index) end
local function fits(key, want)
  local is = redis.call("TYPE", key)["ok"]
  return is == "none" or is == want
end
local function names(index, refs, version)
  return fits(index, "hash") and fits(refs, "zset") and redis.call("HGET", index, "version") == version .. " " .. length(index, refs)
end
local function name(index, refs, version)
  redis.call("HSET", index, "version", "")
  redis.call("HSET", index, "version", version .. " " .. length(index, refs))
end
local function bump(index, field, by)
  if by ~= 0 and redis.call("HINCRBY", index, field, string.format("%.0f", by)) == 0 then redis.call("HDEL", index, field) end
end
local function count(index, refs, object, entry, by)
  local kind, key = string.match(object, "^(%a+)/(.*)$")
  local lines = {}
  for line in string.gmatch(entry, "[^\n]+") do lines[#lines + 1] = line end
  local function ref(member)
    if by > 0 then redis.call("ZADD", refs, 0, member) else redis.call("ZREM", refs, member) end
  end
  if kind == "package" then
    local origin = "origin/" .. string.sub(lines[1], 2) .. "/"
    bump(index, origin .. "packages", by)
    bump(index, origin .. "classes", by * tonumber(lines[2]))
    bump(index, origin .. "units", by * tonumber(redis.call("HGET", index, "placed/" .. key) or "0"))
    for i = 3, #lines do ref(lines[i] .. " " .. key) end
    return
  end
  local total = 0
  for i = 2, #lines do
    local n, env = string.match(lines[i], "^(%d+) (.*)$")
    total = total + tonumber(n)
    bump(index, "units/" .. env, by * tonumber(n))
  end
  ref("p " .. lines[1] .. " " .. key)
  bump(index, "placed/" .. lines[1], by * total)
  local of = redis.call("HGET", index, "package/" .. lines[1])
  if of then bump(index, "origin/" .. string.match(of, "^=([^\n]*)") .. "/units", by * total) end
end
local function put(index, refs, object, entry)
  local was = redis.call("HGET", index, object)
  if was then count(index, refs, object, was, -1) end
  if entry == "" then redis.call("HDEL", index, object) return end
  redis.call("HSET", index, object, entry)
  count(index, refs, object, entry, 1)
end
`

// indexable reports whether a name can stand in the index: all that records hold can, but
// for what somebody wrote by hand.
func indexable(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) < 0
}

// packageEntry is what the index says of a package.
func packageEntry(rec oprc.PackageRecord) string {
	var b strings.Builder
	origin := rec.Origin
	if !indexable(origin) {
		origin = ""
	}
	fmt.Fprintf(&b, "=%s\n%d", origin, len(rec.Spec.Classes))
	refs := plan.ReferencesOf(rec.Spec)
	for _, list := range []struct {
		kind  string
		names []string
	}{{"r", refs.Reads}, {"d", refs.Deploys}} {
		for _, name := range list.names {
			if indexable(name) {
				b.WriteString("\n" + list.kind + " " + name)
			}
		}
	}
	return b.String()
}

// deploymentEntry is what the index says of a recorded deployment.
func deploymentEntry(d oprc.Deployment) string {
	if !indexable(d.Pkg) {
		return ""
	}
	var b strings.Builder
	b.WriteString(d.Pkg)
	units := plan.UnitsByEnvironment(d)
	for _, env := range slices.Sorted(maps.Keys(units)) {
		if indexable(env) {
			fmt.Fprintf(&b, "\n%d %s", units[env], env)
		}
	}
	return b.String()
}

// reindex writes a part of the index anew, as long as the catalogue is of one version.
//
//	KEYS  1 version  2 index  3 refs
//	ARGV  1 version that must still be  2 token of whoever writes  3 "1": the first part
//	      4 "1": the last one  then for each record: "<kind>/<key>", entry
//	      -> 1 written, 0 the catalogue moved, or somebody else writes or wrote it
var reindex = redis.NewScript(versions + indexed + `
if version(KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == "1" then
  if names(KEYS[2], KEYS[3], ARGV[1]) then return 0 end
  redis.call("DEL", KEYS[2], KEYS[3])
  redis.call("HSET", KEYS[2], "writer", ARGV[2])
elseif redis.call("HGET", KEYS[2], "writer") ~= ARGV[2] then
  return 0
end
for i = 5, #ARGV, 2 do put(KEYS[2], KEYS[3], ARGV[i], ARGV[i + 1]) end
if ARGV[4] == "1" then
  redis.call("HDEL", KEYS[2], "writer")
  name(KEYS[2], KEYS[3], ARGV[1])
end
return 1`)

// reindex writes the index anew. Where somebody commits meanwhile it stays unfinished, and
// says so: that commit has it written again.
func (d *DB) reindex(ctx context.Context) error {
	c, err := d.readCatalogue(ctx)
	if err != nil || len(c.damaged) > 0 {
		return err
	}
	var entries []any
	for name, rec := range c.packages {
		entries = append(entries, object(oprc.KindPackage, name), packageEntry(rec))
	}
	for key, dep := range c.deployments {
		entries = append(entries, object(oprc.KindDeployment, key), deploymentEntry(dep))
	}
	token := rand.Text()
	parts := slices.Collect(slices.Chunk(entries, 2*chunk))
	if len(parts) == 0 {
		parts = [][]any{nil}
	}
	for i, part := range parts {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		args := append([]any{c.version, token, flag(i == 0), flag(i == len(parts)-1)}, part...)
		written, err := reindex.Run(bounded, d.c, []string{d.k.version(), d.k.index(), d.k.refs()}, args...).Int()
		cancel()
		if err != nil || written == 0 {
			return d.wrap(ctx, err)
		}
	}
	return nil
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return ""
}

// indexEvery is the pause between two comparisons of the index with the records.
const indexEvery = time.Minute

// MendIndex compares the index with the records from time to time, and has it made anew
// where it was altered past all scripts: plans on parts follow it. It reports whether it was.
func (d *DB) MendIndex(ctx context.Context, now time.Time) (altered bool, err error) {
	if last := d.indexed.Load(); now.Sub(time.UnixMilli(last)) < indexEvery && now.UnixMilli() >= last {
		return false, nil
	}
	altered, version, err := d.compareIndex(ctx)
	if err != nil {
		return false, err
	}
	d.indexed.Store(now.UnixMilli())
	if !altered {
		return false, nil
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := disbelieve.Run(bounded, d.c, []string{d.k.index(), d.k.refs()}, version).Err(); err != nil {
		return true, d.wrap(ctx, err)
	}
	return true, d.reindex(ctx)
}

// IndexAltered returns the key of the index if that is believed, and is not what the
// records say.
func (d *DB) IndexAltered(ctx context.Context) (string, error) {
	altered, _, err := d.compareIndex(ctx)
	if err != nil || !altered {
		return "", err
	}
	return d.k.index(), nil
}

// compareIndex compares an index that is believed with the records, where none of those is
// damaged itself, and nobody writes meanwhile.
func (d *DB) compareIndex(ctx context.Context) (altered bool, version int64, err error) {
	c, err := d.readCatalogue(ctx)
	if err != nil || len(c.damaged) > 0 || int64(len(c.packages)) < d.partsFrom {
		return false, 0, err
	}
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	answer, err := wholeIndex.Run(bounded, d.c, []string{d.k.index(), d.k.refs(), d.k.version()}, c.version).Slice()
	if err != nil || len(answer) == 0 {
		return false, 0, d.wrap(ctx, err)
	}
	index, refs := indexOfRecords(c)
	is := pairs(answer[0])
	delete(is, "version")
	return !maps.Equal(is, index) || !slices.Equal(texts(answer[1]), refs), c.version, nil
}

// wholeIndex is the index, if the catalogue is of a version and the index names it.
//
//	KEYS  1 index  2 refs  3 version
//	ARGV  1 version
//	      -> {fields and values, members}, or nothing
var wholeIndex = redis.NewScript(versions + indexed + `
if version(KEYS[3]) ~= ARGV[1] or not names(KEYS[1], KEYS[2], ARGV[1]) then return {} end
return {redis.call("HGETALL", KEYS[1]), redis.call("ZRANGE", KEYS[2], 0, -1)}`)

// disbelieve lets the index name no version, if it names this one.
//
//	KEYS  1 index  2 refs
//	ARGV  1 version
var disbelieve = redis.NewScript(indexed + `
if names(KEYS[1], KEYS[2], ARGV[1]) then redis.call("HDEL", KEYS[1], "version") end
return 1`)

// indexOfRecords is what the scripts make of the records: the fields of the index, without
// its version, and what refs holds, in order.
func indexOfRecords(c *catalogue) (index map[string]string, refs []string) {
	index = map[string]string{}
	sums, placed := map[string]int{}, map[string]int{}
	for key, dep := range c.deployments {
		entry := deploymentEntry(dep)
		if entry == "" {
			continue
		}
		index[object(oprc.KindDeployment, key)] = entry
		refs = append(refs, "p "+dep.Pkg+" "+key)
		for env, n := range plan.UnitsByEnvironment(dep) {
			if indexable(env) {
				sums["units/"+env] += n
				placed[dep.Pkg] += n
			}
		}
	}
	for name, rec := range c.packages {
		entry := packageEntry(rec)
		index[object(oprc.KindPackage, name)] = entry
		lines := strings.Split(entry, "\n")
		for _, line := range lines[2:] {
			refs = append(refs, line+" "+name)
		}
		origin := "origin/" + strings.TrimPrefix(lines[0], "=") + "/"
		sums[origin+"packages"]++
		sums[origin+"classes"] += len(rec.Spec.Classes)
		sums[origin+"units"] += placed[name]
	}
	for name, n := range placed {
		sums["placed/"+name] = n
	}
	for field, n := range sums {
		if n != 0 {
			index[field] = strconv.Itoa(n)
		}
	}
	slices.Sort(refs)
	return index, slices.Compact(refs)
}

// related returns what the index lists under kinds of lines and names: for each "kind name"
// the last words of the lines.
func (d *DB) related(ctx context.Context, prefixes []string) (map[string][]string, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	found := make([]*redis.StringSliceCmd, len(prefixes))
	_, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		for i, prefix := range prefixes {
			found[i] = p.ZRangeByLex(bounded, d.k.refs(), &redis.ZRangeBy{Min: "[" + prefix + " ", Max: "(" + prefix + "!"})
		}
		return nil
	})
	if err := d.wrap(ctx, err); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for i, prefix := range prefixes {
		for _, line := range found[i].Val() {
			out[prefix] = append(out[prefix], line[len(prefix)+1:])
		}
	}
	return out, nil
}

// indexIsOf reports whether the index is whole, and of a version of the catalogue.
func (d *DB) indexIsOf(ctx context.Context, version int64) (bool, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	whole, err := indexOf.Run(bounded, d.c, []string{d.k.index(), d.k.refs()}, version).Bool()
	return whole, d.wrap(ctx, err)
}

// indexOf says whether the index is whole and of a version.
//
//	KEYS  1 index  2 refs
//	ARGV  1 version
//	      -> 1 it is, 0 it is not
var indexOf = redis.NewScript(indexed + `return names(KEYS[1], KEYS[2], ARGV[1]) and 1 or 0`)

// rest is what the index says of environments and of an origin. The environments are
// counted without some deployments.
func (d *DB) rest(ctx context.Context, envs []string, origin string, without map[string]oprc.Deployment) (*plan.Rest, error) {
	of := "origin/" + origin + "/"
	fields := []string{of + "packages", of + "classes", of + "units"}
	for _, env := range envs {
		fields = append(fields, "units/"+env)
	}
	values, err := d.hashFields(ctx, d.k.index(), fields)
	if err != nil {
		return nil, err
	}
	n := func(field string) int {
		n, _ := strconv.Atoi(values[field]) // 0 where there is none
		return n
	}
	rest := &plan.Rest{
		Units: map[string]int{},
		Sizes: map[string]plan.Size{origin: {Packages: n(of + "packages"), Classes: n(of + "classes"), Units: n(of + "units")}},
	}
	for _, env := range envs {
		rest.Units[env] = n("units/" + env)
	}
	for _, dep := range without {
		for env, n := range plan.UnitsByEnvironment(dep) {
			rest.Units[env] -= n
		}
	}
	return rest, nil
}
