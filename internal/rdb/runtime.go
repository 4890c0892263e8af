package rdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// This file is the CRMs' end of the streams: commands come out of it, reports go
// in. Who of several CRMs has which unit is in colleagues.go.

// groupCRM is the consumer group that all CRMs of an environment share.
const groupCRM = "crm"

// ErrNoGroup means that the command stream or its group is gone: Redis lost its
// data. Join again, and read the records again.
var ErrNoGroup = errors.New("the command stream is gone")

// A CommandEntry is a command as it stands in a stream. Err is set when the entry
// can never be carried out; Command then holds what could be read of it.
type CommandEntry struct {
	StreamID string
	oprc.Command
	Err error
	Raw map[string]string
}

// Join makes sure that the group of an environment's CRMs exists, and its stream
// with it. Commands that were queued before anybody joined are still delivered.
func (d *DB) Join(ctx context.Context, env string) error {
	if err := d.createGroup(ctx, d.k.commands(env), groupCRM); err != nil {
		return err
	}
	// A user that may touch its environment alone cannot announce it; the daemon
	// knows the environments that were declared or dispatched to anyway.
	if err := d.know(ctx, 0, env); err != nil && !errors.Is(err, ErrDenied) {
		return err
	}
	return nil
}

// Commands returns up to count commands that nobody was given yet. It waits up to
// block, at most a second, for the first.
func (d *DB) Commands(ctx context.Context, env, crm string, count int, block time.Duration) ([]CommandEntry, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout+maxBlock)
	defer cancel()
	streams, err := d.c.XReadGroup(bounded, &redis.XReadGroupArgs{
		Group: groupCRM, Consumer: crm, Streams: []string{d.k.commands(env), ">"},
		Count: int64(count), Block: max(min(block, maxBlock), time.Millisecond),
	}).Result()
	if err != nil || len(streams) == 0 {
		return nil, d.wrapGroup(ctx, err)
	}
	return decodeCommands(env, streams[0].Messages), nil
}

// Backlog returns the commands that were given to this CRM, by the group or by a
// colleague, and are not acknowledged; except those that busy reports it is at.
func (d *DB) Backlog(ctx context.Context, env, crm string, busy func(streamID string) bool) ([]CommandEntry, error) {
	var entries []CommandEntry
	for start := "-"; ; {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		pending, err := d.c.XPendingExt(bounded, &redis.XPendingExtArgs{
			Stream: d.k.commands(env), Group: groupCRM, Start: start, End: "+", Count: chunk, Consumer: crm,
		}).Result()
		cancel()
		if err != nil {
			return nil, d.wrapGroup(ctx, err)
		}
		var left []string
		for _, p := range pending {
			if !busy(p.ID) {
				left = append(left, p.ID)
			}
			if start, err = following(p.ID); err != nil {
				return nil, err
			}
		}
		got, err := d.take(ctx, env, crm, left)
		if err != nil {
			return nil, err
		}
		if entries = append(entries, got...); len(pending) < chunk {
			return entries, nil
		}
	}
}

// take reads pending entries again. Those that were trimmed meanwhile are
// acknowledged: the unit's record says what they said, or something newer.
func (d *DB) take(ctx context.Context, env, crm string, ids []string) ([]CommandEntry, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	messages, err := d.c.XClaim(bounded, &redis.XClaimArgs{Stream: d.k.commands(env), Group: groupCRM, Consumer: crm, Messages: ids}).Result()
	if err != nil {
		return nil, d.wrapGroup(ctx, err)
	}
	gone := slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return slices.ContainsFunc(messages, func(m redis.XMessage) bool { return m.ID == id })
	})
	return decodeCommands(env, messages), d.AckCommands(ctx, env, gone...)
}

// ClaimCommands takes over the commands that another CRM was given and has left
// alone for minIdle.
func (d *DB) ClaimCommands(ctx context.Context, env, crm string, minIdle time.Duration) ([]CommandEntry, error) {
	var entries []CommandEntry
	for start := "0-0"; ; {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		messages, next, err := d.c.XAutoClaim(bounded, &redis.XAutoClaimArgs{
			Stream: d.k.commands(env), Group: groupCRM, Consumer: crm, MinIdle: minIdle, Start: start, Count: chunk,
		}).Result()
		cancel()
		if err != nil {
			return nil, d.wrapGroup(ctx, err)
		}
		entries = append(entries, decodeCommands(env, messages)...)
		if next == "0-0" || next == start {
			return entries, nil
		}
		start = next
	}
}

