package reconcile_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

// paper is a ledger that counts what is written and keeps nothing.
type paper struct {
	live   plan.Live
	writes int
}

func (p *paper) Live(context.Context) (plan.Live, error) { return p.live, nil }

func (p *paper) Observe(_ context.Context, version int64, _ map[string]*oprc.Observation, _ int64, _ string) (int64, error) {
	return version + 1, nil
}

func (p *paper) Commit(context.Context, reconcile.Commit) (int64, error) {
	p.writes++
	return 0, nil
}

func (p *paper) Gone(context.Context, []string) (map[string]int64, error) { return nil, nil }

func (p *paper) AwaitTurn(context.Context, string, bool) (int, error) { return 0, nil }

func (p *paper) EndTurn(context.Context, string) error { return nil }

func (p *paper) Dispatch(context.Context, string, []oprc.Command, int64) error { return nil }

// denying denies every change of a package, and notes who acts.
func denying(pkg string, actors *[]string) reconcile.Judge {
	return func(_ context.Context, ts []reconcile.Transition) ([]reconcile.Denial, error) {
		var out []reconcile.Denial
		for _, t := range ts {
			*actors = append(*actors, t.Actor+" as "+t.Origin)
			if t.Package == pkg {
				out = append(out, reconcile.Denial{Policy: "p.cue", Kind: t.Kind, Key: t.Key, Package: t.Package, Message: "never"})
			}
		}
		return out, nil
	}
}

func wish(keepGoing bool) reconcile.Request {
	return reconcile.Request{
		Files: []oprc.File{
			{Path: "a.yaml", Data: []byte("name: a\nfunctions: [{name: f, type: LOGICAL}]\n")},
			{Path: "b.yaml", Data: []byte("name: b\nfunctions: [{name: f, type: LOGICAL}]\n")},
		},
		Scope: plan.Scope{Origin: "git:app", Complete: keepGoing}, KeepGoing: keepGoing, Actor: "ann",
	}
}

func packagesIn(p *plan.Plan) []string {
	var names []string
	for _, c := range p.Changes {
		if c.Kind == oprc.KindPackage {
			names = append(names, c.Key)
		}
	}
	return names
}

func judged(judge reconcile.Judge) (*reconcile.Reconciler, *paper) {
	ledger := &paper{}
	return &reconcile.Reconciler{Ledger: ledger, Load: schema.Load, Now: time.Now, Judge: judge}, ledger
}

// What a policy denies stays as it is; in a source, the other packages go on.
func TestDeniedPackagesStayBehind(t *testing.T) {
	var actors []string
	r, _ := judged(denying("a", &actors))
	p, err := r.Plan(t.Context(), wish(true))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b"}, packagesIn(p)); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a"}, p.Kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	found := p.Diagnostics.Errors()
	if len(found) == 0 || found[0].Code != oprc.CodePolicy || found[0].File != "a.yaml" || !strings.Contains(found[0].Message, "never") {
		t.Errorf("findings %v, want the denial in the file that asks for the change", found)
	}
	if !slices.Contains(actors, "ann as git:app") {
		t.Errorf("the judge saw %v", actors)
	}
}

func TestDeniedPlanIsRefused(t *testing.T) {
	var actors []string
	r, ledger := judged(denying("a", &actors))
	p, err := r.Plan(t.Context(), wish(false))
	var denied *oprc.DeniedError
	if !errors.As(err, &denied) || !errors.Is(err, oprc.ErrDenied) || !strings.Contains(err.Error(), "package a: never (p.cue)") {
		t.Errorf("got %v, want a denial that says what and why", err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, packagesIn(p)); diff != "" {
		t.Errorf("the plan as it would be (-want +got):\n%s", diff)
	}
	// A plan that was made elsewhere, without the policy, is judged too.
	req := wish(false)
	req.Actor = ""
	if _, err := r.Apply(t.Context(), req, reconcile.Conditions{PlanID: p.ID}, reconcile.Actor{Name: "bob"}); !errors.Is(err, oprc.ErrDenied) || ledger.writes > 0 {
		t.Errorf("apply: %v, %d writes", err, ledger.writes)
	}
	if !slices.Contains(actors, "bob as git:app") {
		t.Errorf("the judge saw %v", actors)
	}
}

// Nothing happens while nobody can tell whether it may.
func TestJudgeThatFails(t *testing.T) {
	broken := errors.New("broken policy")
	r, ledger := judged(nil)
	r.Judge = func(context.Context, []reconcile.Transition) ([]reconcile.Denial, error) { return nil, broken }
	for _, keepGoing := range []bool{false, true} {
		if _, err := r.Plan(t.Context(), wish(keepGoing)); !errors.Is(err, broken) {
			t.Errorf("plan: %v", err)
		}
	}
	if _, err := r.Apply(t.Context(), wish(false), reconcile.Conditions{}, reconcile.Actor{}); !errors.Is(err, broken) || ledger.writes > 0 {
		t.Errorf("apply: %v, %d writes", err, ledger.writes)
	}
}

// A plan that knows tokens instead of secrets can be looked at, not carried out.
func TestRedactedPlanIsNotApplied(t *testing.T) {
	r, ledger := judged(nil)
	s, err := r.Snapshot(t.Context(), plan.Redaction{Mask: []string{"*TOKEN*"}, Salt: "00"})
	if err != nil {
		t.Fatal(err)
	}
	req := reconcile.Request{
		Files: []oprc.File{{Path: "a.yaml", Data: []byte("name: a\nfunctions: [{name: f, type: LOGICAL, config: {env: {MY_TOKEN: hush}}}]\n")}},
		Scope: plan.Scope{Origin: oprc.OriginCLI},
	}
	p, err := (&reconcile.Reconciler{Load: schema.Load, Now: time.Now}).PlanAgainst(t.Context(), s, req)
	if err != nil || p.Empty() {
		t.Fatal(p, err)
	}
	if raw, _ := plan.Encode(p); strings.Contains(string(raw), "hush") {
		t.Error("the secret is in the plan")
	}
	saved := reconcile.PlanFile{Request: req, Plan: p}
	if _, err := r.Apply(t.Context(), req, saved.Conditions(), reconcile.Actor{}); !errors.Is(err, oprc.ErrConflict) || ledger.writes > 0 {
		t.Errorf("apply: %v, %d writes", err, ledger.writes)
	}
}
