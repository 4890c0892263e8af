package rdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Probe looks at an environment's streams from outside, and does to them what
// accidents do: for the conformance suite of CRMs. Nothing of the control plane
// uses it.
type Probe struct {
	DB  *DB
	Env string
}

// A Delivery is how far a command has come.
type Delivery string

// The deliveries of a command.
const (
	Unread       Delivery = "not read"
	InHand       Delivery = "read, not acknowledged"
	Acknowledged Delivery = "acknowledged"
)

// Joined reports whether the CRMs' group exists.
func (p Probe) Joined(ctx context.Context) (bool, error) {
	g, err := p.group(ctx)
	return g != nil, err
}

func (p Probe) group(ctx context.Context) (*redis.XInfoGroup, error) {
	groups, err := p.DB.c.XInfoGroups(ctx, p.DB.k.commands(p.Env)).Result()
	if noStream(err) {
		return nil, nil
	}
	for _, g := range groups {
		if g.Name == groupCRM {
			return &g, nil
		}
	}
	return nil, p.DB.wrap(ctx, err)
}

// Delivery tells how far a command has come.
func (p Probe) Delivery(ctx context.Context, streamID string) (Delivery, error) {
	g, err := p.group(ctx)
	if err != nil || g == nil {
		return Unread, err
	}
	last, err1 := parsePosition(g.LastDeliveredID)
	this, err2 := parsePosition(streamID)
	if err := errors.Join(err1, err2); err != nil || last.before(this) {
		return Unread, err
	}
	pending, err := p.DB.c.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: p.DB.k.commands(p.Env), Group: groupCRM, Start: streamID, End: streamID, Count: 1,
	}).Result()
	if err != nil || len(pending) > 0 {
		return InHand, p.DB.wrap(ctx, err)
	}
	return Acknowledged, nil
}

// Last returns the stream id of the last command; "0-0" if there is none.
func (p Probe) Last(ctx context.Context) (string, error) {
	m, err := p.DB.c.XRevRangeN(ctx, p.DB.k.commands(p.Env), "+", "-", 1).Result()
	if err != nil || len(m) == 0 {
		return "0-0", p.DB.wrap(ctx, err)
	}
	return m[0].ID, nil
}

// Idle tells how far a command has come and, while it is in hand, for how long nobody
// has touched it.
func (p Probe) Idle(ctx context.Context, streamID string) (Delivery, time.Duration, error) {
	d, err := p.Delivery(ctx, streamID)
	if err != nil || d != InHand {
		return d, 0, err
	}
	pending, err := p.DB.c.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: p.DB.k.commands(p.Env), Group: groupCRM, Start: streamID, End: streamID, Count: 1,
	}).Result()
	if err != nil || len(pending) == 0 {
		return Acknowledged, 0, p.DB.wrap(ctx, err)
	}
	return InHand, pending[0].Idle, nil
}

// Dispatch records a unit and queues its command, and returns its stream id. Unlike
// [DB.Dispatch] it does not make the environment known to daemons.
func (p Probe) Dispatch(ctx context.Context, c oprc.Command) (streamID string, err error) {
	if err := p.DB.dispatch(ctx, p.Env, []oprc.Command{c}, 0); err != nil {
		return "", err
	}
	return p.Last(ctx)
}

// Record writes the record of a command, and no command.
func (p Probe) Record(ctx context.Context, c oprc.Command) error {
	_, err := p.DB.c.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		p.record(ctx, tx, c)
		return nil
	})
	return p.DB.wrap(ctx, err)
}

func (p Probe) record(ctx context.Context, tx redis.Pipeliner, c oprc.Command) {
	digest := fmt.Sprintf("%d %s", c.Generation, c.SpecHash)
	if c.Type != oprc.Deploy {
		digest = fmt.Sprintf("%d -", c.Generation)
	}
	tx.HSet(ctx, p.DB.k.units(p.Env), c.ID, recordOf(c))
	tx.HSet(ctx, p.DB.k.unitDigests(p.Env), c.ID, digest)
}

// DispatchTo dispatches a command that another CRM of the group is given at once, and
// has not touched for some time. In one transaction: nobody who waits gets it before.
func (p Probe) DispatchTo(ctx context.Context, crm string, c oprc.Command, ago time.Duration) (streamID string, err error) {
	now, err := p.DB.c.Time(ctx).Result()
	if err != nil {
		return "", p.DB.wrap(ctx, err)
	}
	stream := p.DB.k.commands(p.Env)
	streamID = fmt.Sprintf("%d-0", now.UnixMilli()+5) // later than any before it
	_, err = p.DB.c.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		p.record(ctx, tx, c)
		tx.XAdd(ctx, &redis.XAddArgs{Stream: stream, ID: streamID, Values: CommandFields(c)})
		tx.XReadGroup(ctx, &redis.XReadGroupArgs{Group: groupCRM, Consumer: crm, Streams: []string{stream, ">"}, Block: -1})
		tx.Do(ctx, "XCLAIM", stream, groupCRM, crm, 0, streamID, "IDLE", ago.Milliseconds(), "JUSTID")
		return nil
	})
	return streamID, p.DB.wrap(ctx, err)
}

