package loop_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// until asks f again and again, for at most ten seconds.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 1000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 10s: %s", what)
}

func (d *daemon) status(source string) oprc.SourceStatus {
	d.t.Helper()
	all, err := d.db.Sources(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return all[source]
}

const deployed = `name: shop
classes:
  - name: cart
    functions: [{name: f, function: f}]
functions: [{name: f, type: TASK, provision: {docker: {image: one}}}]
deployments: [{key: cart, targetEnvs: [edge]}]
`

// report says as a CRM of edge would what runs there.
func (d *daemon) report(specHash string) {
	d.t.Helper()
	recs, err := d.db.UnitRecords(d.t.Context(), "edge")
	if err != nil || len(recs) == 0 {
		d.t.Fatalf("no unit in edge: %v", err)
	}
	for id, rec := range recs {
		st := oprc.Status{Generation: rec.Generation, SpecHash: specHash, Condition: oprc.Running, CRM: "stubborn", ReportID: "1-1"}
		if specHash == "" {
			st.SpecHash = rec.SpecHash
		}
		old, err := d.db.StatusesOf(d.t.Context(), "edge", []string{id})
		if err != nil {
			d.t.Fatal(err)
		}
		if _, err := d.db.Fold(d.t.Context(), "edge", []ingest.StatusWrite{{ID: id, Old: old[id], New: st}}, nil, nil); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *daemon) environment(name string) {
	d.t.Helper()
	req := reconcile.Request{Files: []oprc.File{{Path: "e.yaml", Data: []byte("kind: Environment\nname: " + name + "\n")}}}
	req.Scope.Origin = oprc.OriginCLI
	if _, err := d.rec.Apply(d.t.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Name: "ann"}); err != nil {
		d.t.Fatal(err)
	}
}

func TestNothingIsPlannedTwice(t *testing.T) {
	d := newDaemon(t)
	d.environment("edge")
	d.repo.commit("a", deployed)
	d.start()
	d.tick()
	d.tick()
	loads := d.loads.Load()
	for range 5 {
		if s := d.tick(); s.Receipt.Result != oprc.ResultOK {
			t.Fatalf("got %+v", s.Receipt)
		}
	}
	if more := d.loads.Load() - loads; more != 0 {
		t.Errorf("%d files were read although nothing moved", more)
	}
	live, err := d.db.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rec := live.Packages["shop"]
	rec.Spec.Functions[0].Provision = nil
	d.overwrite("shop", rec) // by hand, past everybody
	d.tick()
	d.wantImages(map[string]string{"shop": "one"})
	d.repo.commit("b", "bad: [\n")
	for range 2 { // what is wrong stays so
		if s := d.tick(); s.Receipt.Result != oprc.ResultInvalid {
			t.Errorf("got %+v", s.Receipt)
		}
	}
}

func TestOnlyFilesThatChangedAreRead(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "one 1", "two 1", "three 1")
	d.start()
	d.tick()
	d.tick()
	loads := d.loads.Load()
	d.repo.commit("b", "one 1", "two 2", "four 1") // one differs, one is new, one is gone
	d.tick()
	d.wantImages(map[string]string{"one": "1", "two": "2", "four": "1"})
	if n := d.loads.Load() - loads; n != 2 {
		t.Errorf("%d files were read, want 2", n)
	}
}

func TestNothingIsPolledBecauseARuntimeReported(t *testing.T) {
	d := newDaemon(t)
	d.environment("edge")
	d.repo.commit("a", deployed)
	d.start()
	d.tick()
	until(t, "Reconciling", func() bool { return condition(d.status("main"), "Reconciling").Status })
	polls := d.repo.count()
	d.report("")
	d.loop.Replan()
	until(t, "Healthy", func() bool {
		s := d.status("main")
		return condition(s, "Healthy").Status && !condition(s, "Reconciling").Status
	})
	if more := d.repo.count() - polls; more != 0 {
		t.Errorf("%d polls", more)
	}
}

func TestPausesGrowWhileASourceIsAway(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "shop 1")
	d.start(func(c *loop.SourceConfig) { c.Interval = 100 * time.Millisecond })
	d.tick()
	d.repo.fail(errors.New("no route"))
	until(t, "three failures", func() bool { return d.status("main").Failures >= 3 })
	s := d.status("main")
	if pause := s.NextTry.Sub(s.LastTick); pause < 350*time.Millisecond || pause > 6*time.Minute {
		t.Errorf("next try after %s", pause)
	}
	if c := condition(s, "Ready"); c.Status || !strings.Contains(c.Message, "next try at") || condition(s, "Stalled").Status {
		t.Errorf("got %+v", s.Conditions)
	}
	d.repo.fail(nil)
	if s := d.tick(); s.Failures != 0 || !s.NextTry.IsZero() || s.Receipt.Result != oprc.ResultOK { // asking does not wait
		t.Errorf("back: %+v", s)
	}
}

func TestTwoSourcesThatClaimAPackageAreBothTold(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "shop 1")
	other := &repo{}
	d.others = []loop.SourceConfig{{Name: "other", URL: "elsewhere", Source: other, Interval: time.Hour}}
	d.start()
	d.tick()
	other.commit("z", "shop 2", "mine 1")
	d.loop.Wake("other")
	until(t, "the claimer is told", func() bool {
		c := condition(d.status("other"), "Ready")
		return c.Reason == "Conflict" && strings.Contains(c.Message, "package/shop: owned by git:main")
	})
	until(t, "the owner is told", func() bool {
		c := condition(d.status("main"), "Contested")
		return c.Status && strings.Contains(c.Message, "package/shop by source other")
	})
	d.wantImages(map[string]string{"shop": "1", "mine": "1"})
	other.commit("zz", "mine 1")
	d.loop.Wake("other")
	until(t, "it is over", func() bool {
		return !condition(d.status("main"), "Contested").Status && condition(d.status("other"), "Ready").Status
	})
}

func TestAFightIsNamedAndLeft(t *testing.T) {
	d := newDaemon(t)
	d.environment("edge")
	d.repo.commit("a", deployed)
	d.start()
	d.tick()
	generations := map[int64]bool{}
	until(t, "the fight is named", func() bool {
		recs, err := d.db.UnitRecords(t.Context(), "edge")
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			generations[rec.Generation] = true
		}
		d.report("sha256:other") // a CRM that never does as it is told
		d.loop.Replan()
		s := d.status("main")
		c := condition(s, "Stalled")
		return c.Status && c.Reason == "Fight" && strings.Contains(condition(s, "Ready").Message, "CRM stubborn")
	})
	if len(generations) > 7 {
		t.Errorf("put back %d times", len(generations))
	}
	d.repo.commit("b", deployed, "more 1") // the rest goes on
	until(t, "another package", func() bool { d.tick(); return d.images()["more"] == "1" })
	if s := d.tick(); condition(s, "Stalled").Reason == "Fight" {
		t.Errorf("somebody acted: %+v", s.Conditions)
	}
}
