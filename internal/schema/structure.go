package schema

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// structure checks a mapping against a definition, field by field.
func (c *checker) structure(def *definition, n *yaml.Node, p *path, s spot) {
	if n.Kind != yaml.MappingNode {
		c.mismatch(&value{shape: structShape, def: def}, n, p, "")
		return
	}
	if !c.strict {
		c.legacy(def, n, p)
	}
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	var meant []string // by names that are unknown
	kept := n.Content[:0]
	for i := 0; i < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		f := c.known(def, key, p)
		if f == nil && key.Kind == yaml.ScalarNode {
			f = c.meant(def, n, key, val)
			meant = append(meant, def.meant(key.Value))
		}
		if f == nil {
			continue
		}
		at := p.field(f.name, key)
		if first := seen[f.name]; first != nil && forgotDash(n, key, p) {
			c.report(oprc.CodeDuplicate, key, at, fmt.Sprintf("write `- %s: %s` if a new item begins here", key.Value, shorten(val.Value)),
				"`%s` is here again, as on line %d: a new item of %s needs a `- `", f.name, first.Line, p.up.label())
			break // what follows belongs to that item
		}
		if first := seen[f.name]; first != nil {
			c.report(oprc.CodeDuplicate, key, at, "remove one of them", "`%s` stands here again; it is first on line %d", f.name, first.Line)
			continue
		}
		seen[f.name] = key
		if c.value(f.value, val, at, spot{def, f}) {
			kept = append(kept, key, val)
		}
	}
	n.Content = kept
	for _, f := range def.fields {
		if f.required && seen[f.name] == nil && !slices.Contains(meant, f.name) {
			c.missing(def, f, n, p)
		}
	}
	c.engines(def, n, p, s)
}

// known finds the field that a key names. It renames an older spelling, and
// reports an unknown one.
func (c *checker) known(def *definition, key *yaml.Node, p *path) *field {
	if key.Kind != yaml.ScalarNode {
		hint := ""
		if key.Kind == yaml.MappingNode {
			hint = templateHint
		}
		c.report(oprc.CodeType, key, p, hint, "expected the name of a field, got %s", got(key))
		return nil
	}
	f := def.byName[key.Value]
	if f != nil && f.system || f == nil && !c.strict && systemField(def, key.Value) {
		c.report(oprc.CodeSystemField, key, p.field(key.Value, key), "remove it", "`%s` is kept by the system and ignored here", key.Value)
		return nil
	}
	if old := def.renamed[key.Value]; f == nil && old != nil && !c.strict {
		if slices.Contains(old.mapped, key.Value) {
			c.report(oprc.CodeLegacy, key, p.field(old.name, key), fmt.Sprintf("write `%s`", old.name), "`%s` is an older name of `%s`", key.Value, old.name)
		}
		key.Value = old.name
		return old
	}
	if f == nil {
		c.report(oprc.CodeField, key, p.field(key.Value, key), c.unknownHint(def, key.Value, p), "unknown field `%s` in %s", shorten(key.Value), noun(def))
	}
	return f
}

// meant returns the field that an unknown key was meant to be, and renames the
// key, so that one mistake is one finding: what stands below is read and checked
// as if it were spelt well. A value of another kind shows that something else was
// meant.
func (c *checker) meant(def *definition, n, key, val *yaml.Node) *field {
	base := strings.TrimPrefix(def.name, compatible)
	if full := c.model.structs[compatible+base]; c.strict && full != nil && full.byName[key.Value] != nil {
		return full.byName[key.Value]
	}
	f := def.byName[def.meant(key.Value)]
	if f == nil || f.system || rejected[base+"."+key.Value] != "" || systemField(def, key.Value) {
		return nil
	}
	if taken, _ := lookup(n, f.name); taken != nil || !f.value.holds(val.Kind) {
		return nil
	}
	key.Value = f.name
	return f
}

// holds reports whether a value is written as a node of that kind.
func (v *value) holds(kind yaml.Kind) bool {
	switch v.shape {
	case listShape:
		return kind == yaml.SequenceNode
	case mapShape, structShape:
		return kind == yaml.MappingNode
	case anyShape:
		return true
	}
	return kind == yaml.ScalarNode
}

// systemField reports whether the system keeps a field of that name in records
// of def, so that files exported from it carry the field.
func systemField(def *definition, name string) bool {
	switch strings.TrimPrefix(def.name, compatible) {
	case "Package", "Class", "Function", "Deployment", "Environment":
		return name == "_rev" || name == "status" || name == "resolved"
	}
	return false
}

func (c *checker) missing(def *definition, f *field, n *yaml.Node, p *path) {
	hint := ""
	switch {
	case f.name == "name" && strings.TrimPrefix(def.name, compatible) == "Package":
		hint = "add `name: NAME`, or supply it with --pkg NAME"
	case f.value.shape == listShape:
		hint = fmt.Sprintf("add `%s: [...]`", f.name)
	case f.value.shape == intShape:
		hint = fmt.Sprintf("add `%s: NUMBER`", f.name)
	default:
		hint = fmt.Sprintf("add `%s: %s`", f.name, strings.ToUpper(strings.TrimPrefix(f.name, "_")))
	}
	c.report(f.code, p.anchor(n), p.field(f.name, nil), hint, "expected `%s` in %s, got none", f.name, noun(def))
}

// engines refuses more than one engine in a provision.
func (c *checker) engines(def *definition, n *yaml.Node, p *path, s spot) {
	if def.maxFields == 0 || len(n.Content)/2 <= def.maxFields {
		return
	}
	var names []string
	for i := 0; i < len(n.Content); i += 2 {
		names = append(names, "`"+n.Content[i].Value+"`")
	}
	second := n.Content[2*def.maxFields]
	c.report(s.code(), second, p.field(second.Value, second), "keep one of them", "expected one engine, got %s", strings.Join(names, " and "))
}

// noun names a definition in a sentence.
func noun(def *definition) string {
	base := strings.TrimPrefix(def.name, compatible)
	if name, ok := nouns[base]; ok {
		return name
	}
	return "the " + strings.ToLower(base)
}

var nouns = map[string]string{
	"FunctionBinding":        "the binding",
	"StateSpecification":     "the state specification",
	"KeySpecification":       "the key specification",
	"ReferenceSpecification": "the reference",
	"DataflowStep":           "the macro step",
	"ProvisionConfig":        "the provision",
	"KnativeProvision":       "the Knative engine",
	"DockerProvision":        "the Docker engine",
	"DeploymentProvision":    "the deployment engine",
	"FunctionConfig":         "the function's config",
	"QosRequirement":         "the requirements",
	"QosConstraint":          "the constraints",
	"VariableDescription":    "the variable description",
	"SecretReference":        "the reference to a secret",
	"SecretKeyReference":     "the key of a secret",
}
