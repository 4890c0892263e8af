package rdb

import (
	"context"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// CommandsRead returns the stream ids of the last command that the CRMs of an
// environment were given and of the last that there is; "0-0" where there is none.
func (d *DB) CommandsRead(ctx context.Context, env string) (read, last string, err error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	read, last = "0-0", "0-0"
	groups, err := d.c.XInfoGroups(bounded, d.k.commands(env)).Result()
	if noStream(err) {
		return read, last, nil
	}
	if err != nil {
		return "", "", d.wrap(ctx, err)
	}
	for _, g := range groups {
		if g.Name == groupCRM {
			given, err := parsePosition(g.LastDeliveredID)
			if err != nil {
				return "", "", err
			}
			read = given.String()
		}
	}
	newest, err := d.c.XRevRangeN(bounded, d.k.commands(env), "+", "-", 1).Result()
	if len(newest) > 0 {
		last = newest[0].ID
	}
	return read, last, d.wrap(ctx, err)
}

// CommandsHeld returns the units whose commands a CRM of an environment was given and
// has not acknowledged, with the highest generation of each. Those that nobody
// touched for so long that colleagues should have claimed them are left out.
func (d *DB) CommandsHeld(ctx context.Context, env string) (map[string]int64, error) {
	held := map[string]int64{}
	for start := "-"; ; {
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		pending, err := d.c.XPendingExt(bounded, &redis.XPendingExtArgs{
			Stream: d.k.commands(env), Group: groupCRM, Start: start, End: "+", Count: chunk,
		}).Result()
		if err == nil {
			err = d.readHeld(bounded, env, pending, held)
		}
		cancel()
		if noGroup(err) {
			return nil, nil
		}
		if err != nil || len(pending) < chunk {
			return held, d.wrap(ctx, err)
		}
		if start, err = following(pending[len(pending)-1].ID); err != nil {
			return nil, err
		}
	}
}

// readHeld adds the units of pending entries to held.
func (d *DB) readHeld(ctx context.Context, env string, pending []redis.XPendingExt, held map[string]int64) error {
	entries, err := d.c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, e := range pending {
			if e.Idle < 2*abandonedAfter {
				p.XRange(ctx, d.k.commands(env), e.ID, e.ID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range entries {
		for _, m := range c.(*redis.XMessageSliceCmd).Val() {
			if id, generation, ok := commandOf(m); ok {
				held[id] = max(held[id], generation)
			}
		}
	}
	return nil
}

// CommandQueue tells how far the commands of an environment have come: of the oldest
// thousand that CRMs hold, and of the next thousand that they will read.
func (d *DB) CommandQueue(ctx context.Context, env string) (oprc.CommandQueue, error) {
	q := oprc.CommandQueue{Waiting: map[string]int64{}, Held: map[string]oprc.HeldCommand{}}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	stream := d.k.commands(env)
	groups, err := d.c.XInfoGroups(bounded, stream).Result()
	if noStream(err) {
		return q, nil
	}
	if err != nil {
		return q, d.wrap(ctx, err)
	}
	next := "-"
	for _, g := range groups {
		if g.Name != groupCRM {
			q.Groups = append(q.Groups, g.Name)
			continue
		}
		if next, err = following(g.LastDeliveredID); err != nil {
			return q, err
		}
		q.Partial = g.Pending > chunk
		if err := d.queueHeld(bounded, stream, q.Held); err != nil {
			return q, d.wrap(ctx, err)
		}
	}
	waiting, err := d.c.XRangeN(bounded, stream, next, "+", chunk).Result()
	q.Partial = q.Partial || len(waiting) == chunk
	for _, m := range waiting {
		if id, generation, ok := commandOf(m); ok {
			q.Waiting[id] = max(q.Waiting[id], generation)
		}
	}
	return q, d.wrap(ctx, err)
}

// queueHeld adds the units of pending entries to held.
func (d *DB) queueHeld(ctx context.Context, stream string, held map[string]oprc.HeldCommand) error {
	pending, err := d.c.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: stream, Group: groupCRM, Start: "-", End: "+", Count: chunk}).Result()
	if err != nil || len(pending) == 0 {
		return err
	}
	entries, err := d.c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, e := range pending {
			p.XRange(ctx, stream, e.ID, e.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, c := range entries {
		for _, m := range c.(*redis.XMessageSliceCmd).Val() {
			if id, generation, ok := commandOf(m); ok && generation >= held[id].Generation {
				held[id] = oprc.HeldCommand{Generation: generation, CRM: pending[i].Consumer, Idle: pending[i].Idle}
			}
		}
	}
	return nil
}

// commandOf returns the unit and the generation of a command's entry.
func commandOf(m redis.XMessage) (unit string, generation int64, ok bool) {
	f := fields(m)
	generation, err := strconv.ParseInt(f["generation"], 10, 64)
	return f["id"], generation, err == nil
}
