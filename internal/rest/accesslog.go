package rest

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
)

var requestID = lazyregexp.New(`^[A-Za-z0-9._-]{1,64}$`)

// logged gives every request an id, which its answer carries, and writes one line
// about it at debug level; about what took long or failed, at info.
func (a *api) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !requestID().MatchString(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		seen := &counted{ResponseWriter: w}
		began := a.now()
		next.ServeHTTP(seen, r)
		took := a.now().Sub(began)
		log := a.Log.Debug
		if seen.status >= http.StatusInternalServerError || took > slow && seen.status != http.StatusSwitchingProtocols {
			log = a.Log.Info
		}
		log("request", "id", id, "method", r.Method, "path", r.URL.Path, "status", seen.status, "bytes", seen.bytes,
			"duration", took.Round(time.Microsecond), "from", r.RemoteAddr)
	})
}

// slow is from when on a request is worth a line of the log.
const slow = 2 * time.Second

// counted sees what an answer was.
type counted struct {
	http.ResponseWriter
	status, bytes int
}

func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *counted) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(p)
	c.bytes += n
	return n, err
}
