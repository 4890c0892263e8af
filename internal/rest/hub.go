package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// eventReader is what a hub asks of the state.
type eventReader interface {
	Events(ctx context.Context, after string, limit int) ([]oprc.Event, error)
	WatchEvents(ctx context.Context, after string, block time.Duration) ([]oprc.Event, error)
	LastEvent(ctx context.Context) (string, error)
	FirstEvent(ctx context.Context) (string, error)
	EnvironmentNames(ctx context.Context) ([]string, error)
}

// A hub reads events once, for all who watch. It reads while somebody does.
type hub struct {
	from eventReader
	most int
	past chan struct{} // one for each watcher that catches up at this moment

	mu       sync.Mutex
	watchers map[*watcher]struct{}
	last     string        // id of the last event that was handed out
	stop     func()        // ends the reader
	ended    chan struct{} // closed when it has
}

// A frame is an event, written once for all.
type frame struct {
	event        oprc.Event
	json         []byte
	environments func() ([]string, error) // that there are; asked once for all who must not see some
}

func (h *hub) frames(ctx context.Context, events []oprc.Event) []*frame {
	environments := sync.OnceValues(func() ([]string, error) { return h.from.EnvironmentNames(ctx) })
	frames := make([]*frame, 0, len(events))
	for _, e := range events {
		raw, err := json.Marshal(e)
		if err == nil { // it is made of text and times
			frames = append(frames, &frame{e, raw, environments})
		}
	}
	return frames
}

// A watcher gets frames until it is dropped, which closes the channel.
type watcher struct {
	frames chan *frame
	from   string // what it has seen when it began, or everything up to it
}

const (
	watcherQueue = 64   // events that a watcher may lag behind
	catchingUp   = 4    // watchers at once that read the past
	pastPage     = 1000 // events of one reading of it
	watchBlock   = time.Second
	watchAgain   = time.Second // after an error
)

func newHub(from eventReader, most int) *hub {
	return &hub{from: from, most: most, past: make(chan struct{}, catchingUp), watchers: map[*watcher]struct{}{}}
}

// join adds a watcher. It leaves by calling leave, once.
func (h *hub) join(ctx context.Context) (*watcher, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) >= h.most {
		return nil, refuse(http.StatusServiceUnavailable, "%d watchers are connected already", h.most)
	}
	if h.stop == nil {
		last, err := h.from.LastEvent(ctx)
		if err != nil {
			return nil, err
		}
		h.last, h.ended = last, make(chan struct{})
		reading, stop := context.WithCancel(context.WithoutCancel(ctx))
		h.stop = stop
		go h.read(reading, h.ended)
	}
	w := &watcher{make(chan *frame, watcherQueue), h.last}
	h.watchers[w] = struct{}{}
	return w, nil
}

// leave removes a watcher; the last one waits for the reader to end.
func (h *hub) leave(w *watcher) {
	h.mu.Lock()
	delete(h.watchers, w)
	var ended chan struct{}
	if len(h.watchers) == 0 && h.stop != nil {
		h.stop()
		h.stop, ended = nil, h.ended
	}
	h.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// read hands events out until ctx ends. While the state cannot be reached it waits, and
// goes on where it was.
func (h *hub) read(ctx context.Context, ended chan<- struct{}) {
	defer close(ended)
	h.mu.Lock()
	after := h.last
	h.mu.Unlock()
	for ctx.Err() == nil {
		events, err := h.from.WatchEvents(ctx, after, watchBlock)
		if err != nil {
			reconcile.Sleep(ctx, watchAgain)
			continue
		}
		if len(events) > 0 && ctx.Err() == nil {
			after = h.hand(ctx, events)
		}
	}
}

// hand gives events to every watcher, and drops those that are too slow.
func (h *hub) hand(ctx context.Context, events []oprc.Event) (last string) {
	frames := h.frames(ctx, events)
	h.mu.Lock()
	defer h.mu.Unlock()
	last = events[len(events)-1].ID
	if ctx.Err() != nil { // another reader may have begun
		return last
	}
	h.last = last
	for w := range h.watchers {
		for _, f := range frames {
			select {
			case w.frames <- f:
				continue
			default:
			}
			close(w.frames)
			delete(h.watchers, w)
			break
		}
	}
	return last
}

// catchUp hands the events after since, up to those that the watcher gets by itself.
func (h *hub) catchUp(ctx context.Context, w *watcher, since string, to func(*frame) error) error {
	for !laterEvent(since, w.from) && since != w.from {
		events, err := h.page(ctx, since)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return nil
		}
		for _, next := range h.frames(ctx, events) {
			if since = next.event.ID; laterEvent(since, w.from) {
				return nil
			}
			if err := to(next); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *hub) page(ctx context.Context, since string) ([]oprc.Event, error) {
	select {
	case h.past <- struct{}{}:
		defer func() { <-h.past }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return h.from.Events(ctx, since, pastPage)
}

// gone reports whether events after since may have been trimmed away.
func (h *hub) gone(ctx context.Context, since string) (bool, error) {
	if ms, _, _ := strings.Cut(since, "-"); ms == "0" {
		return false, nil // all that there is
	}
	first, err := h.from.FirstEvent(ctx)
	return err == nil && laterEvent(first, since), err
}

// laterEvent reports whether the event a came after b.
func laterEvent(a, b string) bool {
	ams, aseq := position(a)
	bms, bseq := position(b)
	return ams > bms || ams == bms && aseq > bseq
}

func position(id string) (ms, seq uint64) {
	before, after, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(before, 10, 64) // checked when it came in
	seq, _ = strconv.ParseUint(after, 10, 64)
	return ms, seq
}
