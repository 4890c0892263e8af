package rest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/rest"
)

// What is read can be written back, and changes nothing.
func TestWhatIsReadCanBeWrittenBack(t *testing.T) {
	w := newWorld(t)
	open := strings.Replace(shop, "DB_PASSWORD: hunter2", "URL: db", 1)
	w.want(w.post("/packages", open), 201)
	before := w.want(w.get("/packages/shop"), 200)
	for _, field := range []string{"name", "classes", "functions", "required", "deployments", "disabled"} {
		if _, ok := before.json(t)[field]; !ok {
			t.Errorf("a package has no %s", field)
		}
	}
	if p := w.want(w.json("POST", "/packages?dryRun=true", before.body), 200).json(t); len(p["changes"].([]any)) > 0 {
		t.Errorf("POST of what GET answered would change %v", p["changes"])
	}
	again := w.want(w.json("POST", "/packages", before.body), 200).json(t)
	if again["_rev"] != float64(1) {
		t.Errorf("POST of what GET answered wrote revision %v", again["_rev"])
	}
	if ds, _ := again["status"].(map[string]any)["diagnostics"].([]any); len(ds) == 0 {
		t.Error("nothing is said of the fields that are passed over")
	}
	d := w.want(w.get("/deployments/shop.cart"), 200)
	for _, field := range []string{"_key", "partitionCount", "replicaCount", "targetEnvs", "members", "shardType", "assignments", "options"} {
		if _, ok := d.json(t)[field]; !ok {
			t.Errorf("a deployment has no %s", field)
		}
	}
	w.want(w.json("PUT", "/deployments/shop.cart", d.body), 200)
	for _, key := range []string{"cart", ".cart", "shop.cart"} {
		for _, name := range []string{"key", "_key", "cls"} {
			w.want(w.json("PUT", "/deployments/shop.cart", `{"`+name+`":"`+key+`","partitionCount":2}`), 200)
		}
	}
	if rev := w.get("/packages/shop").json(t)["_rev"]; rev != float64(1) {
		t.Errorf("PUT of what GET answered wrote revision %v", rev)
	}
	class := w.get("/classes/shop.cart").json(t)
	for _, field := range []string{"_key", "_rev", "name", "pkg", "stateType", "functions", "stateSpec", "refSpec", "parents", "description", "disabled", "markForRemoval"} {
		if _, ok := class[field]; !ok {
			t.Errorf("a class has no %s", field)
		}
	}
	if _, ok := class["_rev"].(string); !ok {
		t.Errorf("_rev of a class is %v: the specification has a string", class["_rev"])
	}
	function := w.get("/functions/shop.add").json(t)
	for _, field := range []string{"_key", "name", "pkg", "description", "type", "provision", "variableDescriptions", "status", "state", "requirements", "constraints", "config", "immutable"} {
		if _, ok := function[field]; !ok {
			t.Errorf("a function has no %s", field)
		}
	}
	env := w.want(w.get("/environments/east"), 200)
	w.want(w.json("PUT", "/environments/east", env.body), 200)
	if now := w.get("/environments/east").json(t)["_rev"]; now != env.json(t)["_rev"] {
		t.Errorf("PUT of an environment as it was wrote revision %v", now)
	}
}

func TestEnvironmentsAreWritten(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/environments", "name: west\n"), 400)
	made := w.want(w.post("/api/environments", "kind: Environment\nname: west\nlabels: {zone: a}\n"), 201)
	if made.header.Get("Location") != "/environments/west" {
		t.Errorf("got %v", made.header)
	}
	w.want(w.post("/environments", "kind: Environment\nname: west\nlabels: {zone: b}\n"), 200)
	if n := w.get("/environments?label=zone=b").json(t)["total"]; n != float64(1) {
		t.Errorf("by label: got %v", n)
	}
	w.want(w.send("PUT", "/environments/west", "kind: Environment\nname: west\n", "Content-Type", "application/yaml", "If-Match", `"1"`), 412)
	w.want(w.post("/environments", "kind: Environment\nname: west\nlabels: {zone: b}\nkubernetes: {serviceAccount: functions, tolerations: [{key: gpu}]}\n"), 200)
	whole := w.want(w.get("/environments/west"), 200)
	w.want(w.json("PUT", "/environments/west", strings.Replace(whole.body, `"zone":"b"`, `"zone":"c"`, 1)), 200)
	edited := w.get("/environments/west").json(t)
	if diff := cmp.Diff(whole.json(t)["kubernetes"], edited["kubernetes"]); diff != "" || edited["labels"].(map[string]any)["zone"] != "c" {
		t.Errorf("PUT of an edited answer: %v %s", edited["labels"], diff)
	}
	w.want(w.send("PUT", "/environments/nowhere", "kind: Environment\nname: nowhere\n", "Content-Type", "application/yaml"), 404)
	w.want(w.send("DELETE", "/environments/west", ""), 202)
	w.want(w.get("/environments/west"), 404)
}

