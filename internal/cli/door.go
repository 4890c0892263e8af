package cli

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
)

// A door answers requests from the start of a daemon on: before it has its state it is
// alive, and not ready.
type door struct{ to atomic.Pointer[http.Handler] }

// newDoor answers health checks at a path, and all else with 503.
func newDoor(healthPath string) *door {
	d := &door{}
	d.open(starting{"/" + strings.TrimPrefix(healthPath, "/"), errors.New("it has not been reached yet")})
	return d
}

// open sends requests to h from now on.
func (d *door) open(h http.Handler) { d.to.Store(&h) }

// closed says why the daemon is not ready.
func (d *door) closed(why error) {
	if s, is := (*d.to.Load()).(starting); is {
		d.open(starting{s.healthPath, why})
	}
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*d.to.Load()).ServeHTTP(w, r) }

// starting answers while a daemon waits for Redis.
type starting struct {
	healthPath string
	why        error
}

func (s starting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.Path == s.healthPath {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"status": "UP"})
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"status": http.StatusServiceUnavailable, "title": http.StatusText(http.StatusServiceUnavailable), "detail": "waiting for Redis: " + s.why.Error(),
	})
}
