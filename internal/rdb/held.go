package rdb

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// holdPlan keeps the held plan of a source, or forgets it.
//
//	KEYS  1 lease  2 held
//	ARGV  1 fence, 0 for none  2 source  3 plan, "" for none
//	      -> "" done, else the token that outran the fence
var holdPlan = redis.NewScript(`
if ARGV[1] ~= "0" then
  local token = redis.call("HGET", KEYS[1], "token")
  if token ~= ARGV[1] then return token or "0" end
end
if ARGV[3] == "" then redis.call("HDEL", KEYS[2], ARGV[2]) else redis.call("HSET", KEYS[2], ARGV[2], ARGV[3]) end
return ""`)

// HoldPlan keeps the plan of a source that waits for an approval; nil: none does. A stale
// fence is an [oprc.ErrFenced].
func (d *DB) HoldPlan(ctx context.Context, source string, p *plan.Plan, fence int64) error {
	var raw []byte
	if p != nil {
		var err error
		if raw, err = plan.Encode(p); err != nil {
			return err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	token, err := holdPlan.Run(bounded, d.c, []string{d.k.lease(), d.k.held()}, fence, source, raw).Text()
	if err == nil && token != "" {
		return fenced(fence, token)
	}
	return d.wrap(ctx, err)
}

// HeldPlan returns the plan that waits for an approval whose id begins so, in at least
// six digits. Which there is not, or not only one, is an [oprc.ErrNotFound].
func (d *DB) HeldPlan(ctx context.Context, id string) (*plan.Plan, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	all, err := d.c.HGetAll(bounded, d.k.held()).Result()
	if err != nil {
		return nil, d.wrap(ctx, err)
	}
	const least = 6
	want := strings.TrimPrefix(id, "sha256:")
	var found *plan.Plan
	for _, raw := range all {
		if len(want) < least || !strings.Contains(raw, want) {
			continue // another plan, which may be large, is not decoded
		}
		p, err := plan.Decode([]byte(raw))
		if err != nil || !strings.HasPrefix(strings.TrimPrefix(p.ID, "sha256:"), want) {
			continue
		}
		if found != nil && found.ID != p.ID {
			return nil, fmt.Errorf("plan %q is the beginning of more than one: %w", id, oprc.ErrNotFound)
		}
		found = p
	}
	if found == nil {
		return nil, fmt.Errorf("held plan %q: %w", id, oprc.ErrNotFound)
	}
	return found, nil
}