// setAside is where the reports are while Redis refuses others.
func (p Probe) setAside() string { return p.DB.k.reports(p.Env) + ".aside" }

// RefuseReports makes Redis refuse all reports, as one does that has no memory left or
// is a replica now.
func (p Probe) RefuseReports(ctx context.Context) error {
	reports := p.DB.k.reports(p.Env)
	there, err := p.DB.c.Exists(ctx, reports).Result()
	if err != nil {
		return p.DB.wrap(ctx, err)
	}
	_, err = p.DB.c.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		if there > 0 {
			tx.Rename(ctx, reports, p.setAside())
		}
		tx.Set(ctx, reports, "refused by the conformance suite", 0)
		return nil
	})
	return p.DB.wrap(ctx, err)
}

// AcceptReports undoes RefuseReports.
func (p Probe) AcceptReports(ctx context.Context) error {
	reports := p.DB.k.reports(p.Env)
	there, err := p.DB.c.Exists(ctx, p.setAside()).Result()
	if err != nil {
		return p.DB.wrap(ctx, err)
	}
	_, err = p.DB.c.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		tx.Del(ctx, reports)
		if there > 0 {
			tx.Rename(ctx, p.setAside(), reports)
		}
		return nil
	})
	return p.DB.wrap(ctx, err)
}

// Inject appends an entry to the command stream that nobody dispatched.
func (p Probe) Inject(ctx context.Context, fields map[string]string) (streamID string, err error) {
	streamID, err = p.DB.c.XAdd(ctx, &redis.XAddArgs{Stream: p.DB.k.commands(p.Env), Values: fields}).Result()
	return streamID, p.DB.wrap(ctx, err)
}

// CommandFields are the fields of a command's entry.
func CommandFields(c oprc.Command) map[string]string {
	args := appendCommand(nil, c)
	names := []string{"id", "type", "generation", "specHash", "revision", "ts", "unit"}
	fields := make(map[string]string, len(names))
	for i, name := range names {
		fields[name] = text(args[i])
	}
	return fields
}

// Reports returns all reports of the environment, whether somebody read them or not.
func (p Probe) Reports(ctx context.Context) ([]oprc.ReportEntry, error) {
	messages, err := p.DB.c.XRange(ctx, p.DB.k.reports(p.Env), "-", "+").Result()
	if err != nil {
		return nil, p.DB.wrap(ctx, err)
	}
	entries := make([]oprc.ReportEntry, len(messages))
	for i, m := range messages {
		entries[i] = oprc.ReportEntry{ID: m.ID, Raw: fields(m)}
		entries[i].Report, entries[i].Err = parseReport(p.Env, entries[i].Raw)
	}
	return entries, nil
}

// ReadReports is given all reports, as the control plane is.
func (p Probe) ReadReports(ctx context.Context) error {
	stream := p.DB.k.reports(p.Env)
	if err := p.DB.createGroup(ctx, stream, p.DB.group); err != nil {
		return err
	}
	err := p.DB.c.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: p.DB.group, Consumer: "crmtest", Streams: []string{stream, ">"}, Count: 1 << 30, Block: -1, NoAck: true,
	}).Err()
	return p.DB.wrap(ctx, ignoreNil(err))
}

// Abandon reads the next command in the name of a CRM that died with it long ago.
func (p Probe) Abandon(ctx context.Context, crm string, ago time.Duration) error {
	if err := p.DB.Join(ctx, p.Env); err != nil {
		return err
	}
	stream := p.DB.k.commands(p.Env)
	got, err := p.DB.c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: groupCRM, Consumer: crm, Streams: []string{stream, ">"}, Count: 1, Block: -1}).Result()
	if err != nil {
		return p.DB.wrap(ctx, err)
	}
	return p.DB.wrap(ctx, p.DB.c.Do(ctx, "XCLAIM", stream, groupCRM, crm, 0, got[0].Messages[0].ID, "IDLE", ago.Milliseconds(), "JUSTID").Err())
}

// DropCommands empties the command stream, as trimming does while no CRM is there.
func (p Probe) DropCommands(ctx context.Context) error {
	return p.DB.wrap(ctx, p.DB.c.XTrimMaxLen(ctx, p.DB.k.commands(p.Env), 0).Err())
}

// Lose deletes everything of the environment, as a Redis does that comes back empty.
func (p Probe) Lose(ctx context.Context) error {
	k, e := p.DB.k, p.Env
	return p.DB.wrap(ctx, p.DB.c.Del(ctx, k.units(e), k.unitDigests(e), k.statuses(e), k.crms(e), k.fence(e), k.moved(e),
		k.owners(e), k.leases(e), k.processes(e), k.commands(e), k.reports(e), p.setAside(), k.dead(e)).Err())
}

func text(v any) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case string:
		return v
	}
	return fmt.Sprint(v)
}
