package docker

import (
	"context"
	"sync"
	"time"

	"github.com/moby/moby/client"
)

// A hub tells those who wait for a container that something happened to it.
type hub struct {
	mu        sync.Mutex
	listeners map[string]map[chan struct{}]bool // by container
}

func (h *hub) listen(id string) (poked <-chan struct{}, forget func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = map[string]map[chan struct{}]bool{}
	}
	if h.listeners[id] == nil {
		h.listeners[id] = map[chan struct{}]bool{}
	}
	h.listeners[id][c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners[id], c)
		if len(h.listeners[id]) == 0 {
			delete(h.listeners, id)
		}
	}
}

// poke wakes those who wait for a container, or for any with "".
func (h *hub) poke(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for listened, channels := range h.listeners {
		if id != "" && id != listened {
			continue
		}
		for c := range channels {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}

// watchEvents follows the engine's events, over its restarts. After each gap all
// containers are looked at.
func (d *Driver) watchEvents(ctx context.Context) {
	filters := client.Filters{}.Add("type", "container").Add("label", labelEnv+"="+d.Env)
	wait := 100 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		stream := d.engine.Events(ctx, client.EventsListOptions{Filters: filters})
		d.events.poke("")
		for open := true; open; {
			select {
			case m := <-stream.Messages:
				d.events.poke(m.Actor.ID)
			case err := <-stream.Err:
				open = false
				if ctx.Err() == nil {
					d.Logger.Warn("the engine's events ended", "error", err)
				}
			}
		}
		if time.Since(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}
