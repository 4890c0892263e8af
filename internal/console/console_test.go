package console_test

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
)

const heldID = "sha256:abababababababababababababababababababababababababababababababab"

// Every page answers, says what it is about, holds no secret, no inline script or style,
// and loads nothing from elsewhere.
func TestPages(t *testing.T) {
	w := newWorld(t)
	w.apply(shop)
	w.apply(strings.Replace(shop, "add:1", "add:2", 1))
	w.apply("name: gifts\nversion: 1.0.0\nclasses: [{name: card, parents: [shop.base]}]\n---\nname: wrap\nversion: 1.0.0\nrequired: [gifts]\nclasses: [{name: paper}]\n")
	main := oprc.SourceStatus{Name: "main", URL: "https://git.example/team/packages.git", PlanID: heldID, Conditions: []oprc.SourceCondition{
		{Type: "Ready", Reason: "Held", Message: "the plan deletes 12 of 20 packages"},
	}}
	if err := w.state.PutSource(t.Context(), main, nil, 0); err != nil {
		t.Fatal(err)
	}
	b := w.browser()
	tests := map[string][]string{
		"/":                                      {"Deployed classes", "shop.cart", "no CRM", "the plan deletes 12", "Review plan", "anonymous"},
		"/ui/topology":                           {"shop.cart", "east", "partition 1 replica 0 PENDING"},
		"/ui/topology?condition=RUNNING":         {"No deployed class matches"},
		"/ui/topology?zoom=out":                  {"shop.cart to shop.cart", "m busy", "Closer"},
		"/ui/packages":                           {"shop", "1.0.0", "PENDING"},
		"/ui/packages?sort=_rev&desc=true":       {"shop"},
		"/ui/packages/shop":                      {"example/add:1", "example/add:2", "DB_PASSWORD", "revision 2", "Go back in time", "Undo…"},
		"/ui/packages/shop?at=0":                 {"What changed since then", "example/add:1"},
		"/ui/packages/shop?blame=1":              {"/functions/add/provision/knative/image"},
		"/ui/classes":                            {"shop.cart", "shop.base"},
		"/ui/classes/shop.cart":                  {"shop.add", "shop.base"},
		"/ui/functions":                          {"example/add:2"},
		"/ui/functions/shop.add":                 {"example/add:2"},
		"/ui/deployments":                        {"shop.cart", "0 / 2"},
		"/ui/deployments/shop.cart":              {"shop.cart/0/0@east", "arithmetic"},
		"/ui/placement/shop.cart":                {"Candidates", "east"},
		"/ui/placement/shop.cart?without=east":   {"Without east"},
		"/ui/units":                              {"shop.cart/1/0@east"},
		"/ui/units/shop.cart/1/0@east":           {"Partition", "no CRM serves environment east"},
		"/ui/environments":                       {"east", "UNKNOWN"},
		"/ui/environments/east":                  {"0.99", "no CRM has ever reported"},
		"/ui/crms":                               {"There are no crms here"},
		"/ui/sources":                            {"main", "HELD"},
		"/ui/sources/main":                       {"the plan deletes 12 of 20 packages", "Approve…", "Suspend…"},
		"/ui/graph?package=shop":                 {"shop.base", "shop.cart"},
		"/ui/graph?package=shop&of=shop.base":    {"reaches gifts.card, shop.cart."},
		"/ui/graph?package=gifts":                {"shop.base", "gifts.card", "wrap.paper"},
		"/ui/graph?package=shop&of=package+shop": {"reaches gifts, wrap."},
		"/ui/plans":                              {"ababababab", "nothing is applied"},
		"/ui/events":                             {"applied", "shop"},
		"/ui/events?package=nobody":              {"Nothing has happened"},
		"/ui/dead":                               {"There are no dead letters"},
		"/ui/signin":                             {"Paste a token"},
		"/ui/act/suspend?name=main":              {"Suspend source main", "Reason"},
		"/ui/act/undo?name=shop":                 {"quarantine", "example/add:2"},
	}
	for path, words := range tests {
		p := b.shows(path, words...)
		for _, never := range []string{"hunter2", "<script>", "style=", "onclick=", "http://", "%!"} {
			if strings.Contains(strings.ReplaceAll(p.body, "http://www.w3.org", ""), never) {
				t.Errorf("%s holds %q", path, never)
			}
		}
		if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	for _, path := range []string{"/ui/nothing", "/ui/packages/nobody", "/ui/units/a/0/0@b", "/ui/plans/sha256:00"} {
		if p := b.get(path); p.status != http.StatusNotFound || !strings.Contains(p.body, "Not Found") {
			t.Errorf("%s: %d", path, p.status)
		}
	}
	for _, file := range []string{"console.css", "console.js", "htmx.min.js", "idiomorph-ext.min.js", "icon.svg"} {
		if p := b.get("/ui/static/" + file); p.status != http.StatusOK {
			t.Errorf("%s: %d", file, p.status)
		}
	}
	if p := b.get("/api/packages/shop"); p.status != http.StatusOK || p.header.Get("Content-Type") != "application/json" {
		t.Errorf("the API beside it: %d", p.status)
	}
}

// A token opens what its role and limits allow, in a cookie that no script reads.
func TestSignIn(t *testing.T) {
	w := newWorld(t, closed)
	w.apply(shop)
	w.apply(strings.ReplaceAll(shop, "name: shop", "name: other"))
	b := w.browser()
	if p := b.get("/ui/packages"); p.status != http.StatusSeeOther || p.header.Get("Location") != "/ui/signin?next=%2Fui%2Fpackages" {
		t.Errorf("not signed in: %d to %q", p.status, p.header.Get("Location"))
	}
	if p := b.post("/ui/signin", url.Values{"token": {"wrong"}}); p.status != http.StatusUnauthorized || len(p.header["Set-Cookie"]) > 0 {
		t.Errorf("wrong token: %d, %q", p.status, p.header["Set-Cookie"])
	}
	p := b.post("/ui/signin", url.Values{"token": {"eve"}, "next": {"//evil.example/"}})
	cookie := p.header.Get("Set-Cookie")
	if p.status != http.StatusSeeOther || p.header.Get("Location") != "/" || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Strict") {
		t.Errorf("signed in: %d to %q with %q", p.status, p.header.Get("Location"), cookie)
	}
	p = b.shows("/ui/packages", "shop", "eve")
	if strings.Contains(p.body, "other") {
		t.Errorf("eve sees what is beyond her limits:\n%s", p.body)
	}
	if p := b.get("/ui/packages/other"); p.status != http.StatusNotFound {
		t.Errorf("beyond her limits: %d", p.status)
	}
	if p := b.shows("/ui/topology", "shop.cart"); strings.Contains(p.body, "other") {
		t.Error("the map shows eve what is beyond her limits")
	}
	if p := b.post("/ui/signout", nil); p.status != http.StatusSeeOther {
		t.Errorf("sign out: %d", p.status)
	}
	if p := b.get("/"); p.status != http.StatusSeeOther {
		t.Errorf("after signing out: %d", p.status)
	}
}

