package rest_test

import (
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rest"
)

// whispers holds the word canary in each place where a secret may be written.
const whispers = `name: shop
functions:
  - name: f
    provision: {knative: {image: "registry.example/f:1", env: {DB_PASSWORD: canary, URL: "https://u:canary@db.example/x?access_token=canary", key: shown}}}
    config: {env: {API_TOKEN: canary}, custom: {apiKey: canary, hook: "https://canary@hooks.example/x"}, offloadingConfig: {authToken: canary}}
classes:
  - name: c
    functions: [{name: f, function: .f, defaultArgs: {token: canary}, override: {a: [{deep: {secret: canary}}]}}]
deployments:
  - {key: .c, targetEnvs: [e], options: {sinkPassword: canary}}
---
kind: Environment
name: e
`

// A secret is in no answer, whichever object, listing, plan or problem it is asked for by.
func TestNoAnswerHoldsASecret(t *testing.T) {
	mask := []string{"*PASSWORD*", "*SECRET*", "*TOKEN*", "*KEY*"}
	w := newWorld(t, func(s *rest.Server) { s.Mask = mask })
	yaml := []string{"Content-Type", "application/yaml"}
	texts := map[string]string{}
	ask := func(method, path, body string, want int) {
		t.Helper()
		a := w.send(method, path, body, yaml...)
		if a.status != want {
			t.Errorf("%s %s: got %d, want %d: %s", method, path, a.status, want, a.body)
		}
		texts[method+" "+path+" "+body[:min(len(body), 9)]] = a.body
	}
	ask("POST", "/plan", whispers, 200)
	w.apply(oprc.OriginAPI, whispers)
	ask("POST", "/packages", strings.ReplaceAll(whispers, "canary", "canary-2"), 200)
	ask("POST", "/packages?dryRun=true", strings.ReplaceAll(whispers, "canary", "canary-3"), 200)
	ask("POST", "/packages", strings.Replace(whispers, "env: {DB_PASSWORD: canary,", "env: {DB_PASSWORD: [canary],", 1), 400)
	ask("POST", "/packages", strings.Replace(whispers, "{token: canary}", "[{name: token, value: canary}]", 1), 400)
	for _, path := range []string{"/packages", "/classes", "/functions", "/deployments", "/units", "/environments", "/cr"} {
		ask("GET", path, "", 200)
		ask("GET", path+"?objects=true", "", 200)
	}
	for _, path := range []string{
		"/packages/shop", "/functions/shop.f", "/classes/shop.c", "/deployments/shop.c", "/units/shop.c/0/0@e", "/environments/e",
		"/history/shop", "/events", "/snapshot",
	} {
		ask("GET", path, "", 200)
	}
	for what, text := range texts {
		if at := strings.Index(text, "canary"); at >= 0 {
			t.Errorf("%s: a secret is in the answer: …%s…", what, text[max(0, at-80):min(len(text), at+40)])
		}
	}
	if !strings.Contains(texts["GET /functions/shop.f "], `"key":"shown"`) {
		t.Errorf("what is no secret is hidden: %s", texts["GET /functions/shop.f "])
	}
}
