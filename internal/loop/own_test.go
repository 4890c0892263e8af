package loop_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// wantSaid waits for an event and a history entry of shop with this actor, whose messages
// hold these texts.
func (d *daemon) wantSaid(typ, actor, event, entry string) {
	d.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		events, err := d.db.Events(d.t.Context(), "", 1000)
		if err != nil {
			d.t.Fatal(err)
		}
		history, err := d.db.History(d.t.Context(), "shop", 1)
		if err != nil {
			d.t.Fatal(err)
		}
		var last oprc.Event
		for _, e := range events {
			if e.Kind == oprc.KindPackage && e.Key == "shop" {
				last = e
			}
		}
		if last.Type == typ && last.Actor == actor && strings.Contains(last.Message, event) &&
			len(history) > 0 && history[0].Actor == actor && strings.Contains(history[0].Message, entry) {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("got %+v\nand %+v\nwant %s by %s: %q, %q", last, history, typ, actor, event, entry)
		}
	}
}

// What the daemon does by itself is said to be its doing, with the cause; what a commit
// asks for is its author's.
func TestWhoDidIt(t *testing.T) {
	d := newDaemon(t)
	d.environment("edge")
	d.repo.commit("a", deployed, "other 1")
	d.repo.rev.Message = "first"
	d.start(func(c *loop.SourceConfig) { c.Guard = plan.Guard{Stops: true} })
	d.tick()
	d.wantSaid("applied", "Ann", "new", "first")

	live, err := d.db.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byHand := live.Packages["shop"]
	byHand.Spec.Version = "9.9.9"
	d.overwrite("shop", byHand)
	d.tick()
	d.wantSaid("applied", "daemon/test", "spec-changed: reverted to its file", "reverted to its file")

	d.report("sha256:" + strings.Repeat("0", 64)) // the CRM runs something else
	d.loop.Replan()
	d.wantSaid("moved", "daemon/test", "units of shop.cart: drift", "units of shop.cart: drift")

	d.repo.commit("b", deployed)
	s := d.tick()
	if s.PlanID == "" {
		t.Fatalf("got %+v", s.Receipt)
	}
	if _, _, err := d.steering().Approve(t.Context(), s.PlanID, by("bob")); err != nil {
		t.Fatal(err)
	}
	d.tick()
	history, err := d.db.History(t.Context(), "other", 1)
	if err != nil || len(history) == 0 || history[0].Actor != "Ann" || !strings.Contains(history[0].Message, "approved by bob") {
		t.Errorf("got %+v, %v", history, err)
	}
}
