// Package rest is the HTTP API: a server that answers from the same ledger as the
// command line, and a client that stands in for that ledger elsewhere.
//
//	request -> cross-origin check -> token -> route -> Control -> JSON, secrets masked
//	                                            \-> error -> problem (RFC 9457)
package rest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Control is what the API asks of the state.
type Control interface {
	// Plan and Apply are those of reconcile.Reconciler.
	Plan(ctx context.Context, req reconcile.Request) (*plan.Plan, error)
	Apply(ctx context.Context, req reconcile.Request, cond reconcile.Conditions, by reconcile.Actor) (*reconcile.Result, error)

	// List returns the objects of a kind, sorted by key; Find one of them, or an
	// oprc.ErrNotFound. What they return is not changed.
	List(ctx context.Context, kind oprc.Kind) ([]reconcile.Object, error)
	Find(ctx context.Context, kind oprc.Kind, key string) (reconcile.Object, error)

	// History returns the newest entries first, Events the oldest after an id first;
	// without an id Events returns the last ones.
	History(ctx context.Context, pkg string, limit int) ([]oprc.HistoryEntry, error)
	Events(ctx context.Context, after string, limit int) ([]oprc.Event, error)

	// WatchEvents waits up to block for events after an id; LastEvent returns the id
	// to start from.
	WatchEvents(ctx context.Context, after string, block time.Duration) ([]oprc.Event, error)
	LastEvent(ctx context.Context) (string, error)

	// Wake, Suspend, Resume, Approve, Adopt, PlanUndo and Undo are those of reconcile.Steering.
	Wake(ctx context.Context, source string) (ticket int64, err error)
	Suspend(ctx context.Context, source, reason string, length time.Duration, by reconcile.Actor) error
	Resume(ctx context.Context, source string, by reconcile.Actor) (was bool, err error)
	Approve(ctx context.Context, planID string, by reconcile.Actor) (source string, ticket int64, err error)
	Adopt(ctx context.Context, pkg, source string, by reconcile.Actor) (ticket int64, err error)
	// HeldPlan returns the plan whose id begins so that waits for an approval.
	HeldPlan(ctx context.Context, id string) (*plan.Plan, error)
	PlanUndo(ctx context.Context, pkg string, to int64) (*plan.Plan, error)
	Undo(ctx context.Context, pkg string, to int64, planID string, by reconcile.Actor) (*reconcile.Undone, error)

	// MergeRuntime takes over what is newer in rt, and returns the runtime as it is
	// now; applied is false if nothing was. A runtime that is not there is an
	// oprc.ErrNotFound.
	MergeRuntime(ctx context.Context, rt oprc.ClassRuntime) (merged oprc.ClassRuntime, applied bool, err error)
}

// DefaultMask is which keys hold secrets, where nobody says otherwise.
var DefaultMask = []string{"*PASSWORD*", "*SECRET*", "*TOKEN*", "*KEY*"}

// A Server answers the HTTP API. Control and Load are required; fields are set
// before Handler is called.
type Server struct {
	Control Control
	// Load reads packages and environments out of files: the one validator.
	Load func(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics)
	// Ready says why the server cannot do its work now; nil: it always can.
	Ready func(context.Context) error
	// Unavailable reports that an error of Control means that the state cannot be
	// reached: the client may try again. Network errors always do.
	Unavailable func(error) bool
	Log         *slog.Logger // nil: nothing is logged
	Metrics     *Metrics     // nil: the server's own
	// Tokens are the SHA-256 sums, in hex, of the bearer tokens that may write. Empty:
	// everyone may.
	Tokens []string
	// Hooks are the webhooks that are taken, by source.
	Hooks map[string]Hook
	// Mask holds patterns of the keys whose values are not shown; nil: DefaultMask.
	Mask []string

	HealthPath  string // "": /health
	MetricsPath string // "": /metrics
}

// api is a server at work.
type api struct {
	Server
	mux   *http.ServeMux
	plans planCache
}

// Handler returns the API as it is configured now.
func (s *Server) Handler() http.Handler {
	a := &api{Server: *s, mux: http.NewServeMux()}
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	if a.Metrics == nil {
		a.Metrics = NewMetrics()
	}
	if a.Mask == nil {
		a.Mask = DefaultMask
	}
	a.routes()
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(a.plain(func(http.ResponseWriter, *http.Request) error {
		return &refusal{status: http.StatusForbidden, detail: "a request from another web site may not write"}
	}))
	return a.recovered(sameOrigin.Handler(a.authorized(http.HandlerFunc(a.route))))
}

// A handler answers a request, or says why not.
type handler func(http.ResponseWriter, *http.Request) error

