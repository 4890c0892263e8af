package rest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rest"
	"github.com/oaas-platform/oprc/internal/schema"
)

// stream reads Server-Sent Events.
type stream struct {
	t     testing.TB
	lines *bufio.Scanner
	close func()
}

func (w *world) watch(path string, headers ...string) *stream {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("got %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	s := &stream{w.t, bufio.NewScanner(res.Body), func() { cancel(); res.Body.Close() }}
	w.t.Cleanup(s.close)
	s.lines.Scan() // the greeting: from now on nothing is missed
	return s
}

// next returns the next event, and the id by which to resume after it.
func (s *stream) next() (id string, e oprc.Event) {
	s.t.Helper()
	for s.lines.Scan() {
		line := s.lines.Text()
		if rest, ok := strings.CutPrefix(line, "id: "); ok {
			id = rest
		}
		if rest, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(rest), &e); err != nil {
				s.t.Fatal(err)
			}
			return id, e
		}
	}
	s.t.Fatalf("the stream ended: %v", s.lines.Err())
	return "", e
}

func TestWatchStream(t *testing.T) {
	w := newWorld(t)
	s := w.watch("/watch")
	w.want(w.post("/packages", "name: a\n"), 201)
	id, e := s.next()
	if e.Key != "a" || e.ID != id || e.Actor != "api" {
		t.Fatalf("got %+v with id %s", e, id)
	}
	s.close()
	w.want(w.post("/packages", "name: b\n"), 201)
	w.want(w.post("/packages", "name: c\n"), 201)
	for name, resumed := range map[string]*stream{
		"since": w.watch("/api/watch?since=" + id), "Last-Event-ID": w.watch("/watch?since=0", "Last-Event-ID", id),
	} {
		if _, b := resumed.next(); b.Key != "b" {
			t.Errorf("%s: got %+v, want b", name, b)
		}
		if _, c := resumed.next(); c.Key != "c" {
			t.Errorf("%s: got %+v, want c", name, c)
		}
	}
	w.want(w.get("/watch?since=yesterday"), 400)
}

func TestWatchSocket(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/packages", "name: a\n"), 201)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(w.url, "http")+"/watch?since=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	w.want(w.post("/packages", "name: b\n"), 201)
	var keys []string
	for len(keys) < 3 {
		_, raw, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var e oprc.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	if got := strings.Join(keys, " "); got != "east a b" {
		t.Errorf("got %s, want east a b", got)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b"} {
		w.want(w.post("/packages", "name: "+name+"\n"), 201)
	}
	p := w.want(w.get("/events?limit=1&desc=true"), 200).json(t)
	newest := p["items"].([]any)[0].(map[string]any)
	if newest["key"] != "b" || p["total"] != float64(3) {
		t.Errorf("got %v", p)
	}
	if after := w.want(w.get("/events?since="+newest["id"].(string)), 200).json(t); after["total"] != float64(0) {
		t.Errorf("after the newest: got %v", after)
	}
	w.want(w.get("/events?since=x"), 400)
}

func TestServeStopsWatchesAndFinishesRequests(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := (&rest.Server{Control: w.state, Load: schema.Load, Now: time.Now}).Handler()
	begun, release := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.HandleFunc("/slow", func(rw http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
		if r.Context().Err() == nil {
			rw.WriteHeader(http.StatusTeapot)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- rest.Serve(ctx, l, mux, nil) }()
	w.url = "http://" + l.Addr().String()

	s := w.watch("/watch")
	conn, _, err := websocket.Dial(t.Context(), "ws://"+l.Addr().String()+"/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	slow := make(chan int, 1)
	go func() {
		res, err := http.Get(w.url + "/slow")
		if err != nil {
			slow <- 0
			return
		}
		res.Body.Close()
		slow <- res.StatusCode
	}()
	<-begun
	cancel()
	for s.lines.Scan() {
	}
	if err := s.lines.Err(); err != nil {
		t.Errorf("the watch broke off: %v", err)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the socket: got %v, want going away", err)
	}
	close(release)
	if got := <-slow; got != http.StatusTeapot {
		t.Errorf("the request under way got %d", got)
	}
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestServeSaysWhyItFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := rest.Serve(t.Context(), l, http.NotFoundHandler(), nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want closed", err)
	}
}
