package reconcile_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// The same scenarios on a real Redis, with the real ledger: writers that share nothing but
// the server run at once, in whatever order comes about.

// open connects as a process of its own to the ledger of one scenario.
func open(ctx context.Context, url, ledger string) (*rdb.DB, error) {
	return rdb.Open(ctx, rdb.Options{URL: url, Keys: rdb.Keys{N: ledger, T: ledger}})
}

// race runs the scenario's writers at once on a ledger of their own, and says what is wrong
// with what came of it.
func (s scenario) race(ctx context.Context, url, ledger string, texts *simTexts) (string, error) {
	db, err := open(ctx, url, ledger)
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	r := reconcile.Reconciler{Ledger: db, Load: texts.load, Now: time.Now}
	base := demand{packages: s.base.packages, envs: s.base.envs}
	if _, err := r.Apply(ctx, base.request(), reconcile.Conditions{}, reconcile.Actor{Name: "base"}); err != nil {
		return "", fmt.Errorf("apply the base: %w", err)
	}
	for i, w := range s.writers {
		if p, err := r.Plan(ctx, w.request()); w.saved && err == nil {
			s.writers[i].planID = p.ID
		}
	}
	out, clock, start := make([]outcome, len(s.writers)), atomic.Int64{}, make(chan struct{})
	var all sync.WaitGroup
	for i, w := range s.writers {
		mine, err := open(ctx, url, ledger)
		if err != nil {
			return "", err
		}
		defer func() { _ = mine.Close() }()
		all.Go(func() {
			<-start
			o := outcome{demand: w.demand, bound: w.saved, began: int(clock.Add(1))}
			o.err = w.carry(ctx, mine, texts, fmt.Sprint("writer ", i))
			o.accepted, o.done = o.err == nil, int(clock.Add(1))
			out[i] = o
		})
	}
	close(start)
	all.Wait()
	got, err := seen(ctx, db, texts)
	if err != nil {
		return "", err
	}
	return s.verdict(out, got), nil
}

// carry carries the demand out on a ledger of its own.
func (w writer) carry(ctx context.Context, db *rdb.DB, texts *simTexts, name string) error {
	for env, a := range w.reports {
		return db.Heartbeat(ctx, env, []oprc.Heartbeat{{CRM: "crm", Time: time.Now(), Availability: a}})
	}
	if w.saved && w.planID == "" {
		return oprc.ErrInvalid
	}
	r := reconcile.Reconciler{Ledger: db, Load: texts.load, Now: time.Now}
	_, err := r.Apply(ctx, w.request(), reconcile.Conditions{AnyRemovals: true, PlanID: w.planID}, reconcile.Actor{Name: name})
	return err
}

// seen reads what can be seen of a ledger.
func seen(ctx context.Context, db *rdb.DB, texts *simTexts) (simState, error) {
	s := simState{map[string]string{}, map[string]string{}, map[string]map[string]string{}, map[string]map[string]string{}}
	live, err := db.Live(ctx)
	if err != nil {
		return s, err
	}
	for name, rec := range live.Packages {
		s.packages[name] = texts.of(oprc.Digest(rec.Spec))
	}
	classes, err := db.Classes(ctx)
	if err != nil {
		return s, err
	}
	for key, c := range classes {
		s.classes[key] = bindingsOf(c)
	}
	for name, state := range live.Environments {
		s.envs[name] = texts.of(oprc.Digest(state.Spec))
		records, err := db.UnitRecords(ctx, name)
		if err != nil {
			return s, err
		}
		for id, rec := range records {
			if rec.Op == oprc.Deploy {
				s.units[id] = imagesOf(rec.Unit)
			}
		}
	}
	return s, nil
}

// Each relation, saved and unsaved, and random worlds, in parallel on one server.
func TestRacesOnRedis(t *testing.T) {
	seed, worlds := seedOf(t), *exploreWorlds
	if worlds == 0 {
		worlds = 40
	}
	url, texts := rdbtest.Server(t), newSimTexts()
	run := func(t *testing.T, s scenario, name string) {
		t.Helper()
		bad, err := s.race(t.Context(), url, name, texts)
		if err != nil {
			t.Fatal(err)
		}
		if bad != "" {
			t.Fatalf("%s: %s\n%s", name, bad, s)
		}
	}
	for name, rel := range relations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range 1 + worlds/20 {
				s := scenario{rel.base, []writer{{demand: rel.a, saved: i%2 == 1}, {demand: rel.b, saved: i%2 == 1}, {demand: rel.third}}}
				for j, w := range s.writers {
					s.writers[j].saved = w.saved && len(w.reports) == 0
				}
				run(t, s, fmt.Sprintf("%s %d", name, i))
			}
		})
	}
	t.Run("random worlds", func(t *testing.T) {
		t.Parallel()
		for i := range worlds {
			run(t, randomScenario(rand.New(rand.NewPCG(seed+uint64(i), 5))), fmt.Sprintf("-explore.seed=%d", seed+uint64(i)))
		}
	})
}
