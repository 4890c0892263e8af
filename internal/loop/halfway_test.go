package loop_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A stumble lets one call fail of those that a tick makes.
type stumble struct {
	mu    sync.Mutex
	at    int // which call fails, from 1; 0: none
	calls int
	fell  string // the call that failed
}

var errStumble = errors.New("the connection broke")

// arm lets the call n fail.
func (s *stumble) arm(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.calls = n, 0
}

// call counts a call that a tick makes; others make the same ones.
func (s *stumble) call(name string) error {
	if name != "Dispatch" && !strings.Contains(string(debug.Stack()), "(*Loop).tick(") {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls++; s.calls != s.at {
		return nil
	}
	s.at, s.fell = 0, name
	return errStumble
}

func (s *stumble) where() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fell
}

type stumblingLedger struct {
	reconcile.Ledger
	*stumble
}

func (l stumblingLedger) Live(ctx context.Context) (plan.Live, error) {
	if err := l.call("Live"); err != nil {
		return plan.Live{}, err
	}
	return l.Ledger.Live(ctx)
}

func (l stumblingLedger) Observe(ctx context.Context, version int64, seen map[string]*oprc.Observation, fence int64, place string) (int64, error) {
	if err := l.call("Observe"); err != nil {
		return 0, err
	}
	return l.Ledger.Observe(ctx, version, seen, fence, place)
}

func (l stumblingLedger) Gone(ctx context.Context, objects []string) (map[string]int64, error) {
	if err := l.call("Gone"); err != nil {
		return nil, err
	}
	return l.Ledger.Gone(ctx, objects)
}

func (l stumblingLedger) Commit(ctx context.Context, c reconcile.Commit) (int64, error) {
	if err := l.call("Commit"); err != nil {
		return 0, err
	}
	return l.Ledger.Commit(ctx, c)
}

func (l stumblingLedger) Dispatch(ctx context.Context, env string, cmds []oprc.Command, fence int64) error {
	if err := l.call("Dispatch"); err != nil {
		return err
	}
	return l.Ledger.Dispatch(ctx, env, cmds, fence)
}

type stumblingStore struct {
	loop.SourceStore
	*stumble
}

func (s stumblingStore) PutSource(ctx context.Context, st oprc.SourceStatus, refused map[string]oprc.HistoryEntry, fence int64) error {
	if err := s.call("PutSource"); err != nil {
		return err
	}
	return s.SourceStore.PutSource(ctx, st, refused, fence)
}

func (s stumblingStore) Requests(ctx context.Context) (oprc.Requests, error) {
	if err := s.call("Requests"); err != nil {
		return oprc.Requests{}, err
	}
	return s.SourceStore.Requests(ctx)
}

func (s stumblingStore) Emit(ctx context.Context, events []oprc.Event, fence int64) error {
	if err := s.call("Emit"); err != nil {
		return err
	}
	return s.SourceStore.Emit(ctx, events, fence)
}

type stumblingRepo struct {
	*repo
	*stumble
}

func (r stumblingRepo) Poll(ctx context.Context, since time.Time) (loop.Revision, error) {
	if err := r.call("Poll"); err != nil {
		return loop.Revision{}, err
	}
	return r.repo.Poll(ctx, since)
}

func (r stumblingRepo) Files(ctx context.Context, rev loop.Revision) ([]oprc.File, error) {
	if err := r.call("Files"); err != nil {
		return nil, err
	}
	return r.repo.Files(ctx, rev)
}

// Whatever stops a tick half-way is not taken for success, and is made up for by the
// next one: a tick is stopped at each of its calls once.
func TestATickThatWasStoppedHalfWayIsNotDone(t *testing.T) {
	const next = "\nclasses: [{name: cart, functions: [{function: .f}]}]\ndeployments: [{_key: .cart, targetEnvs: [edge], replicaCount: 1}]\n"
	const b = "name: shop\nfunctions: [{name: f, provision: {docker: {image: two}}}]" + next
	const calls = 9 // that the tick of a new revision makes before its receipt shows
	for n := 1; n <= calls; n++ {
		t.Run(fmt.Sprintf("call %d", n), func(t *testing.T) {
			t.Parallel()
			s := &stumble{}
			d := newDaemon(t)
			d.environment("edge")
			d.repo.commit("a", "name: shop\nfunctions: [{name: f, provision: {docker: {image: one}}}]"+next, "other 1")
			d.rec.Ledger, d.store = stumblingLedger{d.db, s}, stumblingStore{d.db, s}
			d.start(func(c *loop.SourceConfig) { c.Source = stumblingRepo{d.repo, s} })
			d.tick()
			d.tick() // nothing is left to do
			d.repo.commit("b", b, "other 1")
			s.arm(n)
			first := d.tick()
			s.arm(0)
			if got := d.images()["shop"]; first.Receipt.Result == oprc.ResultOK && (got != "two" || first.Applied != "b") {
				t.Errorf("stopped at %s: success is said of revision %s while %s runs", s.where(), first.Applied, got)
			}
			// Another package changes: the one that was not planned must not count as settled.
			d.repo.commit("c", b, "other 2")
			if st := d.tick(); st.Applied != "c" || st.Receipt.Result != oprc.ResultOK {
				t.Errorf("stopped at %s: the next tick came to %+v", s.where(), st.Receipt)
			}
			d.wantImages(map[string]string{"shop": "two", "other": "2"})
			live, err := d.db.Live(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if u := live.Units["edge"]["shop.cart/0/0@edge"]; u.Generation != 2 {
				t.Errorf("stopped at %s: the unit is at generation %d, want 2", s.where(), u.Generation)
			}
			if s.where() == "" {
				t.Error("the tick makes fewer calls")
			}
		})
	}
}

// The same where nothing else happens: the next look at the same commit applies it.
func TestACommitFirstSeenWhileLiveStateCannotBeReadIsAppliedLater(t *testing.T) {
	s := &stumble{}
	d := newDaemon(t)
	d.repo.commit("a", "shop 1")
	d.rec.Ledger = stumblingLedger{d.db, s}
	d.start()
	d.tick()
	d.tick()
	d.repo.commit("b", "shop 2")
	s.arm(1)
	if st := d.tick(); st.Receipt.Result == oprc.ResultOK || condition(st, "Ready").Status {
		t.Errorf("live state could not be read, and all is well: %+v", st)
	}
	if st := d.tick(); st.Receipt.Result != oprc.ResultOK || st.Applied != "b" {
		t.Errorf("the next look came to %+v, applied %s", st.Receipt, st.Applied)
	}
	d.wantImages(map[string]string{"shop": "2"})
}
