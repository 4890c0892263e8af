package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const (
	problemType = "application/problem+json"
	// problemURN begins the type of every problem; what follows is its kind.
	problemURN = "urn:oprc:problem:"
)

// The kinds of problems: stable, for programs.
const (
	kindInvalid     = "invalid"
	kindNotFound    = "not-found"
	kindConflict    = "conflict"
	kindHeld        = "held"
	kindDenied      = "denied" // a policy forbids it
	kindUnavailable = "unavailable"
	// a revision is not the one that If-Match or If-None-Match asks for
	kindPrecondition = "precondition"
	kindUnfinished   = "unfinished" // it is written; commands that follow from it are not all sent
	kindRequest      = "request"    // the HTTP request itself is refused; the status says why
	kindGone         = "gone"       // what was asked for is not kept any more
	kindLimit        = "limit"      // too much at once
	kindInternal     = "internal"
)

// A problem is an error as the API shows it (RFC 9457).
type problem struct {
	Type        string           `json:"type"`
	Title       string           `json:"title"`
	Status      int              `json:"status"`
	Detail      string           `json:"detail,omitempty"`
	Instance    string           `json:"instance,omitempty"`
	Diagnostics oprc.Diagnostics `json:"diagnostics,omitempty"` // of invalid packages
	Objects     []string         `json:"objects,omitempty"`     // that a conflict is about
	Plan        json.RawMessage  `json:"plan,omitempty"`        // that was refused
}

// A refusal is an error of the HTTP request itself.
type refusal struct {
	status int
	detail string
}

func (e *refusal) Error() string { return e.detail }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// problemOf is the one place where an error becomes a status.
func (a *api) problemOf(err error) problem {
	var (
		refused  *refusal
		large    *http.MaxBytesError
		invalid  *oprc.InvalidError
		conflict *oprc.ConflictError
		unmet    *reconcile.PreconditionError
		begun    *reconcile.UnfinishedError
	)
	p := problem{Detail: err.Error()}
	switch {
	case errors.Is(err, context.Canceled): // the server stops: the client has gone, else
		p.Type, p.Status, p.Detail = kindUnavailable, http.StatusServiceUnavailable, "the server is stopping"
	case errors.As(err, &refused):
		p.Type, p.Status = kindRequest, refused.status
	case errors.As(err, &large):
		p.Type, p.Status = kindRequest, http.StatusRequestEntityTooLarge
		p.Detail = fmt.Sprintf("the body is larger than %d bytes", large.Limit)
	case errors.As(err, &begun):
		p.Type, p.Status = kindUnfinished, http.StatusInternalServerError
	case errors.As(err, &unmet):
		p.Type, p.Status, p.Objects = kindPrecondition, http.StatusPreconditionFailed, []string{unmet.Object}
	case errors.As(err, &conflict):
		p.Type, p.Status, p.Detail, p.Objects = kindConflict, http.StatusConflict, conflict.Reason, conflict.Objects
	case errors.Is(err, oprc.ErrConflict):
		p.Type, p.Status = kindConflict, http.StatusConflict
	case errors.Is(err, oprc.ErrHeld):
		p.Type, p.Status = kindHeld, http.StatusConflict
	case errors.Is(err, oprc.ErrDenied):
		p.Type, p.Status = kindDenied, http.StatusForbidden
	case errors.As(err, &invalid):
		p.Type, p.Status, p.Diagnostics = kindInvalid, http.StatusBadRequest, oprc.Secrets{Patterns: a.Mask}.Findings(invalid.Diagnostics)
		p.Detail = (&oprc.InvalidError{Diagnostics: p.Diagnostics}).Error()
	case errors.Is(err, oprc.ErrInvalid):
		p.Type, p.Status = kindInvalid, http.StatusBadRequest
	case errors.Is(err, oprc.ErrNotFound):
		p.Type, p.Status = kindNotFound, http.StatusNotFound
	case a.unavailable(err):
		p.Type, p.Status = kindUnavailable, http.StatusServiceUnavailable
	default:
		p.Type, p.Status, p.Detail = kindInternal, http.StatusInternalServerError, "internal error; the log says more"
	}
	if p.Type == kindRequest {
		switch p.Status {
		case http.StatusNotFound:
			p.Type = kindNotFound
		case http.StatusGone:
			p.Type = kindGone
		case http.StatusTooManyRequests:
			p.Type = kindLimit
		}
	}
	return p
}

func (a *api) unavailable(err error) bool {
	var network net.Error
	return errors.Is(err, oprc.ErrFenced) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) ||
		a.Unavailable != nil && a.Unavailable(err)
}

// problemFor is the problem as the caller may see it.
func (a *api) problemFor(r *http.Request, err error) problem {
	p := a.problemOf(err)
	var beyond *beyondError
	switch p.Type { // the other kinds are about the request, and about what it names
	case kindInvalid, kindConflict, kindHeld, kindDenied, kindUnfinished:
	default:
		return p
	}
	if errors.As(err, &beyond) {
		return p
	}
	others, err := a.elsewhere(r)
	if err != nil {
		return a.problemOf(err)
	}
	p.Detail, p.Objects = others.text(p.Detail), slices.Clone(p.Objects)
	for n := range p.Objects {
		p.Objects[n] = others.text(p.Objects[n])
	}
	if len(p.Diagnostics) > 0 {
		p.Diagnostics = others.findings(p.Diagnostics)
		p.Detail = (&oprc.InvalidError{Diagnostics: p.Diagnostics}).Error()
	}
	return p
}

// fail answers with a problem, and logs what is the operator's.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := a.problemFor(r, err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="oprc"`)
	}
	// Of a canceled request the client has gone, or was too slow: then it must not take an
	// empty answer for a good one.
	if p.Status >= http.StatusInternalServerError && !errors.Is(r.Context().Err(), context.Canceled) {
		a.Log.Error("request", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	p.write(w, r)
}

func (p problem) write(w http.ResponseWriter, r *http.Request) {
	if p.Type == "" {
		p.Type = kindInternal
	}
	p.Type = problemURN + p.Type
	p.Title, p.Instance = http.StatusText(p.Status), r.URL.Path
	switch p.Status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Del("ETag")
	w.Header().Set("Content-Type", problemType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client went away, if at all
}

// kind is the last part of the type.
func (p problem) kind() string {
	kind, ok := strings.CutPrefix(p.Type, problemURN)
	if !ok {
		return ""
	}
	return kind
}