// routes registers every route, bare and under /api.
func (a *api) routes() {
	a.handle("POST /packages", a.postPackage)
	a.handle("GET /packages", a.list(oprc.KindPackage))
	a.handle("GET /packages/{key}", a.one(oprc.KindPackage))
	a.handle("DELETE /packages/{key}", a.deletePackage)
	a.handle("POST /packages/{key}/undo", a.undoPackage)
	a.handle("POST /packages/{key}/adopt", a.adoptPackage)
	a.handle("POST /plan", a.postPlan)
	a.handle("POST /plan/{id}/apply", a.applyPlan)
	a.handle("GET /plans/{id}", a.heldPlan)
	a.handle("POST /apply", a.applyRequest)
	a.handle("GET /classes", a.list(oprc.KindClass))
	a.handle("GET /classes/{key}", a.one(oprc.KindClass))
	a.handle("DELETE /classes/{key}", a.deleteClass)
	a.handle("GET /functions", a.list(oprc.KindFunction))
	a.handle("GET /functions/{key}", a.one(oprc.KindFunction))
	a.handle("GET /cr", a.list(oprc.KindRuntime))
	a.handle("GET /cr/{key}", a.one(oprc.KindRuntime))
	a.handle("POST /cr/{key}/update", a.updateRuntime)
	a.handle("GET /deployments", a.list(oprc.KindDeployment))
	a.handle("GET /deployments/{key}", a.one(oprc.KindDeployment))
	a.handle("POST /deployments", a.postDeployment)
	a.handle("PUT /deployments/{key}", a.putDeployment)
	a.handle("GET /units", a.list(oprc.KindUnit))
	a.handle("GET /units/{key...}", a.one(oprc.KindUnit))
	a.handle("GET /environments", a.list(oprc.KindEnv))
	a.handle("GET /environments/{key}", a.one(oprc.KindEnv))
	a.handle("GET /crms", a.list(oprc.KindCRM))
	a.handle("GET /crms/{key...}", a.one(oprc.KindCRM))
	a.handle("GET /sources", a.list(oprc.KindSource))
	a.handle("GET /sources/{key}", a.one(oprc.KindSource))
	a.handle("POST /sources/{key}/reconcile", a.reconcileSource)
	a.handle("POST /sources/{key}/suspend", a.suspendSource)
	a.handle("POST /sources/{key}/resume", a.resumeSource)
	a.handle("POST /hooks/{source}", a.postHook)
	a.handle("GET /events", a.events)
	a.handle("GET /history/{key}", a.history)
	for _, prefix := range []string{"", "/api"} {
		a.mux.Handle("GET "+prefix+"/watch", a.plain(a.watch)) // not measured: it lasts
	}
	a.mux.Handle("GET "+orPath(a.HealthPath, "/health"), a.plain(a.health))
	a.mux.Handle("GET /ready", a.plain(a.ready))
	a.mux.Handle("GET "+orPath(a.MetricsPath, "/metrics"), a.plain(a.metrics))
}

func orPath(path, otherwise string) string {
	if path == "" {
		return otherwise
	}
	return "/" + strings.TrimPrefix(path, "/")
}

func (a *api) handle(pattern string, h handler) {
	method, path, _ := strings.Cut(pattern, " ")
	for _, prefix := range []string{"", "/api"} {
		a.mux.Handle(method+" "+prefix+path, a.Metrics.measured(path, a.plain(h)))
	}
}

// plain makes an http.Handler of h, whose error becomes a problem.
func (a *api) plain(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.fail(w, r, err)
		}
	})
}

// route finds the handler of a request. What ServeMux says when there is none
// (404, or 405 with Allow) becomes a problem.
func (a *api) route(w http.ResponseWriter, r *http.Request) {
	h, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r) // and not h: it would not know the path's values
		return
	}
	said := httptest.NewRecorder()
	h.ServeHTTP(said, r)
	if allow := said.Header().Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
		a.fail(w, r, &refusal{status: http.StatusMethodNotAllowed, detail: fmt.Sprintf("%s does not take %s, but %s", r.URL.Path, r.Method, allow)})
		return
	}
	a.fail(w, r, &refusal{status: http.StatusNotFound, detail: "there is no " + r.URL.Path})
}

// recovered turns a panic into a problem, where an answer has not begun.
func (a *api) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // it is this very value
				panic(p)
			}
			a.Log.Error("panic", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			problem{Status: http.StatusInternalServerError, Detail: "internal error; the log says more"}.write(w, r)
		}()
		next.ServeHTTP(w, r)
	})
}

// authorized lets only those write who show a token, if there are tokens. Webhooks
// show a signature.
func (a *api) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
		if len(a.Tokens) > 0 && !reads && !isHook(r) && !a.knows(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="oprc"`)
			a.fail(w, r, &refusal{status: http.StatusUnauthorized, detail: "writing needs a valid bearer token"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knows compares the token with every known one, in constant time.
func (a *api) knows(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	shown, known := []byte(hex.EncodeToString(sum[:])), 0
	for _, t := range a.Tokens {
		known |= subtle.ConstantTimeCompare(shown, []byte(strings.ToLower(t)))
	}
	return known == 1
}

func (a *api) health(w http.ResponseWriter, _ *http.Request) error {
	return a.reply(w, http.StatusOK, map[string]string{"status": "UP"})
}

// ready answers 503 while the state cannot be reached.
func (a *api) ready(w http.ResponseWriter, r *http.Request) error {
	if a.Ready == nil {
		return a.reply(w, http.StatusOK, map[string]string{"status": "READY"})
	}
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if err := a.Ready(ctx); err != nil {
		return &refusal{status: http.StatusServiceUnavailable, detail: err.Error()}
	}
	return a.reply(w, http.StatusOK, map[string]string{"status": "READY"})
}
