package rdb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// maxCommands bounds a command stream whose readers are away. What is cut off
	// is in the records, which a CRM reads first when it comes back.
	maxCommands = 100_000
	// forgetConsumer is the idleness after which a consumer that has nothing
	// pending is removed from its group.
	forgetConsumer = time.Hour
)

// Trim drops what every group has read and acknowledged from an environment's
// streams. Of reports it drops nothing else. Of commands it keeps about the last
// hundred thousand, read or not, and those that somebody has pending: a unit's record
// says what its last command said.
func (d *DB) Trim(ctx context.Context, env string) error {
	if err := d.trim(ctx, d.k.reports(env)); err != nil {
		return err
	}
	if err := d.trim(ctx, d.k.commands(env)); err != nil {
		return err
	}
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		left, err := shorten.Run(bounded, d.c, []string{d.k.commands(env)}, maxCommands, shortenBy).Int64()
		cancel()
		if err != nil || left == 0 {
			return d.wrap(ctx, err)
		}
	}
	return ctx.Err()
}

// shortenBy is how many entries are dropped at once, so that nobody waits for long.
const shortenBy = 5000

// shorten drops the oldest entries of a stream that is too long, except those that
// some group has pending.
//
//	KEYS  1 stream
//	ARGV  1 most entries  2 most to drop at once
//	      -> how many more there are to drop
var shorten = redis.NewScript(`
local over = redis.call("XLEN", KEYS[1]) - tonumber(ARGV[1])
if over <= 0 then return 0 end
local pending, any = {}, false
for _, g in ipairs(redis.call("XINFO", "GROUPS", KEYS[1])) do
  local info = {}
  for i = 1, #g, 2 do info[g[i]] = g[i + 1] end
  if info["pending"] > 0 then
    for _, p in ipairs(redis.call("XPENDING", KEYS[1], info["name"], "-", "+", info["pending"])) do
      pending[p[1]], any = true, true
    end
  end
end
if not any then
  redis.call("XTRIM", KEYS[1], "MAXLEN", ARGV[1])
  return 0
end
local now, dropped, start = math.min(over, tonumber(ARGV[2])), 0, "-"
while dropped < now do
  local entries = redis.call("XRANGE", KEYS[1], start, "+", "COUNT", 500)
  if #entries == 0 then return 0 end -- the others are pending
  for _, e in ipairs(entries) do
    start = "(" .. e[1]
    if not pending[e[1]] and dropped < now then dropped = dropped + redis.call("XDEL", KEYS[1], e[1]) end
  end
end
return over - dropped`)

// trim drops the entries before the first that some group has pending or has not
// read. What it learns may be outdated when it trims, but only in the safe
// direction: groups move forward.
func (d *DB) trim(ctx context.Context, stream string) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	groups, err := d.c.XInfoGroups(bounded, stream).Result()
	if noStream(err) || (err == nil && len(groups) == 0) {
		return nil
	}
	if err != nil {
		return d.wrap(ctx, err)
	}
	first := position{ms: ^uint64(0)}
	for _, g := range groups {
		p, err := d.unread(bounded, stream, g)
		if err != nil {
			return d.wrap(ctx, err)
		}
		if p.before(first) {
			first = p
		}
		if err := dismiss.Run(bounded, d.c, []string{stream}, g.Name, forgetConsumer.Milliseconds()).Err(); err != nil {
			return d.wrap(ctx, err)
		}
	}
	return d.wrap(ctx, d.c.XTrimMinID(bounded, stream, first.String()).Err())
}

// unread is the position of the first entry that a group still needs.
func (d *DB) unread(ctx context.Context, stream string, g redis.XInfoGroup) (position, error) {
	if g.Pending > 0 {
		pending, err := d.c.XPending(ctx, stream, g.Name).Result()
		if err != nil {
			return position{}, err
		}
		if pending.Count > 0 {
			return parsePosition(pending.Lower)
		}
	}
	p, err := parsePosition(g.LastDeliveredID)
	return p.next(), err
}

// dismiss removes a group's consumers that have been idle for long and have nothing
// pending: processes come and go under new names.
//
//	KEYS  1 stream
//	ARGV  1 group  2 idleness in ms
var dismiss = redis.NewScript(`
for _, c in ipairs(redis.call("XINFO", "CONSUMERS", KEYS[1], ARGV[1])) do
  local info = {}
  for i = 1, #c, 2 do info[c[i]] = c[i + 1] end
  if info["pending"] == 0 and info["idle"] > tonumber(ARGV[2]) then
    redis.call("XGROUP", "DELCONSUMER", KEYS[1], ARGV[1], info["name"])
  end
end
return redis.status_reply("OK")`)

func noStream(err error) bool { return err != nil && strings.Contains(err.Error(), "no such key") }

// A position is a stream id.
type position struct{ ms, seq uint64 }

func (p position) before(q position) bool {
	return p.ms < q.ms || p.ms == q.ms && p.seq < q.seq
}

// following is the least stream id after one, for commands to which miniredis can say
// no "(".
func following(id string) (string, error) {
	p, err := parsePosition(id)
	return p.next().String(), err
}

func (p position) next() position { return position{p.ms, p.seq + 1} }

func (p position) String() string { return fmt.Sprintf("%d-%d", p.ms, p.seq) }

func parsePosition(id string) (position, error) {
	ms, seq, _ := strings.Cut(id, "-")
	var p position
	var err1, err2 error
	p.ms, err1 = strconv.ParseUint(ms, 10, 64)
	if seq != "" {
		p.seq, err2 = strconv.ParseUint(seq, 10, 64)
	}
	return p, errors.Join(err1, err2)
}
