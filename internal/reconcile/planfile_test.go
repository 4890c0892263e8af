package reconcile_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A plan file of a source names a revision, and nothing that could be written in the
// source's name besides.
func TestPlanFileOfASourceHoldsNothingElse(t *testing.T) {
	p := plan.Make(plan.Input{Scope: plan.Scope{Origin: "git:main", Complete: true}})
	at := &reconcile.SourceRevision{Name: "main", Revision: "abc"}
	tests := map[string]struct {
		req  reconcile.Request
		want error
	}{
		"a revision":              {reconcile.Request{Source: at}, nil},
		"with files":              {reconcile.Request{Source: at, Files: []oprc.File{{Path: "a.yaml", Data: []byte("name: evil\n")}}}, oprc.ErrDenied},
		"with a deletion":         {reconcile.Request{Source: at, Scope: plan.Scope{Delete: []string{"shop"}}}, oprc.ErrDenied},
		"with an origin":          {reconcile.Request{Source: at, Scope: plan.Scope{Origin: "git:other"}}, oprc.ErrDenied},
		"taking over":             {reconcile.Request{Source: at, Scope: plan.Scope{TakeOwnership: true}}, oprc.ErrDenied},
		"no source, its origin":   {reconcile.Request{Scope: plan.Scope{Origin: "git:main"}}, oprc.ErrDenied},
		"no source, all of cli's": {reconcile.Request{Scope: plan.Scope{Origin: oprc.OriginCLI, Complete: true}}, oprc.ErrDenied},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			raw, err := reconcile.PlanFile{Request: tt.req, Plan: p}.Encode(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := reconcile.DecodePlanFile(raw, nil); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// What a source's limits hold is carried out only for whoever approves it, and nothing is
// of which no plan was seen. The one who follows the source hears of it before commands are
// sent.
func TestApplySourceRevision(t *testing.T) {
	texts, l := newSimTexts(), newSimLedger()
	want := one("b", lib(nil)).files()
	held, heard := "it deletes", 0
	r := reconcile.Reconciler{Ledger: l, Load: texts.load, Now: time.Now}
	r.Read = func(_ context.Context, at reconcile.SourceRevision) (*reconcile.Derivation, error) {
		if at.Revision != "abc" {
			return nil, &oprc.ConflictError{Reason: "moved"}
		}
		docs, found := texts.load(want, false, "")
		return &reconcile.Derivation{
			Docs: docs,
			Decide: func(ctx context.Context, live plan.Live) (*plan.Plan, error) {
				p, _, err := r.PlanOn(ctx, reconcile.Request{Scope: plan.Scope{Origin: "git:main", Complete: true}}, docs, found, live)
				return p, err
			},
			Held:      func(*plan.Plan) string { return held },
			By:        func(by reconcile.Actor) reconcile.Actor { return reconcile.Actor{Name: "author", Daemon: by.Name} },
			Committed: func(context.Context) error { heard++; return nil },
		}, nil
	}
	apply := func(revision string, cond reconcile.Conditions) error {
		_, err := r.Apply(t.Context(), reconcile.Request{Source: &reconcile.SourceRevision{Name: "main", Revision: revision}}, cond, reconcile.Actor{Name: "ann"})
		return err
	}
	p, err := r.Plan(t.Context(), reconcile.Request{Source: &reconcile.SourceRevision{Name: "main", Revision: "abc"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		revision string
		cond     reconcile.Conditions
		want     error
	}{
		"without a plan":   {"abc", reconcile.Conditions{AnyRemovals: true, Approved: true}, oprc.ErrInvalid},
		"held":             {"abc", reconcile.Conditions{PlanID: p.ID}, oprc.ErrHeld},
		"another revision": {"def", reconcile.Conditions{PlanID: p.ID, Approved: true}, oprc.ErrConflict},
		"another plan":     {"abc", reconcile.Conditions{PlanID: "sha256:0", Approved: true}, oprc.ErrConflict},
	} {
		if err := apply(tt.revision, tt.cond); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	if err := apply("abc", reconcile.Conditions{PlanID: p.ID, Approved: true}); err != nil || heard != 1 {
		t.Errorf("approved: %v; heard of %d commits, want 1", err, heard)
	}
	if got := l.live.Packages["b"]; got.Origin != "git:main" || got.AppliedBy != "author" {
		t.Errorf("got the record of %s by %s, want git:main by author", got.Origin, got.AppliedBy)
	}
	both := reconcile.Request{Source: &reconcile.SourceRevision{Name: "main", Revision: "abc"}, Files: want}
	if _, err := r.Plan(t.Context(), both); !errors.Is(err, oprc.ErrInvalid) {
		t.Errorf("files and a revision: %v, want invalid", err)
	}
	r.Read = nil
	if err := apply("abc", reconcile.Conditions{PlanID: p.ID}); !errors.Is(err, oprc.ErrNotFound) {
		t.Errorf("without sources: %v, want not found", err)
	}
}
