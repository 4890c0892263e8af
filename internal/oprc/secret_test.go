package oprc_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
)

var secrets = oprc.Secrets{Patterns: []string{"*PASSWORD*", "*TOKEN*", "*KEY*", "*SECRET*"}}

func TestSecretsOfADocumentAreHidden(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"env":{"DB_PASSWORD":"canary","X":"1"}}`, `{"env":{"DB_PASSWORD":"***","X":"1"}}`},
		{`{"custom":{"db":{"deep":[{"password":"canary"}]}}}`, `{"custom":{"db":{"deep":[{"password":"***"}]}}}`},
		{`{"config":{"token":{"of":"canary","and":["canary"]}}}`, `{"config":{"token":"***"}}`},
		{`{"override":{"apiKey":"canary"},"bodyTemplate":{"a":{"secret":"canary"}}}`, `{"bodyTemplate":{"a":{"secret":"***"}},"override":{"apiKey":"***"}}`},
		{`{"keySpecs":[{"name":"k"}],"token":"shown: not in a user's map"}`, ""},
		{
			`{"env":{"key":"shown","K":{"secretKeyRef":{"name":"n","key":"password"}},"DB_PASSWORD":{"secretKeyRef":{"key":"k","name":"n"}}}}`,
			`{"env":{"DB_PASSWORD":{"secretKeyRef":{"key":"k","name":"n"}},"K":{"secretKeyRef":{"key":"password","name":"n"}},"key":"shown"}}`,
		},
		{`{"url":"https://user:canary@git.example/x?access_token=canary&a=b"}`, `{"url":"https://user:***@git.example/x?access_token=***&a=b"}`},
		{`{"url":"https://canary@git.example/x"}`, `{"url":"https://***@git.example/x"}`},
		{`{"url":"ssh://git@git.example/x and a@b"}`, ""},
		{`{"n":12345678901234567890,"env":{"A":"b"}}`, `{"env":{"A":"b"},"n":12345678901234567890}`},
	} {
		want := c.want
		if want == "" {
			want = c.in
		}
		got := string(secrets.Hide(json.RawMessage(c.in)))
		if strings.Contains(got, "canary") || !sameJSON(t, got, want) {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, want)
		}
		if again := string(secrets.Hide(json.RawMessage(got))); again != got {
			t.Errorf("hidden twice: %s, then %s", got, again)
		}
		if holds := secrets.Holds(json.RawMessage(got)); holds != strings.Contains(got, oprc.Masked) {
			t.Errorf("%s: holds the mask: %v", got, holds)
		}
		if secrets.Holds(json.RawMessage(c.in)) {
			t.Errorf("%s is taken for a masked document", c.in)
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	return string(oprc.MustCanonical(x)) == string(oprc.MustCanonical(y))
}

func TestSecretsOfAValueInsideADocument(t *testing.T) {
	for _, c := range []struct {
		at   string
		in   string
		want string
	}{
		{"functions/0/provision/knative/env/DB_PASSWORD", `"canary"`, `"***"`},
		{"env/DB_PASSWORD", `{"secretKeyRef":{"key":"k","name":"n"}}`, `{"secretKeyRef":{"key":"k","name":"n"}}`},
		{"env/DB_PASSWORD/secretKeyRef/name", `"n"`, `"n"`},
		{"custom/db/password/0", `"canary"`, `"***"`},
		{"custom/db", `{"password":"canary"}`, `{"password":"***"}`},
		{"description/password", `"shown"`, `"shown"`},
	} {
		if got := string(secrets.Hide(json.RawMessage(c.in), strings.Split(c.at, "/")...)); got != c.want {
			t.Errorf("%s at %s: got %s, want %s", c.in, c.at, got, c.want)
		}
	}
}

func TestSecretsOfALineAreHidden(t *testing.T) {
	for in, want := range map[string]string{
		`{"env":{"DB_PASSWORD":"canary","A":"b"}}`:        `{"env":{"DB_PASSWORD":***,"A":"b"}}`,
		`  DB_PASSWORD: canary # as it was`:               `  DB_PASSWORD: ***`,
		`  "API_TOKEN" : "canary\" canary", x: 1`:         `  "API_TOKEN" : ***, x: 1`,
		`  {'a-secret':'canary', b: 2}`:                   `  {'a-secret':***, b: 2}`,
		`  DB_PASSWORD: "canary never closed`:             `  DB_PASSWORD: ***`,
		`  url: https://u:canary@h/x`:                     `  url: https://u:***@h/x`,
		`env: [{name: DB_PASSWORD, value: canary}]`:       `env: [{name: DB_PASSWORD, value: ***}]`,
		`a: {token: {a: canary, b: [canary]}, c: d}`:      `a: {token: ***, c: d}`,
		`a: {token: [canary, "canary]"], c: d}`:           `a: {token: ***, c: d}`,
		`  DB_PASSWORD: it's canary`:                      `  DB_PASSWORD: ***`,
		`  DB_PASSWORD:`:                                  `  DB_PASSWORD:`,
		`  - _key: .cart`:                                 `  - _key: .cart`,
		`  class_key: cart`:                               `  class_key: cart`,
		`  keySpecs: [{name: k, type: STRING}]`:           `  keySpecs: [{name: k, type: STRING}]`,
		`  - {key: cart, targetEnvs: [a]}`:                `  - {key: cart, targetEnvs: [a]}`,
		`  env: {TOKEN: canary, PASSWORD: canary, A: 12}`: `  env: {TOKEN: ***, PASSWORD: ***, A: 12}`,
	} {
		if got := secrets.Line(in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}
