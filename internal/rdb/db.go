// Package rdb keeps the ledger in Redis: the catalogue of what was applied, the
// records of what was dispatched, the streams to and from the CRMs, and the
// lease that decides which daemon acts.
//
// All keys of the catalogue share one cluster slot, all keys of one environment
// another (see [Keys]). What must agree is written by one script inside one slot;
// nothing that crosses slots relies on more than at-least-once.
package rdb

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// How long Redis may take. A command fails in under five seconds when Redis is
// away, whether its host refuses, swallows packets or answers nothing.
const (
	dialTimeout   = time.Second
	openTimeout   = 3500 * time.Millisecond
	answerTimeout = 3 * time.Second
	bulkTimeout   = 30 * time.Second // for work that grows with the catalogue
	maxBlock      = time.Second      // a blocked read does not see its context end
	poolSize      = 4096             // at most; a blocked read per environment holds a connection
)

// Options say which Redis to use and under which names.
type Options struct {
	// URL is redis://, rediss://, unix:// or sentinel://HOST,HOST/DB?master=NAME;
	// several addresses with commas between them make a Cluster. rediss:// and
	// sentinels:// take ?ca_file=, ?cert_file= with &key_file=, and ?skip_verify=true.
	URL      string
	Keys     Keys
	Group    string // consumer group for reports; default "package-manager"
	Username string // over the URL's
	Password string // over the URL's
	// PartsFrom is how many packages a ledger has at least of which parts are read: default
	// 400. A smaller one is compared with its digests by the first reading as a whole.
	PartsFrom int64
}

// A DB is a connection to the ledger. Its methods may be called concurrently.
type DB struct {
	c     redis.UniversalClient
	k     Keys
	group string
	addr  string // of Redis, for messages; never with a password
	cache catalogueCache

	units    audit       // under the lock of cache
	mistyped atomic.Bool // an answer said so of some key; see Mend

	partsFrom int64 // see Options

	histories, runtimes atomic.Int64 // those that were looked for
	indexed             atomic.Int64 // when the index was compared last, in milliseconds

	connects atomic.Int64 // connections that were made so far

	discovery discovery
}

// Open connects to Redis and makes sure, in under four seconds, that it answers.
// If it does not, the error is an [ErrUnavailable] that names the address.
func Open(ctx context.Context, o Options) (*DB, error) {
	where, err := parseURL(o)
	if err != nil {
		return nil, err
	}
	quietClient()
	d := &DB{
		k:     o.Keys.orDefault(),
		group: cmp.Or(o.Group, "package-manager"),

		partsFrom: cmp.Or(o.PartsFrom, usualPartsFrom),
		addr:      display(where),
	}
	where.OnConnect = func(context.Context, *redis.Conn) error {
		d.connects.Add(1)
		return nil
	}
	d.c = redis.NewUniversalClient(where)
	pingWhileOwing(d.c)
	if err := d.identify(ctx); err != nil {
		_ = d.c.Close()
		return nil, err
	}
	return d, nil
}

// Client returns a client of the Redis that o names, whatever its kind. It has not
// been asked anything yet.
func Client(o Options) (redis.UniversalClient, error) {
	where, err := parseURL(o)
	if err != nil {
		return nil, err
	}
	quietClient()
	return redis.NewUniversalClient(where), nil
}

// EachMaster calls do for each master of a Cluster, for several at once, or for the
// one that there is.
func EachMaster(ctx context.Context, c redis.UniversalClient, do func(ctx context.Context, c *redis.Client) error) error {
	switch c := c.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, do)
	case *redis.Client:
		return do(ctx, c)
	}
	return fmt.Errorf("client of an unknown kind: %T", c)
}

// Ping asks Redis for an answer.
func (d *DB) Ping(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return d.wrap(ctx, d.c.Ping(bounded).Err())
}

// Writable asks Redis whether it would take a write, and writes nothing: SET with XX of a
// key that nobody sets is refused like any write, and otherwise does nothing. PING would
// not tell: a full Redis and a replica answer it, one that cannot save does not.
func (d *DB) Writable(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrap(ctx, d.c.SetXX(bounded, d.k.nothing(), "", 0).Err())
}

// Close ends all connections.
func (d *DB) Close() error { return d.c.Close() }

// Addr names the Redis that d is connected to, without its password.
func (d *DB) Addr() string { return d.addr }
