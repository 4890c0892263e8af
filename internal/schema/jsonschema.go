package schema

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// The JSON Schema is written from the same definitions that files are checked by, so
// that an editor and `oprc validate` agree: older names and words are accepted, and
// marked as deprecated; a number is accepted where a text is meant, and nothing where a
// list or a mapping is; unknown fields are not.

// A node of a JSON Schema.
type node = map[string]any

// defsAt is how a schema refers to another of the same document.
const (
	defsInSchema  = "#/$defs/"
	defsInOpenAPI = "#/components/schemas/"
)

// A schemaWriter collects the schemas of all definitions that are referred to.
type schemaWriter struct {
	at   string
	defs node
}

// documents returns the schema of one document of a file.
func (w *schemaWriter) documents() node {
	environment := w.reference(model().structs["Environment"])
	return node{
		"description": "One document of a file: a package or an environment.",
		"if":          node{"type": "object", "required": []string{"kind"}, "properties": node{"kind": node{"const": "Environment"}}},
		"then":        environment,
		"else":        w.reference(model().structs[compatible+"Package"]),
	}
}

func exportJSONSchema() ([]byte, error) {
	w := schemaWriter{at: defsInSchema, defs: node{}}
	doc := w.documents()
	doc["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	doc["$defs"] = w.defs
	return indented(doc)
}

func exportOpenAPI() ([]byte, error) {
	w := schemaWriter{at: defsInOpenAPI, defs: node{}}
	w.defs["Document"] = w.documents()
	for _, name := range roots {
		w.reference(model().structs[name])
	}
	return indented(node{
		"openapi":    "3.1.0",
		"info":       node{"title": "Packages and environments of oprc", "version": "1.0"},
		"paths":      node{},
		"components": node{"schemas": w.defs},
	})
}

func indented(doc node) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(doc)
	return out.Bytes(), err
}

// reference points to the schema of a definition, and writes that first if need be.
func (w *schemaWriter) reference(def *definition) node {
	if _, known := w.defs[def.name]; !known {
		w.defs[def.name] = nil // it may refer to itself
		w.defs[def.name] = w.structure(def)
	}
	return node{"$ref": w.at + def.name}
}

// structure is the schema of a definition: closed, with older names.
func (w *schemaWriter) structure(def *definition) node {
	properties := node{}
	var required []string
	var alternatives []node
	for _, f := range def.fields {
		properties[f.name] = w.field(f)
		older := slices.Concat(f.legacy, f.mapped)
		for _, old := range older {
			properties[old] = node{"allOf": []node{w.field(f)}, "deprecated": true, "description": "Older name of " + f.name + "."}
		}
		names := append([]string{f.name}, older...)
		if len(older) > 0 {
			alternatives = append(alternatives, exclusive(names, f.required))
		} else if f.required {
			required = append(required, f.name)
		}
	}
	for _, name := range []string{"_rev", "status", "resolved"} {
		if _, own := properties[name]; !own && systemField(def, name) {
			properties[name] = node{"deprecated": true, "description": "Kept by the system and ignored in files."}
		}
	}
	s := node{"type": "object", "additionalProperties": false, "properties": properties}
	older(def, properties)
	if def.doc != "" {
		s["description"] = def.doc
	}
	if len(required) > 0 {
		s["required"] = required
	}
	if len(alternatives) > 0 {
		s["allOf"] = alternatives
	}
	if def.maxFields > 0 {
		s["maxProperties"] = def.maxFields
	}
	return s
}

// exclusive allows one of several names of a field.
func exclusive(names []string, required bool) node {
	one := make([]node, 0, len(names)+1)
	for _, name := range names {
		one = append(one, node{"required": []string{name}})
	}
	if !required {
		one = append(one, node{"not": node{"anyOf": slices.Clone(one)}})
	}
	return node{"oneOf": one}
}

// older adds spellings that are more than another name: [checker.legacy] reads them.
func older(def *definition, properties node) {
	add := func(name, description string, s node) {
		if properties[name] == nil {
			s["deprecated"], s["description"] = true, description
			properties[name] = s
		}
	}
	switch strings.TrimPrefix(def.name, compatible) {
	case "Class":
		add("objectType", "It has no meaning any more.", node{})
		add("state", "Older spelling of markForRemoval: true.", node{"const": "REMOVING"})
	case "ProvisionConfig":
		add("staticUrl", "Older place of config.staticUrl.", node{"type": "object", "required": []string{"url"}})
	case "Macro":
		add("respBody", "Older spelling of bodyTemplate.", partsOfBody())
		body := properties["bodyTemplate"].(node)
		properties["bodyTemplate"] = node{"anyOf": []node{body, partsOfBody()}, "description": body["description"]}
	case "DataflowStep":
		add("mappings", "Older spelling of bodyTemplate.", partsOfBody())
		add("respBody", "Older spelling of bodyTemplate.", partsOfBody())
		add("argRefs", "Older spelling of args.", node{"type": "object"})
	}
}

