package rest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rest"
)

func TestPostPackage(t *testing.T) {
	w := newWorld(t)
	first := w.want(w.post("/api/packages", shop), 201)
	got := first.json(t)
	if got["name"] != "shop" || got["_rev"] != float64(1) || got["metadata"].(map[string]any)["origin"] != "api" {
		t.Errorf("got %s", first.body)
	}
	want := []any{map[string]any{"_key": "shop.cart", "condition": "PENDING"}}
	if diff := cmp.Diff(want, got["status"].(map[string]any)["deployments"]); diff != "" {
		t.Errorf("deployments: -want +got:\n%s", diff)
	}
	if h := first.header; h.Get("ETag") != w.get("/packages/shop").header.Get("ETag") || h.Get("Location") != "/packages/shop" {
		t.Errorf("got ETag %s, Location %s", h.Get("ETag"), h.Get("Location"))
	}
	again := w.want(w.post("/packages", shop), 200).json(t)
	if again["_rev"] != float64(1) {
		t.Errorf("unchanged: got revision %v, want 1", again["_rev"])
	}
	changed := w.want(w.send("POST", "/packages", strings.Replace(shop, "fast", "slow", 1), "Content-Type", "text/x-yaml"), 200).json(t)
	if changed["_rev"] != float64(2) {
		t.Errorf("changed: got revision %v, want 2", changed["_rev"])
	}
	w.want(w.json("POST", "/api/packages", `{"name":"other"}`), 201)
	several := w.want(w.post("/api/packages", "name: a\n---\nname: b\n"), 201).json(t)
	if several["total"] != float64(2) {
		t.Errorf("several packages: got %v", several)
	}
	if named := w.want(w.post("/api/packages?pkg=named", "version: \"1\"\n"), 201).json(t); named["name"] != "named" {
		t.Errorf("?pkg=: got %v", named)
	}
}

func TestPostPackageRefuses(t *testing.T) {
	w := newWorld(t)
	w.apply(oprc.OriginCLI, "name: theirs\n")
	tests := map[string]struct {
		path, body, contentType string
		status                  int
		says                    string
	}{
		"unknown field":    {"/api/packages", "name: x\nclases: []\n", "application/yaml", 400, "E002"},
		"syntax":           {"/api/packages", "{", "application/json", 400, "E020"},
		"empty":            {"/api/packages", " \n", "application/json", 400, "empty"},
		"strict":           {"/api/packages?strict=true", "name: x\nclasses: [{name: c, stateType: FILES}]\n", "application/yaml", 400, "diagnostics"},
		"a bad query":      {"/api/packages?strict=perhaps", "name: x\n", "application/yaml", 400, "strict=perhaps"},
		"other owner":      {"/api/packages", "name: theirs\nversion: \"2\"\n", "application/yaml", 409, "theirs"},
		"too large":        {"/api/packages", strings.Repeat("#", oprc.MaxFileSize+1), "application/yaml", 413, "larger"},
		"form":             {"/api/packages", "name: x\n", "application/x-www-form-urlencoded", 415, "application/yaml"},
		"no content type":  {"/api/packages", "name: x\n", "", 415, "application/yaml"},
		"another encoding": {"/api/packages", "name: x\n", "application/yaml; charset=latin1", 415, "UTF-8"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := w.want(w.send("POST", test.path, test.body, "Content-Type", test.contentType), test.status)
			if !strings.Contains(a.body, test.says) {
				t.Errorf("%s does not say %q", a.body, test.says)
			}
		})
	}
	if names := w.get("/packages").json(t); names["total"] != float64(1) {
		t.Errorf("something was stored: %v", names)
	}
	w.want(w.send("POST", "/packages?takeOwnership=true", "name: theirs\n", "Content-Type", "application/yaml"), 200)
}

func TestDiagnosticsHavePositions(t *testing.T) {
	w := newWorld(t)
	p := w.want(w.post("/packages", "name: x\nclases: []\n"), 400).json(t)
	ds, _ := p["diagnostics"].([]any)
	if len(ds) == 0 || p["type"] != "urn:oprc:problem:invalid" {
		t.Fatalf("got %v", p)
	}
	d := ds[0].(map[string]any)
	if d["code"] != "E002" || d["line"] != float64(2) || d["file"] != "request.yaml" || !strings.Contains(fmt.Sprint(d["hint"]), "classes") {
		t.Errorf("got %v", d)
	}
}