// Acts need the role, name what happens, and are recorded with the person.
func TestActs(t *testing.T) {
	w := newWorld(t, closed)
	w.apply(shop)
	w.apply(strings.Replace(shop, "add:1", "add:2", 1))
	main := oprc.SourceStatus{Name: "main", ID: "m", URL: "https://git.example/p.git", PlanID: heldID}
	if err := w.state.PutSource(t.Context(), main, nil, 0); err != nil {
		t.Fatal(err)
	}
	ann, eve := w.signedIn("ann"), w.signedIn("eve")
	suspend := url.Values{"name": {"main"}, "reason": {"freeze"}, "for": {"2h"}}
	if p := eve.get("/ui/act/suspend?name=main"); p.status != http.StatusForbidden {
		t.Errorf("a viewer is offered to suspend: %d", p.status)
	}
	if p := eve.post("/ui/act/suspend", suspend); p.status != http.StatusForbidden || !strings.Contains(p.body, "approver") {
		t.Errorf("a viewer suspends: %d %s", p.status, p.body)
	}
	if p := eve.shows("/ui/sources/main"); strings.Contains(p.body, "Suspend…") {
		t.Error("a viewer sees the button")
	}
	if p := ann.post("/ui/act/suspend", suspend, "Sec-Fetch-Site", "cross-site"); p.status != http.StatusForbidden {
		t.Errorf("from another site: %d", p.status)
	}
	if p := ann.post("/ui/act/suspend", url.Values{"name": {"main"}, "reason": {" "}}); p.status != http.StatusBadRequest || !strings.Contains(p.body, "needs a reason") {
		t.Errorf("without a reason: %d", p.status)
	}
	if p := ann.post("/ui/act/suspend", suspend); p.status != http.StatusSeeOther || p.header.Get("Location") != "/ui/sources/main?done=suspend" {
		t.Errorf("suspend: %d %s", p.status, p.body)
	}
	asked, err := w.state.DB.Requests(t.Context())
	if err != nil || len(asked.Asked) != 1 || asked.Asked[0].By != "ann" || asked.Asked[0].Reason != "freeze" {
		t.Errorf("asked %+v, %v", asked, err)
	}
	for act, form := range map[string]url.Values{
		"resume": {"name": {"main"}}, "reconcile": {"name": {"main"}}, "approve": {"plan": {heldID}}, "undo": {"name": {"shop"}, "to": {"1"}},
	} {
		if p := ann.post("/ui/act/"+act, form); p.status != http.StatusSeeOther || !strings.HasSuffix(p.header.Get("Location"), "?done="+act) {
			t.Errorf("%s: %d %s", act, p.status, p.body)
		}
	}
	if p := ann.post("/ui/act/approve", url.Values{"plan": {"sha256:cdcd"}}); p.status != http.StatusNotFound {
		t.Errorf("a plan that is not held: %d", p.status)
	}
	ann.shows("/ui/packages/shop", "revision 3", "by ann")
	ann.shows("/ui/events", "suspended until", "resumed", "plan approved", "by ann")
	if got := w.log.String(); !strings.Contains(got, "act=approve by=ann") || !strings.Contains(got, "act=suspend by=eve") {
		t.Errorf("log:\n%s", got)
	}
}

