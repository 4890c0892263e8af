package rdb

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// saneToken is Lua: the server's time in milliseconds, and a token as a number: 0 for one
// that is a day or more ahead of that time, or no number. A token begins as the time, and
// grows by one with a change of holder.
const saneToken = `
local t = redis.call("TIME")
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local function sane(token)
  local n = tonumber(token or "0") or 0
  if n < 0 or n > now + 86400000 then return 0 end
  return n
end
`

// bump is Lua: it counts a counter up, whatever is in it. A counter begins at the time, so
// that an environment that was retired and is back never has a count that it had before.
const bump = `
local function bump(key)
  local answer = redis.pcall("INCR", key)
  if type(answer) == "table" or answer == 1 then
    local t = redis.call("TIME")
    redis.call("SET", key, string.format("%.0f", t[1] * 1000000 + t[2]))
  end
end
`

// acquire takes the lease if it is free or over, or renews it. Time is the
// server's. Tokens grow with every change of holder, and because they are not
// less than the server's clock in milliseconds, also across the loss of all data.
// What no daemon can have written counts as absent.
//
//	KEYS  1 lease
//	ARGV  1 holder  2 ttl in milliseconds
//	      -> {1 or 0, token}
var acquire = redis.NewScript(saneToken + `
local holder = redis.call("HGET", KEYS[1], "holder") or ""
local token = sane(redis.call("HGET", KEYS[1], "token"))
local expires = tonumber(redis.call("HGET", KEYS[1], "expires") or "0") or 0
local over = expires <= now or expires > now + 86400000
if holder ~= "" and holder ~= ARGV[1] and not over then
  return {"0", string.format("%.0f", token)}
end
if holder ~= ARGV[1] or token == 0 then token = math.max(token + 1, now) end
local text = string.format("%.0f", token)
redis.call("HSET", KEYS[1], "holder", ARGV[1], "token", text,
  "expires", string.format("%.0f", now + tonumber(ARGV[2])))
return {"1", text}`)

// release gives the lease up. The token grows, so that what the holder still has
// on the way is refused.
//
//	KEYS  1 lease
//	ARGV  1 holder  2 token
//	      -> 1 given up, 0 not held
var release = redis.NewScript(`
if redis.call("HGET", KEYS[1], "holder") ~= ARGV[1] or redis.call("HGET", KEYS[1], "token") ~= ARGV[2] then return 0 end
redis.call("HSET", KEYS[1], "holder", "", "expires", "0", "token", string.format("%.0f", tonumber(ARGV[2]) + 1))
return 1`)

// Acquire takes the lease for ttl, or renews it. ok is false while another holder
// has it; token is then theirs. The token grows whenever the holder changes.
func (d *DB) Acquire(ctx context.Context, holder string, ttl time.Duration) (token int64, ok bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := acquire.Run(bounded, d.c, []string{d.k.lease()}, holder, ttl.Milliseconds()).Int64Slice()
	if err != nil {
		return 0, false, d.wrap(ctx, err)
	}
	return answer[1], answer[0] == 1, nil
}

// Release gives the lease up, if holder still has it under that token.
func (d *DB) Release(ctx context.Context, holder string, token int64) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrap(ctx, release.Run(bounded, d.c, []string{d.k.lease()}, holder, token).Err())
}

// raise makes an environment refuse what carries a lesser token than the leader's.
//
//	KEYS  1 fence
//	ARGV  1 token
var raise = redis.NewScript(saneToken + `
if sane(redis.call("GET", KEYS[1])) < tonumber(ARGV[1]) then redis.call("SET", KEYS[1], ARGV[1]) end
return redis.status_reply("OK")`)

// Fence makes every environment refuse what former leaders still have on the way,
// also those to which the new leader dispatches nothing. Where it fails, the other
// environments are fenced nevertheless. An environment that is not known yet needs
// no fence: to make it known a token must hold.
func (d *DB) Fence(ctx context.Context, token int64) error {
	envs, err := d.knownEnvironments(ctx)
	if err != nil || len(envs) == 0 {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err = d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		for _, e := range envs {
			raise.Eval(bounded, p, []string{d.k.fence(e)}, token)
		}
		return nil
	})
	return d.wrap(ctx, err)
}

// putSource writes the status of a source, and entries into histories.
//
//	KEYS  1 lease  2 sources  3… histories
//	ARGV  1 fence, 0 for none  2 name  3 document  4 length of a history  5… entry of each history
//	      -> "" done, else the token that outran the fence
var putSource = redis.NewScript(`
if ARGV[1] ~= "0" then
  local token = redis.call("HGET", KEYS[1], "token")
  if token ~= ARGV[1] then return token or "0" end
end
redis.call("HSET", KEYS[2], ARGV[2], ARGV[3])
for i = 3, #KEYS do
  redis.call("XADD", KEYS[i], "MAXLEN", "~", ARGV[4], "*", "entry", ARGV[i + 2])
end
return ""`)

// PutSource keeps the status of a source and, with it or not at all, what of the
// source was refused, by package. A stale fence is an [oprc.ErrFenced].
func (d *DB) PutSource(ctx context.Context, s oprc.SourceStatus, refused map[string]oprc.HistoryEntry, fence int64) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	keys := []string{d.k.lease(), d.k.sources()}
	args := []any{fence, s.Name, oprc.MustCanonical(s), historyLength}
	for _, pkg := range slices.Sorted(maps.Keys(refused)) {
		keys, args = append(keys, d.k.history(pkg)), append(args, oprc.MustCanonical(refused[pkg]))
	}
	token, err := putSource.Run(bounded, d.c, keys, args...).Text()
	if err != nil {
		return d.wrap(ctx, err)
	}
	if token != "" {
		return fenced(fence, token)
	}
	return nil
}

// dropSources forgets sources.
//
//	KEYS  1 lease  2 sources  3 held  4 requests
//	ARGV  1 fence, 0 for none  2… names
//	      -> "" done, else the token that outran the fence
var dropSources = redis.NewScript(`
if ARGV[1] ~= "0" then
  local token = redis.call("HGET", KEYS[1], "token")
  if token ~= ARGV[1] then return token or "0" end
end
for i = 2, #ARGV do
  redis.call("HDEL", KEYS[2], ARGV[i])
  redis.call("HDEL", KEYS[3], ARGV[i])
  redis.call("HDEL", KEYS[4], "` + ticketPrefix + `" .. ARGV[i])
end
return ""`)

// DropSources forgets sources: their status, the plans that they hold, and how often a
// tick was asked for. A stale fence is an [oprc.ErrFenced].
func (d *DB) DropSources(ctx context.Context, names []string, fence int64) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	token, err := dropSources.Run(bounded, d.c, []string{d.k.lease(), d.k.sources(), d.k.held(), d.k.requests()}, append([]any{fence}, anys(names)...)...).Text()
	if err == nil && token != "" {
		return fenced(fence, token)
	}
	return d.wrap(ctx, err)
}
