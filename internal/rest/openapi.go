package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A pageType stands in the table for a page of documents of a type.
type pageType struct{ item any }

func pageOf(item any) pageType { return pageType{item} }

// openapi answers with the OpenAPI document. It is made when somebody asks first.
func (a *api) openapi(w http.ResponseWriter, r *http.Request) error {
	raw, err := a.document()
	if err != nil {
		return err
	}
	return a.send(w, r, http.StatusOK, raw)
}

func (a *api) describe() func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) {
		raw, err := json.Marshal(a.description())
		if err != nil {
			return nil, fmt.Errorf("openapi: %w", err)
		}
		// Lists are never null in an answer: the registry takes every slice for one that
		// may be.
		return bytes.ReplaceAll(raw, []byte(`["array","null"]`), []byte(`"array"`)), nil
	})
}

// description is what the table says, for programs that make clients.
func (a *api) description() *huma.OpenAPI {
	schemas := huma.NewMapRegistry("#/components/schemas/", schemaName)
	schemas.RegisterTypeAlias(reflect.TypeFor[oprc.EnvValue](), reflect.TypeFor[envValue]())
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "oprc", Version: apiVersion,
			Description: "Control plane of Object-as-a-Service: packages in, running classes out. Every error is a problem (RFC 9457).",
			License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Servers: []*huma.Server{{URL: "/"}, {URL: "/api"}},
		Components: &huma.Components{
			Schemas: schemas,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"token": {Type: "http", Scheme: "bearer", Description: "A token of the server, or one of its OpenID Connect provider."},
			},
		},
	}
	refused := schemas.Schema(reflect.TypeFor[problem](), true, "Problem")
	for i := range a.routes {
		doc.AddOperation(a.routes[i].operation(schemas, refused))
	}
	return doc
}

// envValue is what an oprc.EnvValue is in JSON.
type envValue struct{}

func (envValue) Schema(r huma.Registry) *huma.Schema {
	ref := r.Schema(reflect.TypeFor[oprc.SecretKeyRef](), true, "SecretKeyRef")
	return &huma.Schema{AnyOf: []*huma.Schema{
		{Type: huma.TypeString},
		{Type: huma.TypeObject, Properties: map[string]*huma.Schema{"secretKeyRef": ref}, Required: []string{"secretKeyRef"}, AdditionalProperties: false},
	}}
}

// schemaName is the name of a type; where it is neither a noun nor the API's own, with
// that of its package before it.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := huma.DefaultSchemaNamer(t, hint)
	pkg := path.Base(t.PkgPath())
	if pkg == "oprc" || pkg == "rest" || pkg == "." {
		return name
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + name
}

// operation is one line of the table in OpenAPI's words.
func (rt *route) operation(schemas huma.Registry, refused *huma.Schema) *huma.Operation {
	op := &huma.Operation{
		Method: rt.method, Path: strings.ReplaceAll(rt.path, "...}", "}"), OperationID: rt.name, Summary: rt.says,
		Tags: []string{rt.tag()}, Responses: map[string]*huma.Response{},
	}
	op.Parameters = rt.parameters()
	if len(rt.takes) > 0 {
		op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{}}
		for _, media := range rt.takes {
			schema := &huma.Schema{}
			if rt.body != nil {
				schema = schemas.Schema(reflect.TypeOf(rt.body), true, rt.name)
			}
			op.RequestBody.Content[media] = &huma.MediaType{Schema: schema}
		}
	}
	media := rt.media
	if media == "" {
		media = jsonType
	}
	good := rt.good
	if len(good) == 0 {
		good = []int{http.StatusOK}
	}
	for _, status := range good {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{media: {Schema: answerSchema(schemas, rt)}},
		}
	}
	bad := append([]int{400, 401, 403, 404, 421, 429, 500, 503}, rt.bad...)
	if len(rt.takes) > 0 {
		bad = append(bad, http.StatusRequestTimeout)
	}
	if rt.method == http.MethodGet && media == jsonType {
		bad = append(bad, http.StatusNotModified) // whatever has an ETag
	}
	for _, status := range bad {
		code := strconv.Itoa(status)
		switch {
		case op.Responses[code] != nil:
		case status == http.StatusNotModified:
			op.Responses[code] = &huma.Response{Description: http.StatusText(status)}
		default:
			op.Responses[code] = &huma.Response{
				Description: http.StatusText(status), Content: map[string]*huma.MediaType{problemType: {Schema: refused}},
			}
		}
	}
	if rt.role != Anybody {
		op.Security = []map[string][]string{{}, {"token": {}}}
		op.Description = "Needs the role " + string(rt.role) + "."
	}
	return op
}

// answerSchema is the schema of a good answer: of one thing, or of one of several.
func answerSchema(schemas huma.Registry, rt *route) *huma.Schema {
	anyOf := []*huma.Schema{schemaOf(schemas, rt, rt.answers)}
	for _, other := range rt.or {
		anyOf = append(anyOf, schemaOf(schemas, rt, other))
	}
	_, isPage := rt.answers.(pageType)
	for _, p := range rt.query {
		switch {
		case p.name == "dryRun":
			anyOf = append(anyOf, schemaOf(schemas, rt, plan.Plan{}))
		case p.name == "fields" && !isPage:
			anyOf = append(anyOf, &huma.Schema{Type: huma.TypeObject}) // a part of it
		}
	}
	if len(anyOf) == 1 {
		return anyOf[0]
	}
	return &huma.Schema{AnyOf: anyOf}
}

func schemaOf(schemas huma.Registry, rt *route, answer any) *huma.Schema {
	switch of := answer.(type) {
	case pageType:
		items := schemas.Schema(reflect.TypeOf(of.item), true, rt.name)
		page := schemas.Schema(reflect.TypeFor[page](), false, "Page")
		out := *page
		out.Properties = maps.Clone(page.Properties)
		if slices.ContainsFunc(rt.query, func(p param) bool { return p.name == "fields" }) {
			items = &huma.Schema{AnyOf: []*huma.Schema{items, {Type: huma.TypeObject}}}
		}
		out.Properties["items"] = &huma.Schema{Type: huma.TypeArray, Items: items}
		return &out
	case string:
		return &huma.Schema{Type: huma.TypeString}
	case map[string]any, map[string]string:
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
	}
	return schemas.Schema(reflect.TypeOf(answer), true, rt.name)
}

func (rt *route) tag() string {
	first, _, _ := strings.Cut(strings.TrimPrefix(rt.path, "/"), "/")
	return first
}

func (rt *route) parameters() []*huma.Param {
	var out []*huma.Param
	for part := range strings.SplitSeq(rt.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")
			out = append(out, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString, MinLength: new(1)}})
		}
	}
	for _, p := range rt.query {
		schema := &huma.Schema{Type: p.kind}
		for _, value := range p.enum {
			schema.Enum = append(schema.Enum, value)
		}
		if p.kind == huma.TypeInteger {
			least, most := float64(p.least), float64(p.most)
			schema.Minimum, schema.Maximum = &least, &most
		}
		out = append(out, &huma.Param{Name: p.name, In: "query", Description: p.says, Schema: schema})
	}
	return out
}
