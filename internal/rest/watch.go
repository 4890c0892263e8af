package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// pastWindow is how much of the past a page of events or history is cut from.
const pastWindow = 10_000

// events answers with a page of what happened, oldest first, after ?since= or else
// of the last ones.
func (a *api) events(w http.ResponseWriter, r *http.Request) error {
	win, err := newWindow(r.URL.Query(), []string{"_key", "id", "ts"})
	if err != nil {
		return err
	}
	since, err := sinceOf(r)
	if err != nil {
		return err
	}
	all, err := a.Control.Events(r.Context(), since, pastWindow)
	if err != nil {
		return err
	}
	who, keep := caller(r), newEventFilter(r)
	all = slices.DeleteFunc(all, func(e oprc.Event) bool { return !who.seesEvent(e) || !keep.passes(e) })
	return a.reply(w, r, http.StatusOK, paged(win, all))
}

// history answers with a page of the writes of a package, newest first; desc=true
// means the oldest first.
func (a *api) history(w http.ResponseWriter, r *http.Request) error {
	win, err := newWindow(r.URL.Query(), []string{"_key", "id", "ts", "rev"})
	if err != nil {
		return err
	}
	name := r.PathValue("key")
	all, err := a.Control.History(r.Context(), name, pastWindow)
	if err != nil {
		return err
	}
	if _, err := a.findPackage(r, name); err != nil && (len(all) == 0 || caller(r).limited()) {
		return err
	}
	all = slices.DeleteFunc(all, func(e oprc.HistoryEntry) bool { return !caller(r).seesEntry(name, e) })
	return a.reply(w, r, http.StatusOK, paged(win, all))
}

var eventID = lazyregexp.New(`^\d{1,19}(-\d{1,19})?$`)

// sinceOf returns the event after which to begin: where a broken stream ended, or
// what the query says.
func sinceOf(r *http.Request) (string, error) {
	since := cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("since"))
	if since != "" && !eventID().MatchString(since) {
		return "", refuse(http.StatusBadRequest, "since=%s: the id of an event is needed", since)
	}
	return since, nil
}

// An eventFilter says which events are wanted. Empty members pass everything.
type eventFilter struct{ pkg, class, env, typ, kind string }

func newEventFilter(r *http.Request) eventFilter {
	q := r.URL.Query()
	return eventFilter{q.Get("package"), q.Get("class"), q.Get("env"), q.Get("type"), q.Get("kind")}
}

func (f eventFilter) passes(e oprc.Event) bool {
	class, _, _ := strings.Cut(e.Key, "/")
	class, _, _ = strings.Cut(class, "@")
	return (f.pkg == "" || f.pkg == packageOfEvent(e)) && (f.class == "" || f.class == class) &&
		(f.env == "" || f.env == e.Env || e.Kind == oprc.KindEnv && f.env == e.Key) &&
		(f.typ == "" || f.typ == e.Type) && (f.kind == "" || f.kind == string(e.Kind))
}

// watch sends what happens, as it happens, until the client leaves or the server
// stops: as a WebSocket if the client asks for one, else as Server-Sent Events. A
// client that cannot follow is dropped.
func (a *api) watch(w http.ResponseWriter, r *http.Request) error {
	since, err := sinceOf(r)
	if err != nil {
		return err
	}
	if since != "" {
		gone, err := a.watchers.gone(r.Context(), since)
		if err != nil {
			return err
		}
		if gone {
			return refuse(http.StatusGone, "the events after %s are not all kept any more: read the state again, and watch from now", since)
		}
	}
	ctx, cancel := untilClosing(r.Context(), 0)
	defer cancel()
	me, err := a.watchers.join(ctx)
	if err != nil {
		return err
	}
	defer a.watchers.leave(me)
	who, keep := caller(r), newEventFilter(r)
	f := follower{hub: a.watchers, me: me, since: since, who: who, wants: func(e oprc.Event) bool { return who.seesEvent(e) && keep.passes(e) }}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return a.watchSocket(ctx, cancel, w, r, f)
	}
	a.watchStream(ctx, w, f)
	return nil
}

// A sink takes events, and something now and then that shows the connection to be
// alive.
type sink struct {
	event func(id, typ string, raw []byte) error
	alive func() error
}

