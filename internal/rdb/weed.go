package rdb

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Under the keys of an environment somebody may write what no plan can make right: an id
// that is none of its units, or half of a unit that nothing asks for.

// isStray reports whether no unit of an environment has an id.
func isStray(env, id string) bool {
	_, _, _, of, ok := oprc.ParseUnitID(id)
	return !ok || of != env
}

// refuseStrays takes what is no unit of the environment for damage: a plan would send its
// commands elsewhere.
func (s *envReading) refuseStrays(env string) {
	for id := range s.units {
		if isStray(env, id) {
			s.damaged[id] = true
			delete(s.units, id)
		}
	}
}

// weed drops what has not both a record and a digest, or is of no unit.
//
//	KEYS  1 units  2 digests  3 statuses  4 fence  5 moved
//	ARGV  1 fence  2… id, "stray" or "half"
//	      -> {"ok", ids that were dropped}, or {"fenced", token}
var weed = redis.NewScript(saneToken + bump + `
local seen = redis.call("GET", KEYS[4])
if sane(seen) > tonumber(ARGV[1]) then return {"fenced", seen} end
local dropped = {"ok"}
for i = 2, #ARGV, 2 do
  local id = ARGV[i]
  local both = redis.call("HEXISTS", KEYS[1], id) == 1 and redis.call("HEXISTS", KEYS[2], id) == 1
  if ARGV[i + 1] == "stray" or not both then
    local n = redis.call("HDEL", KEYS[1], id) + redis.call("HDEL", KEYS[2], id)
    if ARGV[i + 1] == "stray" then n = n + redis.call("HDEL", KEYS[3], id) end
    if n > 0 then dropped[#dropped + 1] = id end
  end
end
if #dropped > 1 then bump(KEYS[5]) end
return dropped`)

// Weed drops what the last reading found under the keys of environments that is no unit of
// theirs, and halves of units that do not run: digests without a record, and records that
// cannot be read without a digest. It returns their ids. A stale fence is an
// [oprc.ErrFenced].
func (d *DB) Weed(ctx context.Context, fence int64) ([]string, error) {
	var dropped []string
	for env, args := range d.weeds() {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		keys := []string{d.k.units(env), d.k.unitDigests(env), d.k.statuses(env), d.k.fence(env), d.k.moved(env)}
		answer, err := weed.Run(bounded, d.c, keys, append([]any{fence}, args...)...).StringSlice()
		cancel()
		if err != nil {
			return dropped, d.wrap(ctx, err)
		}
		if answer[0] == "fenced" {
			return dropped, fenced(fence, answer[1])
		}
		dropped = append(dropped, answer[1:]...)
	}
	slices.Sort(dropped)
	return dropped, nil
}

// weeds lists for weed what is to go, by environment.
func (d *DB) weeds() map[string][]any {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	out := map[string][]any{}
	for env, kept := range d.cache.envs {
		for id := range kept.damaged {
			switch {
			case len(out[env]) >= 2*chunk:
			case isStray(env, id):
				out[env] = append(out[env], id, "stray")
			case !kept.units[id].Runs():
				out[env] = append(out[env], id, "half")
			}
		}
	}
	return out
}