// partsOfBody is a body as older platforms wrote it: [checker.listToTemplate] reads it.
func partsOfBody() node {
	source := node{"type": []string{"string", "number", "boolean"}, "minLength": 1}
	return node{"type": "array", "items": node{
		"type": "object", "required": []string{"transforms"},
		"anyOf": []node{{"required": []string{"fromObj"}}, {"required": []string{"fromBody"}}},
		"properties": node{"fromObj": source, "fromBody": source, "transforms": node{"type": "array", "items": node{
			"type": "object", "required": []string{"inject"}, "properties": node{"inject": node{"type": "string", "minLength": 1}},
		}}},
	}}
}

// field is the schema of a field's value with what is said about it.
func (w *schemaWriter) field(f *field) node {
	s := node{}
	if !f.system { // what the system keeps is ignored, whatever it is
		s = w.value(f.value, f.was)
	}
	if doc := strings.TrimSpace(f.doc); doc != "" {
		s["description"] = doc
	}
	if f.fallback != "" {
		s["description"] = strings.TrimSpace(f.doc + " Default: " + f.fallback)
	}
	if f.system {
		s["deprecated"] = true
	}
	return s
}

// value is the schema of a value; was has older words for it.
func (w *schemaWriter) value(v *value, was map[string]string) node {
	switch v.shape {
	case textShape:
		return w.text(v, was)
	case intShape:
		return v.bounded(node{"type": "integer"})
	case numberShape:
		return v.bounded(node{"type": "number"})
	case boolShape:
		return node{"type": "boolean"}
	case listShape:
		items := w.value(v.elem, nil)
		if v.elem.shape == structShape {
			items = w.reference(v.elem.def) // an item is never empty
		}
		return node{"type": []string{"array", "null"}, "items": items}
	case mapShape:
		s := node{"type": []string{"object", "null"}, "additionalProperties": w.value(v.elem, nil)}
		if v.key != nil {
			s["propertyNames"] = node{"pattern": v.key.pattern.String(), "maxLength": v.key.maxRunes}
		}
		return s
	case structShape:
		return node{"anyOf": []node{w.reference(v.def), {"type": "null"}}}
	}
	return node{}
}

// text is the schema of a text, which may be written as a number or a boolean where
// nothing more is asked of it.
func (w *schemaWriter) text(v *value, was map[string]string) node {
	var s node
	switch {
	case v.enum != nil && len(was) > 0:
		var words []string
		for old := range was {
			words = append(words, old)
		}
		slices.Sort(words)
		s = node{"anyOf": []node{{"enum": v.enum}, {"enum": words, "deprecated": true}}}
	case v.enum != nil:
		s = node{"enum": v.enum}
	default:
		s = node{"type": []string{"string", "number", "boolean"}}
		if v.pattern != nil {
			s["pattern"] = v.pattern.String()
			s = v.bare(s)
		}
		if v.minRunes > 0 {
			s["minLength"] = v.minRunes
		}
		if v.maxRunes > 0 {
			s["maxLength"] = v.maxRunes
		}
	}
	if v.def != nil {
		return node{"anyOf": []node{s, w.reference(v.def)}}
	}
	return s
}

// bare narrows a patterned text to the types whose spellings can match.
func (v *value) bare(s node) node {
	types := []string{"string"}
	switch matches := v.pattern.MatchString; {
	case !matches("1"):
	case !matches("0.5"):
		types = append(types, "integer")
	default:
		types = append(types, "number")
	}
	switch matches := v.pattern.MatchString; {
	case matches("-1") && !matches("-2"): // the word for "unset"
		s["minimum"], s["not"] = -1, node{"type": "number", "exclusiveMinimum": -1, "exclusiveMaximum": 0}
	case !matches("-1"):
		s["minimum"] = 0
	}
	if v.pattern.MatchString("true") {
		types = append(types, "boolean")
	}
	s["type"] = types
	return s
}

// bounded adds the limits of a number.
func (v *value) bounded(s node) node {
	set := func(name string, b *bound) {
		if b == nil {
			return
		}
		if b.open {
			name = "exclusive" + strings.ToUpper(name[:1]) + name[1:]
		}
		s[name] = json.Number(strconv.FormatFloat(b.limit, 'f', -1, 64))
	}
	set("minimum", v.low)
	set("maximum", v.high)
	return s
}
