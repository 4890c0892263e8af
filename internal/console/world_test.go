package console_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/oaas-platform/oprc/internal/console"
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

// A world is a console on the real API and a ledger, with one environment, east, and three
// people, whose tokens are their names.
type world struct {
	t     testing.TB
	url   string
	state state
	log   *lines
	redis string // its address

	console *console.Console
	// miniredis is the server behind it.
	miniredis *miniredis.Miniredis
}

func newWorld(t testing.TB, options ...func(*rest.Server)) *world {
	t.Helper()
	m := miniredis.RunT(t)
	db, err := rdb.Open(t.Context(), rdb.Options{URL: "redis://" + m.Addr(), Keys: rdb.Keys{N: "n", T: "t"}, Group: "g"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	rec := &reconcile.Reconciler{Ledger: db, Load: schema.Load, Now: time.Now}
	w := &world{t: t, redis: m.Addr(), miniredis: m, log: &lines{}, state: state{rec, &reconcile.Inspector{Ledger: db, Reader: db}, reconcile.Steering{Desk: db, Reconciler: rec}, db}}
	s := &rest.Server{
		Control: w.state, Load: schema.Load, Now: time.Now,
		Unavailable: func(err error) bool { return errors.Is(err, rdb.ErrUnavailable) },
	}
	for _, o := range options {
		o(s)
	}
	w.console = &console.Console{API: s.Handler(), Now: time.Now, Log: slog.New(slog.NewTextHandler(w.log, nil))}
	srv := httptest.NewServer(w.console.Handler())
	t.Cleanup(srv.Close)
	w.url = srv.URL
	w.apply("kind: Environment\nname: east\navailability: 0.99\ndefault: true\ncapacity: {units: 40}\n")
	return w
}

// closed makes the API know ann (approver), eve (viewer, of packages that begin with shop)
// and root (admin).
func closed(s *rest.Server) {
	token := func(name string, role rest.Role, packages ...string) rest.Token {
		sum := sha256.Sum256([]byte(name))
		return rest.Token{Name: name, Role: role, Hash: hex.EncodeToString(sum[:]), Limits: rest.Limits{Packages: packages}}
	}
	s.Access = rest.Access{Tokens: []rest.Token{token("ann", rest.Approver), token("eve", rest.Viewer, "shop*"), token("root", rest.Admin)}, Now: time.Now}
}

// apply plans and applies a file past the server.
func (w *world) apply(file string) {
	w.t.Helper()
	req := reconcile.Request{Files: []oprc.File{{Path: "setup.yaml", Data: []byte(file)}}}
	req.Scope.Origin = oprc.OriginCLI
	if _, err := w.state.Apply(w.t.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Name: "setup"}); err != nil {
		w.t.Fatal(err)
	}
}

const shop = `
name: shop
version: 1.0.0
functions:
  - name: add
    provision:
      knative: {image: "example/add:1"}
    config:
      env: {DB_PASSWORD: hunter2, MODE: fast}
classes:
  - name: base
    functions: [{function: .add}]
  - name: cart
    parents: [.base]
    functions: [{function: .add}]
deployments:
  - {_key: .cart, partitionCount: 2}
`

// A browser keeps cookies, and follows no redirects.
type browser struct {
	w *world
	c *http.Client
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{w, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// signedIn is a browser of somebody.
func (w *world) signedIn(name string) *browser {
	w.t.Helper()
	b := w.browser()
	if p := b.post("/ui/signin", url.Values{"token": {name}}); p.status != http.StatusSeeOther {
		w.t.Fatalf("sign-in of %s: %d %s", name, p.status, p.body)
	}
	return b
}

type page struct {
	status int
	header http.Header
	body   string
}

func (b *browser) do(method, path string, form url.Values, headers ...string) page {
	b.w.t.Helper()
	req, err := http.NewRequestWithContext(b.w.t.Context(), method, b.w.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.w.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.c.Do(req)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return page{res.StatusCode, res.Header, string(raw)}
}

func (b *browser) get(path string) page { b.w.t.Helper(); return b.do(http.MethodGet, path, nil) }

func (b *browser) post(path string, form url.Values, headers ...string) page {
	b.w.t.Helper()
	return b.do(http.MethodPost, path, form, headers...)
}

// shows fails unless a page is there and holds all words.
func (b *browser) shows(path string, words ...string) page {
	b.w.t.Helper()
	p := b.get(path)
	if p.status != http.StatusOK {
		b.w.t.Fatalf("GET %s: %d\n%s", path, p.status, p.body)
	}
	for _, word := range words {
		if !strings.Contains(p.body, word) {
			b.w.t.Errorf("GET %s: %q is not there:\n%s", path, word, p.body)
		}
	}
	return p
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
