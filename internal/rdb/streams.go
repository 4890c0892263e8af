package rdb

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// abandonedAfter is how long an entry may stay with a consumer before another
// takes it over.
const abandonedAfter = 30 * time.Second

// readGroup returns entries of a stream that this consumer has to work on: those
// that it has pending and those that others abandoned, or else new ones, for
// which it waits up to block. It creates the group where there is none.
func (d *DB) readGroup(ctx context.Context, stream, group, consumer string, count int, block time.Duration) ([]redis.XMessage, error) {
	msgs, err := d.unfinished(ctx, stream, group, consumer, count)
	if noGroup(err) {
		err = d.createGroup(ctx, stream, group)
	}
	if err != nil || len(msgs) > 0 {
		return msgs, d.wrap(ctx, err)
	}
	if block > maxBlock {
		block = maxBlock
	}
	if block <= 0 {
		block = -1 // zero would block for ever
	}
	bounded, cancel := context.WithTimeout(ctx, max(block, 0)+answerTimeout)
	defer cancel()
	streams, err := d.c.XReadGroup(bounded, &redis.XReadGroupArgs{
		Group: group, Consumer: consumer, Streams: []string{stream, ">"}, Count: int64(count), Block: block,
	}).Result()
	if noGroup(err) { // lost between the two calls: the next one creates it
		return nil, nil
	}
	if err := d.wrap(ctx, err); err != nil || len(streams) == 0 {
		return nil, err
	}
	return streams[0].Messages, nil
}

// unfinished returns what the consumer has pending, after taking over what others
// abandoned. Entries that were trimmed away while they were pending are acknowledged.
func (d *DB) unfinished(ctx context.Context, stream, group, consumer string, count int) ([]redis.XMessage, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var pending *redis.XStreamSliceCmd
	_, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		p.XAutoClaimJustID(bounded, &redis.XAutoClaimArgs{
			Stream: stream, Group: group, Consumer: consumer, MinIdle: abandonedAfter, Start: "0-0", Count: int64(count),
		})
		pending = p.XReadGroup(bounded, &redis.XReadGroupArgs{
			Group: group, Consumer: consumer, Streams: []string{stream, "0"}, Count: int64(count), Block: -1,
		})
		return nil
	})
	if err != nil || len(pending.Val()) == 0 {
		return nil, ignoreNil(err)
	}
	var msgs []redis.XMessage
	var gone []string
	for _, m := range pending.Val()[0].Messages {
		if m.Values == nil {
			gone = append(gone, m.ID)
			continue
		}
		msgs = append(msgs, m)
	}
	if len(gone) > 0 {
		return msgs, d.c.XAck(bounded, stream, group, gone...).Err()
	}
	return msgs, nil
}

func ignoreNil(err error) error {
	if err == redis.Nil { //nolint:errorlint // the client returns it bare
		return nil
	}
	return err
}

// createGroup creates a group that reads the stream from its beginning.
func (d *DB) createGroup(ctx context.Context, stream, group string) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := d.c.XGroupCreateMkStream(bounded, stream, group, "0").Err()
	if err != nil && strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return nil
	}
	return d.wrap(ctx, err)
}

func noGroup(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOGROUP") }

func (d *DB) ack(ctx context.Context, stream, group string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrap(ctx, d.c.XAck(bounded, stream, group, ids...).Err())
}

// fields are the text of an entry.
func fields(m redis.XMessage) map[string]string {
	out := make(map[string]string, len(m.Values))
	for k, v := range m.Values {
		s, _ := v.(string)
		out[k] = s
	}
	return out
}
