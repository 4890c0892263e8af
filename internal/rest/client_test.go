package rest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
)

// bare compares plans by what is in their JSON.
var bare = cmpopts.IgnoreUnexported(plan.Plan{}, plan.Change{})

func request(content string) reconcile.Request {
	return reconcile.Request{
		Files: []oprc.File{{Path: "shop.yaml", Data: []byte(content), Blob: "b1"}},
		Scope: plan.Scope{Origin: oprc.OriginCLI},
	}
}

// The client must answer as the state behind the server does.
func TestClientAnswersAsTheState(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	ctx := t.Context()
	want, err := w.state.Plan(ctx, request(shop))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Plan(ctx, request(shop))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, bare); diff != "" {
		t.Fatalf("plan: -state +client:\n%s", diff)
	}
	saved := reconcile.PlanFile{Request: request(shop), Plan: got}
	res, err := c.Apply(ctx, saved.Request, saved.Conditions(), reconcile.Actor{Name: "ada", Message: "First try & more", Revision: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&reconcile.Result{PlanID: want.ID, Summary: want.Summary, Revs: map[string]int64{"shop": 1}, Environments: map[string]int64{}, Waiting: []string{"east"}, Diverged: []string{}, Verified: len(want.Changes), Diagnostics: want.Diagnostics}, res); diff != "" {
		t.Errorf("result: -want +got:\n%s", diff)
	}
	if o, err := w.state.Find(ctx, oprc.KindFunction, "shop.add"); err != nil || o.Doc.(*reconcile.FunctionView).Config.Env["DB_PASSWORD"].Text != "hunter2" {
		t.Errorf("a masked value was applied: %v, %v", o, err)
	}
	if err := w.state.Heartbeat(ctx, "east", []oprc.Heartbeat{{CRM: "crm/1", Time: start, Since: start}}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []oprc.Kind{
		oprc.KindPackage, oprc.KindClass, oprc.KindDeployment, oprc.KindEnv, oprc.KindCRM, oprc.KindRuntime, oprc.KindSource,
	} {
		want, err := w.state.List(ctx, kind)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.List(ctx, kind)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		unmask := cmp.FilterPath(func(p cmp.Path) bool { return strings.HasSuffix(p.String(), ".Env") }, cmp.Ignore())
		age := cmp.FilterPath(func(p cmp.Path) bool {
			return strings.HasSuffix(p.String(), "AgeSeconds") || strings.HasSuffix(p.String(), ".Read")
		}, cmp.Ignore())
		if diff := cmp.Diff(want, got, unmask, age); diff != "" {
			t.Errorf("%s: -state +client:\n%s", kind, diff)
		}
		for _, o := range want {
			if got, err := c.Find(ctx, kind, o.Key); err != nil || got.Key != o.Key {
				t.Errorf("%s %s: got %v, %v", kind, o.Key, got, err)
			}
		}
	}
	wantQueue, err := w.state.CommandQueue(ctx, "east")
	if err != nil || len(wantQueue.Waiting) == 0 {
		t.Fatalf("queue: %+v, %v", wantQueue, err)
	}
	if gotQueue, err := c.CommandQueue(ctx, "east"); err != nil || cmp.Diff(wantQueue, gotQueue, cmpopts.EquateEmpty()) != "" {
		t.Errorf("queue: got %+v, %v, want %+v", gotQueue, err, wantQueue)
	}
	wantHistory, err := w.state.History(ctx, "shop", 5)
	if err != nil || len(wantHistory) != 1 || wantHistory[0].Actor != "ada" || wantHistory[0].Message != "First try & more" {
		t.Fatalf("history: %+v, %v", wantHistory, err)
	}
	gotHistory, err := c.History(ctx, "shop", 5)
	if err != nil {
		t.Fatal(err)
	}
	wantHistory[0].Spec, gotHistory[0].Spec = nil, nil // masked
	if diff := cmp.Diff(wantHistory, gotHistory); diff != "" {
		t.Errorf("history: -state +client:\n%s", diff)
	}
}

func TestClientEvents(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		w.apply(oprc.OriginCLI, "name: "+name+"\n")
	}
	for _, after := range []string{"", "0"} {
		for _, limit := range []int{1, 2, 100} {
			want, err := w.state.Events(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.client().Events(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("after %q, %d: -state +client:\n%s", after, limit, diff)
			}
		}
	}
}

func TestClientReadsAllPages(t *testing.T) {
	w := newWorld(t)
	var b strings.Builder
	const n = 1500
	b.WriteString("name: many\nfunctions:\n")
	for i := range n {
		b.WriteString(fmt.Sprintf("  - {name: f%d, type: LOGICAL}\n", i))
	}
	w.apply(oprc.OriginCLI, b.String())
	want, err := w.state.List(t.Context(), oprc.KindFunction)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.client().List(t.Context(), oprc.KindFunction)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) < n {
		t.Errorf("%d objects: -state +client:\n%s", len(got), diff)
	}
}

