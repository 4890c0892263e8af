package loop_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Deletions that wait for an approval hold nothing else, and are there to look at.
func TestHeldDeletionsHoldNothingElse(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "one 1", "two 1", "three 1")
	d.start(func(c *loop.SourceConfig) { c.Guard = plan.Guard{Stops: true} })
	d.tick()
	d.repo.commit("b", "one urgent", "two 1")
	s := d.tick()
	ready := condition(s, "Ready")
	id := strings.TrimPrefix(s.PlanID, "sha256:")
	if s.Receipt.Result != oprc.ResultHeld || len(id) < 12 {
		t.Fatalf("got %+v of plan %q", s.Receipt, s.PlanID)
	}
	for _, part := range []string{"it deletes 1 of 3 packages (three)", "oprc show " + id[:12], "oprc source approve " + id[:12]} {
		if !strings.Contains(ready.Message, part) || strings.Contains(ready.Message, id) {
			t.Errorf("no %q, or the whole id, in %s", part, ready.Message)
		}
	}
	d.wantImages(map[string]string{"one": "urgent", "two": "1", "three": "1"})
	p, err := d.db.HeldPlan(t.Context(), id[:12])
	if err != nil || p.ID != s.PlanID || p.Changes[0].Key != "three" {
		t.Fatalf("the held plan: %v, %v", p, err)
	}
	d.start(func(c *loop.SourceConfig) { c.Guard = plan.Guard{Stops: true} }) // another daemon holds the same plan
	d.ask(oprc.SourceRequest{Verb: oprc.VerbApprove, Name: "main", PlanID: s.PlanID})
	if s := d.tick(); s.Receipt.Result != oprc.ResultOK || s.PlanID != "" || s.Applied != "b" {
		t.Errorf("approved: %+v", s)
	}
	d.wantImages(map[string]string{"one": "urgent", "two": "1"})
	if _, err := d.db.HeldPlan(t.Context(), id[:12]); err == nil {
		t.Error("the plan was carried out, and is held still")
	}
}

// While a plan is held, the message says besides which files are invalid.
func TestHeldPlanNamesInvalidFiles(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "one 1", "two 1", "three 1")
	d.start(func(c *loop.SourceConfig) { c.Guard = plan.Guard{Stops: true} })
	d.tick()
	d.repo.commit("b", "one 1", "name: two\nclases: []\n")
	s := d.tick()
	ready := condition(s, "Ready")
	if s.Receipt.Result != oprc.ResultHeld || ready.Reason != "ApprovalNeeded" || !strings.Contains(ready.Message, "it deletes 1 of 3 packages (three)") ||
		!strings.Contains(ready.Message, "also, files are invalid: ") || !strings.Contains(ready.Message, "clases") {
		t.Errorf("got %s, %s: %s", s.Receipt.Result, ready.Reason, ready.Message)
	}
}

// Files that are emptied to a name stop as much as files that go.
func TestEmptiedFilesAreHeld(t *testing.T) {
	d := newDaemon(t)
	d.environment("edge")
	var full, bare []string
	for i := range 12 {
		name := fmt.Sprintf("p%02d", i)
		full = append(full, fmt.Sprintf("name: %s\nfunctions: [{name: f, provision: {docker: {image: one}}}]\nclasses: [{name: cart, functions: [{function: .f}]}]\n"+
			"deployments: [{_key: .cart, targetEnvs: [edge], replicaCount: 1}]\n", name))
		bare = append(bare, "name: "+name+"\n")
	}
	d.repo.commit("a", full...)
	d.start()
	d.tick()
	d.repo.commit("b", bare...)
	s := d.tick()
	if msg := condition(s, "Ready").Message; s.Receipt.Result != oprc.ResultHeld || !strings.Contains(msg, "it removes 12 of 12 classes (p00.cart, p01.cart, p02.cart and 9 more), stops 12 of 12 units") {
		t.Errorf("got %s: %s", s.Receipt.Result, msg)
	}
	live, err := d.db.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id, u := range live.Units["edge"] {
		if u.Generation != 1 {
			t.Errorf("%s is at generation %d", id, u.Generation)
		}
	}
}

// That the last package is gone is for a person to say.
func TestTheLastPackageIsHeld(t *testing.T) {
	d := newDaemon(t)
	d.repo.commit("a", "shop 1")
	d.start()
	d.tick()
	d.repo.commit("b")
	d.repo.gone("b")
	s := d.tick()
	if s.Receipt.Result != oprc.ResultHeld || !strings.Contains(condition(s, "Ready").Message, "it deletes 1 of 1 packages (shop)") {
		t.Fatalf("got %+v", s.Receipt)
	}
	d.wantImages(map[string]string{"shop": "1"})
	d.ask(oprc.SourceRequest{Verb: oprc.VerbApprove, Name: "main", PlanID: s.PlanID})
	d.tick()
	d.wantImages(map[string]string{})
	if s := d.tick(); s.Receipt.Result != oprc.ResultNotFound { // as for a source that never had one
		t.Errorf("got %+v", s.Receipt)
	}
}

// A source loses 12 of its 20 packages, beside 100 of others.
func TestTheShareIsOfTheSourcesOwn(t *testing.T) {
	d := newDaemon(t)
	var others, all []string
	for i := range 100 {
		others = append(others, fmt.Sprintf("name: x%d\n", i))
	}
	for i := range 20 {
		all = append(all, fmt.Sprintf("p%d 1", i))
	}
	if err := d.apply(d.plan(plan.Scope{}, others...)); err != nil {
		t.Fatal(err)
	}
	d.repo.commit("a", all...)
	d.start()
	d.tick()
	d.repo.commit("b", slices.Clone(all[:8])...)
	if s := d.tick(); s.Receipt.Result != oprc.ResultHeld || !strings.Contains(s.Receipt.Message, "it deletes 12 of 20 packages") {
		t.Errorf("got %+v", s.Receipt)
	}
}
