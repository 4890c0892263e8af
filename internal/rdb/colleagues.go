package rdb

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Several CRMs may serve one environment. Each unit has one owner among them; an
// owner that has given no sign of life for oprc.HeartbeatTimeout can be succeeded.
// All times here are the server's clock.

func (k Keys) owners(e string) string    { return k.env(e, "owners") }    // HASH unit id -> crm id; writer: the CRMs
func (k Keys) leases(e string) string    { return k.env(e, "leases") }    // HASH crm id -> ms of its last sign of life; writer: the CRMs
func (k Keys) processes(e string) string { return k.env(e, "processes") } // HASH crm id -> name of its process; writer: the CRMs

// signAge is Lua: how many ms ago a sign of life was given. One of the future, or that is
// no number, was given by nobody.
const signAge = `
local t = redis.call("TIME")
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function age(sign)
  local at = tonumber(sign or "0") or 0
  if at > now + 60000 then at = 0 end
  return now - at
end
`

// sign keeps a CRM's lease, and forgets leases that ran out long ago.
//
//	KEYS  1 leases  2 processes
//	ARGV  1 crm  2 ms after which a lease has run out  3 the CRM's process, or "" where that does not matter
//	      4 ms of silence after which another process may have its name
//	      -> {1 if this CRM's own lease still held, crm, …} with the colleagues that live;
//	         {-1, ms since its last sign of life} if another process of that name lives
var sign = redis.NewScript(signAge + `
local held = 0
local all = redis.call("HGETALL", KEYS[1])
local answer = {0}
local process = redis.call("HGET", KEYS[2], ARGV[1])
if ARGV[3] ~= "" and process and process ~= ARGV[3] then
  local age = age(redis.call("HGET", KEYS[1], ARGV[1]))
  if age <= tonumber(ARGV[4]) then return {-1, age} end
end
for i = 1, #all, 2 do
  local age = age(all[i + 1])
  if all[i] == ARGV[1] then
    if age <= tonumber(ARGV[2]) then held = 1 end
  elseif age <= tonumber(ARGV[2]) then
    answer[#answer + 1] = all[i]
  elseif age > 10 * tonumber(ARGV[2]) then
    redis.call("HDEL", KEYS[1], all[i])
    redis.call("HDEL", KEYS[2], all[i])
  end
end
redis.call("HSET", KEYS[1], ARGV[1], string.format("%.0f", now))
if ARGV[3] ~= "" then redis.call("HSET", KEYS[2], ARGV[1], ARGV[3]) else redis.call("HDEL", KEYS[2], ARGV[1]) end
answer[1] = held
return answer`)

// own gives units an owner that have none, or whose owner is gone: the CRM that
// asks or, if it is to spread them, the living one with the greatest hash of unit
// and name (rendezvous hashing).
//
//	KEYS  1 owners  2 leases
//	ARGV  1 crm  2 ms after which a lease has run out  3 "1" to spread  4… unit ids
//	      -> for each unit its owner now
var own = redis.NewScript(signAge + `
local living = {[ARGV[1]] = true}
local all = redis.call("HGETALL", KEYS[2])
for i = 1, #all, 2 do
  if age(all[i + 1]) <= tonumber(ARGV[2]) then living[all[i]] = true end
end
local answer = {}
for i = 4, #ARGV do
  local owner = redis.call("HGET", KEYS[1], ARGV[i])
  if owner and not living[owner] then owner = false end
  if not owner then
    owner = ARGV[1]
    if ARGV[3] == "1" then
      local best = ""
      for crm in pairs(living) do
        local weight = redis.sha1hex(ARGV[i] .. "\n" .. crm)
        if weight > best then best, owner = weight, crm end
      end
    end
    redis.call("HSET", KEYS[1], ARGV[i], owner)
  end
  answer[#answer + 1] = owner
end
return answer`)

// settle appends a status report and acknowledges the commands that it answers, if
// no other CRM owns the unit. A report that says what an earlier one says, which still
// waits to be read, need not be appended.
//
//	KEYS  1 owners  2 reports  3 commands
//	ARGV  1 crm  2 unit id  3 "1" to give the unit up  4 stream id of the earlier report, or ""
//	      5 number of commands  6… their stream ids, then the report's fields
//	      -> stream id of the report, or of the earlier one; "" if another CRM owns the unit and nothing was written
var settle = redis.NewScript(waits + `
local owner = redis.call("HGET", KEYS[1], ARGV[2])
if owner and owner ~= ARGV[1] then return "" end
local id, acks = ARGV[4], tonumber(ARGV[5])
if not waits(KEYS[2], id) then id = redis.call("XADD", KEYS[2], "*", unpack(ARGV, 6 + acks)) end
if ARGV[3] == "1" then redis.call("HDEL", KEYS[1], ARGV[2]) end
for i = 6, 5 + acks do redis.call("XACK", KEYS[3], "crm", ARGV[i]) end
return id`)

