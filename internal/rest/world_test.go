package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
	"github.com/oaas-platform/oprc/internal/schema"
)

// state is the real thing: the reconciler on a ledger.
type state struct {
	*reconcile.Reconciler
	*reconcile.Inspector
	reconcile.Steering
	*rdb.DB
}

func (s state) PlanAs(ctx context.Context, source string, next loop.Proposal) (loop.Preview, error) {
	return loop.PlanAs(ctx, s.Reconciler, s.DB, source, next)
}

// A world is a server on real state.
type world struct {
	t       testing.TB
	url     string
	handler http.Handler
	redis   *miniredis.Miniredis
	state   state
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newWorld starts a server as options say, with one environment, east.
func newWorld(t testing.TB, options ...func(*rest.Server)) *world {
	t.Helper()
	m := miniredis.RunT(t)
	db, err := rdb.Open(t.Context(), rdb.Options{URL: "redis://" + m.Addr(), Keys: rdb.Keys{N: "n", T: "t"}, Group: "g"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	rec := &reconcile.Reconciler{Ledger: db, Load: schema.Load, Now: time.Now}
	w := &world{t: t, redis: m, state: state{rec, &reconcile.Inspector{Ledger: db, Reader: db}, reconcile.Steering{Desk: db, Reconciler: rec}, db}}
	s := &rest.Server{
		Control: w.state, Load: schema.Load, Now: time.Now, Ready: func(ctx context.Context) (string, error) { return "", db.Writable(ctx) },
		Unavailable: func(err error) bool { return errors.Is(err, rdb.ErrUnavailable) },
	}
	for _, o := range options {
		o(s)
	}
	w.handler = s.Handler()
	srv := httptest.NewServer(w.handler)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	w.apply(oprc.OriginCLI, "kind: Environment\nname: east\navailability: 0.99\ndefault: true\n")
	return w
}

// newServer starts another server on the same state.
func newServer(t *testing.T, on state) string {
	t.Helper()
	srv := httptest.NewServer((&rest.Server{Control: on, Load: schema.Load, Now: time.Now}).Handler())
	t.Cleanup(srv.Close)
	return srv.URL
}

// apply plans and applies a file past the server.
func (w *world) apply(origin, file string) {
	w.t.Helper()
	req := reconcile.Request{Files: []oprc.File{{Path: "setup.yaml", Data: []byte(file)}}}
	req.Scope.Origin = origin
	if _, err := w.state.Apply(w.t.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Name: "setup"}); err != nil {
		w.t.Fatal(err)
	}
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// json returns the body as generic JSON.
func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v in: %s", err, a.body)
	}
	return v
}

// send sends a request; headers are alternating names and values.
func (w *world) send(method, path, body string, headers ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
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
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(raw)}
}

func (w *world) get(path string) answer { w.t.Helper(); return w.send("GET", path, "") }

func (w *world) post(path, body string) answer {
	w.t.Helper()
	return w.send("POST", path, body, "Content-Type", "application/yaml")
}

func (w *world) json(method, path, body string, headers ...string) answer {
	w.t.Helper()
	return w.send(method, path, body, append(headers, "Content-Type", "application/json")...)
}

// want fails unless the answer has the status, and is a problem if that is an error.
func (w *world) want(a answer, status int) answer {
	w.t.Helper()
	if a.status != status {
		w.t.Fatalf("got %d, want %d: %s", a.status, status, a.body)
	}
	kind := a.header.Get("Content-Type")
	if status < 400 {
		if kind != "application/json" {
			w.t.Fatalf("got Content-Type %q", kind)
		}
		return a
	}
	p := a.json(w.t)
	if kind != "application/problem+json" || p["status"] != float64(status) || p["type"] == nil || p["title"] == "" || p["detail"] == "" {
		w.t.Fatalf("no problem: %q %s", kind, a.body)
	}
	return a
}

// client is a client of the world's server.
func (w *world) client() *rest.Client { return &rest.Client{URL: w.url} }

const shop = `
name: shop
functions:
  - name: add
    provision:
      knative: {image: "example/add:1"}
    config:
      env: {DB_PASSWORD: hunter2, MODE: fast}
classes:
  - name: cart
    functions: [{function: .add}]
  - name: list
    functions: [{function: .add}]
deployments:
  - {_key: .cart, partitionCount: 2}
`

// A broken control fails in a way that the real one does when the state is away,
// or panics.
type broken struct {
	rest.Control
	err error
}

func (b broken) Inspect(context.Context) (*reconcile.Inspection, error) { return nil, b.err }

func (b broken) Find(context.Context, oprc.Kind, string) (reconcile.Object, error) {
	panic("a bug")
}

// lines collects log lines.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
