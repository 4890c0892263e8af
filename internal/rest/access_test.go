package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/rest"
)

// tokens makes a token for each of some identities and returns what to show.
func tokens(t *testing.T, of map[string]rest.Token) (known []rest.Token, shown map[string]string) {
	t.Helper()
	shown = map[string]string{"": ""}
	for name, token := range of {
		token.Name = name
		made, err := rest.MakeToken(token, start)
		if err != nil {
			t.Fatal(err)
		}
		known, shown[name] = append(known, made.Token), "Bearer "+made.Secret
	}
	return known, shown
}

var every = []rest.Role{rest.Anybody, rest.Viewer, rest.Planner, rest.Editor, rest.Approver, rest.Admin}

// Every route of the document, with every role: below the route's own role it is refused,
// from it on it is not.
func TestRolesOfEveryRoute(t *testing.T) {
	of := map[string]rest.Token{}
	for _, role := range every[1:] {
		of[string(role)] = rest.Token{Role: role}
	}
	known, shown := tokens(t, of)
	w := newWorld(t, func(s *rest.Server) { s.Access.Tokens = known })
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Description string `json:"description"`
			Security    []any  `json:"security"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(w.want(w.get("/openapi.json"), 200).body), &doc); err != nil {
		t.Fatal(err)
	}
	routes := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			routes++
			least := 0
			for i, role := range every[1:] {
				if op.Description == fmt.Sprintf("Needs the role %s.", role) {
					least = i + 1
				}
			}
			if (least == 0) != (len(op.Security) == 0) {
				t.Fatalf("%s %s: %q with security %v", method, path, op.Description, op.Security)
			}
			for i, role := range every {
				if op.OperationID == "watch" && i >= least {
					continue // it would last
				}
				target := strings.NewReplacer("{key}", "x", "{id}", "x", "{env}", "x", "{source}", "x", "{file}", "docs.js").Replace(path)
				a := w.send(strings.ToUpper(method), target, "", "Authorization", shown[string(role)])
				want := i >= least
				if got := a.status != 401 && a.status != 403; op.OperationID != "postHook" && got != want {
					t.Errorf("%s %s as %q: got %d, let through %v, want %v", method, path, role, a.status, got, want)
				}
			}
		}
	}
	if routes < 40 {
		t.Errorf("the document has %d routes", routes)
	}
}

// Who may have to do with edge-* alone neither sees nor changes anything of cloud-1.
func TestLimitsOfATokenHold(t *testing.T) {
	known, shown := tokens(t, map[string]rest.Token{
		"edgy": {Role: rest.Admin, Limits: rest.Limits{Environments: []string{"edge-*"}}},
		"shop": {Role: rest.Editor, Limits: rest.Limits{Packages: []string{"shop"}}},
		"all":  {Role: rest.Admin},
	})
	w := newWorld(t, func(s *rest.Server) { s.Access.Tokens = known })
	w.apply(oprc.OriginAPI, "kind: Environment\nname: cloud-1\n---\nkind: Environment\nname: edge-1\n")
	in := func(name, env string) string {
		return strings.Replace(strings.Replace(shop, "name: shop", "name: "+name, 1), "partitionCount: 2", "targetEnvs: ["+env+"]", 1)
	}
	w.apply(oprc.OriginAPI, in("shop", "cloud-1"))
	w.apply(oprc.OriginAPI, in("edge", "edge-1"))
	if err := w.state.Heartbeat(t.Context(), "cloud-1", []oprc.Heartbeat{{CRM: "crm-c", Time: time.Now(), Since: start}}); err != nil {
		t.Fatal(err)
	}
	as := func(who, method, path, body string) answer {
		return w.send(method, path, body, "Authorization", shown[who], "Content-Type", "application/yaml")
	}
	w.runs("cloud-1", "shop.cart/0/0@cloud-1", "shop.add")
	if err := w.state.PutSource(t.Context(), oprc.SourceStatus{
		Name: "main", URL: "https://git.example/x", Kept: []string{"shop"}, Notes: []string{"cloud-1.yaml: empty"},
		Conditions: []oprc.SourceCondition{{Type: "Ready", Reason: "Invalid", Message: "cloud-1 is not there"}},
		Findings:   oprc.Diagnostics{{Code: "E030", Message: "cloud-1 has no room"}},
	}, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.state.Emit(t.Context(), []oprc.Event{{Type: "held", Key: "main", Message: "cloud-1 would lose all units"}}, 0); err != nil {
		t.Fatal(err)
	}
	if all := as("all", "GET", "/functions/shop.add", ""); !strings.Contains(all.body, "cloud-1") {
		t.Errorf("the function has no address: %s", all.body)
	}
	silent := []string{"/cr", "/dead", "/crms", "/classes", "/functions", "/functions?objects=true", "/sources"} // they do not name edge-1
	for _, path := range []string{"/packages", "/classes", "/functions", "/functions?objects=true", "/sources", "/topology", "/deployments", "/units", "/environments", "/crms", "/cr", "/events", "/dead", "/units?objects=true", "/packages?objects=true"} {
		if all := as("all", "GET", path+sep(path)+"limit=1000", ""); all.status != 200 || !slices.Contains(silent, path) && !strings.Contains(all.body, "edge-1") {
			t.Errorf("%s: the admin does not see edge-1: %d %s", path, all.status, all.body)
		}
		if a := as("edgy", "GET", path+sep(path)+"limit=1000", ""); a.status != 200 || strings.Contains(a.body, "cloud-1") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, c := range []struct {
		who, method, path, body string
		want                    []int
	}{
		{"edgy", "GET", "/packages/shop", "", []int{404}},
		{"edgy", "GET", "/units/shop.cart/0/0@cloud-1", "", []int{404}},
		{"edgy", "GET", "/environments/cloud-1", "", []int{404}},
		{"edgy", "GET", "/environments/cloud-1/queue", "", []int{404}},
		{"edgy", "GET", "/environments/edge-1/queue", "", []int{200}},
		{"shop", "GET", "/environments/edge-1/queue", "", []int{404}}, // it names other packages
		{"edgy", "GET", "/auth/tokens", "", []int{403}},
		{"edgy", "POST", "/auth/tokens", `{"name":"more","role":"admin"}`, []int{403}},
		{"edgy", "DELETE", "/auth/tokens/all", "", []int{403}},
		{"edgy", "GET", "/history/shop", "", []int{404}},
		{"edgy", "GET", "/snapshot", "", []int{403}},
		{"edgy", "GET", "/metrics", "", []int{403}},
		{"shop", "GET", "/metrics", "", []int{403}},
		{"edgy", "GET", "/cr/shop.cart@cloud-1", "", []int{404}},
		{"edgy", "POST", "/cr/shop.cart@cloud-1/update", "", []int{404, 415}},
		{"edgy", "PUT", "/deployments/shop.cart", `{"targetEnvs":["edge-1"]}`, []int{404, 415}},
		{"edgy", "DELETE", "/packages/shop", "", []int{403, 404}},
		{"edgy", "DELETE", "/classes/shop.cart", "", []int{403, 404}},
		{"edgy", "DELETE", "/environments/cloud-1", "", []int{404}},
		{"edgy", "POST", "/packages", in("mine", "cloud-1"), []int{403}},
		{"edgy", "POST", "/plan", in("mine", "cloud-1"), []int{403}},
		{"edgy", "POST", "/packages", in("shop", "cloud-1"), []int{403}}, // as it is: nothing would change
		{"edgy", "POST", "/packages?dryRun=true", in("shop", "cloud-1"), []int{403}},
		{"edgy", "POST", "/plan", in("shop", "cloud-1"), []int{403}},
		{"edgy", "POST", "/plan", in("shop", "edge-1"), []int{403}},
		{"edgy", "POST", "/packages/shop/undo", `{"dryRun":true}`, []int{403, 404, 415}},
		{"shop", "POST", "/packages", in("edge", "edge-1"), []int{403}},
		{"edgy", "POST", "/dead/cloud-1/drop", `{"all":true}`, []int{404, 415}},
		{"edgy", "POST", "/packages", in("mine", "edge-1"), []int{201}},
		{"shop", "POST", "/packages", "name: other\n", []int{403}},
		{"shop", "POST", "/packages?takeOwnership=true", in("shop", "cloud-1"), []int{403}},
		{"shop", "POST", "/packages", strings.Replace(in("shop", "cloud-1"), "fast", "slow", 1), []int{200}},
		{"shop", "GET", "/packages/edge", "", []int{404}},
	} {
		if a := as(c.who, c.method, c.path, c.body); !slices.Contains(c.want, a.status) {
			t.Errorf("%s: %s %s: got %d, want one of %v: %s", c.who, c.method, c.path, a.status, c.want, a.body)
		}
	}
	w.apply(oprc.OriginAPI, in("both", "cloud-1")) // it moves: for a while a replica is in each
	w.runs("cloud-1", "both.cart/0/0@cloud-1", "both.add")
	w.apply(oprc.OriginAPI, in("both", "edge-1"))
	for who, want := range map[string]int{"all": 2, "edgy": 1} { // the past begins where it came
		if a := as(who, "GET", "/history/both", ""); a.json(t)["total"] != float64(want) {
			t.Errorf("the history for %s: got %s, want %d", who, a.body, want)
		}
	}
	for env, want := range map[string]int{"cloud-1": 0, "nowhere": 0, "edge-1": 3} {
		if a := as("edgy", "GET", "/topology?env="+env, ""); a.json(t)["total"] != float64(want) {
			t.Errorf("the topology of %s: got %s, want %d", env, a.body, want)
		}
	}
	for _, path := range []string{"/plan", "/packages?dryRun=true"} {
		for what, body := range map[string]string{
			"a plan": in("next", "edge-1"), "no environment": strings.Replace(in("next", "edge-1"), "targetEnvs: [edge-1]", "partitionCount: 1", 1), "one that is not known": in("next", "edge-2"),
		} {
			if a := as("edgy", "POST", path, body); strings.Contains(a.body, "cloud-1") || strings.Contains(a.body, "east") || !slices.Contains([]int{200, 400, 403}, a.status) {
				t.Errorf("%s, %s: got %d %s", path, what, a.status, a.body)
			}
		}
	}
	if h, err := w.state.DB.History(t.Context(), "mine", 1); err != nil || len(h) != 1 || h[0].Actor != "edgy" {
		t.Errorf("the actor: got %v, %v", h, err)
	}
}

// runs reports that a unit runs, and where its function answers.
func (w *world) runs(env, unit, function string) {
	w.t.Helper()
	recs, err := w.state.UnitRecordsOf(w.t.Context(), env, []string{unit})
	if err != nil || len(recs) != 1 {
		w.t.Fatal(recs, err)
	}
	now := oprc.Status{
		Generation: recs[unit].Generation, SpecHash: recs[unit].SpecHash, Condition: oprc.Running, CRM: "crm", Time: start,
		Functions: map[string]oprc.FunctionStatus{function: {Condition: oprc.Running, InvocationURL: "http://" + env + ".example"}},
	}
	if _, err := w.state.Fold(w.t.Context(), env, []ingest.StatusWrite{{ID: unit, New: now}}, nil, nil); err != nil {
		w.t.Fatal(err)
	}
}

func sep(path string) string {
	if strings.Contains(path, "?") {
		return "&"
	}
	return "?"
}

// The body of a request says whose packages it speaks for. That is not believed.
func TestAForgedOriginDeletesNothing(t *testing.T) {
	w := newWorld(t)
	w.apply("git:main", "name: gits\n")
	req := reconcile.Request{}
	req.Scope.Origin, req.Scope.Complete, req.Scope.Delete = "git:main", true, []string{"gits"}
	c := w.client()
	p, err := c.Plan(t.Context(), req)
	if err != nil {
		t.Fatal(err) // to see what a source would do is allowed
	}
	if len(p.Changes) == 0 {
		t.Fatal("the plan would delete nothing")
	}
	if _, err := c.Apply(t.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Name: "git"}); err == nil || !strings.Contains(err.Error(), "origin git:main") {
		t.Errorf("applying it: got %v", err)
	}
	w.want(w.get("/packages/gits"), 200)
}

// Origins that somebody is limited to bind also where a source says what is done, and the
// caller says only when: to apply its plan, and to approve one that it holds.
func TestOriginsOfATokenBindSources(t *testing.T) {
	origins := func(of ...string) rest.Limits { return rest.Limits{Origins: of} }
	known, shown := tokens(t, map[string]rest.Token{
		"any": {Role: rest.Editor}, "other": {Role: rest.Editor, Limits: origins("git:other", "api")}, "main": {Role: rest.Editor, Limits: origins("git:main")},
		"approver": {Role: rest.Approver}, "other-approver": {Role: rest.Approver, Limits: origins("git:other")},
		"elsewhere": {Role: rest.Approver, Limits: rest.Limits{Packages: []string{"elsewhere"}}},
	})
	w := newWorld(t, func(s *rest.Server) { s.Access.Tokens = known })
	files := reconcile.Request{Files: []oprc.File{{Path: "shop.yaml", Data: []byte("name: shop\n")}}, Scope: plan.Scope{Origin: "git:main", Complete: true}}
	reason := ""
	w.state.Read = func(_ context.Context, _ reconcile.SourceRevision) (*reconcile.Derivation, error) {
		docs, found := w.state.Load(files.Files, false, "")
		return &reconcile.Derivation{Docs: docs, Held: func(*plan.Plan) string { return reason }, Decide: func(ctx context.Context, live plan.Live) (*plan.Plan, error) {
			p, _, err := w.state.PlanOn(ctx, files, docs, found, live)
			return p, err
		}}, nil
	}
	as := func(who string) *rest.Client {
		return &rest.Client{URL: w.url, Token: strings.TrimPrefix(shown[who], "Bearer ")}
	}
	req := reconcile.Request{Source: &reconcile.SourceRevision{Name: "main", Revision: "1"}}
	p, err := as("any").Plan(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(who string) error {
		_, err := as(who).Apply(t.Context(), req, reconcile.Conditions{PlanID: p.ID, Approved: true}, reconcile.Actor{})
		return err
	}
	for _, c := range []struct {
		who, held string
		want      error
	}{
		{"other", "", oprc.ErrDenied},
		{"elsewhere", "", oprc.ErrDenied},
		{"other-approver", "", oprc.ErrDenied},
		{"main", "it deletes too much", oprc.ErrHeld},
		{"any", "it deletes too much", oprc.ErrHeld},
		{"main", "", nil},
	} {
		if reason = c.held; !errors.Is(apply(c.who), c.want) {
			t.Errorf("%s, held %q: got %v, want %v", c.who, c.held, apply(c.who), c.want)
		}
	}
	if err := w.state.HoldPlan(t.Context(), "main", p, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.state.PutSource(t.Context(), oprc.SourceStatus{Name: "main", PlanID: p.ID}, nil, 0); err != nil {
		t.Fatal(err)
	}
	for who, want := range map[string]error{"other-approver": oprc.ErrDenied, "elsewhere": oprc.ErrDenied, "approver": nil} {
		if _, _, err := as(who).Approve(t.Context(), p.ID, reconcile.Actor{}); !errors.Is(err, want) {
			t.Errorf("%s approves: got %v, want %v", who, err, want)
		}
	}
}

func TestTokensAreMadeUsedAndRevoked(t *testing.T) {
	known, shown := tokens(t, map[string]rest.Token{"root": {Role: rest.Admin}})
	now := time.Now()
	w := newWorld(t, func(s *rest.Server) {
		s.Access.Tokens, s.Now = known, func() time.Time { return now }
	}, func(s *rest.Server) { s.Access.Stored = s.Control.(state).DB })
	as := func(token, method, path, body string) answer {
		return w.send(method, path, body, "Authorization", token, "Content-Type", "application/json")
	}
	made := w.want(as(shown["root"], "POST", "/auth/tokens", fmt.Sprintf(`{"name":"ci","role":"planner","expires":%q}`, now.Add(time.Hour).Format(time.RFC3339))), 201).json(t)
	ci := "Bearer " + made["secret"].(string)
	w.want(as(shown["root"], "POST", "/auth/tokens", `{"name":"ci","role":"planner"}`), 409)
	w.want(as(shown["root"], "POST", "/auth/tokens", `{"name":"cj","role":"king"}`), 400)
	if who := w.want(as(ci, "GET", "/auth/whoami", ""), 200).json(t); who["name"] != "ci" || who["role"] != "planner" || who["authenticated"] != true {
		t.Errorf("got %v", who)
	}
	for query, want := range map[string]bool{"verb=plan&kind=package": true, "verb=apply&kind=package": false, "verb=create&kind=environment": false} {
		if p := w.want(as(ci, "GET", "/auth/can-i?"+query, ""), 200).json(t); p["allowed"] != want {
			t.Errorf("%s: got %v", query, p)
		}
	}
	w.want(as(ci, "GET", "/auth/can-i?verb=fly&kind=package", ""), 400)
	if list := as(shown["root"], "GET", "/auth/tokens", "").body; strings.Contains(list, made["secret"].(string)) || strings.Contains(list, `"hash"`) || !strings.Contains(list, `"ci"`) {
		t.Errorf("got %s", list)
	}
	now = now.Add(2 * time.Hour)
	if a := w.want(as(ci, "GET", "/packages", ""), 401); !strings.Contains(a.body, "expired") {
		t.Errorf("got %s", a.body)
	}
	now = now.Add(-2 * time.Hour)
	w.want(as(shown["root"], "DELETE", "/auth/tokens/ci", ""), 200)
	w.want(as(shown["root"], "DELETE", "/auth/tokens/ci", ""), 404)
	w.want(as(ci, "GET", "/packages", ""), 401)
}

func TestReadsCanBeClosed(t *testing.T) {
	w := newWorld(t, func(s *rest.Server) { s.Access.Required = true })
	for path, status := range map[string]int{"/packages": 401, "/watch": 401, "/metrics": 401, "/health": 200, "/openapi.json": 200} {
		w.want(w.get(path), status)
	}
}

func TestOpenIDConnect(t *testing.T) {
	provider, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Shutdown() })
	grants := []rest.Grant{
		{Claim: "*", Role: rest.Viewer},
		{Claim: "devs", Role: rest.Editor, Limits: rest.Limits{Packages: []string{"shop"}}},
		{Claim: "ops", Role: rest.Approver},
	}
	w := newWorld(t, func(s *rest.Server) {
		s.Access.Verify = rest.OIDC{Issuer: provider.Issuer(), Audience: provider.ClientID, Grants: grants, Now: time.Now}.Verifier()
	})
	token := func(groups ...string) string {
		t.Helper()
		user := &mockoidc.MockUser{Subject: "42", Email: "ada@example.org", Groups: groups}
		session, err := provider.SessionStore.NewSession("openid email groups", "", user, "", "")
		if err != nil {
			t.Fatal(err)
		}
		id, err := session.IDToken(provider.Config(), provider.Keypair, provider.Now())
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + id
	}
	for want, groups := range map[string][]string{"viewer": nil, "editor": {"devs"}, "approver": {"devs", "ops"}} {
		who := w.want(w.send("GET", "/auth/whoami", "", "Authorization", token(groups...)), 200).json(t)
		if who["role"] != want || who["name"] != "ada@example.org" || who["method"] != "oidc" {
			t.Errorf("groups %v: got %v", groups, who)
		}
	}
	good := token("devs")
	w.want(w.send("POST", "/packages", "name: other\n", "Authorization", good, "Content-Type", "application/yaml"), 403)
	w.want(w.send("POST", "/packages", "name: shop\n", "Authorization", good, "Content-Type", "application/yaml"), 201)
	for name, bad := range map[string]string{"cut": good[:len(good)-4], "none": "Bearer x.y.z", "other": strings.Replace(good, ".", ".e", 1)} {
		if a := w.send("GET", "/packages", "", "Authorization", bad); a.status != 401 {
			t.Errorf("%s: got %d", name, a.status)
		}
	}
	provider.FastForward(24 * time.Hour)
	session, _ := provider.SessionStore.NewSession("openid", "", mockoidc.DefaultUser(), "", "")
	late, err := session.IDToken(provider.Config(), provider.Keypair, time.Now().Add(-48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	w.want(w.send("GET", "/packages", "", "Authorization", "Bearer "+late), 401)
}

func TestTheNameOfTheHostIsChecked(t *testing.T) {
	ask := func(w *world, host, path string, header ...string) int {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	w := newWorld(t, func(s *rest.Server) { s.Access.Hosts = []string{"oprc.example"} })
	for host, want := range map[string]int{
		"evil.example": 421, "oprc.example": 200, "OPRC.example:80": 200, "localhost:1": 200, "127.0.0.1:80": 200, "[::1]:80": 200, "oprc.example.evil": 421,
	} {
		if got := ask(w, host, "/packages"); got != want {
			t.Errorf("%s: got %d, want %d", host, got, want)
		}
	}

	// Without configured names: who shows a token is not asked, everybody else is.
	known, shown := tokens(t, map[string]rest.Token{"v": {Role: rest.Viewer}})
	w = newWorld(t, func(s *rest.Server) { s.Access.Tokens, s.Access.Anonymous = known, rest.Viewer })
	for _, c := range []struct {
		host, path string
		header     []string
		want       int
	}{
		{"evil.example", "/packages", nil, 421},
		{"127.0.0.1", "/packages", nil, 200},
		{"oprc.corp.example", "/packages", []string{"Authorization", shown["v"]}, 200},
		{"oprc.corp.example", "/health", nil, 200},
	} {
		if got := ask(w, c.host, c.path, c.header...); got != c.want {
			t.Errorf("%s%s %q: got %d, want %d", c.host, c.path, c.header, got, c.want)
		}
	}
}
