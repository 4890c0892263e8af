package rdb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// daemonTimeout is the silence after which a daemon counts as gone.
const daemonTimeout = 15 * time.Second

// register says that a daemon lives, and with which configuration, and takes the topic
// prefix again should Redis have lost who has it. Daemons that are silent are forgotten.
//
//	KEYS  1 daemons  2 topic
//	ARGV  1 holder  2 configuration  3 ms of silence after which one is gone  4 key prefix
//	      -> {holder, "ms configuration", …} of the others
var register = redis.NewScript(`
local t = redis.call("TIME")
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local others = {}
local all = redis.call("HGETALL", KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= ARGV[1] then
    if now - tonumber(string.match(all[i + 1], "^%d+") or "0") > tonumber(ARGV[3]) then
      redis.call("HDEL", KEYS[1], all[i])
    else
      others[#others + 1] = all[i]
      others[#others + 1] = all[i + 1]
    end
  end
end
redis.call("HSET", KEYS[1], ARGV[1], string.format("%.0f", now) .. " " .. ARGV[2])
redis.call("SET", KEYS[2], ARGV[4], "NX")
return others`)

// Register says that a daemon lives and by which configuration, and returns the others
// that live. A topic prefix that nobody has is taken, as by [DB.Claim].
func (d *DB) Register(ctx context.Context, holder, config string) (map[string]oprc.Daemon, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	all, err := register.Run(bounded, d.c, []string{d.k.daemons(), d.k.topic()}, holder, config, daemonTimeout.Milliseconds(), d.k.N).StringSlice()
	if err != nil {
		return nil, d.wrap(ctx, err)
	}
	out := map[string]oprc.Daemon{}
	for i := 0; i+1 < len(all); i += 2 {
		out[all[i]] = parseDaemon(all[i+1])
	}
	return out, nil
}

// Unregister says that a daemon has ended.
func (d *DB) Unregister(ctx context.Context, holder string) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrap(ctx, d.c.HDel(bounded, d.k.daemons(), holder).Err())
}

// Daemons returns the daemons that live, by what they call themselves. Nothing is written.
func (d *DB) Daemons(ctx context.Context) (map[string]oprc.Daemon, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	all, err := d.c.HGetAll(bounded, d.k.daemons()).Result()
	if err != nil || len(all) == 0 {
		return nil, d.wrap(ctx, err)
	}
	now, err := d.c.Time(bounded).Result()
	if err != nil {
		return nil, d.wrap(ctx, err)
	}
	out := map[string]oprc.Daemon{}
	for holder, value := range all {
		if one := parseDaemon(value); now.UnixMilli()-one.Seen <= daemonTimeout.Milliseconds() {
			out[holder] = one
		}
	}
	return out, nil
}

func parseDaemon(value string) oprc.Daemon {
	ms, config, _ := strings.Cut(value, " ")
	seen, _ := strconv.ParseInt(ms, 10, 64)
	return oprc.Daemon{Seen: seen, Config: config}
}

// Claim takes the topic prefix for this ledger. One that another ledger has is refused: two
// installations on one topic prefix take each other's reports. That of a ledger that is gone
// is taken.
func (d *DB) Claim(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := d.c.SetNX(bounded, d.k.topic(), d.k.N, 0).Err(); err != nil {
		return d.wrap(ctx, err)
	}
	gone, err := d.claimed(ctx)
	if err != nil || !gone {
		return err
	}
	return d.wrap(ctx, d.c.Set(bounded, d.k.topic(), d.k.N, 0).Err())
}

// claimed refuses a topic prefix that belongs to another ledger which is there. Who may not
// look, as the CRMs of one environment, takes it as it is. gone means that the ledger which
// has it is there no more.
func (d *DB) claimed(ctx context.Context) (gone bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	owner, err := d.c.Get(bounded, d.k.topic()).Result()
	if errors.Is(err, redis.Nil) || forbidden(err) || err == nil && owner == d.k.N {
		return false, nil
	}
	if err != nil {
		return false, d.wrap(ctx, err)
	}
	there, err := d.c.Exists(bounded, Keys{N: owner, T: d.k.T}.version()).Result()
	if forbidden(err) || err == nil && there == 0 {
		return err == nil, nil
	}
	if err != nil {
		return false, d.wrap(ctx, err)
	}
	return false, fmt.Errorf("%w topic prefix %q at %s: the installation with the key prefix %q has it, and this one has the key prefix %q; two on one topic prefix take each other's reports: "+
		"set OAAS_PM_MQ_TOPIC_PREFIX (mq.topicPrefix) to another one, or OAAS_PM_DB_NAME (redis.name) to %[4]q", oprc.ErrInvalid, d.k.T, d.addr, owner, d.k.N)
}
