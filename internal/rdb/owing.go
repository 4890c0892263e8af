package rdb

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	probeTimeout = 750 * time.Millisecond // for the PING of a server that owes an answer
	freshAnswer  = 50 * time.Millisecond  // after an answer, long work needs no PING before it
)

// An owing knows when a server answered last, and whether a call to it ran out of time
// since. While it owes an answer, each call begins with a PING that gets little time: who
// makes several calls, or waits for others who do, does not wait the whole time for each of
// them. Work that may take long begins with a PING if nothing was heard just before, so
// that a server which hangs is found out as soon as by any other call.
type owing struct {
	answer atomic.Bool
	heard  atomic.Int64 // in milliseconds
}

// pingWhileOwing watches the server that c talks to, or each node of a Cluster.
func pingWhileOwing(c redis.UniversalClient) {
	switch c := c.(type) {
	case *redis.ClusterClient:
		c.OnNewNode(func(node *redis.Client) { node.AddHook(&owing{}) })
	case *redis.Client:
		c.AddHook(&owing{})
	}
}

// DialHook changes nothing.
func (o *owing) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook sends a command, if the server answers.
func (o *owing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := o.probe(ctx, func(ctx context.Context) error { return next(ctx, redis.NewStatusCmd(ctx, "ping")) }); err != nil {
			cmd.SetErr(err)
			return err
		}
		return o.note(next(ctx, cmd))
	}
}

// ProcessPipelineHook sends commands, if the server answers.
func (o *owing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ping := func(ctx context.Context) error { return next(ctx, []redis.Cmder{redis.NewStatusCmd(ctx, "ping")}) }
		if err := o.probe(ctx, ping); err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		return o.note(next(ctx, cmds))
	}
}

// probe fails if there is reason to send a PING, and no answer comes.
func (o *owing) probe(ctx context.Context, ping func(context.Context) error) error {
	deadline, bounded := ctx.Deadline()
	long := bounded && time.Until(deadline) > 2*answerTimeout
	limit := probeTimeout
	switch {
	case o.answer.Load():
	case long && time.Since(time.UnixMilli(o.heard.Load())) > freshAnswer:
		limit = answerTimeout
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := o.note(ping(ctx)); isTimeout(err) {
		return err
	}
	return nil // what else may be wrong, the call itself will find
}

// note keeps whether a call ran out of time.
func (o *owing) note(err error) error {
	late := isTimeout(err)
	o.answer.Store(late)
	if !late {
		o.heard.Store(time.Now().UnixMilli())
	}
	return err
}
