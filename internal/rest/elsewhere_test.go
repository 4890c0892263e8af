package rest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/ingest"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rest"
)

// canary is an environment that a caller who is limited to edge-* must not hear of.
const canary = "kanarie-7"

// mute are the routes that name no environment to anybody, and why.
var mute = map[string]string{
	"/health": "of the process", "/ready": "of the process", "/openapi.json": "of the program", "/docs": "of the program", "/docs/{file}": "of the program",
	"/auth/whoami": "of the caller", "/auth/can-i": "of the caller",
	"/auth/tokens":        "holds limits as they were written",
	"/classes":            "an environment is where a class is deployed",
	"/classes/{key}":      "as above",
	"/sources/{key}/plan": "this server reads no sources",
}

// No route that reads names an environment to who is limited to others, whatever it answers
// with; each one that can is seen to name it to an admin. The routes are those of the table.
func TestEnvironmentsBeyondLimitsAreNowhere(t *testing.T) {
	known, shown := tokens(t, map[string]rest.Token{
		"edgy": {Role: rest.Admin, Limits: rest.Limits{Environments: []string{"edge-*"}}}, "all": {Role: rest.Admin},
	})
	w := newWorld(t, func(s *rest.Server) { s.Access.Tokens = known })
	plans := w.moveAway(shown["all"])
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(w.want(w.get("/openapi.json"), 200).body), &doc); err != nil {
		t.Fatal(err)
	}
	keys := func(listing string) []string { return w.keysOf(listing, shown["all"]) }
	for path, methods := range doc.Paths {
		get, ok := methods["get"]
		if !ok {
			continue
		}
		var of []string
		listing, rest, one := strings.Cut(path, "/{")
		switch {
		case !one:
			of = []string{path}
		case path == "/docs/{file}":
			of = []string{"/docs/docs.js"}
		case path == "/plans/{id}":
			of = plans
		case listing == "/history":
			of = keys("/packages")
			for n := range of {
				of[n] = "/history/" + strings.TrimPrefix(of[n], "/packages/")
			}
		default:
			_, rest, _ = strings.Cut(rest, "}")
			of = keys(listing)
			for n := range of {
				of[n] += rest
			}
		}
		if len(of) == 0 {
			t.Errorf("%s: the world has nothing of the kind: the route is not tried", path)
		}
		named := false
		for _, target := range of {
			for _, query := range queriesOf(t, get) {
				all, limited := w.read(target+query, shown["all"]), w.read(target+query, shown["edgy"])
				if all.status != 200 && path != "/sources/{key}/plan" && path != "/auth/can-i" {
					t.Errorf("%s for the admin: got %d %s", target+query, all.status, all.body)
				}
				named = named || strings.Contains(all.body, canary)
				if limited.status != 200 { // it says what was asked for, as of what is not there at all
					limited.body = strings.ReplaceAll(limited.body, target, "")
					_, key, _ := strings.Cut(strings.TrimPrefix(target, listing), "/")
					limited.body = strings.ReplaceAll(limited.body, strings.TrimSuffix(key, "/queue"), "")
				}
				if strings.Contains(limited.body, canary) {
					t.Errorf("%s names it: %s", target+query, limited.body)
				}
			}
		}
		if _, ok := mute[path]; named == ok {
			t.Errorf("%s: names the environment to an admin: %v", path, named)
		}
	}
}