// HandCommands gives pending commands to a CRM: to a colleague, or to the one that
// is at them already, so that nobody else takes them for abandoned.
func (d *DB) HandCommands(ctx context.Context, env, to string, streamIDs ...string) error {
	for ids := range slices.Chunk(streamIDs, chunk) {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		err := d.c.XClaimJustID(bounded, &redis.XClaimArgs{Stream: d.k.commands(env), Group: groupCRM, Consumer: to, Messages: ids}).Err()
		cancel()
		if err != nil {
			return d.wrapGroup(ctx, err)
		}
	}
	return nil
}

// AckCommands says that commands have been carried out and reported on, or need
// not be.
func (d *DB) AckCommands(ctx context.Context, env string, streamIDs ...string) error {
	for ids := range slices.Chunk(streamIDs, chunk) {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		err := d.c.XAck(bounded, d.k.commands(env), groupCRM, ids...).Err()
		cancel()
		if err != nil {
			return d.wrap(ctx, err)
		}
	}
	return nil
}

// waits is Lua: whether an entry stands in a stream, and no group was given it yet.
const waits = `
local function waits(stream, id)
  if id == "" or #redis.call("XRANGE", stream, id, id) == 0 then return false end
  for _, g in ipairs(redis.call("XINFO", "GROUPS", stream)) do
    local info = {}
    for i = 1, #g, 2 do info[g[i]] = g[i + 1] end
    if #redis.call("XRANGE", stream, "(" .. info["last-delivered-id"], id, "COUNT", 1) == 0 then return false end
  end
  return true
end`

// say appends a report, unless an earlier one still waits to be read.
//
//	KEYS  1 reports
//	ARGV  1 stream id of the earlier one, or ""  2… fields
//	      -> stream id; "" if it was left out
var say = redis.NewScript(waits + `
if waits(KEYS[1], ARGV[1]) then return "" end
return redis.call("XADD", KEYS[1], "*", unpack(ARGV, 2))`)

// Report appends a CRM's message to its environment's reports, and returns its
// stream id. While the entry unless, if any, waits there unread, nothing is
// appended and the id is empty: so nobody fills Redis while the control plane is away.
func (d *DB) Report(ctx context.Context, env string, r oprc.Report, unless string) (streamID string, err error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	streamID, err = say.Run(bounded, d.c, []string{d.k.reports(env)}, append([]any{unless}, reportFields(r)...)...).Text()
	return streamID, d.wrap(ctx, err)
}

// UnitDigests returns generation and specHash of every unit that was dispatched to
// an environment; the specHash is empty once the unit was undeployed.
func (d *DB) UnitDigests(ctx context.Context, env string) (map[string]oprc.UnitDigest, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	entries, err := d.c.HGetAll(bounded, d.k.unitDigests(env)).Result()
	if err != nil {
		return nil, d.wrap(ctx, err)
	}
	return parseUnits(entries), nil
}

// UnitRecordsOf returns the records of some units. One that has no record, or one
// that cannot be read, is left out.
func (d *DB) UnitRecordsOf(ctx context.Context, env string, ids []string) (map[string]oprc.UnitRecord, error) {
	return fieldsOf[oprc.UnitRecord](ctx, d, d.k.units(env), ids)
}

// StatusesOf returns the statuses of some units; the zero Status is left out.
func (d *DB) StatusesOf(ctx context.Context, env string, ids []string) (map[string]oprc.Status, error) {
	docs, err := d.hashFields(ctx, d.k.statuses(env), ids)
	if err != nil {
		return nil, err
	}
	return decodeStatuses(docs), nil
}

func fieldsOf[T any](ctx context.Context, d *DB, hash string, ids []string) (map[string]T, error) {
	docs, err := d.hashFields(ctx, hash, ids)
	if err != nil {
		return nil, err
	}
	return decodeAll[T](docs), nil
}

// wrapGroup is wrap, and knows the answer of a stream that lost its group.
func (d *DB) wrapGroup(ctx context.Context, err error) error {
	if noGroup(err) || unblocked(err) {
		return fmt.Errorf("redis at %s: %w: %w", d.addr, ErrNoGroup, err)
	}
	return d.wrap(ctx, err)
}

