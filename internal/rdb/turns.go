package rdb

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// placeKept is how long a place in the queue of writers is kept without a word of who has
// it: that long, at most, somebody who died holds the others up.
const placeKept = 3 * time.Second

// turns is Lua: the queue of writers, those who lost races for the catalogue. A place that
// is over, or that this program cannot have written, counts as absent. Reading the queue
// writes nothing: a script that has deleted something is not kept from writing by a full
// memory.
const turns = `
local function queue(key) -- places in their order, and fields that are over
  local places, over = {}, {}
  if redis.call("TYPE", key)["ok"] ~= "hash" then return places, over end
  local t = redis.call("TIME")
  local now = t[1] * 1000000 + t[2]
  local rows = redis.call("HGETALL", key)
  for i = 1, #rows, 2 do
    local since, till = string.match(rows[i + 1], "^(%d+) (%d+)$")
    since, till = tonumber(since or ""), tonumber(till or "")
    if not till or till <= now or till > now + 3000000 then
      over[#over + 1] = rows[i]
    else
      places[#places + 1] = {rows[i], since}
    end
  end
  table.sort(places, function(a, b) return a[2] < b[2] or a[2] == b[2] and a[1] < b[1] end)
  return places, over
end
local function others(key, place) -- somebody else's turn it is
  local places = queue(key)
  return #places > 0 and places[1][1] ~= place
end
local function sweep(key, over)
  local is = redis.call("TYPE", key)["ok"]
  if is ~= "hash" and is ~= "none" then redis.call("DEL", key) end
  for _, place in ipairs(over) do redis.call("HDEL", key, place) end
end
local function leave(key, place)
  local _, over = queue(key)
  over[#over + 1] = place
  sweep(key, over)
end
`

// await keeps a place in the queue of writers, or takes one at its end.
//
//	KEYS  1 turns
//	ARGV  1 place  2 microseconds that it is kept  3 "1" to take one where there is none
//	      -> how many are ahead, -1 without a place
var await = redis.NewScript(turns + `
local t = redis.call("TIME")
local now = t[1] * 1000000 + t[2]
local places, over = queue(KEYS[1])
sweep(KEYS[1], over)
local function keep(since)
  redis.call("HSET", KEYS[1], ARGV[1], string.format("%.0f %.0f", since, now + tonumber(ARGV[2])))
end
for i, place in ipairs(places) do
  if place[1] == ARGV[1] then keep(place[2]) return i - 1 end
end
if ARGV[3] ~= "1" then return -1 end
keep(#places > 0 and math.max(now, places[#places][2] + 1) or now)
return #places`)

// AwaitTurn keeps a place in the queue of those who want to write the catalogue, for some
// seconds; where there is none, join takes one at the end. It returns how many are ahead,
// -1 without a place. While a place is first, [DB.Commit] and [DB.Observe] refuse all
// others.
func (d *DB) AwaitTurn(ctx context.Context, place string, join bool) (ahead int, err error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ahead, err = await.Run(bounded, d.c, []string{d.k.turns()}, place, placeKept.Microseconds(), join).Int()
	return ahead, d.wrap(ctx, err)
}

// EndTurn gives a place up.
func (d *DB) EndTurn(ctx context.Context, place string) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrap(ctx, d.c.HDel(bounded, d.k.turns(), place).Err())
}