const aliveEvery = 15 * time.Second

// errSlow ends a watch whose client does not keep up.
var errSlow = errors.New("the client does not keep up with the events")

// A follower feeds one client.
type follower struct {
	hub   *hub
	me    *watcher
	since string
	who   *Identity
	wants func(oprc.Event) bool
}

// send sends an event, as far as it is the client's to see.
func (f follower) send(to sink, next *frame) error {
	raw := next.json
	if f.who.narrow() {
		names, err := next.environments()
		if err != nil {
			return err
		}
		if raw, err = f.who.elsewhere(names).hide(raw); err != nil {
			return err
		}
	}
	return to.event(next.event.ID, next.event.Type, raw)
}

// follow feeds a sink until ctx ends, the sink fails, or it is too slow.
func (f follower) follow(ctx context.Context, to sink) error {
	if f.since != "" {
		err := f.hub.catchUp(ctx, f.me, f.since, func(next *frame) error {
			if !f.wants(next.event) {
				return nil
			}
			return f.send(to, next)
		})
		if err != nil {
			return err
		}
	}
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-alive.C:
			if err := to.alive(); err != nil {
				return err
			}
		case next, ok := <-f.me.frames:
			if !ok {
				return errSlow
			}
			if !f.wants(next.event) || f.since != "" && !laterEvent(next.event.ID, f.since) {
				continue
			}
			if err := f.send(to, next); err != nil {
				return err
			}
		}
	}
}

// patience is how long a client may take to read one event.
const patience = 10 * time.Second

func (a *api) watchStream(ctx context.Context, w http.ResponseWriter, f follower) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies shall not collect it
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // a stream has none; not every writer can say so
	write := func(format string, args ...any) error {
		_ = c.SetWriteDeadline(a.now().Add(patience))
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return err
		}
		return c.Flush()
	}
	since := f.since
	if since == "" {
		since = f.me.from
	}
	if write(": watching since %s\n\n", since) != nil {
		return
	}
	err := f.follow(ctx, sink{
		event: func(id, typ string, raw []byte) error { return write("id: %s\nevent: %s\ndata: %s\n\n", id, typ, raw) },
		alive: func() error { return write(": alive\n\n") },
	})
	if errors.Is(err, errSlow) {
		_ = write("event: gap\ndata: {\"type\":\"gap\",\"message\":%q}\n\n", err.Error()) // it may not even read this
	}
}

func (a *api) watchSocket(ctx context.Context, cancel context.CancelFunc, w http.ResponseWriter, r *http.Request, f follower) error {
	quiet := &refusing{ResponseWriter: w}
	conn, err := websocket.Accept(quiet, r, nil)
	if err != nil {
		if quiet.status == 0 {
			return nil // it answered, and went away
		}
		return refuse(quiet.status, "no WebSocket: %v", err)
	}
	defer func() { _ = conn.CloseNow() }()
	// Nothing is expected from the client but its leaving. Reading outlasts ctx: to
	// end it breaks the connection, and the client is to hear why first.
	left := conn.CloseRead(r.Context())
	defer context.AfterFunc(left, cancel)()
	within := func(do func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return do(ctx)
	}
	err = f.follow(ctx, sink{
		event: func(_, _ string, raw []byte) error {
			return within(func(ctx context.Context) error { return conn.Write(ctx, websocket.MessageText, raw) })
		},
		alive: func() error { return within(conn.Ping) },
	})
	switch {
	case errors.Is(err, errSlow):
		_ = conn.Close(websocket.StatusPolicyViolation, err.Error())
	case errors.Is(err, context.Canceled) && left.Err() == nil:
		_ = conn.Close(websocket.StatusGoingAway, "the server stops")
	}
	return nil
}

// refusing keeps back the answer of a handshake that is refused, so that it can become
// a problem.
type refusing struct {
	http.ResponseWriter
	status int
}

func (w *refusing) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *refusing) WriteHeader(status int) {
	if w.status = status; status == http.StatusSwitchingProtocols {
		w.status = 0
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *refusing) Write(p []byte) (int, error) {
	if w.status != 0 {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// reversed returns items in the other order.
func reversed[T any](items []T) []T {
	out := slices.Clone(items)
	slices.Reverse(out)
	return out
}
