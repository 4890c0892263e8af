// Package rest is the HTTP API: a server that answers from the same ledger as the
// command line, and a client that stands in for that ledger elsewhere.
//
//	request -> name of the host -> cross-origin check -> identity, rate -> route -> role
//	        -> parameters -> slot and deadline -> Control -> JSON, secrets masked
//	                                               \-> error -> problem (RFC 9457)
//
// One table (routes.go) has every route with its parameters, its role and its types;
// the OpenAPI document is made from it.
package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/trace"
)

// apiVersion is the version of the API. It only grows.
const apiVersion = "1.1.0"

// Control is what the API asks of the state.
type Control interface {
	// Plan and Apply are those of reconcile.Reconciler.
	Plan(ctx context.Context, req reconcile.Request) (*plan.Plan, error)
	Apply(ctx context.Context, req reconcile.Request, cond reconcile.Conditions, by reconcile.Actor) (*reconcile.Result, error)

	// PlanAs plans those of the files that a source reads as its next revision, as
	// loop.PlanAs does.
	PlanAs(ctx context.Context, source string, next loop.Proposal) (loop.Preview, error)

	// Inspect, List and Find are those of reconcile.Inspector. What they return is not
	// changed.
	Inspect(ctx context.Context) (*reconcile.Inspection, error)
	List(ctx context.Context, kind oprc.Kind) ([]reconcile.Object, error)
	Find(ctx context.Context, kind oprc.Kind, key string) (reconcile.Object, error)

	// History returns the newest entries first, Events the oldest after an id first;
	// without an id Events returns the last ones.
	History(ctx context.Context, pkg string, limit int) ([]oprc.HistoryEntry, error)
	Events(ctx context.Context, after string, limit int) ([]oprc.Event, error)

	// WatchEvents waits up to block for events after an id; LastEvent returns the id
	// to start from, FirstEvent that of the oldest event that there is, "0-0" without any.
	WatchEvents(ctx context.Context, after string, block time.Duration) ([]oprc.Event, error)
	LastEvent(ctx context.Context) (string, error)
	FirstEvent(ctx context.Context) (string, error)

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

	// CommandQueue tells how far the commands of an environment have come.
	CommandQueue(ctx context.Context, env string) (oprc.CommandQueue, error)

	// Dead returns the newest dead letters of an environment first. RetryDead puts one
	// back, DropDead deletes some and says how many there were.
	Dead(ctx context.Context, env string, limit int) ([]oprc.DeadEntry, error)
	RetryDead(ctx context.Context, env, id string) error
	DropDead(ctx context.Context, env string, ids ...string) (int64, error)
	EnvironmentNames(ctx context.Context) ([]string, error)

	// Snapshot is that of reconcile.Reconciler.
	Snapshot(ctx context.Context, r plan.Redaction) (*plan.Snapshot, error)

	// Keep keeps a document under a name for a while, for every daemon; Kept returns it,
	// or an oprc.ErrNotFound. KeepNew keeps it if there is none yet, and otherwise returns
	// the one that there is.
	Keep(ctx context.Context, name string, doc []byte, length time.Duration) error
	KeepNew(ctx context.Context, name string, doc []byte, length time.Duration) (was []byte, err error)
	Kept(ctx context.Context, name string) ([]byte, error)
}

// DefaultMask is which keys hold secrets, where nobody says otherwise.
var DefaultMask = []string{"*PASSWORD*", "*SECRET*", "*TOKEN*", "*KEY*"}

// A Server answers the HTTP API. Control, Load and Now are required; fields are set
// before Handler is called.
type Server struct {
	Control Control
	// Load reads packages and environments out of files: the one validator.
	Load func(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics)
	Now  func() time.Time
	// Preview plans the next tick of a source; nil: this server has no sources.
	Preview func(ctx context.Context, source, ref string) (*SourcePlan, error)
	// Ready says why the server can do only a part of its work now, or fails: it can do
	// nothing; nil: it always can do everything.
	Ready func(context.Context) (degraded string, err error)
	// Unavailable reports that an error of Control means that the state cannot be
	// reached: the client may try again. Network errors always do.
	Unavailable func(error) bool
	Log         *slog.Logger // nil: nothing is logged
	Metrics     *Metrics     // nil: the server's own
	Tracer      trace.Tracer // of a span for each request
	Access      Access
	Bounds      Bounds
	// Hooks are the webhooks that are taken, by source.
	Hooks map[string]Hook
	// Mask holds patterns of the keys whose values are not shown; nil: DefaultMask.
	Mask []string

	// Procedures are further ways to call the API, by the path they are below: what they
	// ask of routes is asked in the caller's name, who is known by then. No message is
	// larger than most bytes. Nil: there are none.
	Procedures func(routes http.Handler, ready string, most int64) map[string]http.Handler

	HealthPath  string // "": /health
	MetricsPath string // "": /metrics
}

// api is a server at work.
type api struct {
	Server
	mux      *http.ServeMux
	routes   []route
	calls    map[string]http.Handler // by the path they are below
	document func() ([]byte, error)
	slots    chan struct{} // one for each request that plans
	callers  callers
	tokens   storedTokens
	watchers *hub
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
	a.Bounds = a.Bounds.orDefault()
	a.slots = make(chan struct{}, a.Bounds.Plans)
	a.watchers = newHub(a.Control, a.Bounds.Watchers)
	a.register()
	a.document = a.describe()
	if a.Procedures != nil {
		a.calls = a.Procedures(http.HandlerFunc(a.route), "/ready", a.Bounds.Body)
	}
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(a.plain(func(http.ResponseWriter, *http.Request) error {
		return refuse(http.StatusForbidden, "a request from another web site may not write")
	}))
	return a.recovered(a.logged(a.calledRight(sameOrigin.Handler(a.identified(http.HandlerFunc(a.dispatch))))))
}

// dispatch gives a request to the procedure that its path names, or to its route.
func (a *api) dispatch(w http.ResponseWriter, r *http.Request) {
	if i := strings.LastIndexByte(r.URL.Path, '/'); i > 0 {
		if h := a.calls[r.URL.Path[:i+1]]; h != nil {
			c := http.NewResponseController(w)
			_ = c.SetReadDeadline(a.now().Add(a.Bounds.Time)) // not every writer has deadlines
			h.ServeHTTP(w, r)
			return
		}
	}
	a.route(w, r)
}

func (a *api) now() time.Time { return a.Server.Now() }

// plain makes an http.Handler of h, whose error becomes a problem.
func (a *api) plain(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.fail(w, r, err)
		}
	})
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

func (a *api) health(w http.ResponseWriter, r *http.Request) error {
	return a.say(w, r, http.StatusOK, map[string]string{"status": "UP"})
}

// ready answers 503 while the state cannot be reached. While it can only be read the
// answer is 200, or nobody could read it, and says DEGRADED and why.
func (a *api) ready(w http.ResponseWriter, r *http.Request) error {
	if a.Ready == nil {
		return a.say(w, r, http.StatusOK, readiness{Status: "READY"})
	}
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	degraded, err := a.Ready(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusServiceUnavailable, "the state gives no answer in time")
	case err != nil:
		return refuse(http.StatusServiceUnavailable, "%v", err)
	case degraded != "":
		return a.say(w, r, http.StatusOK, readiness{Status: "DEGRADED", Reason: degraded})
	}
	return a.say(w, r, http.StatusOK, readiness{Status: "READY"})
}

type readiness struct {
	Status string `json:"status"` // READY or DEGRADED
	Reason string `json:"reason,omitempty"`
}