// Succession is the silence after which a CRM's id is free for another process: it has
// missed a heartbeat.
const Succession = 2*oprc.HeartbeatInterval + 500*time.Millisecond

// A TakenError means that another process has a CRM's id, and lives.
type TakenError struct {
	CRM, Env string
	Age      time.Duration // of its last sign of life
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("another process serves environment %q as CRM %q", e.Env, e.CRM)
}

// SignIn says that a CRM lives. held is false if its lease had run out or was never
// there: units of it may have found another owner. colleagues are the other
// CRMs of the environment that live, in no order. With the name of a process, the error
// is a [TakenError] while another process under the same id lives.
func (d *DB) SignIn(ctx context.Context, env, crm, process string) (held bool, colleagues []string, err error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := sign.Run(bounded, d.c, []string{d.k.leases(env), d.k.processes(env)}, crm, oprc.HeartbeatTimeout.Milliseconds(), process, Succession.Milliseconds()).Slice()
	if err != nil {
		return false, nil, d.wrap(ctx, err)
	}
	if answer[0] == int64(-1) {
		ms, _ := answer[1].(int64)
		return false, nil, &TakenError{crm, env, time.Duration(ms) * time.Millisecond}
	}
	for _, name := range answer[1:] {
		if s, ok := name.(string); ok {
			colleagues = append(colleagues, s)
		}
	}
	return answer[0] == int64(1), colleagues, nil
}

// RestoreProcess writes again which process a CRM is, over what somebody else wrote there.
func (d *DB) RestoreProcess(ctx context.Context, env, crm, process string) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrap(ctx, d.c.HSet(bounded, d.k.processes(env), crm, process).Err())
}

// SignOut ends a CRM's lease, and gives up the units named: colleagues may take
// them at once.
func (d *DB) SignOut(ctx context.Context, env, crm string, units []string) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := d.c.TxPipelined(bounded, func(p redis.Pipeliner) error {
		for ids := range slices.Chunk(units, chunk) {
			p.HDel(bounded, d.k.owners(env), ids...)
		}
		p.HDel(bounded, d.k.leases(env), crm)
		p.HDel(bounded, d.k.processes(env), crm)
		return nil
	})
	return d.wrap(ctx, err)
}

// Own gives those units an owner that have none, or whose owner is gone: the CRM or,
// with spread, one of all that live, each unit another. It returns who owns each of
// them.
func (d *DB) Own(ctx context.Context, env, crm string, units []string, spread bool) (map[string]string, error) {
	owners := make(map[string]string, len(units))
	how := "0"
	if spread {
		how = "1"
	}
	for ids := range slices.Chunk(units, chunk) {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		args := append([]any{crm, oprc.HeartbeatTimeout.Milliseconds(), how}, anys(ids)...)
		answer, err := own.Run(bounded, d.c, []string{d.k.owners(env), d.k.leases(env)}, args...).StringSlice()
		cancel()
		if err != nil {
			return nil, d.wrap(ctx, err)
		}
		for i, id := range ids {
			owners[id] = answer[i]
		}
	}
	return owners, nil
}

// A Settlement is a report on a unit with the commands that it answers.
type Settlement struct {
	Report  oprc.Report
	Acks    []string // stream ids
	Release bool     // the unit is gone, and needs no owner any more
	Unless  string   // stream id of a report that says the same; while it waits unread, that is enough
}

// Settle appends reports in order, and acknowledges what each of them answers:
// both or neither. The answer has for each the stream id where that can be read, and
// "" when another CRM owns the unit. Where err is set, so many settlements at the
// front are done as there are answers.
func (d *DB) Settle(ctx context.Context, env, crm string, batch []Settlement) ([]string, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	keys := []string{d.k.owners(env), d.k.reports(env), d.k.commands(env)}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	cmds := make([]*redis.Cmd, 0, len(batch))
	_, err := d.c.Pipelined(bounded, func(p redis.Pipeliner) error {
		for _, s := range batch {
			release := "0"
			if s.Release {
				release = "1"
			}
			args := append([]any{crm, s.Report.ID, release, s.Unless, len(s.Acks)}, anys(s.Acks)...)
			cmds = append(cmds, settle.Eval(bounded, p, keys, append(args, reportFields(s.Report)...)...))
		}
		return nil
	})
	done := make([]string, 0, len(batch))
	for _, c := range cmds {
		id, err := c.Text()
		if err != nil {
			break
		}
		done = append(done, id)
	}
	return done, d.wrap(ctx, err)
}

// BuryCommand keeps a command that can never be carried out, with the reason, and
// acknowledges it.
func (d *DB) BuryCommand(ctx context.Context, env, crm string, e CommandEntry, reason string) error {
	raw, truncated := letter(e.Raw)
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrapGroup(ctx, bury.Run(bounded, d.c, []string{d.k.dead(env), d.k.commands(env)},
		groupCRM, e.StreamID, streamCommands, reason, crm, time.Now().UTC().Format(time.RFC3339Nano), raw, truncated, deadLength).Err())
}