func TestUnchangedAnswersAreNotSentAgain(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/packages", shop), 201)
	for _, path := range []string{"/packages", "/packages/shop", "/units", "/openapi.json"} {
		tag := w.get(path).header.Get("ETag")
		if a := w.send("GET", path, "", "If-None-Match", tag); a.status != 304 || a.body != "" {
			t.Errorf("%s: got %d %q", path, a.status, a.body)
		}
	}
	tag := w.get("/packages/shop").header.Get("ETag")
	w.want(w.post("/packages", strings.Replace(shop, "fast", "slow", 1)), 200)
	w.want(w.send("GET", "/packages/shop", "", "If-None-Match", tag), 200)
	w.want(w.send("POST", "/packages", shop, "Content-Type", "application/yaml", "If-None-Match", "*"), 412)
	w.want(w.send("POST", "/packages", shop, "Content-Type", "application/yaml", "If-Match", tag), 412)
}

func TestPagesByCursorSurviveWrites(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w.want(w.post("/packages", "name: "+name+"\n"), 201)
	}
	var seen []string
	for after, n := "", 0; n < 4; n++ {
		p := w.want(w.get("/packages?limit=2&after="+after), 200).json(t)
		for _, item := range p["items"].([]any) {
			seen = append(seen, item.(map[string]any)["name"].(string))
		}
		if after, _ = p["next"].(string); after == "" {
			break
		}
		w.want(w.send("DELETE", "/packages/"+after, ""), 202)
	}
	if got := strings.Join(seen, ""); got != "abcde" {
		t.Errorf("got %s, want abcde", got)
	}
	w.want(w.get("/packages?after=a&offset=1"), 400)
	if p := w.want(w.get("/packages?fields=name&limit=1"), 200).json(t)["items"].([]any)[0].(map[string]any); len(p) != 1 || p["name"] == nil {
		t.Errorf("fields: got %v", p)
	}
}

