package crm_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

var servers rdbtest.Shared

// TestMain runs more tests at once than there are processors: mostly they wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(run(func() int { return servers.Run(m) }))
}

type run func() int

func (r run) Run() int { return r() }

// A world is one environment as the control plane sees it.
type world struct {
	t    *testing.T
	url  string
	keys rdb.Keys
	db   *rdb.DB
	c    redis.UniversalClient
}

const env = "edge"

// everywhere runs a test on Redis in each way in which operators run it, under keys
// of its own.
func everywhere(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, kind := range rdbtest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano())
			test(t, worldAt(t, servers.URL(t, kind), rdb.Keys{N: name, T: name}))
		})
	}
}

// alone is everywhere with servers that the test may harm.
func alone(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, kind := range rdbtest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, worldAt(t, rdbtest.Servers(t, kind), rdb.Keys{N: "n", T: "t"}))
		})
	}
}

func worldAt(t *testing.T, url string, keys rdb.Keys) *world {
	t.Helper()
	db, err := rdb.Open(t.Context(), rdb.Options{URL: url, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &world{t, url, keys, db, rdbtest.Client(t, url)}
}

func (w *world) hash(name string) string   { return w.keys.N + ":{env:" + env + "}:" + name }
func (w *world) stream(name string) string { return w.keys.T + ".{env:" + env + "}." + name }

func unit(n int, image string) oprc.DeploymentUnit {
	return oprc.DeploymentUnit{
		ID: oprc.UnitID("shop.cart", n, 0, env), ClsKey: "shop.cart", TargetEnv: env, MemberID: 1, ShardID: n,
		Functions:     []oprc.UnitFunction{{Key: "shop.add", Image: image}},
		PartitionInfo: oprc.PartitionInfo{PartitionID: n},
	}
}

func command(op oprc.Op, generation int64, u oprc.DeploymentUnit) oprc.Command {
	return oprc.Command{
		Type: op, ID: u.ID, Generation: generation, SpecHash: oprc.Digest(u), Revision: "abc",
		Time: time.Now(), Unit: u,
	}
}

func (w *world) dispatch(cmds ...oprc.Command) {
	w.t.Helper()
	if err := w.db.Dispatch(w.t.Context(), env, cmds, 0); err != nil {
		w.t.Fatal(err)
	}
}

// run starts a CRM; the function it returns ends it and waits.
func (w *world) run(o crm.Options, h crm.Handler) (stop func()) {
	w.t.Helper()
	o.Redis, o.Env, o.Database, o.Topic = w.url, env, w.keys.N, w.keys.T
	if o.ID == "" {
		o.ID = "crm-1"
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- crm.Run(ctx, o, h) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("crm.Run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// said returns "generation condition crm" of each status report on a unit, without
// repetitions.
func (w *world) said(id string) []string {
	w.t.Helper()
	entries, err := w.c.XRange(context.Background(), w.stream("reports"), "-", "+").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if e.Values["type"] == "status" && e.Values["id"] == id {
			out = append(out, fmt.Sprintf("%v %v %v", e.Values["generation"], e.Values["condition"], e.Values["crm"]))
		}
	}
	return slices.Compact(out)
}

func (w *world) pending() int64 {
	w.t.Helper()
	p, err := w.c.XPending(context.Background(), w.stream("commands"), "crm").Result()
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Count
}

// eventually waits until got returns want.
func eventually[T any](t *testing.T, what string, got func() T, ok func(T) bool) T {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute) // the machine may be busy
	for {
		v := got()
		if ok(v) {
			return v
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still %v", what, v)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// deploys dispatches a unit's first generation, and waits until crm-1 runs it and has
// nothing else to do.
func (w *world) deploys(u oprc.DeploymentUnit) {
	w.t.Helper()
	w.dispatch(command(oprc.Deploy, 1, u))
	w.saysLast(u.ID, "1 RUNNING crm-1")
	w.settles()
}

func (w *world) saysLast(id, want string) {
	w.t.Helper()
	eventually(w.t, "last report on "+id+", want "+want, func() []string { return w.said(id) }, func(s []string) bool {
		return len(s) > 0 && s[len(s)-1] == want
	})
}

func (w *world) settles() {
	w.t.Helper()
	eventually(w.t, "pending commands", w.pending, func(n int64) bool { return n == 0 })
}

// A recorder is a handler that remembers what it was asked, and fails or waits
// when told to.
type recorder struct {
	mu      sync.Mutex
	calls   []string
	running map[string]int64 // generation by unit id
	reports map[string]crm.Reporter
	fail    int           // so many deployments fail
	block   chan struct{} // deployments wait for it, if set
	drained bool
}

var errNo = errors.New("no room")

func (h *recorder) Deploy(ctx context.Context, c crm.Command, report crm.Reporter) (crm.State, error) {
	h.mu.Lock()
	block := h.block
	h.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return crm.State{}, ctx.Err()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, fmt.Sprintf("deploy %s %d", c.ID, c.Generation))
	if h.fail > 0 {
		h.fail--
		return crm.State{}, errNo
	}
	if h.running == nil {
		h.running, h.reports = map[string]int64{}, map[string]crm.Reporter{}
	}
	h.running[c.ID], h.reports[c.ID] = c.Generation, report
	return crm.State{Replicas: []string{"r1"}}, nil
}

func (h *recorder) Undeploy(_ context.Context, c crm.Command) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, fmt.Sprintf("undeploy %s %d", c.ID, c.Generation))
	delete(h.running, c.ID)
	return nil
}

func (h *recorder) did() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func (h *recorder) report(id string, st crm.State) bool {
	h.mu.Lock()
	report := h.reports[id]
	h.mu.Unlock()
	return report(st)
}

func (h *recorder) runs(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.running[id]
	return ok
}
