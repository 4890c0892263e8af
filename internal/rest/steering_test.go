package rest_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
)

// A client steers sources through a server with the errors that the state itself has.
func TestSteering(t *testing.T) {
	w := newWorld(t)
	c := &rest.Client{URL: w.url}
	ann := reconcile.Actor{Name: "ann"}
	if _, err := c.Wake(t.Context(), "main"); !errors.Is(err, oprc.ErrNotFound) {
		t.Errorf("no source: %v", err)
	}
	held := oprc.SourceStatus{Name: "main", PlanID: "sha256:" + strings.Repeat("ab", 32)}
	if err := w.state.PutSource(t.Context(), held, nil, 0); err != nil {
		t.Fatal(err)
	}
	first, err := c.Wake(t.Context(), "main")
	if err != nil || first == 0 {
		t.Errorf("ticket %d, %v", first, err)
	}
	if err := c.Suspend(t.Context(), "main", " ", 0, ann); !errors.Is(err, oprc.ErrInvalid) {
		t.Errorf("without a reason: %v", err)
	}
	if err := c.Suspend(t.Context(), "main", "freeze", time.Hour, ann); err != nil {
		t.Fatal(err)
	}
	asked, err := w.state.DB.Requests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := asked.Suspension("main", time.Now()); s == nil || s.Author != "ann" || s.Reason != "freeze" || time.Until(s.Until) < 50*time.Minute {
		t.Errorf("got %+v", s)
	}
	for _, want := range []bool{true, false} {
		if was, err := c.Resume(t.Context(), "main", ann); err != nil || was != want {
			t.Errorf("resumed: %v, %v, want %v", was, err, want)
		}
	}
	if _, _, err := c.Approve(t.Context(), "sha256:cdcdcd", ann); !errors.Is(err, oprc.ErrNotFound) {
		t.Errorf("another plan: %v", err)
	}
	source, second, err := c.Approve(t.Context(), "abababab", ann)
	if err != nil || source != "main" || second <= first {
		t.Errorf("approved: %q, %d, %v", source, second, err)
	}
	if asked, err = w.state.DB.Requests(t.Context()); err != nil || len(asked.Asked) != 1 || asked.Asked[0].PlanID != held.PlanID || asked.Asked[0].By != "ann" {
		t.Errorf("asked: %+v, %v", asked, err)
	}
	held.Suspended = &oprc.Suspension{Author: "configuration"}
	if err := w.state.PutSource(t.Context(), held, nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resume(t.Context(), "main", ann); !errors.Is(err, oprc.ErrConflict) {
		t.Errorf("suspended by the configuration: %v", err)
	}
}

// Undo through a server puts secrets back as they were, not as they are shown, and is
// for the plan that was consented to.
func TestUndoKeepsSecrets(t *testing.T) {
	w := newWorld(t)
	c := &rest.Client{URL: w.url}
	const doc = "name: shop\nfunctions: [{name: f, provision: {knative: {image: NEW, env: {API_TOKEN: hunter2}}}}]\n"
	apply := func(image string) { w.apply(oprc.OriginCLI, strings.Replace(doc, "NEW", image, 1)) }
	apply("one")
	apply("two")
	p, err := c.PlanUndo(t.Context(), "shop", 0)
	if err != nil {
		t.Fatal(err)
	}
	apply("three")
	if _, err := c.Undo(t.Context(), "shop", 1, p.ID, reconcile.Actor{Name: "ann"}); !errors.Is(err, oprc.ErrConflict) {
		t.Errorf("another plan than the one that was shown: %v", err)
	}
	if p, err = c.PlanUndo(t.Context(), "shop", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Undo(t.Context(), "shop", 1, p.ID, reconcile.Actor{Name: "ann"}); err != nil {
		t.Fatal(err)
	}
	live, err := w.state.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	engine := live.Packages["shop"].Spec.Functions[0].Provision.Knative
	if engine.Image != "one" || engine.Env["API_TOKEN"].Text != "hunter2" {
		t.Errorf("got %+v", engine)
	}
	w.want(w.send("POST", "/packages/nobody/undo", ""), http.StatusNotFound)
}
