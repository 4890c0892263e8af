package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// With 1,000 packages, 2,000 units and 20 environments every page stays below 150 KB. The
// time that a page takes, 200 ms at most on a quiet machine, is written down beside.
func TestBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand packages")
	}
	w := newWorld(t)
	var all strings.Builder
	for n := range 20 {
		fmt.Fprintf(&all, "---\nkind: Environment\nname: env-%02d\navailability: 0.99\n", n)
	}
	for n := range 1000 {
		fmt.Fprintf(&all, "---\nname: team-%04d\nversion: 1.0.0\nfunctions: [{name: run, provision: {knative: {image: 'example/run:%d'}}}]\n"+
			"classes: [{name: entry, functions: [{function: .run}]}]\n"+
			"deployments: [{_key: .entry, partitionCount: 2, replicaCount: 1, targetEnvs: [env-%02d]}]\n", n, n, n%20)
	}
	w.apply(all.String())
	b := w.browser()
	for _, path := range []string{
		"/", "/ui/topology", "/ui/topology?offset=900", "/ui/topology?zoom=out", "/ui/packages", "/ui/packages?sort=appliedAt&desc=true", "/ui/packages/team-0500", "/ui/classes", "/ui/functions",
		"/ui/deployments", "/ui/deployments/team-0500.entry", "/ui/placement/team-0500.entry", "/ui/units", "/ui/units/team-0500.entry/1/0@env-00",
		"/ui/environments", "/ui/environments/env-00", "/ui/crms", "/ui/sources", "/ui/plans", "/ui/graph?package=team-0500", "/ui/events", "/ui/dead",
	} {
		best, size := time.Hour, 0
		for range 3 {
			began := time.Now()
			p := b.get(path)
			best, size = min(best, time.Since(began)), len(p.body)
			if p.status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, p.status, p.body)
			}
		}
		t.Logf("%-40s %6.1f KB %8s", path, float64(size)/1000, best.Round(100*time.Microsecond))
		if size > 150_000 {
			t.Errorf("%s has %d bytes", path, size)
		}
	}
}
