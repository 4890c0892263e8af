package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A FieldDoc documents one field of the model, from the CUE definitions.
type FieldDoc struct {
	Path     string            `json:"path"`
	Type     string            `json:"type"` // "text", "list of bindings", …
	Values   []string          `json:"values,omitempty"`
	Limits   string            `json:"limits,omitempty"` // of a number or text, in words
	Default  string            `json:"default,omitempty"`
	Required bool              `json:"required,omitempty"`
	Extra    bool              `json:"extra,omitempty"`  // accepted beyond the specification: not with --strict
	System   bool              `json:"system,omitempty"` // kept by the system, ignored in files
	Older    []string          `json:"older,omitempty"`  // older names
	Was      map[string]string `json:"was,omitempty"`    // older values and what they mean now
	Code     oprc.Code         `json:"code,omitempty"`   // of the finding when it is missing or out of range
	Doc      string            `json:"doc"`
	Children []FieldDoc        `json:"children,omitempty"` // one level, without theirs
}

// roots names the definitions that a path may start with. A path that starts
// with none of them is about a package.
var roots = map[string]string{
	"package":     compatible + "Package",
	"environment": "Environment",
	"unit":        "DeploymentUnit",
	"report":      "Report",
	"runtime":     "ClassRuntime",
}

// Roots returns the words that a path of [Fields] may start with, sorted.
func Roots() []string {
	names := make([]string, 0, len(roots))
	for name := range roots {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Fields documents the field at a path such as classes.functions.access, or
// environment.capacity; list indices are passed over. The empty path is the
// package itself. An unknown field is an [oprc.ErrNotFound] that names the
// nearest known one.
func Fields(path string) (FieldDoc, error) {
	steps := strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '/' || r == '[' || r == ']' })
	root := roots["package"]
	at := "package"
	if len(steps) > 0 && roots[steps[0]] != "" {
		at, root = steps[0], roots[steps[0]]
		steps = steps[1:]
	}
	def := model().structs[root]
	doc := FieldDoc{Path: at, Type: "mapping", Doc: def.doc, Children: children("", def)}
	here := ""
	for _, step := range steps {
		if _, err := strconv.Atoi(step); err == nil {
			continue
		}
		if def == nil {
			return FieldDoc{}, fmt.Errorf("field %s.%s: %s is a %s and has no fields: %w", here, step, here, doc.Type, oprc.ErrNotFound)
		}
		f := def.byName[step]
		if f == nil {
			f = def.renamed[step]
		}
		if f == nil {
			return FieldDoc{}, fmt.Errorf("field %s in %s%s: %w", step, noun(def), suggestion(step, def), oprc.ErrNotFound)
		}
		doc = document(here, f)
		here = doc.Path
		def = inner(f.value)
		doc.Children = children(here, def)
	}
	return doc, nil
}

func suggestion(name string, def *definition) string {
	if near := def.meant(name); near != "" {
		return fmt.Sprintf(", did you mean %s?", near)
	}
	return ""
}

func children(at string, def *definition) []FieldDoc {
	if def == nil {
		return nil
	}
	out := make([]FieldDoc, len(def.fields))
	for i, f := range def.fields {
		out[i] = document(at, f)
	}
	return out
}

// inner returns the definition of a struct, or of the items of a list or map.
func inner(v *value) *definition {
	for v.elem != nil {
		v = v.elem
	}
	return v.def
}

func document(at string, f *field) FieldDoc {
	path := f.name
	if at != "" {
		path = at + "." + f.name
	}
	leaf := f.value
	for leaf.elem != nil {
		leaf = leaf.elem
	}
	d := FieldDoc{
		Path: path, Type: typeName(f.value), Values: leaf.enum, Default: f.fallback, Required: f.required,
		Extra: f.extra, System: f.system, Older: slices.Concat(f.legacy, f.mapped), Was: f.was, Doc: f.doc,
	}
	if f.code != oprc.CodeType {
		d.Code = f.code
	}
	if limited := leaf.pattern != nil || leaf.minRunes > 0 || leaf.low != nil || leaf.high != nil; limited {
		d.Limits = expected(leaf)
	}
	return d
}

func typeName(v *value) string {
	switch v.shape {
	case textShape:
		if v.def != nil {
			return "text or mapping"
		}
		return "text"
	case intShape:
		return "whole number"
	case numberShape:
		return "number"
	case boolShape:
		return "true or false"
	case listShape:
		return "list of " + typeName(v.elem)
	case mapShape:
		return "mapping of " + typeName(v.elem)
	case structShape:
		return "mapping"
	}
	return "any value"
}
