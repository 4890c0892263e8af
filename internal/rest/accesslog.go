package rest

import (
	"crypto/rand"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/trace"
)

var requestID = lazyregexp.New(`^[A-Za-z0-9._-]{1,64}$`)

// logged gives every request an id, which its answer carries, and a span where requests are
// traced, and writes one line about it at debug level; about what took long or failed, at info.
func (a *api) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !requestID().MatchString(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		seen := &counted{ResponseWriter: w}
		r, span := a.traced(r)
		began := a.now()
		next.ServeHTTP(seen, r)
		took := a.now().Sub(began)
		span.Set("oprc.request", id)
		span.SetInt("http.response.status_code", seen.status)
		if seen.status >= http.StatusInternalServerError {
			span.Failed(http.StatusText(seen.status))
		}
		span.End(nil)
		log := a.Log.Debug
		if seen.status >= http.StatusInternalServerError || took > slow && seen.status != http.StatusSwitchingProtocols {
			log = a.Log.Info
		}
		fields := []any{
			"id", id, "method", r.Method, "path", r.URL.Path, "status", seen.status, "bytes", seen.bytes,
			"duration", took.Round(time.Microsecond), "from", r.RemoteAddr,
		}
		if t := trace.ID(r.Context()); t != "" {
			fields = append(fields, "trace", t)
		}
		log("request", fields...)
	})
}

// traced begins the span of a request, below the one that its Traceparent names. Probes and
// watches have none.
func (a *api) traced(r *http.Request) (*http.Request, trace.Span) {
	switch r.URL.Path {
	case "/ready", orPath(a.HealthPath, "/health"), orPath(a.MetricsPath, "/metrics"):
		return r, trace.Span{}
	}
	if strings.EqualFold(path.Base(r.URL.Path), "watch") {
		return r, trace.Span{}
	}
	ctx, span := a.Tracer.Begin(r.Context(), trace.Server, r.Method, r.Header.Get("Traceparent"))
	span.Set("http.request.method", r.Method)
	span.Set("url.path", r.URL.Path)
	if ctx == r.Context() {
		return r, span
	}
	return r.WithContext(ctx), span
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
