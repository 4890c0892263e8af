package rest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

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
	return a.reply(w, http.StatusOK, cut(win, all))
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
	if len(all) == 0 {
		if _, err := a.findPackage(r, name); err != nil {
			return err
		}
	}
	return a.reply(w, http.StatusOK, cut(win, all))
}

var eventID = regexp.MustCompile(`^\d{1,19}(-\d{1,19})?$`)

// sinceOf returns the event after which to begin: where a broken stream ended, or
// what the query says.
func sinceOf(r *http.Request) (string, error) {
	since := cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("since"))
	if since != "" && !eventID.MatchString(since) {
		return "", refuse(http.StatusBadRequest, "since=%s: the id of an event is needed", since)
	}
	return since, nil
}

// watch sends what happens, as it happens, until the client leaves or the server
// stops: as a WebSocket if the client asks for one, else as Server-Sent Events.
func (a *api) watch(w http.ResponseWriter, r *http.Request) error {
	since, err := sinceOf(r)
	if err != nil {
		return err
	}
	if since == "" {
		if since, err = a.Control.LastEvent(r.Context()); err != nil {
			return err
		}
	}
	ctx, cancel := untilClosing(r.Context())
	defer cancel()
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		a.watchSocket(ctx, cancel, w, r, since)
		return nil
	}
	a.watchStream(ctx, w, since)
	return nil
}

// A sink takes events, and something now and then that shows the connection to be
// alive.
type sink struct {
	event func(oprc.Event) error
	alive func() error
}

const (
	watchBlock = time.Second
	aliveEvery = 15 // blocks without an event
)

// follow feeds a sink until ctx ends or the sink fails. While the state cannot be
// reached it waits, and goes on where it was.
func (a *api) follow(ctx context.Context, since string, to sink) error {
	for idle := 1; ; idle++ {
		events, err := a.Control.WatchEvents(ctx, since, watchBlock)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if !pause(ctx, watchBlock) {
				return ctx.Err()
			}
		}
		for _, e := range events {
			if err := to.event(e); err != nil {
				return err
			}
			since, idle = e.ID, 0
		}
		if idle%aliveEvery == aliveEvery-1 {
			if err := to.alive(); err != nil {
				return err
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (a *api) watchStream(ctx context.Context, w http.ResponseWriter, since string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies shall not collect it
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Time{}) // a stream has none; not every writer can say so
	write := func(format string, args ...any) error {
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return err
		}
		return c.Flush()
	}
	if write(": watching since %s\n\n", since) != nil {
		return
	}
	_ = a.follow(ctx, since, sink{ // it ends with its client, who needs no answer then
		event: func(e oprc.Event) error {
			raw, err := json.Marshal(e)
			if err != nil {
				return err
			}
			return write("id: %s\nevent: %s\ndata: %s\n\n", e.ID, e.Type, raw)
		},
		alive: func() error { return write(": alive\n\n") },
	})
}

func (a *api) watchSocket(ctx context.Context, cancel context.CancelFunc, w http.ResponseWriter, r *http.Request, since string) {
	conn, err := websocket.Accept(w, r, nil) // answers itself when it refuses
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	// Nothing is expected from the client but its leaving. Reading outlasts ctx: to
	// end it breaks the connection, and the client shall be told first.
	left := conn.CloseRead(r.Context())
	defer context.AfterFunc(left, cancel)()
	const patience = 10 * time.Second
	within := func(do func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return do(ctx)
	}
	err = a.follow(ctx, since, sink{
		event: func(e oprc.Event) error {
			raw, err := json.Marshal(e)
			if err != nil {
				return err
			}
			return within(func(ctx context.Context) error { return conn.Write(ctx, websocket.MessageText, raw) })
		},
		alive: func() error { return within(conn.Ping) },
	})
	if errors.Is(err, context.Canceled) && left.Err() == nil {
		_ = conn.Close(websocket.StatusGoingAway, "the server stops")
	}
}

// reversed returns items in the other order.
func reversed[T any](items []T) []T {
	out := slices.Clone(items)
	slices.Reverse(out)
	return out
}