func TestAWriteHappensOnce(t *testing.T) {
	w := newWorld(t)
	once := func(key, body string) answer {
		return w.send("POST", "/packages", body, "Content-Type", "application/yaml", "Idempotency-Key", key)
	}
	first := w.want(once("k", "name: a\n"), 201)
	w.want(w.send("DELETE", "/packages/a", ""), 202)
	again := w.want(once("k", "name: a\n"), 201)
	if again.body != first.body || again.header.Get("Idempotent-Replay") != "true" {
		t.Errorf("got %v %s, want %s", again.header, again.body, first.body)
	}
	w.want(w.get("/packages/a"), 404)
	w.want(once("k", "name: b\n"), 409)
	w.want(once("bad", "name: a\nclases: []\n"), 400)
	if a := w.want(once("bad", "name: a\nclases: []\n"), 400); a.header.Get("Idempotent-Replay") != "true" {
		t.Error("a refusal was made twice")
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	w := newWorld(t)
	if p := w.want(w.post("/packages?dryRun=true", shop), 200).json(t); p["planId"] == nil {
		t.Errorf("got %v", p)
	}
	w.want(w.get("/packages/shop"), 404)
	w.want(w.post("/packages", shop), 201)
	w.want(w.send("DELETE", "/packages/shop?dryRun=true", ""), 200)
	w.want(w.send("DELETE", "/classes/shop.cart?dryRun=true", ""), 200)
	w.want(w.get("/deployments/shop.cart"), 200)
}

func TestPlansAreKeptForEveryDaemon(t *testing.T) {
	w := newWorld(t)
	id := w.want(w.post("/plan", shop), 200).json(t)["planId"].(string)
	other := newServer(t, w.state)
	there := &world{t: t, url: other, state: w.state}
	if p := there.want(there.get("/plans/"+id), 200).json(t); p["planId"] != id {
		t.Errorf("got %v", p)
	}
	there.want(there.get("/plans/sha256:0"), 404)
	there.want(there.send("POST", "/plan/"+id+"/apply", ""), 200)
	w.want(w.get("/packages/shop"), 200)
}

func TestLimits(t *testing.T) {
	w := newWorld(t, func(s *rest.Server) {
		now := time.Now() // it stands still: no request is forgiven
		s.Now = func() time.Time { return now }
		s.Bounds = rest.Bounds{Rate: 1, Burst: 3}
	})
	for range 3 {
		w.want(w.get("/health"), 200)
	}
	if a := w.want(w.get("/health"), 429); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// The document is one that a validator takes, in the parts that matter here: everything
// that it refers to is there, and every operation has a name of its own.
func TestOpenAPI(t *testing.T) {
	w := newWorld(t)
	raw := w.want(w.get("/api/openapi.json"), 200).body
	var doc map[string]any
	if err := json.Unmarshal([]byte(raw), &doc); err != nil {
		t.Fatal(err)
	}
	schemas, _ := doc["components"].(map[string]any)["schemas"].(map[string]any)
	names := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && schemas[strings.TrimPrefix(ref, "#/components/schemas/")] == nil {
				t.Errorf("%s leads nowhere", ref)
			}
			if id, ok := v["operationId"].(string); ok {
				if names[id] {
					t.Errorf("two operations are called %s", id)
				}
				names[id] = true
			}
			for _, member := range v {
				walk(member)
			}
		case []any:
			for _, member := range v {
				walk(member)
			}
		}
	}
	walk(doc)
	for _, path := range []string{"/docs", "/docs/docs.js", "/docs/docs.css"} {
		if a := w.get(path); a.status != 200 || strings.Contains(a.body, "http://") || strings.Contains(a.body, "https://") {
			t.Errorf("%s: %d, or it loads something from elsewhere", path, a.status)
		}
	}
}

// depot has two of everything, and names its classes in each way that there is.
const depot = `
name: depot
functions:
  - {name: stock, provision: {knative: {image: "example/stock:1"}}}
  - {name: pick, type: MACRO, macro: {steps: [{function: stock, target: "@", as: a}]}}
classes:
  - {name: shelf, functions: [{name: stock, function: .stock}, {name: pick, function: .pick}]}
  - {name: box, parents: [.shelf]}
  - {name: lid, functions: [{name: stock, function: .stock}]}
deployments:
  - {_key: .shelf, partitionCount: 2}
  - {key: box, replicaCount: 1, options: {a: b}}
  - {_key: depot.lid}
`

// Deployments are found, shown and replaced, however their package names the class, and
// stay in their place.
func TestDeploymentsByEachKindOfKey(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/packages", depot), 201)
	before := w.want(w.get("/packages/depot"), 200)
	for _, key := range []string{"shelf", "box", "lid"} {
		path := "/deployments/depot." + key
		d := w.want(w.get(path), 200)
		if n := d.json(t)["assignments"].([]any); len(n) != 0 {
			t.Errorf("%s: what was computed is shown as declared: %v", key, n)
		}
		w.want(w.json("PUT", path, d.body), 200)
		if p := w.want(w.json("PUT", path+"?dryRun=true", `{"partitionCount":3}`), 200).json(t); len(p["changes"].([]any)) == 0 {
			t.Errorf("%s: a dry run plans nothing", key)
		}
		w.want(w.json("POST", "/deployments", d.body), 409)
	}
	if after := w.get("/packages/depot"); after.body != before.body {
		t.Errorf("PUT of what GET answered made\n%s of\n%s", after.body, before.body)
	}
	w.want(w.json("PUT", "/deployments/depot.box", `{"_key":"box","partitionCount":3}`), 200)
	ds := w.get("/packages/depot").json(t)["deployments"].([]any)
	if box, _ := ds[1].(map[string]any); len(ds) != 3 || box["_key"] != "box" || box["partitionCount"] != float64(3) {
		t.Errorf("got %v", ds)
	}
	w.want(w.send("DELETE", "/classes/depot.box", ""), 202)
	w.want(w.get("/deployments/depot.box"), 404)
	w.want(w.json("POST", "/deployments?dryRun=true", `{"_key":"depot.box"}`), 200)
	w.want(w.get("/deployments/depot.box"), 404)
	w.want(w.json("POST", "/deployments", `{"_key":"depot.box"} {}`), 400)
	for _, tag := range []string{"1", "bogus", `"bogus"`, `"0"`, `"1`} {
		w.want(w.json("PUT", "/deployments/depot.lid", `{}`, "If-Match", tag), 400)
	}
}