// A pasted file is validated and planned, and not applied.
func TestTryPlan(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	p := b.post("/ui/plans", url.Values{"text": {shop}})
	for _, want := range []string{"package shop", "shop.cart", "to create", "to deploy"} {
		if !strings.Contains(p.body, want) {
			t.Errorf("%q is not there: %d\n%s", want, p.status, p.body)
		}
	}
	if strings.Contains(p.body[strings.Index(p.body, `class="plan"`):], "hunter2") {
		t.Error("the plan shows a secret")
	}
	if p := b.get("/ui/packages/shop"); p.status != http.StatusNotFound {
		t.Errorf("it was applied: %d", p.status)
	}
	p = b.post("/ui/plans", url.Values{"text": {strings.Replace(shop, "partitionCount: 2", "partitionCount: -2", 1)}})
	if p.status != http.StatusUnprocessableEntity || !strings.Contains(p.body, `<li value="17" class="found">`) {
		t.Errorf("findings at lines: %d\n%s", p.status, p.body)
	}
}

// What happens reaches an open page as a signal, without what it was.
func TestLive(t *testing.T) {
	w := newWorld(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/ui/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("got %q", got)
	}
	read := bufio.NewScanner(res.Body)
	read.Scan() // it watches now
	w.apply(shop)
	for read.Scan() {
		if read.Text() == "event: changed" {
			return
		}
		if strings.Contains(read.Text(), "shop") {
			t.Errorf("got %q", read.Text())
		}
	}
	t.Error("the stream ended")
}
