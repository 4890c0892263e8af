package loop_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

func (d *daemon) plan(scope plan.Scope, texts ...string) reconcile.PlanFile {
	d.t.Helper()
	scope.Origin = oprc.OriginCLI
	req := reconcile.Request{Scope: scope}
	for i, text := range texts {
		req.Files = append(req.Files, oprc.File{Path: fmt.Sprintf("%d.yaml", i), Data: []byte(text)})
	}
	p, err := d.rec.Plan(d.t.Context(), req)
	if err != nil {
		d.t.Fatal(err)
	}
	return reconcile.PlanFile{Request: req, Plan: p}
}

func (d *daemon) apply(f reconcile.PlanFile) error {
	_, err := d.rec.Apply(d.t.Context(), f.Request, f.Conditions(), reconcile.Actor{Name: "ann"})
	return err
}

const (
	shopText   = "name: shop\nfunctions: [{name: f, type: LOGICAL}, {name: g, type: LOGICAL}]\n"
	shopWoG    = "name: shop\nfunctions: [{name: f, type: LOGICAL}]\n"
	needsShop  = "name: bill\nrequired: [shop]\n"
	bindsG     = "name: bill\nclasses: [{name: c, functions: [{name: g, function: shop.g}]}]\n"
	runsAtEdge = "name: bill\nclasses: [{name: c}]\ndeployments: [{_key: .c, targetEnvs: [edge], partitionCount: 1, replicaCount: 1}]\n"
	edgeText   = "kind: Environment\nname: edge\n"
)

// Two plans on one base do not meet: one takes something away, the other comes to
// need it. Whichever is first, the other one is stale.
func TestWhatIsTakenAwayAndComesToBeNeeded(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare, needs string
		scope          plan.Scope
		takes          []string
		want           string
	}{
		"package": {
			prepare: shopText, needs: needsShop, scope: plan.Scope{Delete: []string{"shop"}},
			want: "found now: error E012: package shop cannot be deleted: it is needed by bill",
		},
		"function": {
			prepare: shopText, needs: bindsG, takes: []string{shopWoG},
			want: `found now: error E005: binding "g" of class "c" names function "shop.g", and there is no such function`,
		},
		"environment": {
			prepare: edgeText, needs: runsAtEdge, scope: plan.Scope{Delete: []string{"environment/edge"}},
			want: "found now: error E009: environment edge cannot be deleted: bill.c still run there",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			if err := d.apply(d.plan(plan.Scope{}, tc.prepare)); err != nil {
				t.Fatal(err)
			}
			takes, needs := d.plan(tc.scope, tc.takes...), d.plan(plan.Scope{}, tc.needs)
			if err := d.apply(needs); err != nil {
				t.Fatal(err)
			}
			var conflict *oprc.ConflictError
			if err := d.apply(takes); !errors.As(err, &conflict) {
				t.Fatalf("taking it away: got %v, want a conflict", err)
			}
			if !slices.Contains(conflict.Objects, tc.want) {
				t.Errorf("got %q, want %q among them", conflict.Objects, tc.want)
			}

			d = newDaemon(t)
			if err := d.apply(d.plan(plan.Scope{}, tc.prepare)); err != nil {
				t.Fatal(err)
			}
			takes, needs = d.plan(tc.scope, tc.takes...), d.plan(plan.Scope{}, tc.needs)
			if err := d.apply(takes); err != nil {
				t.Fatal(err)
			}
			if err := d.apply(needs); !errors.Is(err, oprc.ErrConflict) {
				t.Errorf("needing what is gone: got %v, want a conflict", err)
			}
		})
	}
}

// Nor do both get through when they are carried out at the same moment; and who
// writes something else meanwhile stops neither.
func TestTakingAwayAndNeedingAtOnce(t *testing.T) {
	d := newDaemon(t)
	for round := range 30 {
		if err := d.apply(d.plan(plan.Scope{}, shopText)); err != nil {
			t.Fatal(err)
		}
		plans := []reconcile.PlanFile{
			d.plan(plan.Scope{Delete: []string{"shop"}}), d.plan(plan.Scope{}, needsShop),
			d.plan(plan.Scope{}, fmt.Sprintf("name: other\nversion: 1.0.%d\n", round)),
		}
		errs := make([]error, len(plans))
		var all sync.WaitGroup
		for i, p := range plans {
			all.Go(func() { errs[i] = d.apply(p) })
		}
		all.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || errs[2] != nil {
			t.Fatalf("round %d: deleting %v, needing %v, something else %v", round, errs[0], errs[1], errs[2])
		}
		if errs[1] == nil {
			if err := d.apply(d.plan(plan.Scope{Delete: []string{"bill"}})); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A package that comes back is not taken for the one that was there before.
func TestRevisionsGoOnAfterADeletion(t *testing.T) {
	d := newDaemon(t)
	texts := []string{shopText + "---\n" + edgeText, shopWoG}
	for _, text := range texts {
		if err := d.apply(d.plan(plan.Scope{}, text)); err != nil {
			t.Fatal(err)
		}
	}
	stale := d.plan(plan.Scope{}, shopText)
	for _, p := range []func() reconcile.PlanFile{
		func() reconcile.PlanFile { return d.plan(plan.Scope{Delete: []string{"shop", "environment/edge"}}) },
		func() reconcile.PlanFile { return d.plan(plan.Scope{}, shopText+"---\n"+edgeText) },
	} {
		if err := d.apply(p()); err != nil {
			t.Fatal(err)
		}
	}
	live, err := d.db.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := []int64{live.Packages["shop"].Rev, live.Environments["edge"].Rev}; got[0] != 4 || got[1] != 3 {
		t.Errorf("revisions of package and environment: got %v, want 4 and 3", got)
	}
	if err := d.apply(stale); !errors.Is(err, oprc.ErrConflict) {
		t.Errorf("a plan on revision 2 of what was before: got %v, want a conflict", err)
	}
	var revs []int64
	history, err := d.db.History(t.Context(), "shop", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range history {
		revs = append(revs, h.Rev)
	}
	if diff := cmp.Diff([]int64{4, 3, 2, 1}, revs); diff != "" {
		t.Errorf("history: -want +got\n%s", diff)
	}
}
