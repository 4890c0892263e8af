package loop_test

import (
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// forget deletes a package as somebody who may do so would.
func (d *daemon) forget(name string) {
	d.t.Helper()
	req := reconcile.Request{Scope: plan.Scope{Origin: "git:main", Delete: []string{name}}}
	if _, err := d.rec.Apply(d.t.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Name: "ann"}); err != nil {
		d.t.Fatal(err)
	}
}

// A source that is told not to heal shows what was changed behind its back, and
// leaves it until somebody asks or a new revision comes.
func TestDriftIsShownAndLeft(t *testing.T) {
	for _, heal := range []bool{false, true} {
		d := newDaemon(t)
		d.environment("edge")
		d.repo.commit("a", deployed, "tools 1", "more 1")
		d.start(func(c *loop.SourceConfig) { c.NoHeal = !heal })
		d.tick()
		live, err := d.db.Live(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rec := live.Packages["tools"]
		rec.Spec.Functions[0].Provision.Docker.Image = "by hand"
		d.overwrite("tools", rec)
		d.forget("more")
		d.report("sha256:other")
		d.loop.Replan()
		if heal {
			until(t, "all is put back", func() bool {
				images := d.images()
				return images["tools"] == "1" && images["more"] == "1" && d.generation() == 2
			})
			if c := condition(d.status("main"), "Drifted"); c.Status {
				t.Errorf("got %+v", c)
			}
			continue
		}
		all := "more, shop.cart/0/0@edge, tools"
		until(t, "the drift is shown", func() bool {
			c := condition(d.status("main"), "Drifted")
			return c.Status && strings.Contains(c.Message, all) && strings.Contains(c.Message, "oprc source reconcile main")
		})
		d.start(func(c *loop.SourceConfig) { c.NoHeal = true }) // another daemon knows it as well
		d.loop.Replan()
		until(t, "a look of another daemon", func() bool { return d.status("main").LastTick.After(live.Packages["tools"].AppliedAt) })
		d.wantImages(map[string]string{"shop": "one", "tools": "by hand"})
		if c := condition(d.status("main"), "Drifted"); !c.Status || !strings.Contains(c.Message, all) || d.generation() != 1 {
			t.Errorf("got %+v, generation %d", c, d.generation())
		}
		if s := d.tick(); condition(s, "Drifted").Status && s.Receipt.Result == oprc.ResultOK { // somebody asks
			t.Errorf("got %+v", s)
		}
		d.wantImages(map[string]string{"shop": "one", "tools": "1", "more": "1"})
		if n := d.generation(); n != 2 {
			t.Errorf("the unit's generation is %d", n)
		}
		d.forget("more") // a new revision puts back as well
		d.repo.commit("b", deployed, "tools 2", "more 1")
		d.loop.Wake("main")
		until(t, "all is as the new revision says", func() bool { return d.images()["more"] == "1" && d.images()["tools"] == "2" })
	}
}

// generation is that of the one unit in edge.
func (d *daemon) generation() (n int64) {
	d.t.Helper()
	recs, err := d.db.UnitRecords(d.t.Context(), "edge")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, rec := range recs {
		n = rec.Generation
	}
	return n
}
