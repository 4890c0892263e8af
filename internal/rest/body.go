package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const (
	jsonType    = "application/json"
	requestType = "application/vnd.oprc.request+json" // a reconcile.Request: many files, and a scope
)

// packageTypes are how a package may be written.
var packageTypes = []string{jsonType, "text/x-yaml", "application/yaml", "application/x-yaml", "text/yaml"}

// contentType refuses a body that is none of types.
func contentType(r *http.Request, types ...string) error {
	got, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err == nil && slices.Contains(types, got) && (charset == "" || strings.EqualFold(charset, "utf-8")) &&
		r.Header.Get("Content-Encoding") == "" {
		return nil
	}
	return refuse(http.StatusUnsupportedMediaType, "Content-Type %q: send one of %s in UTF-8, not compressed",
		r.Header.Get("Content-Type"), strings.Join(types, ", "))
}

// packageFile reads the body as one file of packages.
func (a *api) packageFile(w http.ResponseWriter, r *http.Request) (oprc.File, error) {
	if err := contentType(r, packageTypes...); err != nil {
		w.Header().Set("Accept-Post", strings.Join(packageTypes, ", "))
		return oprc.File{}, err
	}
	data, err := readBody(w, r, a.Bounds.Body)
	if err != nil {
		return oprc.File{}, err
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return oprc.File{}, refuse(http.StatusBadRequest, "the body is empty: send a package")
	}
	name := "request.yaml"
	if got, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); got == jsonType {
		name = "request.json"
	}
	return oprc.File{Path: name, Data: data}, nil
}

// packageRequest is the wish that a submitted package stands for. The query may
// say strict=true, takeOwnership=true and pkg=NAME.
func (a *api) packageRequest(w http.ResponseWriter, r *http.Request) (reconcile.Request, error) {
	q := r.URL.Query()
	strict, err := flag(q, "strict")
	if err != nil {
		return reconcile.Request{}, err
	}
	take, err := flag(q, "takeOwnership")
	if err != nil {
		return reconcile.Request{}, err
	}
	f, err := a.packageFile(w, r)
	f.Data = asWritten(f.Data)
	return reconcile.Request{
		Files: []oprc.File{f}, Scope: plan.Scope{Origin: oprc.OriginAPI, TakeOwnership: take}, Strict: strict, Package: q.Get("pkg"),
	}, err
}

// actor says who acts: whom the server knows or, where it knows nobody, whom the
// request names.
func actor(r *http.Request) reconcile.Actor {
	q := r.URL.Query()
	a := reconcile.Actor{Name: q.Get("actor"), Revision: q.Get("revision"), Message: q.Get("message")}
	if who := caller(r); who.Authenticated && !who.nameless {
		a.Name = who.Name
	}
	if a.Name == "" {
		a.Name = oprc.OriginAPI
	}
	return a
}

// readBody reads a body of at most so many bytes. One that says that it is longer is
// not read at all.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if r.ContentLength > most {
		return nil, &http.MaxBytesError{Limit: most}
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(min(r.ContentLength, firstBytes)))
	}
	_, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		return nil, badBody(err)
	}
	return b.Bytes(), nil
}

// firstBytes is how much of a body is made room for before it has arrived.
const firstBytes = 1 << 20

// badBody keeps a limit that was hit, and calls all else the client's fault.
func badBody(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return refuse(http.StatusRequestTimeout, "the body did not arrive in time")
	}
	return &refusal{http.StatusBadRequest, fmt.Sprintf("read the body: %v", err)}
}

func badJSON(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) || errors.Is(err, os.ErrDeadlineExceeded) {
		return badBody(err)
	}
	return &refusal{http.StatusBadRequest, fmt.Sprintf("the body is not the JSON that is needed: %v", err)}
}

// asWritten takes out of a document that this API has answered what it shows although
// nobody has written it: its metadata, and fields that are empty. All else is left as it is, to be judged
// where it is.
func asWritten(data []byte) []byte {
	var doc struct {
		Rev      json.RawMessage `json:"_rev"`
		Metadata json.RawMessage `json:"metadata"`
	}
	if json.Unmarshal(data, &doc) != nil || doc.Rev == nil || doc.Metadata == nil {
		return data
	}
	var all map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if dec.Decode(&all) != nil {
		return data
	}
	delete(all, "metadata") // no field of a package file
	for member, fields := range map[string][]string{
		"classes": {"stateSpec", "config"}, "functions": {"requirements", "constraints", "provision", "config", "macro"},
	} {
		list, _ := all[member].([]any)
		for _, item := range list {
			object, _ := item.(map[string]any)
			if state, is := object["stateSpec"].(map[string]any); is && state["defaultProvider"] == "" {
				delete(state, "defaultProvider")
			}
			for _, field := range fields {
				if empty(object[field]) {
					delete(object, field)
				}
			}
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		return data
	}
	return out
}

// empty reports whether a value says nothing, nor anything in it.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, member := range v {
			if !empty(member) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return false
}
