//go:build endurance

package e2e_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"

	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	oprcv1 "github.com/oaas-platform/oprc/proto/oprc/v1"
	"github.com/oaas-platform/oprc/proto/oprc/v1/oprcv1connect"
)

// A watched daemon, whose profiles say who watches.
type watched struct {
	*daemonProcess
	c        *redis.Client
	profiles string
}

func newWatched(t *testing.T, limits string) *watched {
	t.Helper()
	url := rdbtest.Server(t)
	d := serve(t, fmt.Sprintf("redis: {url: %q}\npprof: 127.0.0.1:0\n%s", url, limits))
	return &watched{d, chaosClient(t, url), regexp.MustCompile(`msg=profiles address=(http://\S+/)`).FindStringSubmatch(d.log.last(1 << 20))[1]}
}

// watchers counts those that the daemon feeds.
func (w *watched) watchers() int {
	w.t.Helper()
	res, err := http.Get(w.profiles + "goroutine?debug=2")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Count(string(body), "rest.follower.follow(")
}

// memory is what the daemon has, and has had at most, in bytes.
func (w *watched) memory() (now, most int) {
	w.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		w.t.Skip("no /proc")
	}
	for line := range strings.Lines(string(raw)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d", &now) // others do not match
		_, _ = fmt.Sscanf(line, "VmHWM: %d", &most)
	}
	return now << 10, most << 10
}

// emit appends an event with a long message to the stream.
func (w *watched) emit(key string, size int) {
	w.t.Helper()
	raw, err := json.Marshal(core.Event{Time: time.Now().UTC(), Type: "applied", Kind: core.KindPackage, Key: key, Message: strings.Repeat("m", size)})
	if err != nil {
		w.t.Fatal(err)
	}
	add := &redis.XAddArgs{Stream: "oaas.pm.{catalog}.events", MaxLen: 1000, Values: []string{"event", string(raw)}}
	if err := w.c.XAdd(w.t.Context(), add).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// grpc watches by Connect's gRPC over HTTP/2 in the clear, with a client of its own.
func (w *watched) grpc(ctx context.Context) *connect.ServerStreamForClient[oprcv1.WatchResponse] {
	w.t.Helper()
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{}}}
	w.t.Cleanup(client.CloseIdleConnections)
	s, err := oprcv1connect.NewEventServiceClient(client, "http://"+w.addr, connect.WithGRPC()).Watch(ctx, &oprcv1.WatchRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// raw sends a request, and reads nothing.
func (w *watched) raw(more string) net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET /watch HTTP/1.1\r\nHost: %s\r\n%s\r\n", w.addr, more); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// Who watches and does not read is dropped, whatever the protocol; who reads gets each event,
// and the daemon keeps no more for the others than their queues.
func TestWatchersThatDoNotRead(t *testing.T) {
	w := newWatched(t, "limits: {rate: -1}\n")
	_ = w.raw("")
	_ = w.raw("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_ = w.grpc(ctx)
	reader := w.raw("")
	within(t, patience, "all watch", func() string {
		if n := w.watchers(); n != 4 {
			return fmt.Sprint(n, " watch")
		}
		return ""
	})
	before, _ := w.memory()
	const events, size = 400, 64 << 10
	var read atomic.Int64
	go func() {
		lines := bufio.NewReaderSize(reader, 1<<20)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(line, "event: applied") {
				read.Add(1)
			}
		}
	}()
	began := time.Now()
	for i := range events { // no faster than who reads does
		w.emit("k"+strconv.Itoa(i), size)
		within(t, patience, "who reads gets each event", func() string {
			if n := read.Load(); n < int64(i)-20 {
				return fmt.Sprintf("%d of %d", n, i)
			}
			return ""
		})
	}
	within(t, patience, "the others are dropped", func() string {
		if n := w.watchers(); n != 1 {
			return fmt.Sprint(n, " watch")
		}
		return ""
	})
	dropped := time.Since(began)
	within(t, patience, "who reads got all", func() string {
		if n := read.Load(); n != events {
			return fmt.Sprint(n, " events")
		}
		return ""
	})
	_, most := w.memory()
	t.Logf("three watchers that read nothing: dropped %.1f s after the first of %d events of %d KB; memory %d MB before, %d MB at most", dropped.Seconds(), events, size>>10, before>>20, most>>20)
	if grown := most - before; grown > 200<<20 {
		t.Errorf("the memory grew by %d MB", grown>>20)
	}
}

// Thousands watch over a few connections to Redis, and an event reaches all.
func TestThousandsOfWatchers(t *testing.T) {
	w := newWatched(t, "limits: {rate: -1}\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got atomic.Int64
	var readers sync.WaitGroup
	t.Cleanup(readers.Wait) // after all connections are closed
	const sse, sockets, calls = 1200, 600, 200
	for range sse {
		conn := w.raw("")
		readers.Go(func() {
			lines := bufio.NewReader(conn)
			for {
				line, err := lines.ReadString('\n')
				if err != nil {
					return
				}
				if strings.Contains(line, `"key":"everybody"`) {
					got.Add(1)
				}
			}
		})
	}
	for range sockets {
		conn, _, err := websocket.Dial(ctx, "ws://"+w.addr+"/watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
		readers.Go(func() {
			for {
				_, raw, err := conn.Read(ctx)
				if err != nil {
					return
				}
				if strings.Contains(string(raw), `"key":"everybody"`) {
					got.Add(1)
				}
			}
		})
	}
	for range calls {
		s := w.grpc(ctx)
		readers.Go(func() {
			for s.Receive() {
				if s.Msg().GetDocument().GetFields()["key"].GetStringValue() == "everybody" {
					got.Add(1)
				}
			}
		})
	}
	within(t, 2*patience, "all watch", func() string {
		if n := w.watchers(); n != sse+sockets+calls {
			return fmt.Sprint(n, " watch")
		}
		return ""
	})
	redis := connections(t, w.c).now
	memory, _ := w.memory()
	w.emit("everybody", 10)
	reached := within(t, patience, "the event reaches all", func() string {
		if n := got.Load(); n != sse+sockets+calls {
			return fmt.Sprint(n, " got it")
		}
		return ""
	})
	t.Logf("%d watchers: %d connections to Redis, this test's included; %d MB; an event reached all in %.0f ms", sse+sockets+calls, redis, memory>>20, float64(reached.Milliseconds()))
	if redis > 8+1 {
		t.Errorf("%d connections to Redis", redis)
	}
	cancel()
	w.kill()
}
