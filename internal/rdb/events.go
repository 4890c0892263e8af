package rdb

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
)

func encodeEvent(e oprc.Event) []byte {
	e.ID, e.Time = "", e.Time.UTC()
	return oprc.MustCanonical(e)
}

// emit appends events.
//
//	KEYS  1 lease  2 events
//	ARGV  1 fence, 0 for none  2 length of the events  3… events
//	      -> "" done, else the token that outran the fence
var emit = redis.NewScript(`
if ARGV[1] ~= "0" then
  local token = redis.call("HGET", KEYS[1], "token")
  if token ~= ARGV[1] then return token or "0" end
end
for i = 3, #ARGV do redis.call("XADD", KEYS[2], "MAXLEN", "~", ARGV[2], "*", "event", ARGV[i]) end
return ""`)

// Emit appends events, all or none. A stale fence is an [oprc.ErrFenced].
func (d *DB) Emit(ctx context.Context, events []oprc.Event, fence int64) error {
	if len(events) == 0 {
		return nil
	}
	args := []any{fence, eventsLength}
	for _, e := range events {
		args = append(args, encodeEvent(e))
	}
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	token, err := emit.Run(bounded, d.c, []string{d.k.lease(), d.k.events()}, args...).Text()
	if err == nil && token != "" {
		return fenced(fence, token)
	}
	return d.wrap(ctx, err)
}

// Events returns at most limit events after an id, oldest first; with an empty id
// the last ones.
func (d *DB) Events(ctx context.Context, after string, limit int) ([]oprc.Event, error) {
	if err := checkID(after); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	if after == "" {
		msgs, err := d.c.XRevRangeN(bounded, d.k.events(), "+", "-", int64(limit)).Result()
		slices.Reverse(msgs)
		return decodeEvents(msgs), d.wrap(ctx, err)
	}
	msgs, err := d.c.XRangeN(bounded, d.k.events(), "("+after, "+", int64(limit)).Result()
	return decodeEvents(msgs), d.wrap(ctx, err)
}

// WatchEvents returns the events after an id, and waits up to block, at most a
// second, for the first. To start from now, take the id from [DB.LastEvent].
func (d *DB) WatchEvents(ctx context.Context, after string, block time.Duration) ([]oprc.Event, error) {
	if err := checkID(after); err != nil {
		return nil, err
	}
	if after == "" {
		after = "0-0"
	}
	block = min(block, maxBlock)
	if block <= 0 {
		block = -1 // zero would block for ever
	}
	bounded, cancel := context.WithTimeout(ctx, max(block, 0)+answerTimeout)
	defer cancel()
	streams, err := d.c.XRead(bounded, &redis.XReadArgs{Streams: []string{d.k.events(), after}, Count: chunk, Block: block}).Result()
	if err := d.wrap(ctx, err); err != nil || len(streams) == 0 {
		return nil, err
	}
	return decodeEvents(streams[0].Messages), nil
}

// LastEvent returns the id of the newest event, "0-0" if there is none.
func (d *DB) LastEvent(ctx context.Context) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	msgs, err := d.c.XRevRangeN(bounded, d.k.events(), "+", "-", 1).Result()
	if err := d.wrap(ctx, err); err != nil || len(msgs) == 0 {
		return "0-0", err
	}
	return msgs[0].ID, nil
}

// FirstEvent returns the id of the oldest event that is kept, "0-0" if there is none.
func (d *DB) FirstEvent(ctx context.Context) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	msgs, err := d.c.XRangeN(bounded, d.k.events(), "-", "+", 1).Result()
	if err := d.wrap(ctx, err); err != nil || len(msgs) == 0 {
		return "0-0", err
	}
	return msgs[0].ID, nil
}

var streamID = lazyregexp.New(`^\d{1,19}(-\d{1,19})?$`)

func checkID(id string) error {
	if id != "" && !streamID().MatchString(id) {
		return fmt.Errorf("%w: %q is no event id", oprc.ErrInvalid, clip(id))
	}
	return nil
}

// decodeEvents leaves out what is no event.
func decodeEvents(msgs []redis.XMessage) []oprc.Event {
	out := make([]oprc.Event, 0, len(msgs))
	for _, m := range msgs {
		var e oprc.Event
		if json.Unmarshal([]byte(fields(m)["event"]), &e) == nil {
			e.ID = m.ID
			out = append(out, e)
		}
	}
	return out
}

// History returns the last writes of a package, newest first.
func (d *DB) History(ctx context.Context, pkg string, limit int) ([]oprc.HistoryEntry, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	msgs, err := d.c.XRevRangeN(bounded, d.k.history(pkg), "+", "-", int64(limit)).Result()
	if err := d.wrap(ctx, err); err != nil {
		return nil, err
	}
	out := make([]oprc.HistoryEntry, 0, len(msgs))
	for _, m := range msgs {
		var h oprc.HistoryEntry
		if json.Unmarshal([]byte(fields(m)["entry"]), &h) == nil {
			h.ID = m.ID
			out = append(out, h)
		}
	}
	return out, nil
}
