package rdb

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// retire deletes all keys of an environment in which nobody is and nothing runs.
//
//	KEYS  1 digests  2 leases  3 reports  4 fence  5… all others
//	ARGV  1 fence  2 ms of silence after which nobody is there
//	      -> "" done, "busy", else the token that outran the fence
var retire = redis.NewScript(saneToken + `
local seen = redis.call("GET", KEYS[4])
if sane(seen) > tonumber(ARGV[1]) then return seen end
local t = redis.call("TIME")
local since = t[1] * 1000 + math.floor(t[2] / 1000) - tonumber(ARGV[2])
for _, at in ipairs(redis.call("HVALS", KEYS[2])) do
  if tonumber(at) > since then return "busy" end
end
for _, digest in ipairs(redis.call("HVALS", KEYS[1])) do
  if not string.match(digest, " %-$") then return "busy" end
end
local last = redis.call("XREVRANGE", KEYS[3], "+", "-", "COUNT", 1)
if last[1] and tonumber(string.match(last[1][1], "^%d+")) > since then return "busy" end
for i = 1, #KEYS do redis.call("DEL", KEYS[i]) end
return ""`)

// unknown forgets that an environment was dispatched to or heard of.
//
//	KEYS  1 lease  2 known
//	ARGV  1 fence  2 environment
//	      -> "" done, else the token that outran the fence
var unknown = redis.NewScript(`
local token = redis.call("HGET", KEYS[1], "token")
if token ~= ARGV[1] then return token or "0" end
redis.call("SREM", KEYS[2], ARGV[2])
return ""`)

// Retire deletes all that is kept of an environment: records of units that were undeployed,
// statuses, streams, dead letters. It does nothing, and done is false, while a CRM is or
// was there just now, or something runs there. A stale fence is an [oprc.ErrFenced].
func (d *DB) Retire(ctx context.Context, env string, fence int64) (done bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ids, err := d.c.HKeys(bounded, d.k.unitDigests(env)).Result()
	if err != nil {
		return false, d.wrap(ctx, err)
	}
	keys := []string{
		d.k.unitDigests(env), d.k.leases(env), d.k.reports(env), d.k.fence(env), d.k.units(env), d.k.statuses(env), d.k.moved(env),
		d.k.crms(env), d.k.outbox(env), d.k.owners(env), d.k.processes(env), d.k.commands(env), d.k.dead(env),
	}
	classes := map[string]bool{}
	for _, id := range ids {
		cls, _, _ := strings.Cut(id, "/")
		if !classes[cls] {
			classes[cls], keys = true, append(keys, d.k.runtime(env, cls))
		}
	}
	// Whoever reads its reports ends because it is unknown, and does not begin its stream again.
	token, err := unknown.Run(bounded, d.c, []string{d.k.lease(), d.k.known()}, fence, env).Text()
	if err == nil && token != "" {
		return false, fenced(fence, token)
	}
	if err != nil {
		return false, d.wrap(ctx, err)
	}
	answer, err := retire.Run(bounded, d.c, keys, fence, oprc.HeartbeatTimeout.Milliseconds()).Text()
	switch {
	case err != nil:
		return false, errors.Join(d.wrap(ctx, err), d.know(ctx, 0, env))
	case answer == "busy":
		return false, d.know(ctx, fence, env)
	case answer != "":
		return false, fenced(fence, answer)
	}
	return true, nil
}

// DeadLetters counts the dead letters of an environment.
func (d *DB) DeadLetters(ctx context.Context, env string) (int64, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	n, err := d.c.XLen(bounded, d.k.dead(env)).Result()
	return n, d.wrap(ctx, err)
}
