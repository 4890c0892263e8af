package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rest"
)

var (
	requests = flag.Int("document.requests", 300, "requests that are made up from the OpenAPI document")
	seed     = flag.Uint64("document.seed", 1, "which requests they are")
)

// A document is the OpenAPI document, as a client reads it.
type document struct {
	Paths map[string]map[string]operation `json:"paths"`
}

type operation struct {
	OperationID string `json:"operationId"`
	Parameters  []struct {
		Name   string         `json:"name"`
		In     string         `json:"in"`
		Schema map[string]any `json:"schema"`
	} `json:"parameters"`
	RequestBody *struct {
		Content map[string]struct {
			Schema map[string]any `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]any `json:"content"`
	} `json:"responses"`
}

// Requests that are made up from the document, good ones and spoilt ones, get answers that
// the document has: their status, their media type and their shape; and never a 500.
func TestAnswersAreThoseOfTheDocument(t *testing.T) {
	w := newWorld(t, func(s *rest.Server) { s.Bounds = rest.Bounds{Rate: -1} }, func(s *rest.Server) { s.Access.Stored = s.Control.(state).DB })
	w.apply(oprc.OriginCLI, shop)
	w.apply(oprc.OriginCLI, "name: refs\nfunctions: [{name: f, provision: {knative: {image: x/f:1, env: {A: {secretKeyRef: {name: s, key: k}}}}}}]\n")
	w.apply("git:main", strings.ReplaceAll(depot, "depot", "gits"))
	w.runs("east", "shop.cart/0/0@east", "shop.add")
	if err := w.state.PutSource(t.Context(), oprc.SourceStatus{Name: "main", URL: "https://git.example/x"}, nil, 0); err != nil {
		t.Fatal(err)
	}
	raw := w.want(w.get("/openapi.json"), 200).body
	f := &fuzzer{t: t, Rand: rand.New(rand.NewPCG(*seed, 0)), schemas: jsonschema.NewCompiler(), statuses: map[string]int{}}
	if err := json.Unmarshal([]byte(raw), &f.doc); err != nil {
		t.Fatal(err)
	}
	whole, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	f.whole, _ = whole.(map[string]any)
	if err := f.schemas.AddResource("doc.json", whole); err != nil {
		t.Fatal(err)
	}
	ops := f.operations()
	for n := range *requests {
		if !f.send(w.handler, ops[n%len(ops)]) {
			t.Errorf("^ request %d of -document.seed %d", n, *seed)
		}
	}
	t.Logf("-document.seed %d: answers by the first digit of their status: %v", *seed, f.statuses)
	if f.statuses["2"] == 0 || f.statuses["4"] == 0 || f.statuses["2"] < *requests/5 {
		t.Errorf("too few requests are good, or none is bad: %v", f.statuses)
	}
}

// A fuzzer makes up requests and judges their answers.
type fuzzer struct {
	*rand.Rand
	t        *testing.T
	doc      document
	whole    map[string]any
	schemas  *jsonschema.Compiler
	statuses map[string]int // by first digit
}

// An op is one operation with its place.
type op struct{ path, method string }

func (f *fuzzer) operations() []op {
	var ops []op
	for path, methods := range f.doc.Paths {
		for method := range methods {
			ops = append(ops, op{path, method})
		}
	}
	slices.SortFunc(ops, func(a, b op) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return ops
}

func (f *fuzzer) one(of ...string) string { return of[f.IntN(len(of))] }

func (f *fuzzer) send(to http.Handler, at op) bool {
	what := f.doc.Paths[at.path][at.method]
	target, query, headers := at.path, url.Values{}, http.Header{}
	for _, p := range what.Parameters {
		switch {
		case p.In == "path":
			target = strings.Replace(target, "{"+p.Name+"}", url.PathEscape(f.key(at.path)), 1)
		case f.IntN(5) == 0:
			query.Set(p.Name, f.parameter(p.Name, p.Schema))
		}
	}
	if f.IntN(40) == 0 {
		query.Set(f.one("x", "limits", "%", "sort "), "1")
	}
	for name, values := range map[string][]string{
		"If-Match": {`"1"`, "*", `"9"`, "x"}, "If-None-Match": {"*", `"1"`, `"a"`}, "Idempotency-Key": {"a", "b", strings.Repeat("k", 300)},
		"Accept-Encoding": {"gzip", "br"}, "Last-Event-ID": {"1-1", "x"}, "Authorization": {"Bearer x", "Basic x"},
	} {
		if f.IntN(12) == 0 {
			headers.Set(name, f.one(values...))
		}
	}
	body := f.body(what, headers)
	if f.IntN(2) == 0 && !strings.HasPrefix(at.path, "/health") && !strings.HasPrefix(at.path, "/ready") && !strings.HasPrefix(at.path, "/metrics") {
		target = "/api" + target
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	if what.OperationID == "watch" {
		cancel() // it lasts; what is refused is refused before
	}
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, strings.ToUpper(at.method), "http://localhost"+target, strings.NewReader(body))
	r.Header = headers
	rec := httptest.NewRecorder()
	to.ServeHTTP(rec, r)
	f.statuses[fmt.Sprint(rec.Code/100)]++
	err := f.judge(at, what, query, rec)
	if err != nil {
		f.t.Errorf("%s %s %v\n%s\n-> %d %s\n%v", r.Method, target, headers, clipped(body), rec.Code, clipped(rec.Body.String()), err)
	}
	return err == nil
}

func clipped(s string) string { return s[:min(len(s), 1000)] }

// key is a key that may be there.
func (f *fuzzer) key(path string) string {
	if f.IntN(8) == 0 {
		return f.one("x", "-", "..", "a/b", "\x00", "%", "é", strings.Repeat("k", 500), "x@y", "shop.cart@")
	}
	switch noun := strings.Split(path, "/")[1]; noun {
	case "classes", "deployments", "topology":
		return f.one("shop.cart", "shop.list", "gits.shelf", "gits.box", "builtin.base")
	case "functions":
		return f.one("shop.add", "gits.stock", "builtin.new")
	case "units":
		return f.one("shop.cart/0/0@east", "shop.cart/1/0@east")
	case "cr":
		return f.one("shop.cart@east", "shop.list@east")
	case "environments", "dead":
		return f.one("east", "west")
	case "sources", "hooks":
		return "main"
	}
	return f.one("shop", "gits", "builtin", "made")
}

func (f *fuzzer) parameter(name string, schema map[string]any) string {
	if f.IntN(8) == 0 {
		return f.one("", "x", "-1", "é", "99999999999999999999", "true", "2026-01-02T03:04:05Z", "\x00", strings.Repeat("9", 300))
	}
	if enum, is := schema["enum"].([]any); is {
		return fmt.Sprint(enum[f.IntN(len(enum))])
	}
	switch schema["type"] {
	case "integer":
		return fmt.Sprint(1 + f.IntN(20))
	case "boolean":
		return f.one("true", "false")
	}
	switch name {
	case "package", "pkg", "name":
		return f.one("shop", "gits")
	case "class":
		return "shop.cart"
	case "env":
		return "east"
	case "since":
		return f.one("1-1", "0-0", "2026-01-02T03:04:05Z")
	case "fields":
		return f.one("_key", "name,_rev", "nothing")
	case "verb":
		return f.one("get", "apply")
	case "kind":
		return "package"
	case "condition":
		return f.one("running", "PENDING")
	}
	return f.one("shop", "a=b", "east")
}

// body is a body of one of the media types that the operation takes, or none.
func (f *fuzzer) body(what operation, headers http.Header) string {
	if what.RequestBody == nil {
		return ""
	}
	media := slices.Sorted(func(yield func(string) bool) {
		for name := range what.RequestBody.Content {
			if !yield(name) {
				return
			}
		}
	})
	kind := f.one(media...)
	schema := what.RequestBody.Content[kind].Schema
	headers.Set("Content-Type", kind)
	if f.IntN(25) == 0 {
		headers.Set("Content-Type", f.one("", "text/plain", "application/json; charset=latin1", "a/b/c"))
	}
	if f.IntN(10) == 0 {
		return f.one("", "{", "[]", "null", "{}", "\x00", "{} {}", `{"name":{}}`, "a: &a [*a]", "\xff", strings.Repeat("[", 2000), `"x"`, "7", `{"__proto__":1}`)
	}
	if len(schema) == 0 || schema["type"] == "object" && schema["properties"] == nil && schema["$ref"] == nil {
		return f.sample(what.OperationID, kind)
	}
	raw, err := json.Marshal(f.value(schema, 0))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(raw)
}

// sample is a document of ours, as it is or with a part of it changed.
func (f *fuzzer) sample(operation, kind string) string {
	text := f.one(strings.ReplaceAll(shop, "name: shop", "name: "+f.one("shop", "made", "made2")), strings.ReplaceAll(depot, "depot", f.one("made", "gits")),
		"name: made\n", "name: made\n---\nname: made2\n")
	switch {
	case strings.Contains(operation, "Environment"):
		text = "kind: Environment\nname: " + f.one("east", "west", "x y") + "\nlabels: {a: b}\n"
	case strings.Contains(operation, "Deployment"):
		text = fmt.Sprintf(`{"_key":%q,"partitionCount":%d,"targetEnvs":["east"]}`, f.one("shop.cart", "shop.list", ".cart", "x"), f.IntN(4))
	}
	if f.IntN(3) == 0 {
		words := strings.Fields(text)
		text = strings.Replace(text, words[f.IntN(len(words))], f.one("7", "~", "[]", "{}", "\"", "-1", "x.y", "true", "1000000", ""), 1)
	}
	if kind == "application/json" && !strings.Contains(operation, "Deployment") && f.IntN(2) == 0 {
		return f.one(`{"name":"made"}`, `{"name":"made","required":["shop"]}`, `{"kind":"Environment","name":"west"}`)
	}
	return text
}

// value is a value of a schema, or nearly.
func (f *fuzzer) value(schema map[string]any, depth int) any {
	if ref, is := schema["$ref"].(string); is {
		components, _ := f.whole["components"].(map[string]any)
		schemas, _ := components["schemas"].(map[string]any)
		target, _ := schemas[ref[strings.LastIndexByte(ref, '/')+1:]].(map[string]any)
		return f.value(target, depth+1)
	}
	if f.IntN(30) == 0 {
		return []any{nil, 7, "x", true, []any{}, map[string]any{}, -1.5, 1e300}[f.IntN(8)]
	}
	kind, _ := schema["type"].(string)
	if kinds, is := schema["type"].([]any); is && len(kinds) > 0 {
		kind, _ = kinds[0].(string)
	}
	switch kind {
	case "object":
		out := map[string]any{}
		properties, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range properties {
				if !yield(name) {
					return
				}
			}
		}) {
			if depth < 6 && (slices.Contains(required, any(name)) || f.IntN(3) == 0) {
				of, _ := properties[name].(map[string]any)
				out[name] = f.value(of, depth+1)
			}
		}
		return out
	case "array":
		of, _ := schema["items"].(map[string]any)
		out := []any{}
		for range f.IntN(3) {
			out = append(out, f.value(of, depth+1))
		}
		return out
	case "integer", "number":
		return f.IntN(5)
	case "boolean":
		return f.IntN(2) == 0
	case "string":
		if schema["format"] == "date-time" {
			return time.Now().UTC().Add(time.Duration(f.IntN(7200)-3600) * time.Second).Format(time.RFC3339)
		}
		return f.one("shop", "shop.cart", "east", "viewer", "RUNNING", "1-1", "", "x", "2h", "é", "sha256:0")
	}
	return map[string]any{}
}

// judge says what of an answer the document does not have.
func (f *fuzzer) judge(where op, what operation, query url.Values, rec *httptest.ResponseRecorder) error {
	if what.OperationID == "watch" && rec.Code == http.StatusOK {
		return nil
	}
	if rec.Code == http.StatusInternalServerError {
		return fmt.Errorf("it is a 500")
	}
	status := fmt.Sprint(rec.Code)
	said, known := what.Responses[status]
	if !known {
		return fmt.Errorf("the document has no %s", status)
	}
	if len(said.Content) == 0 {
		if rec.Body.Len() > 0 {
			return fmt.Errorf("the document has no body")
		}
		return nil
	}
	kind, _, _ := strings.Cut(rec.Header().Get("Content-Type"), ";")
	if _, known := said.Content[kind]; !known && said.Content["*/*"] == nil {
		return fmt.Errorf("the document has no media type %q", kind)
	}
	if kind != "application/json" && kind != "application/problem+json" || rec.Header().Get("Content-Encoding") != "" {
		return nil
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	at := fmt.Sprintf("/paths/%s/%s/responses/%s/content/%s/schema", escape.Replace(where.path), where.method, status, escape.Replace(kind))
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(rec.Body.Bytes()))
	if err != nil {
		return err
	}
	return f.matches(at, body, query.Get("fields") != "" || query.Has("objects"))
}

// matches reports whether a value is as the schema at a place of the document says. Only a
// part of an object may be like an object of any kind.
func (f *fuzzer) matches(at string, value any, part bool) error {
	if anyOf, is := f.at(at + "/anyOf").([]any); is {
		var all error
		for i, schema := range anyOf {
			if s, _ := schema.(map[string]any); !part && s["$ref"] == nil && s["properties"] == nil {
				continue
			}
			err := f.matches(fmt.Sprintf("%s/anyOf/%d", at, i), value, part)
			if err == nil {
				return nil
			}
			all = errors.Join(all, err)
		}
		return all
	}
	schema, err := f.schemas.Compile("doc.json#" + (&url.URL{Path: at}).EscapedPath())
	if err == nil {
		err = schema.Validate(value)
	}
	items := at + "/properties/items/items"
	if object, _ := value.(map[string]any); err == nil && f.at(items) != nil {
		list, _ := object["items"].([]any)
		for _, item := range list {
			err = errors.Join(err, f.matches(items, item, part))
		}
	}
	return err
}

// at is what the document has at a place.
func (f *fuzzer) at(pointer string) any {
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	var v any = f.whole
	for part := range strings.SplitSeq(pointer[1:], "/") {
		switch of := v.(type) {
		case map[string]any:
			v = of[unescape.Replace(part)]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(of) {
				return nil
			}
			v = of[i]
		default:
			return nil
		}
	}
	return v
}