// moveAway makes a world in which a package went from the canary to edge-1, another one is
// still there, and much is said of both. It returns the paths of plans of both.
func (w *world) moveAway(authorization string) (plans []string) {
	w.t.Helper()
	in := func(name, env string) string {
		return strings.Replace(strings.Replace(shop, "name: shop", "name: "+name, 1), "partitionCount: 2", "targetEnvs: ["+env+"]", 1)
	}
	w.apply(oprc.OriginAPI, "kind: Environment\nname: "+canary+"\n---\nkind: Environment\nname: edge-1\n")
	w.apply(oprc.OriginAPI, in("moved", canary))
	w.runs(canary, "moved.cart/0/0@"+canary, "moved.add")
	w.apply(oprc.OriginAPI, in("moved", "edge-1"))
	w.apply(oprc.OriginAPI, in("there", canary))
	w.runs(canary, "there.cart/0/0@"+canary, "there.add")
	at := w.t.Context()
	if err := w.state.Heartbeat(at, canary, []oprc.Heartbeat{{CRM: "crm-c", Time: time.Now(), Since: start}}); err != nil {
		w.t.Fatal(err)
	}
	recs, err := w.state.UnitRecordsOf(at, "edge-1", []string{"moved.cart/0/0@edge-1"})
	if err != nil || len(recs) != 1 {
		w.t.Fatal(recs, err)
	}
	now := oprc.Status{Condition: oprc.Down, CRM: "crm", Time: start, ErrorMsg: "cannot reach moved.cart/0/0@" + canary + " in " + canary + "."}
	for _, rec := range recs {
		now.Generation, now.SpecHash = rec.Generation, rec.SpecHash
	}
	if _, err := w.state.Fold(at, "edge-1", []ingest.StatusWrite{{ID: "moved.cart/0/0@edge-1", New: now}}, nil, nil); err != nil {
		w.t.Fatal(err)
	}
	for _, env := range []string{canary, "edge-1"} {
		if _, err := w.redis.XAdd("t.{env:"+env+"}.dead", "*", []string{"stream", "reports", "id", "1-1", "reason", "there is no moved.cart/0/0@" + canary, "fields", `{"a":"b"}`}); err != nil {
			w.t.Fatal(err)
		}
		runtime := oprc.ClassRuntime{
			Key: "moved.cart@" + env, ClsKey: "moved.cart", Env: env, Status: oprc.RuntimeRunning, LastUpdate: start,
			Partitions: []oprc.RuntimePartition{{ID: 0, Replicas: []string{"node-0"}, Time: start}},
		}
		if _, err := w.state.Fold(at, env, nil, []oprc.ClassRuntime{runtime}, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.state.PutSource(at, oprc.SourceStatus{
		Name: "main", URL: "https://git.example/x", Conditions: []oprc.SourceCondition{{Type: "Ready", Message: canary + " is not there"}},
	}, nil, 0); err != nil {
		w.t.Fatal(err)
	}
	if err := w.state.Emit(at, []oprc.Event{
		{Type: "moved", Kind: oprc.KindPackage, Key: "moved", Message: "deployment moved.cart: placement (" + canary + " is DOWN)"},
		{Type: "condition", Kind: oprc.KindUnit, Key: "moved.cart/0/0@" + canary, From: "PENDING", To: "RUNNING"},
		{Type: "moved", Kind: oprc.KindPackage, Key: "moved", Message: "last"},
	}, 0); err != nil {
		w.t.Fatal(err)
	}
	for _, env := range []string{canary, "edge-1"} {
		var p struct{ PlanID string }
		if err := json.Unmarshal([]byte(w.want(w.send("POST", "/plan", in("next", env), "Authorization", authorization, "Content-Type", "application/yaml"), 200).body), &p); err != nil || p.PlanID == "" {
			w.t.Fatal(err)
		}
		plans = append(plans, "/plans/"+p.PlanID)
	}
	return plans
}

// keysOf are the paths of all objects of a listing.
func (w *world) keysOf(listing, authorization string) []string {
	w.t.Helper()
	raw := w.want(w.send("GET", listing+"?objects=true&limit=1000", "", "Authorization", authorization), 200).body
	var page struct{ Items []struct{ Key string } }
	if err := json.Unmarshal([]byte(raw), &page); err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, item := range page.Items {
		out = append(out, listing+"/"+item.Key)
	}
	return out
}

// queriesOf are no query, and what the parameters of an operation can bring to light.
func queriesOf(t *testing.T, operation any) []string {
	t.Helper()
	var op struct{ Parameters []struct{ Name string } }
	raw, err := json.Marshal(operation)
	if err == nil {
		err = json.Unmarshal(raw, &op)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := []string{""}
	for _, p := range op.Parameters {
		switch p.Name {
		case "objects", "unwell", "complete", "desc":
			out = append(out, "?"+p.Name+"=true")
		case "env":
			out = append(out, "?env=edge-1")
		case "since":
			out = append(out, "?since="+start.Format(time.RFC3339))
		}
	}
	return out
}

// read reads an answer; of a stream, up to the last event of [world.moveAway].
func (w *world) read(path, authorization string) answer {
	w.t.Helper()
	if before, query, _ := strings.Cut(path, "?"); strings.HasSuffix(before, "/watch") {
		return w.stream(before, query, authorization)
	} else if before == "/events" && strings.HasPrefix(query, "since=") {
		path = "/events?since=0"
	}
	return w.send("GET", path, "", "Authorization", authorization)
}

func (w *world) stream(path, query, authorization string) answer {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	if !strings.HasPrefix(query, "env=") {
		query = "since=0"
	} else {
		query = "since=0&type=moved" // no event of the last kind has an environment
	}
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+path+"?"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", authorization)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var got strings.Builder
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		got.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), `"message":"last"`) {
			return answer{res.StatusCode, res.Header, got.String()}
		}
	}
	w.t.Fatalf("the stream ended: %s", got.String())
	return answer{}
}

// What is taken out of an answer is what names another environment, and nothing that is only
// called so.
func TestHidingEnvironments(t *testing.T) {
	for in, want := range map[string]string{
		`{"replicas":[{"env":"prod","x":1},{"env":"edge-1"}]}`:                `{"replicas":[{"env":"edge-1"}]}`,
		`{"targetEnvs":["prod","edge-1"]}`:                                    `{"targetEnvs":["edge-1"]}`,
		`{"environments":{"prod":1,"edge-1":12345678901234567890}}`:           `{"environments":{"edge-1":12345678901234567890}}`,
		`{"damaged":["unit/shop.cart/0/0@prod","unit/shop.cart/0/0@edge-1"]}`: `{"damaged":["unit/shop.cart/0/0@edge-1"]}`,
		`{"env":"prod"}`: `{"env":"(hidden)"}`,
		`{"error":"no unit shop.cart/0/0@prod; prod is DOWN, prod."}`:      `{"error":"no unit shop.cart/0/0@(hidden); (hidden) is DOWN, (hidden)."}`,
		`{"error":"prod-2 and preprod and prodprod are not prod_1"}`:       `{"error":"prod-2 and preprod and prodprod are not prod_1"}`,
		`{"key":"shop.cart@prod","object":"environment/prod"}`:             `{"key":"shop.cart@(hidden)","object":"environment/(hidden)"}`,
		`{"env":"past","error":"past is away"}`:                            `{"env":"(hidden)","error":"(hidden) is away"}`, // which is not there any more
		`{"name":"prod","origin":"prod","image":"example/prod:1"}`:         `{"name":"prod","origin":"prod","image":"example/prod:1"}`,
		`{"description":"for prod only","config":{"env":{"A":"in prod"}}}`: `{"config":{"env":{"A":"in prod"}},"description":"for prod only"}`,
		`{"env":{"env":"prod","MODE":"as in prod"}}`:                       `{"env":{"MODE":"as in prod","env":"prod"}}`, // variables of a function
	} {
		got, err := rest.Hide(in, []string{"edge-1", "prod"}, []string{"edge-*"})
		var a, b any
		if err != nil || json.Unmarshal([]byte(got), &a) != nil || json.Unmarshal([]byte(want), &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
}
