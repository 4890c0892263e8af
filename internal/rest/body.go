package rest

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const (
	jsonType    = "application/json"
	requestType = "application/vnd.oprc.request+json" // a reconcile.Request: many files, and a scope
	// maxRequest is the most bytes of a whole request: thousands of files.
	maxRequest = 8 * oprc.MaxFileSize
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
func packageFile(w http.ResponseWriter, r *http.Request) (oprc.File, error) {
	if err := contentType(r, packageTypes...); err != nil {
		w.Header().Set("Accept-Post", strings.Join(packageTypes, ", "))
		return oprc.File{}, err
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, oprc.MaxFileSize))
	if err != nil {
		return oprc.File{}, badBody(err)
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
func packageRequest(w http.ResponseWriter, r *http.Request) (reconcile.Request, error) {
	q := r.URL.Query()
	strict, err := flag(q, "strict")
	if err != nil {
		return reconcile.Request{}, err
	}
	take, err := flag(q, "takeOwnership")
	if err != nil {
		return reconcile.Request{}, err
	}
	f, err := packageFile(w, r)
	return reconcile.Request{
		Files: []oprc.File{f}, Scope: plan.Scope{Origin: oprc.OriginAPI, TakeOwnership: take}, Strict: strict, Package: q.Get("pkg"),
	}, err
}

// actor says who acts, as far as the request tells.
func actor(r *http.Request) reconcile.Actor {
	q := r.URL.Query()
	a := reconcile.Actor{Name: q.Get("actor"), Revision: q.Get("revision"), Message: q.Get("message")}
	if a.Name == "" {
		a.Name = oprc.OriginAPI
	}
	return a
}

// badBody keeps a limit that was hit, and calls all else the client's fault.
func badBody(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	return &refusal{http.StatusBadRequest, fmt.Sprintf("read the body: %v", err)}
}

func badJSON(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	return &refusal{http.StatusBadRequest, fmt.Sprintf("the body is not the JSON that is needed: %v", err)}
}
