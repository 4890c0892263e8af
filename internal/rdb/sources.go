package rdb

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Sources returns the status of every source by name, with the suspensions that
// hold now: those that the daemon has not heard of yet too.
func (d *DB) Sources(ctx context.Context) (map[string]oprc.SourceStatus, error) {
	all, err := readHash[oprc.SourceStatus](ctx, d, d.k.sources())
	if err != nil || len(all) == 0 {
		return all, err
	}
	asked, err := d.Requests(ctx)
	if err != nil {
		return nil, err
	}
	for name, s := range all {
		his, _ := asked.For(name, s.ID)
		if until := his.Suspension(name, time.Now()); until != nil {
			s.Suspended = until
			all[name] = s
		}
	}
	return all, nil
}

const ticketPrefix = "ticket/"

// Requests returns what people ask of the daemon. What cannot be read, because a
// hand wrote it, asks nothing.
func (d *DB) Requests(ctx context.Context) (oprc.Requests, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	fields, err := d.c.HGetAll(bounded, d.k.requests()).Result()
	if err != nil {
		return oprc.Requests{}, d.wrap(ctx, err)
	}
	out := oprc.Requests{Tickets: map[string]int64{}}
	for field, value := range fields {
		if source, ok := strings.CutPrefix(field, ticketPrefix); ok {
			out.Tickets[source], _ = strconv.ParseInt(value, 10, 64)
			continue
		}
		var r oprc.SourceRequest
		if json.Unmarshal([]byte(value), &r) == nil && field == requestField(r) {
			out.Asked = append(out.Asked, r)
		}
	}
	slices.SortFunc(out.Asked, func(a, b oprc.SourceRequest) int { return strings.Compare(requestField(a), requestField(b)) })
	return out, nil
}

func requestField(r oprc.SourceRequest) string { return r.Verb + "/" + r.Name }

// PutRequest asks something, in place of what the same verb asked before.
func (d *DB) PutRequest(ctx context.Context, r oprc.SourceRequest) error {
	document, err := requestDocument(r)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrap(ctx, d.c.HSet(bounded, d.k.requests(), requestField(r), document).Err())
}

func requestDocument(r oprc.SourceRequest) ([]byte, error) {
	if r.Verb == "" || r.Name == "" {
		return nil, fmt.Errorf("%w request %q: it needs a verb and a name", oprc.ErrInvalid, requestField(r))
	}
	r.At, r.Until = r.At.UTC(), r.Until.UTC()
	return oprc.MustCanonical(r), nil
}

// dropRequest takes a request back if it is still the one that is meant.
//
//	KEYS  1 requests
//	ARGV  1 field  2 document
//	      -> 1 dropped, 0 another one is there, or none
var dropRequest = redis.NewScript(`
if redis.call("HGET", KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call("HDEL", KEYS[1], ARGV[1])`)

// DropRequest takes a request back, if it is still that one.
func (d *DB) DropRequest(ctx context.Context, r oprc.SourceRequest) error {
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.wrap(ctx, dropRequest.Run(bounded, d.c, []string{d.k.requests()}, requestField(r), oprc.MustCanonical(r)).Err())
}

// ask draws the next ticket of a source. Tickets grow, and because they are not
// less than the server's clock in milliseconds, also across the loss of all data.
//
//	KEYS  1 requests
//	ARGV  1 field  2… fields and documents of requests that the tick is to meet
//	      -> the ticket
var ask = redis.NewScript(`
local t = redis.call("TIME")
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local last = tonumber(redis.call("HGET", KEYS[1], ARGV[1]) or "0")
local text = string.format("%.0f", math.max(last + 1, now))
redis.call("HSET", KEYS[1], ARGV[1], text)
for i = 2, #ARGV, 2 do redis.call("HSET", KEYS[1], ARGV[i], ARGV[i + 1]) end
return text`)

// AskTick asks for a tick of a source. The receipt of a tick that began later
// carries the ticket that is returned, or a higher one. Requests are put as by
// [DB.PutRequest] at the same instant: no tick meets one without answering the ticket.
func (d *DB) AskTick(ctx context.Context, source string, with ...oprc.SourceRequest) (ticket int64, err error) {
	args := []any{ticketPrefix + source}
	for _, r := range with {
		document, err := requestDocument(r)
		if err != nil {
			return 0, err
		}
		args = append(args, requestField(r), document)
	}
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	text, err := ask.Run(bounded, d.c, []string{d.k.requests()}, args...).Text()
	if err != nil {
		return 0, d.wrap(ctx, err)
	}
	return strconv.ParseInt(text, 10, 64)
}
