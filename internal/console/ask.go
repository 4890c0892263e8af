package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// An identity is who the API takes the visitor for.
type identity struct {
	Name          string `json:"name"`
	Role          string `json:"role"`
	Authenticated bool   `json:"authenticated"`
	Method        string `json:"method"`
}

// A problem is an answer of the API that is no good one (RFC 9457).
type problem struct {
	Title       string           `json:"title"`
	Status      int              `json:"status"`
	Detail      string           `json:"detail"`
	Diagnostics oprc.Diagnostics `json:"diagnostics"`
	Objects     []string         `json:"objects"`
}

func (p *problem) Error() string { return p.Detail }

// An object is one entry of a listing.
type object[T any] struct {
	Key string `json:"key"`
	Doc T      `json:"doc"`
}

// A listing is a page of objects.
type listing[T any] struct {
	Total  int `json:"total"`
	Offset int `json:"offset"`
	Items  []T `json:"items"`
}

// get asks the API, in the name of the visitor.
func (v *visit) get(path string, q url.Values, into any) error {
	return v.ask(http.MethodGet, path, q, "", nil, into)
}

// find reads one object as the program itself reads it.
func find[T any](v *visit, path, key string) (T, error) {
	var o object[T]
	segments := strings.Split(key, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	err := v.get("/"+path+"/"+strings.Join(segments, "/"), url.Values{"objects": {"true"}}, &o)
	return o.Doc, err
}

// objects reads a page of objects.
func objects[T any](v *visit, path string, q url.Values) (listing[object[T]], error) {
	var l listing[object[T]]
	query := url.Values{"objects": {"true"}}
	for name, values := range q {
		query[name] = values
	}
	err := v.get("/"+path, query, &l)
	return l, err
}

// post sends JSON to the API, in the name of the visitor.
func (v *visit) post(path string, body, into any) error {
	var raw []byte
	kind := ""
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		kind = "application/json"
	}
	return v.ask(http.MethodPost, path, nil, kind, raw, into)
}

// ask makes a request to the API as the visitor's own: from the same address, over the same
// connection, with the visitor's token.
func (v *visit) ask(method, path string, q url.Values, kind string, body []byte, into any) error {
	target := &url.URL{Path: "/api" + path}
	if unescaped, err := url.PathUnescape(path); err == nil {
		target.Path, target.RawPath = "/api"+unescaped, "/api"+path
	}
	target.RawQuery = q.Encode()
	r := v.request(method, target, body)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	a := &answer{header: http.Header{}}
	v.API.ServeHTTP(a, r)
	if a.status/100 != 2 {
		p := &problem{Status: a.status, Detail: http.StatusText(a.status)}
		_ = json.Unmarshal(a.body.Bytes(), p) // if it is none, the status has to do
		return p
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(a.body.Bytes(), into); err != nil {
		return fmt.Errorf("answer of %s: %w", path, err)
	}
	return nil
}

func (v *visit) request(method string, target *url.URL, body []byte) *http.Request {
	r := (&http.Request{
		Method: method, URL: target, Proto: v.r.Proto, ProtoMajor: v.r.ProtoMajor, ProtoMinor: v.r.ProtoMinor, Header: http.Header{},
		Host: v.r.Host, RemoteAddr: v.r.RemoteAddr, TLS: v.r.TLS, RequestURI: target.RequestURI(), Body: http.NoBody,
	}).WithContext(v.r.Context())
	if len(body) > 0 {
		r.Body, r.ContentLength = nopCloser{bytes.NewReader(body)}, int64(len(body))
	}
	if token := tokenOf(v.r); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

// An answer is what the API said.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// may reports whether the visitor may do something.
func (v *visit) may(verb, kind, name string) bool {
	var p struct {
		Allowed bool `json:"allowed"`
	}
	err := v.get("/auth/can-i", url.Values{"verb": {verb}, "kind": {kind}, "name": {name}}, &p)
	return err == nil && p.Allowed
}

// postAs is post for routes that record who acts.
func (v *visit) postAs(path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return v.ask(http.MethodPost, path, v.record(), "application/json", raw, nil)
}

// together runs parts of a page at once: the API reads the state one time for all who ask
// at the same time.
func together(parts ...func() error) error {
	errs := make([]error, len(parts))
	var all sync.WaitGroup
	for i, part := range parts {
		all.Go(func() { errs[i] = part() })
	}
	all.Wait()
	return errors.Join(errs...)
}
