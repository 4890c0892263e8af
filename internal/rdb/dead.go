package rdb

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// deadLength is about how many dead letters an environment keeps.
const deadLength = "10000"

// maxField is the most of one field that a dead letter keeps.
const maxField = 64 << 10

// The names of an environment's streams in its dead letters.
const (
	streamCommands = "commands"
	streamReports  = "reports"
)

// bury keeps an entry that can never be used, once, and acknowledges it.
//
//	KEYS  1 dead  2 the entry's stream
//	ARGV  1 group  2 stream id  3 stream name  4 reason  5 who  6 ts  7 fields  8 truncated, "" or "true"  9 length of dead
//	      -> 1 buried, 0 somebody else did
var bury = redis.NewScript(`
if redis.call("XACK", KEYS[2], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call("XADD", KEYS[1], "MAXLEN", "~", ARGV[9], "*", "stream", ARGV[3], "id", ARGV[2], "reason", ARGV[4],
  "by", ARGV[5], "ts", ARGV[6], "fields", ARGV[7], "truncated", ARGV[8])
return 1`)

// Bury keeps a report that can never be used, with the reason, and acknowledges it.
func (d *DB) Bury(ctx context.Context, env string, e oprc.ReportEntry, reason string) error {
	raw, truncated := letter(e.Raw)
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrap(ctx, bury.Run(bounded, d.c, []string{d.k.dead(env), d.k.reports(env)},
		d.group, e.ID, streamReports, reason, d.group, time.Now().UTC().Format(time.RFC3339Nano), raw, truncated, deadLength).Err())
}

// letter is the JSON of an entry's fields, each cut to maxField.
func letter(fields map[string]string) (doc []byte, truncated string) {
	out := make(map[string]string, len(fields))
	for name, value := range fields {
		clean := strings.ToValidUTF8(value, "?")
		if len(clean) > maxField {
			clean = strings.ToValidUTF8(clean[:maxField], "")
		}
		if clean != value {
			truncated = "true"
		}
		out[strings.ToValidUTF8(name, "?")] = clean
	}
	return oprc.MustCanonical(out), truncated
}

// Dead returns the last dead letters of an environment, newest first.
func (d *DB) Dead(ctx context.Context, env string, limit int) ([]oprc.DeadEntry, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	msgs, err := d.c.XRevRangeN(bounded, d.k.dead(env), "+", "-", int64(limit)).Result()
	if err := d.wrap(ctx, err); err != nil {
		return nil, err
	}
	out := make([]oprc.DeadEntry, 0, len(msgs))
	for _, m := range msgs {
		out = append(out, parseDead(env, m))
	}
	return out, nil
}

// parseDead reads a dead letter. One that a stranger wrote in another form shows
// what it has.
func parseDead(env string, m redis.XMessage) oprc.DeadEntry {
	f := fields(m)
	e := oprc.DeadEntry{
		ID: m.ID, Env: env, Stream: f["stream"], Entry: f["id"], Reason: f["reason"], By: f["by"],
		Truncated: f["truncated"] != "",
	}
	var err error
	if e.Time, err = time.Parse(time.RFC3339Nano, f["ts"]); err != nil { // when it came is known all the same
		if p, err := parsePosition(m.ID); err == nil {
			e.Time = time.UnixMilli(int64(p.ms)).UTC() //nolint:gosec // a time
		}
	}
	if json.Unmarshal([]byte(f["fields"]), &e.Fields) != nil {
		e.Fields, e.Truncated = f, true
	}
	return e
}

// revive moves a dead letter back into a stream.
//
//	KEYS  1 dead  2 stream
//	ARGV  1 id of the dead letter  2… fields of the entry
//	      -> 1 moved, 0 no such dead letter
var revive = redis.NewScript(`
if redis.call("XDEL", KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call("XADD", KEYS[2], "*", unpack(ARGV, 2))
return 1`)

// RetryDead puts a dead letter back at the end of the stream that it came from. An
// id that is not there is an oprc.ErrNotFound; a letter that is not whole is an
// oprc.ErrInvalid.
func (d *DB) RetryDead(ctx context.Context, env, id string) error {
	if err := checkLetter(id); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	msgs, err := d.c.XRange(bounded, d.k.dead(env), id, id).Result()
	if err := d.wrap(ctx, err); err != nil {
		return err
	}
	if len(msgs) == 0 {
		return fmt.Errorf("dead letter %s of %s: %w", id, env, oprc.ErrNotFound)
	}
	e := parseDead(env, msgs[0])
	stream := map[string]string{streamCommands: d.k.commands(env), streamReports: d.k.reports(env)}[e.Stream]
	if e.Truncated || stream == "" || len(e.Fields) == 0 {
		return fmt.Errorf("dead letter %s of %s: %w: it is not whole, so it can only be dropped", id, env, oprc.ErrInvalid)
	}
	args := []any{id}
	for name, value := range e.Fields {
		args = append(args, name, value)
	}
	moved, err := revive.Run(bounded, d.c, []string{d.k.dead(env), stream}, args...).Int()
	if err := d.wrap(ctx, err); err != nil {
		return err
	}
	if moved == 0 {
		return fmt.Errorf("dead letter %s of %s: %w", id, env, oprc.ErrNotFound)
	}
	return nil
}

// checkLetter refuses what is no id of a dead letter.
func checkLetter(id string) error {
	if !streamID().MatchString(id) {
		return fmt.Errorf("%w: %q is no id of a dead letter, such as 1719000000000-0", oprc.ErrInvalid, clip(id))
	}
	return nil
}

// DropDead deletes dead letters and returns how many there were.
func (d *DB) DropDead(ctx context.Context, env string, ids ...string) (int64, error) {
	for _, id := range ids {
		if err := checkLetter(id); err != nil {
			return 0, err
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	n, err := d.c.XDel(bounded, d.k.dead(env), ids...).Result()
	return n, d.wrap(ctx, err)
}
