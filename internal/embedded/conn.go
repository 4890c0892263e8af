package embedded

import (
	"bufio"
	"net"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/proto"
	"github.com/alicebob/miniredis/v2/server"
)

// A conn speaks to a Redis in the plainest way: one command, one reply. It
// reaches what the Go API of miniredis leaves out: consumer groups and scripts.
type conn struct {
	c    net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	sent int
}

func newConn(c net.Conn) *conn {
	return &conn{c: c, r: bufio.NewReader(c), w: bufio.NewWriter(c)}
}

// dial connects without the network.
func dial(m *miniredis.Miniredis, password string) (*conn, error) {
	nc, err := m.Dial()
	if err != nil {
		return nil, err
	}
	c := newConn(nc)
	if _, err := c.do("AUTH", password); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// do returns the reply: a string, an int, a []any of replies, or nil. Redis's own
// errors are errors.
func (c *conn) do(args ...string) (any, error) {
	c.sent++
	if err := proto.Write(c.w, args); err != nil {
		return nil, err
	}
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	return server.ParseReply(c.r)
}

func (c *conn) close() { c.c.Close() }