func TestClientErrors(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	ctx := t.Context()

	bad := request("name: x\nclases: []\n")
	wantPlan, wantErr := w.state.Plan(ctx, bad)
	p, err := c.Plan(ctx, bad)
	var want, got *oprc.InvalidError
	if !errors.As(wantErr, &want) || !errors.As(err, &got) || !cmp.Equal(want.Diagnostics, got.Diagnostics) || !cmp.Equal(wantPlan, p, bare) {
		t.Errorf("invalid: got %v with %v, want %v with %v", err, p, wantErr, wantPlan)
	}

	w.apply("git:main", "name: theirs\n")
	_, wantErr = w.state.Plan(ctx, request("name: theirs\nversion: \"2\"\n"))
	p, err = c.Plan(ctx, request("name: theirs\nversion: \"2\"\n"))
	var wantConflict, conflict *oprc.ConflictError
	if !errors.As(wantErr, &wantConflict) || !errors.As(err, &conflict) || !cmp.Equal(wantConflict, conflict) || p == nil {
		t.Errorf("conflict: got %v, want %v", err, wantErr)
	}

	stale, err := c.Plan(ctx, request(shop))
	if err != nil {
		t.Fatal(err)
	}
	w.apply(oprc.OriginCLI, "name: shop\n")
	saved := reconcile.PlanFile{Request: request(shop), Plan: stale}
	if _, err := c.Apply(ctx, saved.Request, saved.Conditions(), reconcile.Actor{}); !errors.Is(err, oprc.ErrConflict) || !strings.Contains(err.Error(), "package/shop") {
		t.Errorf("stale plan: got %v", err)
	}
	for _, key := range []string{"nothing", "", "a/b"} {
		if _, err := c.Find(ctx, oprc.KindPackage, key); !errors.Is(err, oprc.ErrNotFound) {
			t.Errorf("find %q: got %v, want not found", key, err)
		}
	}
	if _, err := c.History(ctx, "nothing", 5); !errors.Is(err, oprc.ErrNotFound) {
		t.Errorf("history: got %v, want not found", err)
	}
	w.redis.Close()
	if _, err := c.List(ctx, oprc.KindPackage); !errors.Is(err, rest.ErrUnavailable) || !strings.Contains(err.Error(), w.url) {
		t.Errorf("state away: got %v, want unavailable", err)
	}
}

func TestClientOfNoServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	denies := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }))
	defer denies.Close()
	tests := map[string]struct {
		url  string
		kind error
		says string
	}{
		"nothing listens": {"http://ada:s3cret@127.0.0.1:1", rest.ErrUnavailable, "127.0.0.1:1"},
		"another server":  {other.URL, nil, "is it an oprc server"},
		"no token":        {denies.URL, rest.ErrDenied, denies.URL},
		"no URL":          {"localhost:8080", oprc.ErrInvalid, "http://HOST:PORT"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := (&rest.Client{URL: test.url}).List(t.Context(), oprc.KindPackage)
			if err == nil || test.kind != nil && !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want %v with %q", err, test.kind, test.says)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&rest.Client{URL: other.URL}).List(ctx, oprc.KindPackage); !errors.Is(err, context.Canceled) || errors.Is(err, rest.ErrUnavailable) {
		t.Errorf("canceled: got %v", err)
	}
}

func TestClientSendsItsToken(t *testing.T) {
	got := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Authorization") + " " + r.URL.Path
		_, _ = w.Write([]byte(`{"total":0,"items":[]}`))
	}))
	defer srv.Close()
	if _, err := (&rest.Client{URL: srv.URL + "/api/", Token: "tok"}).List(t.Context(), oprc.KindUnit); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g != "Bearer tok /units" {
		t.Errorf("got %q", g)
	}
}
