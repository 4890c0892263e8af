package rest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rest"
	"github.com/oaas-platform/oprc/internal/schema"
)

// BenchmarkReads measures what requests cost on 1,000 packages, which are 5,000 objects
// and 1,000 units, beside an answer of net/http from one field of Redis. Redis runs
// in the same process: its share is in all figures.
func BenchmarkReads(b *testing.B) {
	w := benchWorld(b, 1000)
	floor := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		recs, err := w.state.UnitRecordsOf(r.Context(), "east", []string{"p0500.c/0/0@east"})
		if err != nil || len(recs) != 1 {
			http.Error(rw, fmt.Sprint(len(recs), err), http.StatusInternalServerError)
			return
		}
		_, _ = rw.Write(oprc.MustCanonical(recs["p0500.c/0/0@east"]))
	})
	server := (&rest.Server{Control: w.state, Load: schema.Load, Now: time.Now}).Handler()
	for _, of := range []struct {
		name, path string
		handler    http.Handler
	}{
		{"floor", "/", floor},
		{"one package", "/packages/p0500", server},
		{"one function", "/functions/p0500.f", server},
		{"twenty packages", "/packages", server},
		{"twenty units, last page", "/units?offset=980", server},
		{"metrics", "/metrics", server},
	} {
		b.Run(of.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rec := httptest.NewRecorder()
				rec.Body = nil
				of.handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://localhost"+of.path, nil))
				if rec.Code != http.StatusOK {
					b.Fatal(of.path, rec.Code)
				}
			}
		})
	}
}

// benchWorld is a world with some packages of one function, two classes and one
// deployment each.
func benchWorld(tb testing.TB, packages int) *world {
	tb.Helper()
	w := newWorld(tb)
	var docs strings.Builder
	for i := range packages {
		fmt.Fprintf(&docs, "---\nname: p%04d\nfunctions: [{name: f, provision: {knative: {image: \"x:1\"}}}]\n"+
			"classes: [{name: c, functions: [{function: .f}]}, {name: d, parents: [.c]}]\ndeployments: [{_key: .c}]\n", i)
	}
	w.apply(oprc.OriginCLI, docs.String())
	return w
}