func TestListAndFind(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/packages", shop), 201)
	for path, key := range map[string]string{
		"/packages": "shop", "/classes": "shop.cart", "/functions": "shop.add", "/deployments": "shop.cart",
		"/units": "shop.cart/1/0@east", "/environments": "east",
	} {
		for _, prefix := range []string{"", "/api"} {
			if n, _ := w.want(w.get(prefix+path), 200).json(t)["total"].(float64); n < 1 {
				t.Errorf("%s: nothing is listed", path)
			}
			w.want(w.get(prefix+path+"/"+key), 200)
			w.want(w.get(prefix+path+"/nothing"), 404)
		}
	}
	for _, path := range []string{"/cr", "/crms", "/sources"} {
		if got := w.want(w.get(path), 200).body; got != `{"total":0,"offset":0,"itemCount":0,"items":[]}`+"\n" {
			t.Errorf("%s: got %s", path, got)
		}
	}
	d := w.get("/deployments/shop.cart").json(t)["status"].(map[string]any)
	if d["condition"] != "PENDING" || d["specHash"] == "" || d["drift"] != false || d["units"] != float64(2) {
		t.Errorf("deployment: got %v", d)
	}
	f := w.get("/functions/shop.add").json(t)
	if status, _ := f["status"].(map[string]any); status["condition"] != "PENDING" {
		t.Errorf("function: got %v", f)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	w := newWorld(t)
	posted := w.want(w.post("/packages", shop), 201)
	change := strings.Replace(shop, "hunter2", "hunter3", 1)
	for name, a := range map[string]answer{
		"post": posted, "packages": w.get("/packages"), "package": w.get("/packages/shop"), "function": w.get("/functions/shop.add"),
		"unit": w.get("/units/shop.cart/0/0@east"), "history": w.get("/history/shop"), "plan": w.post("/plan", change),
		"objects": w.get("/units?objects=true"),
	} {
		if strings.Contains(a.body, "hunter") || !strings.Contains(a.body, `"DB_PASSWORD":"***"`) && name != "plan" || !strings.Contains(a.body, "fast") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := w.want(w.post("/packages", strings.Replace(shop, "hunter2", "'***'", 1)), 400); !strings.Contains(a.body, "mask") {
		t.Errorf("got %s", a.body)
	}
	o, err := w.state.Find(t.Context(), oprc.KindFunction, "shop.add")
	if err != nil || !strings.Contains(string(oprc.MustCanonical(o.Doc)), "hunter2") {
		t.Errorf("the record lost the secret: %v, %v", o, err)
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"b", "a", "d", "c"} {
		w.want(w.post("/packages", "name: "+name+"\n"), 201)
	}
	w.want(w.post("/packages", "name: c\nversion: \"2\"\n"), 200)
	tests := map[string]struct {
		query string
		want  []string
	}{
		"default":        {"", []string{"a", "b", "c", "d"}},
		"limit":          {"?limit=2", []string{"a", "b"}},
		"offset":         {"?offset=3", []string{"d"}},
		"past the end":   {"?offset=9", nil},
		"descending":     {"?desc=true&limit=3", []string{"d", "c", "b"}},
		"by revision":    {"?sort=_rev&desc=true&limit=1", []string{"c"}},
		"by name, paged": {"?sort=name&offset=1&limit=2", []string{"b", "c"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := w.want(w.get("/packages"+test.query), 200).json(t)
			var got []string
			for _, item := range p["items"].([]any) {
				got = append(got, item.(map[string]any)["name"].(string))
			}
			if diff := cmp.Diff(test.want, got); diff != "" || p["total"] != float64(4) || p["itemCount"] != float64(len(got)) {
				t.Errorf("%v: -want +got:\n%s", p, diff)
			}
		})
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?offset=-1", "?sort=shoe", "?desc=maybe"} {
		w.want(w.get("/packages"+query), 400)
	}
}

func TestDeletePackage(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/packages", shop), 201)
	w.want(w.post("/packages", "name: site\nrequired: [shop]\n"), 201)
	w.apply("git:main", "name: gits\n")
	w.want(w.send("DELETE", "/packages/nothing", ""), 404)
	if a := w.want(w.send("DELETE", "/packages/shop", ""), 409); !strings.Contains(a.body, "site") {
		t.Errorf("%s does not say who needs it", a.body)
	}
	if a := w.want(w.send("DELETE", "/packages/gits", ""), 409); !strings.Contains(a.body, "git:main") {
		t.Errorf("%s does not say who owns it", a.body)
	}
	w.want(w.send("DELETE", "/packages/site", "", "If-Match", `"7"`), 412)
	w.want(w.send("DELETE", "/packages/site", "", "If-Match", `"1"`), 202)
	w.want(w.get("/packages/site"), 404)
	a := w.want(w.send("DELETE", "/api/packages/shop", ""), 202).json(t)
	if commands := a["summary"].(map[string]any)["commands"].(map[string]any); commands["undeploy"] != float64(2) {
		t.Errorf("got %v, want two units undeployed", a)
	}
}

func TestPlanAndApply(t *testing.T) {
	w := newWorld(t)
	p := w.want(w.post("/plan", shop), 200).json(t)
	id, _ := p["planId"].(string)
	if p["formatVersion"] != "1.0" || id == "" {
		t.Fatalf("got %v", p)
	}
	w.want(w.get("/packages/shop"), 404)
	w.want(w.send("POST", "/plan/sha256:unknown/apply", ""), 404)
	w.want(w.json("POST", "/plan/"+id+"/apply", `{"formatVersion":"1.0"}`), 400)
	res := w.want(w.send("POST", "/api/plan/"+id+"/apply?actor=ada", ""), 200).json(t)
	if diff := cmp.Diff(map[string]any{"shop": float64(1)}, res["revs"]); diff != "" {
		t.Errorf("revs: -want +got:\n%s", diff)
	}
	stale := w.want(w.send("POST", "/plan/"+id+"/apply", ""), 409).json(t)
	if objects, _ := stale["objects"].([]any); len(objects) == 0 || stale["type"] != "urn:oprc:problem:conflict" {
		t.Errorf("a stale plan: got %v", stale)
	}
	entries := w.want(w.get("/history/shop"), 200).json(t)["items"].([]any)
	if first := entries[0].(map[string]any); len(entries) != 1 || first["actor"] != "ada" || first["planId"] != id {
		t.Errorf("history: got %v", entries)
	}
	w.want(w.get("/history/nothing"), 404)
	w.want(w.post("/plan", "name: x\nclases: []\n"), 400)
}

func TestDeployments(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/packages", shop), 201)
	w.apply("git:main", strings.Replace(shop, "name: shop", "name: gits", 1))

	for body, status := range map[string]int{
		`{"_key":"shop.cart"}`: 409, `{"_key":"shop.nothing"}`: 400, `{}`: 400, `[]`: 400, `null`: 400, `{`: 400,
		`{"_key":"shop.list","partitionCount":-1}`: 400, `{"_key":"shop.list","tragetEnvs":[]}`: 400,
		`{"_key":"gits.list"}`: 409, `{"_key":"shop.list","targetEnvs":["mars"]}`: 400,
	} {
		if a := w.json("POST", "/deployments", body); a.status != status {
			t.Errorf("POST %s: got %d, want %d: %s", body, a.status, status, a.body)
		}
	}
	w.want(w.post("/deployments", "_key: shop.list"), 415)
	made := w.want(w.json("POST", "/deployments", `{"_key":"shop.list","partitionCount":3}`), 201)
	if made.header.Get("Location") != "/deployments/shop.list" || unitsOf(t, made) != 3 {
		t.Errorf("got %v %s", made.header, made.body)
	}
	if n := unitsOf(t, w.get("/deployments/shop.cart")); n != 2 {
		t.Errorf("the other deployment: got %v units, want 2", n)
	}

	tag := w.get("/deployments/shop.list").header.Get("ETag")
	if tag != made.header.Get("ETag") || tag == "" {
		t.Errorf("got ETag %s, then %s", made.header.Get("ETag"), tag)
	}
	w.want(w.json("PUT", "/deployments/shop.nothing", `{}`), 404)
	w.want(w.json("PUT", "/deployments/shop.list", `{"_key":"shop.cart"}`), 400)
	w.want(w.json("PUT", "/deployments/shop.list", `{"partitionCount":0.5}`), 400)
	w.want(w.json("PUT", "/deployments/gits.cart", `{"partitionCount":1}`), 409)
	w.want(w.json("PUT", "/deployments/shop.list", `{"partitionCount":1}`, "If-Match", `"99"`), 412)
	put := w.want(w.json("PUT", "/api/deployments/shop.list", `{"partitionCount":1}`, "If-Match", tag), 200)
	if unitsOf(t, put) != 1 || put.header.Get("ETag") == tag {
		t.Errorf("got %v %s", put.header, put.body)
	}
	w.want(w.json("PUT", "/deployments/shop.list", `{"partitionCount":2}`, "If-Match", tag), 412)
	if origin := w.get("/packages/shop").json(t)["metadata"].(map[string]any)["origin"]; origin != "api" {
		t.Errorf("the owner is now %v", origin)
	}
	functions := w.get("/functions/shop.add").body
	if o, _ := w.state.Find(t.Context(), oprc.KindFunction, "shop.add"); !strings.Contains(string(oprc.MustCanonical(o.Doc)), "hunter2") {
		t.Errorf("the mask was stored: %s", functions)
	}
}

func unitsOf(t *testing.T, a answer) float64 {
	t.Helper()
	status, _ := a.json(t)["status"].(map[string]any)
	n, _ := status["units"].(float64)
	return n
}

func TestDeploymentOfACommandLinePackageKeepsItsOwner(t *testing.T) {
	w := newWorld(t)
	w.apply(oprc.OriginCLI, shop)
	w.want(w.json("POST", "/deployments", `{"_key":"shop.list"}`), 201)
	if origin := w.get("/packages/shop").json(t)["metadata"].(map[string]any)["origin"]; origin != "cli" {
		t.Errorf("the owner is now %v", origin)
	}
}

func TestDeleteClass(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/packages", shop), 201)
	w.want(w.post("/packages", "name: kid\nclasses: [{name: c, parents: [shop.list]}]\n"), 201)
	w.apply("git:main", strings.Replace(shop, "name: shop", "name: gits", 1))
	w.want(w.send("DELETE", "/classes/shop.nothing", ""), 404)
	w.want(w.send("DELETE", "/classes/builtin.base", ""), 409)
	if a := w.want(w.send("DELETE", "/classes/shop.list", ""), 409); !strings.Contains(a.body, "kid.c") {
		t.Errorf("%s does not name the child", a.body)
	}
	if a := w.want(w.send("DELETE", "/classes/gits.cart", ""), 409); !strings.Contains(a.body, "git:main") {
		t.Errorf("%s does not name the owner", a.body)
	}
	a := w.want(w.send("DELETE", "/api/classes/shop.cart", ""), 202).json(t)
	if commands := a["summary"].(map[string]any)["commands"].(map[string]any); commands["undeploy"] != float64(2) {
		t.Errorf("got %v, want two units undeployed", a)
	}
	w.want(w.get("/deployments/shop.cart"), 404)
}

func TestUpdateRuntime(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/packages", shop), 201)
	rt := oprc.ClassRuntime{
		Key: "shop.cart@east", ClsKey: "shop.cart", Env: "east", Status: oprc.RuntimeScaling, LastUpdate: start,
		Partitions: []oprc.RuntimePartition{{ID: 0, Replicas: []string{"pod-1"}, Time: start}},
	}
	if _, err := w.state.Fold(t.Context(), "east", nil, []oprc.ClassRuntime{rt}, nil); err != nil {
		t.Fatal(err)
	}
	if got := w.want(w.get("/cr/shop.cart@east"), 200).json(t); got["clsKey"] != "shop.cart" {
		t.Errorf("got %v", got)
	}
	update := func(body string) answer { return w.json("POST", "/api/cr/shop.cart@east/update", body) }
	newer := `{"status":"RUNNING","lastUpdate":"2026-01-02T03:05:00Z","partitions":[{"id":0,"replicas":["pod-2"]}]}`
	got := w.want(update(newer), 200).json(t)
	if got["applied"] != true || got["status"] != "RUNNING" || !strings.Contains(fmt.Sprint(got["partitions"]), "pod-2") {
		t.Errorf("newer: got %v", got)
	}
	stale := w.want(update(`{"status":"DOWN","lastUpdate":"2026-01-02T03:04:30Z","partitions":[{"id":0,"replicas":[]}]}`), 200).json(t)
	if stale["applied"] != false || stale["status"] != "RUNNING" || !strings.Contains(fmt.Sprint(stale["partitions"]), "pod-2") {
		t.Errorf("stale: got %v", stale)
	}
	for _, body := range []string{
		`{`, `{"status":"UP","lastUpdate":"2026-01-02T03:05:00Z"}`, `{"status":"DOWN"}`, `{"shoe":1}`,
		`{"_key":"other@east","lastUpdate":"2026-01-02T03:05:00Z"}`,
		`{"lastUpdate":"2026-01-02T03:05:00Z","partitions":[{"id":1},{"id":1}]}`,
	} {
		w.want(update(body), 400)
	}
	w.want(w.json("POST", "/cr/shop.cart@west/update", newer), 404)
	w.want(w.json("POST", "/cr/shop.cart/update", newer), 404)
	w.want(w.post("/cr/shop.cart@east/update", newer), 415)
}

func TestWrongRoutes(t *testing.T) {
	w := newWorld(t)
	w.want(w.get("/nothing"), 404)
	w.want(w.get("/api/nothing/at/all"), 404)
	w.want(w.get("//packages"), 404) // ServeMux would redirect
	w.want(w.get("/packages?lmit=3"), 400)
	w.want(w.get("/packages?limit=3&limit=4"), 400)
	w.want(w.send("GET", "/watch", "", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "7"), 400)
	a := w.want(w.send("DELETE", "/packages", ""), 405)
	if allow := a.header.Get("Allow"); allow != "GET, HEAD, POST" {
		t.Errorf("got Allow %q", allow)
	}
}

func TestTokens(t *testing.T) {
	sum := sha256.Sum256([]byte("open sesame"))
	w := newWorld(t, func(s *rest.Server) {
		s.Access.Anonymous = rest.Viewer
		s.Access.Tokens = []rest.Token{
			{Name: "other", Role: rest.Admin, Hash: strings.Repeat("0", 64)}, {Name: "ada", Role: rest.Editor, Hash: hex.EncodeToString(sum[:])},
		}
	})
	w.want(w.get("/packages"), 200)
	for _, authorization := range []string{"", "open sesame", "Bearer wrong", "Basic open sesame", "Bearer " + hex.EncodeToString(sum[:])} {
		a := w.want(w.send("POST", "/packages", "name: x\n", "Content-Type", "application/yaml", "Authorization", authorization), 401)
		if a.header.Get("WWW-Authenticate") == "" {
			t.Error("no WWW-Authenticate")
		}
	}
	w.want(w.send("POST", "/packages", "name: x\n", "Content-Type", "application/yaml", "Authorization", "Bearer open sesame"), 201)
}

func TestOtherWebSitesMayNotWrite(t *testing.T) {
	w := newWorld(t)
	w.want(w.send("POST", "/packages", "name: x\n", "Content-Type", "application/yaml", "Sec-Fetch-Site", "cross-site"), 403)
	w.want(w.send("DELETE", "/packages/x", "", "Origin", "https://evil.example"), 403)
}

func TestStateAway(t *testing.T) {
	w := newWorld(t)
	w.want(w.get("/ready"), 200)
	w.redis.Close()
	for _, a := range []answer{w.get("/packages"), w.post("/packages", shop), w.post("/plan", shop), w.get("/ready"), w.get("/events")} {
		if w.want(a, 503); a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if got := w.want(w.get("/health"), 200).json(t); got["status"] != "UP" {
		t.Errorf("health: got %v", got)
	}
}

func TestBugsAreAnsweredAndLogged(t *testing.T) {
	log := new(lines)
	s := &rest.Server{Now: time.Now, Control: broken{err: errors.New("secret detail")}, Log: slog.New(slog.NewTextHandler(log, nil))}
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	w := &world{t: t, url: srv.URL}
	for _, a := range []answer{w.get("/packages"), w.get("/packages/x")} {
		if w.want(a, http.StatusInternalServerError); strings.Contains(a.body, "secret") || strings.Contains(a.body, "a bug") {
			t.Errorf("%s tells too much", a.body)
		}
	}
	for _, said := range []string{"secret detail", "a bug"} {
		if !strings.Contains(log.String(), said) {
			t.Errorf("the log does not say %q: %s", said, log)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, func(s *rest.Server) { s.MetricsPath, s.HealthPath = "/prom", "/alive" })
	w.want(w.post("/packages", shop), 201)
	w.want(w.get("/alive"), 200)
	got := w.get("/prom").body
	for _, line := range []string{
		"oprc_state_up 1", "oprc_packages 1", `oprc_deployments{condition="PENDING"} 1`,
		`oprc_units{condition="PENDING",env="east"} 2`, `oprc_environments{env="east",health="UNKNOWN"} 1`,
		`oprc_http_request_duration_seconds_count{code="201",method="post",route="/packages"} 1`, "go_goroutines",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %s in:\n%s", line, got)
		}
	}
	w.redis.Close()
	if got := w.get("/prom").body; !strings.Contains(got, "oprc_state_up 0") || strings.Contains(got, "oprc_units{") {
		t.Errorf("with the state away:\n%s", got)
	}
}
