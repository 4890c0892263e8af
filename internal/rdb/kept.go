package rdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Keep keeps a document under a name for so long, in place of what was there.
func (d *DB) Keep(ctx context.Context, name string, doc []byte, length time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	return d.wrap(ctx, d.c.Set(bounded, d.k.kept(name), doc, length).Err())
}

// KeepNew keeps a document under a name unless there is one; then it returns that.
func (d *DB) KeepNew(ctx context.Context, name string, doc []byte, length time.Duration) (was []byte, err error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	was, err = d.c.SetArgs(bounded, d.k.kept(name), doc, redis.SetArgs{Mode: "NX", Get: true, TTL: length}).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return was, d.wrap(ctx, err)
}

// Kept returns what is kept under a name, or an oprc.ErrNotFound.
func (d *DB) Kept(ctx context.Context, name string) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	doc, err := d.c.Get(bounded, d.k.kept(name)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("%s: %w", name, oprc.ErrNotFound)
	}
	return doc, d.wrap(ctx, err)
}

// Tokens returns what is known of the tokens of the API, by name.
func (d *DB) Tokens(ctx context.Context) (map[string][]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	fields, err := d.c.HGetAll(bounded, d.k.tokens()).Result()
	if err := d.wrap(ctx, err); err != nil {
		return nil, err
	}
	out := make(map[string][]byte, len(fields))
	for name, doc := range fields {
		out[name] = []byte(doc)
	}
	return out, nil
}

// PutToken keeps what is known of a token. If there is one of that name it fails with
// an oprc.ErrConflict.
func (d *DB) PutToken(ctx context.Context, name string, doc []byte) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	fresh, err := d.c.HSetNX(bounded, d.k.tokens(), name, doc).Result()
	if err := d.wrap(ctx, err); err != nil {
		return err
	}
	if !fresh {
		return &oprc.ConflictError{Reason: "there is a token of that name", Objects: []string{"token/" + name}}
	}
	return nil
}

// DropToken forgets a token. If there is none of that name it fails with an
// oprc.ErrNotFound.
func (d *DB) DropToken(ctx context.Context, name string) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	n, err := d.c.HDel(bounded, d.k.tokens(), name).Result()
	if err := d.wrap(ctx, err); err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("token %q: %w", name, oprc.ErrNotFound)
	}
	return nil
}
