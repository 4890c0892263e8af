package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/gitsource/gittest"
	core "github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// Four of five repositories on a host answer, and then send nothing more. The fifth's
// commits arrive as quickly as before, and the status of the others says what they wait
// for.
func TestFourOfFiveRepositoriesStall(t *testing.T) {
	t.Parallel()
	const secret, times = "hook-secret", 3
	store := rdbtest.Server(t)
	repo := gittest.New(t)
	repo.Write("edge.yaml", "kind: Environment\nname: edge\n")
	repo.Write("p0001.yaml", numbered(1, 1))
	first := repo.Commit("first")
	srv := repo.Serve(t)
	var stall atomic.Bool
	handler := srv.Config.Handler
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stall.Load() && strings.HasPrefix(r.URL.Path, "/stalls") {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		handler.ServeHTTP(w, r)
	})
	config := fmt.Sprintf("redis: {url: %q}\nsources:\n  - {name: main, interval: 1h, webhookSecretEnv: HOOK, url: %q}\n", store, srv.URL)
	for i := range 4 {
		config += fmt.Sprintf("  - {name: stalls%d, interval: 1s, path: nowhere, url: %q}\n", i, fmt.Sprintf("%s/stalls%d/r.git", srv.Server.URL, i))
	}
	d := serve(t, config, "HOOK="+secret)
	d.ready("main", "True "+first)
	c := chaosClient(t, store)
	version := 1
	median := func() time.Duration {
		t.Helper()
		var all []time.Duration
		for range times {
			version++
			before := newest(t, c)
			repo.Write("p0001.yaml", numbered(1, version))
			head := repo.Commit("another image")
			all = append(all, hook(t, d, c, secret, before, fmt.Sprintf("registry.example/f:%d", version)))
			d.ready("main", "True "+head) // a webhook that follows within a second is taken together with this one
		}
		slices.Sort(all)
		return all[times/2]
	}
	alone := median()
	stall.Store(true)
	for i := range 4 {
		name := fmt.Sprintf("stalls%d", i)
		within(t, patience, name+" says what it waits for", func() string {
			s := d.source(name)
			if !slices.ContainsFunc(s.Conditions, func(c core.SourceCondition) bool {
				return c.Type == "Reconciling" && c.Reason == "Polling" && strings.Contains(c.Message, "waiting for the repository since")
			}) {
				return fmt.Sprintf("%+v", s.Conditions)
			}
			return ""
		})
	}
	beside := median()
	t.Logf("from the webhook to the stream: alone %s, beside four that stall %s", alone, beside)
	if beside > 2*alone+500*time.Millisecond {
		t.Errorf("it takes %s, alone it took %s", beside, alone)
	}
}
