package rdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Format is how this program keeps the ledger. It changes when a program that does not
// know the change would misread or damage it.
const Format = 1

// identify gives the ledger an identity where it has none, and tells it.
//
//	KEYS  1 ledger
//	ARGV  1 id  2 format
//	      -> the format that it has
var identify = redis.NewScript(`
if not redis.call("HGET", KEYS[1], "id") then redis.call("HSET", KEYS[1], "id", ARGV[1], "format", ARGV[2]) end
return redis.call("HGET", KEYS[1], "format") or "1"`)

// identify makes sure that the ledger has an identity, and a format that this program
// knows. Who may only read takes it as it is; a CRM need not see it.
func (d *DB) identify(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	format, err := identify.Run(bounded, d.c, []string{d.k.ledger()}, rand.Text(), Format).Text()
	if forbidden(err) || err != nil && refusal(err) != "" { // a ledger without one can be read
		if format, err = d.c.HGet(bounded, d.k.ledger(), "format").Result(); forbidden(err) || errors.Is(err, redis.Nil) {
			return nil
		}
	}
	if err := d.wrap(ctx, err); err != nil {
		return err
	}
	if err := d.knows(format); err != nil {
		return err
	}
	_, err = d.claimed(ctx)
	return err
}

// knows refuses a format that this program cannot read; "" is that of a ledger which
// nobody has written to, or that was begun before there were formats.
func (d *DB) knows(format string) error {
	if n, err := strconv.Atoi(format); format == "" || err == nil && n == Format {
		return nil
	}
	return fmt.Errorf("%w ledger at %s: its format is %s, this program knows %d: use the oprc that wrote it, or a later one",
		oprc.ErrInvalid, d.addr, clip(format), Format)
}