// unblocked reports whether a blocked read ended because its stream was deleted. One may
// also end because the node is no master any more, or gave the slot away.
func unblocked(err error) bool {
	return err != nil && redis.HasErrorPrefix(err, "UNBLOCKED") && strings.Contains(err.Error(), "no longer exists")
}

func decodeCommands(env string, messages []redis.XMessage) []CommandEntry {
	entries := make([]CommandEntry, 0, len(messages))
	for _, m := range messages {
		e := CommandEntry{StreamID: m.ID, Raw: fields(m)}
		e.Command, e.Err = decodeCommand(env, e.Raw)
		entries = append(entries, e)
	}
	return entries
}

// decodeCommand reads a command, and refuses one that contradicts itself.
func decodeCommand(env string, raw map[string]string) (oprc.Command, error) {
	c := oprc.Command{Type: oprc.Op(raw["type"]), ID: raw["id"], SpecHash: raw["specHash"], Revision: raw["revision"], Traceparent: raw["traceparent"]}
	_, _, _, of, ok := oprc.ParseUnitID(c.ID)
	var err error
	switch {
	case c.Type != oprc.Deploy && c.Type != oprc.Undeploy:
		return c, fmt.Errorf("type is %q, not deploy or undeploy", clip(raw["type"]))
	case !ok:
		return c, fmt.Errorf("id %q is no unit id", clip(c.ID))
	case of != env:
		return c, fmt.Errorf("id %q is of another environment", clip(c.ID))
	}
	if c.Generation, err = strconv.ParseInt(raw["generation"], 10, 64); err != nil || c.Generation < 1 || c.Generation >= 1<<53 {
		return c, fmt.Errorf("generation %q is no positive whole number", clip(raw["generation"]))
	}
	if ts := raw["ts"]; ts != "" {
		if c.Time, err = parseTime(ts); err != nil {
			return c, fmt.Errorf("ts: %w", err)
		}
	}
	if raw["unit"] == "" && c.Type == oprc.Undeploy {
		return c, nil
	}
	if err := json.Unmarshal([]byte(raw["unit"]), &c.Unit); err != nil {
		return c, fmt.Errorf("unit is no JSON of a deployment unit: %w", err)
	}
	return c, checkUnit(c, raw["unit"])
}

// checkUnit refuses a unit that is not the one which the command is about. The
// digest is of the JSON as it came, so that fields which only a later version
// knows do no harm.
func checkUnit(c oprc.Command, unit string) error {
	if c.Unit.ID != c.ID {
		return fmt.Errorf("unit is %q, the command is about %q", clip(c.Unit.ID), clip(c.ID))
	}
	if c.Type == oprc.Undeploy {
		return nil
	}
	canonical, err := oprc.Canonical(json.RawMessage(unit))
	if err != nil {
		return fmt.Errorf("unit: %w", err)
	}
	if oprc.DigestBytes(canonical) != c.SpecHash {
		return errors.New("specHash is not the digest of unit")
	}
	return nil
}

// reportFields are the fields of a report's entry; what is empty is left out.
func reportFields(r oprc.Report) []any {
	out := []any{"type", r.Type, "crm", r.CRM, "ts", r.Time.UTC().Format(time.RFC3339Nano)}
	add := func(name, value string) {
		if value != "" {
			out = append(out, name, value)
		}
	}
	if r.Type == oprc.ReportHeartbeat {
		if r.Availability > 0 {
			add("availability", strconv.FormatFloat(r.Availability, 'g', -1, 64))
		}
		if r.Capacity != nil {
			add("capacity", string(oprc.MustCanonical(r.Capacity)))
		}
		if len(r.Templates) > 0 {
			add("templates", string(oprc.MustCanonical(r.Templates)))
		}
		return out
	}
	add("id", r.ID)
	add("traceparent", r.Traceparent)
	add("generation", strconv.FormatInt(r.Generation, 10))
	add("specHash", r.SpecHash)
	add("condition", string(r.Condition))
	message := strings.ToValidUTF8(r.ErrorMsg, "?")
	add("errorMsg", strings.ToValidUTF8(message[:min(len(message), maxMessage)], ""))
	if len(r.Functions) > 0 {
		add("functions", string(oprc.MustCanonical(r.Functions)))
	}
	if len(r.Replicas) > 0 {
		add("replicas", string(oprc.MustCanonical(r.Replicas)))
	}
	return out
}
