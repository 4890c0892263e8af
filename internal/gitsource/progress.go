package gitsource

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport/client"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// A request that makes no progress must not be in the way of others: it gives its slot
// up after a moment, and ends when the server has sent next to nothing for long. A server
// that is busy with a large pack sends five bytes each five seconds meanwhile.
const (
	slotTime   = time.Second
	stallTime  = 20 * time.Second
	stallBytes = 10
)

// errStalled ends a request that makes no progress.
var errStalled = errors.New("stalled")

// A meter counts what was received for one request, and notes where it was sent on to.
type meter struct {
	bytes atomic.Int64
	moved atomic.Value // host, a string
}

type meterKey struct{}

// A movedError is of a request that another host answered than the one that was asked.
type movedError struct {
	host string
	err  error
}

func (e *movedError) Error() string { return "redirected to " + e.host + ": " + e.err.Error() }
func (e *movedError) Unwrap() error { return e.err }

// A meteredConn counts for the request that has it now: connections are kept.
type meteredConn struct {
	net.Conn
	meter atomic.Pointer[meter]
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if m := c.meter.Load(); m != nil {
		m.bytes.Add(int64(n))
	}
	return n, err
}

// installClient makes go-git use connections that are metered.
var installClient = sync.OnceFunc(func() {
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &meteredConn{Conn: c}, nil
	}
	noted := func(req *http.Request, via []*http.Request) error {
		if m, is := req.Context().Value(meterKey{}).(*meter); is && req.URL.Host != via[0].URL.Host {
			m.moved.Store(req.URL.Host)
		}
		return nil
	}
	c := githttp.NewClientWithOptions(&http.Client{Transport: t, CheckRedirect: noted}, &githttp.ClientOptions{CacheMaxEntries: 64})
	client.InstallProtocol("http", c)
	client.InstallProtocol("https", c)
})

// metered returns a context whose requests count for m.
func metered(ctx context.Context, m *meter) context.Context {
	return httptrace.WithClientTrace(context.WithValue(ctx, meterKey{}, m), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		c := info.Conn
		if secure, is := c.(*tls.Conn); is {
			c = secure.NetConn()
		}
		if counts, is := c.(*meteredConn); is {
			counts.meter.Store(m)
		}
	}})
}

// watched does work, and tells meanwhile when it makes no progress: idle is called once,
// after a moment without any, and the context of work ends after a long time with next
// to none. Where nothing can be counted only idle is called.
func watched[T any](ctx context.Context, counts bool, idle func(), work func(context.Context) (T, error)) (T, error) {
	var m meter
	ctx, cancel := context.WithCancelCause(metered(ctx, &m))
	defer cancel(nil)
	var watcher sync.WaitGroup
	done := make(chan struct{})
	watcher.Go(func() {
		const look = slotTime / 4
		tick := time.NewTicker(look)
		defer tick.Stop()
		last, quiet := int64(0), time.Duration(0)
		window, windowBytes := time.Duration(0), int64(0)
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			now := m.bytes.Load()
			if quiet += look; now > last {
				last, quiet = now, 0
			}
			if quiet >= slotTime {
				idle()
			}
			if window += look; window >= stallTime {
				if counts && now-windowBytes < stallBytes {
					cancel(errStalled)
					return
				}
				window, windowBytes = 0, now
			}
		}
	})
	out, err := work(ctx)
	close(done)
	watcher.Wait()
	if err != nil && context.Cause(ctx) == errStalled { //nolint:errorlint // it is that one or another's
		err = errStalled
	}
	if host, is := m.moved.Load().(string); is && err != nil {
		err = &movedError{host, err}
	}
	return out, err
}
