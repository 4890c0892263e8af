package embedded

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/alicebob/miniredis/v2"
)

// An entry is one key with all that it holds.
type entry struct {
	Key      string
	Type     string   // as the TYPE command says
	ExpireAt int64    // Unix time in ms; 0: never
	Values   []string // string: itself; hash: field, value, …; zset: member, score, …; list and set: their elements
	Stream   stream
}

type stream struct {
	LastID  string // of the newest entry ever, which may be gone
	Entries []streamEntry
	Groups  []group
}

type streamEntry struct {
	ID     string
	Values []string
}

type group struct {
	Name      string
	Delivered string // id of the last entry that was delivered
	Pending   []pending
}

// A pending entry was delivered to a consumer that has not acknowledged it.
type pending struct {
	ID, Consumer string
	Deliveries   int
}

// everything reads all keys in one step, as a script does.
//
//	-> {commands called, {key, type, expiry in ms or -1, values} …}; the values of
//	   a stream are {last id, entries, {group, last delivered, pending entries} …}
const everything = `
local calls = 0
local function call(...)
  calls = calls + 1
  return redis.call(...)
end
local function stream(key)
  local groups = {}
  for _, g in ipairs(call("XINFO", "GROUPS", key)) do
    local f = {}
    for i = 1, #g, 2 do f[g[i]] = g[i + 1] end
    groups[#groups + 1] = {f["name"], f["last-delivered-id"], call("XPENDING", key, f["name"], "-", "+", 1000000000)}
  end
  return {call("XINFO", "STREAM", key)[4], call("XRANGE", key, "-", "+"), groups}
end
local read = {
  string = function(key) return {call("GET", key)} end,
  hash   = function(key) return call("HGETALL", key) end,
  list   = function(key) return call("LRANGE", key, 0, -1) end,
  set    = function(key) return call("SMEMBERS", key) end,
  zset   = function(key) return call("ZRANGE", key, 0, -1, "WITHSCORES") end,
  stream = stream,
}
local all = {}
for _, key in ipairs(call("KEYS", "*")) do
  local type = call("TYPE", key).ok
  if read[type] then
    all[#all + 1] = {key, type, call("PEXPIRETIME", key), read[type](key)}
  end
end
return {calls, all}`

// dump returns all entries, as they are at one moment, in key order, and how many
// commands the reading took.
func dump(m *miniredis.Miniredis, password string) (_ []entry, commands int, err error) {
	c, err := dial(m, password)
	if err != nil {
		return nil, 0, err
	}
	defer c.close()
	reply, err := c.do("EVAL", everything, "0")
	if err != nil {
		return nil, 0, err
	}
	var entries []entry
	for _, r := range list(list(reply)[1]) {
		entries = append(entries, entryOf(list(r)))
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.Key, b.Key) })
	return entries, c.sent + number(list(reply)[0]), nil
}

func entryOf(f []any) entry {
	e := entry{Key: text(f[0]), Type: text(f[1]), ExpireAt: max(0, int64(number(f[2])))}
	switch e.Type {
	case "stream":
		e.Stream = streamOf(list(f[3]))
	case "set":
		e.Values = texts(f[3])
		slices.Sort(e.Values)
	case "hash":
		e.Values = sortedPairs(texts(f[3]))
	default:
		e.Values = texts(f[3])
	}
	return e
}

func streamOf(f []any) stream {
	s := stream{LastID: text(f[0])}
	for _, r := range list(f[1]) {
		s.Entries = append(s.Entries, streamEntry{ID: text(list(r)[0]), Values: texts(list(r)[1])})
	}
	for _, r := range list(f[2]) {
		g := group{Name: text(list(r)[0]), Delivered: text(list(r)[1])}
		for _, p := range list(list(r)[2]) {
			of := list(p) // id, consumer, idle, deliveries
			g.Pending = append(g.Pending, pending{ID: text(of[0]), Consumer: text(of[1]), Deliveries: number(of[3])})
		}
		s.Groups = append(s.Groups, g)
	}
	slices.SortFunc(s.Groups, func(a, b group) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// restore writes the entries into an empty m.
func restore(m *miniredis.Miniredis, password string, entries []entry) error {
	c, err := dial(m, password)
	if err != nil {
		return err
	}
	defer c.close()
	for _, e := range entries {
		if err := restoreEntry(c, e); err != nil {
			return fmt.Errorf("key %q: %w", e.Key, err)
		}
	}
	return nil
}

func restoreEntry(c *conn, e entry) error {
	var err error
	switch e.Type {
	case "string":
		_, err = c.do("SET", e.Key, e.Values[0])
	case "hash":
		err = c.with(e.Values, "HSET", e.Key)
	case "list":
		err = c.with(e.Values, "RPUSH", e.Key)
	case "set":
		err = c.with(e.Values, "SADD", e.Key)
	case "zset":
		for i := 0; i+1 < len(e.Values) && err == nil; i += 2 {
			_, err = c.do("ZADD", e.Key, e.Values[i+1], e.Values[i])
		}
	case "stream":
		err = restoreStream(c, e.Key, e.Stream)
	default:
		err = fmt.Errorf("unknown type %q", e.Type)
	}
	if err == nil && e.ExpireAt > 0 {
		_, err = c.do("PEXPIREAT", e.Key, strconv.FormatInt(e.ExpireAt, 10))
	}
	return err
}

// restoreStream also restores the last id, so that ids go on rising, and who has
// received what without acknowledging it.
func restoreStream(c *conn, key string, s stream) error {
	for _, e := range s.Entries {
		if err := c.with(e.Values, "XADD", key, e.ID); err != nil {
			return err
		}
	}
	if n := len(s.Entries); s.LastID != "" && (n == 0 || s.Entries[n-1].ID != s.LastID) {
		if _, err := c.do("XADD", key, s.LastID, "gone", ""); err != nil {
			return err
		}
		if _, err := c.do("XDEL", key, s.LastID); err != nil {
			return err
		}
	}
	for _, g := range s.Groups {
		if _, err := c.do("XGROUP", "CREATE", key, g.Name, g.Delivered, "MKSTREAM"); err != nil {
			return err
		}
		for _, p := range g.Pending {
			if _, err := c.do("XCLAIM", key, g.Name, p.Consumer, "0", p.ID,
				"RETRYCOUNT", strconv.Itoa(p.Deliveries), "FORCE", "JUSTID"); err != nil {
				return err
			}
		}
	}
	return nil
}

// with does a command whose last arguments are values.
func (c *conn) with(values []string, args ...string) error {
	_, err := c.do(append(args, values...)...)
	return err
}

// sortedPairs orders field, value, field, value, … by field.
func sortedPairs(values []string) []string {
	pairs := slices.Collect(slices.Chunk(values, 2))
	slices.SortFunc(pairs, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return slices.Concat(pairs...)
}

// The replies to our own script are of known types; what is not there is zero.

func list(v any) []any  { l, _ := v.([]any); return l }
func text(v any) string { s, _ := v.(string); return s }
func number(v any) int  { n, _ := v.(int); return n }
func texts(v any) []string {
	out := make([]string, 0, len(list(v)))
	for _, e := range list(v) {
		out = append(out, text(e))
	}
	return out
}