// Each field of the specification is there, empty or not, and what has them all can be
// written back.
func TestFieldsOfTheSpecificationAreThere(t *testing.T) {
	w := newWorld(t)
	w.want(w.post("/packages", depot), 201)
	p := w.want(w.get("/packages/depot"), 200)
	pkg := p.json(t)
	one := func(doc map[string]any, list string) map[string]any {
		first, _ := doc[list].([]any)[0].(map[string]any)
		return first
	}
	sub := func(doc map[string]any, field string) map[string]any {
		m, _ := doc[field].(map[string]any)
		return m
	}
	function := w.get("/functions/depot.stock").json(t)
	class := w.get("/classes/depot.shelf").json(t)
	for what, of := range map[string]struct {
		doc    map[string]any
		fields string
	}{
		"function":    {function, "_key name pkg description type outputCls macro provision variableDescriptions status state requirements constraints config immutable"},
		"a package's": {one(pkg, "functions"), "_key name pkg description type outputCls macro provision variableDescriptions state requirements constraints config immutable"},
		"macro":       {sub(function, "macro"), "steps"},
		"status":      {sub(function, "status"), "condition invocationUrl errorMsg"},
		"binding":     {one(class, "functions"), "name function access defaultRoute condition immutable"},
		"stateSpec":   {sub(class, "stateSpec"), "keySpecs defaultProvider"},
	} {
		for field := range strings.FieldsSeq(of.fields) {
			if v, there := of.doc[field]; !there || v == nil {
				t.Errorf("%s has no %s: %v", what, field, of.doc)
			}
		}
	}
	if plan := w.want(w.json("POST", "/packages?dryRun=true", p.body), 200).json(t); len(plan["changes"].([]any)) > 0 {
		t.Errorf("POST of what GET answered would change %v", plan["changes"])
	}
}

// What the configuration of the daemon owns, and what is built in, is nothing to write here.
func TestObjectsThatAreOwnedElsewhere(t *testing.T) {
	w := newWorld(t)
	for origin, env := range map[string]string{"config": "north", "git:main": "south"} {
		w.apply(origin, "kind: Environment\nname: "+env+"\n")
		doc := w.want(w.get("/environments/"+env), 200)
		w.want(w.json("PUT", "/environments/"+env, doc.body), 409)
		w.want(w.json("POST", "/environments", doc.body), 409)
		w.want(w.send("DELETE", "/environments/"+env, ""), 409)
	}
	w.want(w.send("DELETE", "/environments/north?takeOwnership=true&dryRun=true", ""), 200)
	w.want(w.get("/environments/north"), 200)
	w.want(w.send("DELETE", "/environments/north?takeOwnership=true", ""), 202)
	w.want(w.json("PUT", "/environments/east?dryRun=true", `{"kind":"Environment","name":"east","labels":{"a":"b"}}`), 200)
	if labels := w.get("/environments/east").json(t)["labels"].(map[string]any); len(labels) > 0 {
		t.Errorf("a dry run wrote %v", labels)
	}
	for _, path := range []string{"/packages/builtin", "/classes/builtin.base", "/functions/builtin.new"} {
		w.want(w.get(path), 200)
		w.want(w.get(path+"?objects=true"), 200)
	}
	w.want(w.get("/functions/builtin.old"), 404)
	w.want(w.send("DELETE", "/packages/builtin", ""), 409)
	w.want(w.send("DELETE", "/classes/builtin.base", ""), 409)
}
