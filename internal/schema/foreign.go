package schema

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// foreignPackage rewrites a document of the snake_case dialect in place.
func (c *converter) foreignPackage(root *yaml.Node) {
	_, name := lookup(root, "name")
	c.pkg, c.own = "", map[string]bool{}
	if name != nil {
		c.pkg = name.Value
	}
	for _, list := range []string{"classes", "functions"} {
		each(root, list, func(item *yaml.Node) {
			for _, field := range []string{"key", "name"} {
				if _, name := lookup(item, field); name != nil {
					c.own[name.Value] = true
				}
			}
		})
	}
	rename(root, "dependencies", "required")
	if key, val := lookup(root, "metadata"); key != nil {
		c.drop(root, key, unlessEmpty(val, "is not carried over: a package has no metadata"))
	}
	each(root, "classes", c.foreignClass)
	each(root, "functions", c.foreignFunction)
	each(root, "deployments", func(item *yaml.Node) { c.foreignDeployment(root, item) })
	each(root, "classes", func(item *yaml.Node) { c.classOptions(root, item) })
}

func (c *converter) foreignClass(n *yaml.Node) {
	rename(n, "key", "name")
	rename(n, "function_bindings", "functions")
	rename(n, "state_spec", "stateSpec")
	each(n, "functions", c.foreignBinding)
	_, state := lookup(n, "stateSpec")
	if state == nil || state.Kind != yaml.MappingNode {
		return
	}
	rename(state, "key_specs", "keySpecs")
	rename(state, "default_provider", "defaultProvider")
	each(state, "keySpecs", c.foreignKey)
	defer func() {
		if key, _ := lookup(n, "stateSpec"); len(state.Content) == 0 {
			remove(n, key)
		}
	}()
	if key, val := lookup(state, "consistency_model"); key != nil {
		remove(state, key)
		if val.Value != string(oprc.ConsistencyNone) {
			put(into(n, "constraints", key), "consistency", key, val)
		}
	}
	c.dropUnless(state, "persistent", "false", "is not carried over: the storage decides")
	c.dropUnless(state, "serialization_format", "json", "is not carried over: the runtime decides")
}

var keyTypes = map[string]string{
	"string": "STRING", "str": "STRING", "text": "STRING",
	"int": "INTEGER", "integer": "INTEGER", "i32": "INTEGER", "i64": "INTEGER", "u32": "INTEGER", "u64": "INTEGER", "int32": "INTEGER", "int64": "INTEGER", "long": "INTEGER",
	"float": "DOUBLE", "double": "DOUBLE", "f32": "DOUBLE", "f64": "DOUBLE", "number": "DOUBLE",
	"bool": "BOOLEAN", "boolean": "BOOLEAN",
}

func (c *converter) foreignKey(n *yaml.Node) {
	rename(n, "nullable", "optional")
	rename(n, "key_type", "type")
	key, val := lookup(n, "type")
	if key == nil {
		return
	}
	if known := keyTypes[strings.ToLower(val.Value)]; known != "" {
		val.Value = known
		return
	}
	c.drop(n, key, "is not carried over: "+shorten(val.Value)+" is none of STRING, INTEGER, DOUBLE and BOOLEAN")
}

func (c *converter) foreignBinding(n *yaml.Node) {
	rename(n, "function_key", "function")
	rename(n, "access_modifier", "access")
	if _, ref := lookup(n, "function"); ref != nil {
		c.local(ref)
	}
	if key, val := lookup(n, "stateless"); key != nil {
		if is, _ := boolean(val); is {
			c.note(key, "`stateless` became `immutable`: the call does not change the object")
			key.Value = "immutable"
		} else {
			c.drop(n, key, "")
		}
	}
	if key, val := lookup(n, "parameters"); key != nil {
		c.drop(n, key, unlessEmpty(val, "is not carried over: describe arguments in the function's `variableDescriptions`"))
	}
}

// local makes a reference to a class or function of this document relative.
func (c *converter) local(ref *yaml.Node) {
	if c.own[ref.Value] {
		ref.Value = "." + ref.Value
	}
}

func (c *converter) foreignFunction(n *yaml.Node) {
	rename(n, "key", "name")
	rename(n, "function_type", "type")
	rename(n, "qos_requirement", "requirements")
	rename(n, "qos_constraint", "constraints")
	if _, constraints := lookup(n, "constraints"); constraints != nil {
		rename(constraints, "max_concurrency", "maxConcurrency")
	}
	if _, val := lookup(n, "type"); val != nil && val.Value == "CUSTOM" {
		val.Value = string(oprc.Task)
	}
	if key, val := lookup(n, "config"); key != nil && val.Kind == yaml.MappingNode {
		if len(val.Content) == 0 {
			c.drop(n, key, "")
		} else {
			wrap(n, key, "env")
		}
	}
	c.foreignProvision(n)
	if key, val := lookup(n, "disabled"); key != nil {
		if is, _ := boolean(val); is {
			key.Value = "state"
			val.Value, val.Tag = string(oprc.Disabled), tagStr
		} else {
			c.drop(n, key, "")
		}
	}
	if key, meta := lookup(n, "metadata"); key != nil {
		if k, text := lookup(meta, "description"); k != nil && !isNull(text) {
			put(n, "description", k, text)
			remove(meta, k)
		}
		c.drop(n, key, unlessEmpty(meta, "is carried over as the description alone"))
	}
}

// foreignProvision makes a provision_config a Knative service.
func (c *converter) foreignProvision(n *yaml.Node) {
	key, engine := lookup(n, "provision_config")
	if key == nil {
		return
	}
	key.Value = "provision"
	if engine.Kind != yaml.MappingNode {
		c.drop(n, key, "")
		return
	}
	for _, names := range [][2]string{
		{"container_image", "image"},
		{"max_concurrency", "concurrency"},
		{"cpu_request", "requestsCpu"},
		{"memory_request", "requestsMemory"},
		{"cpu_limit", "limitsCpu"},
		{"memory_limit", "limitsMemory"},
		{"min_scale", "minScale"},
		{"max_scale", "maxScale"},
	} {
		rename(engine, names[0], names[1])
	}
	if k, val := lookup(engine, "concurrency"); k != nil && val.Value == "0" {
		c.drop(engine, k, "") // no limit in either dialect
	}
	if k, val := lookup(engine, "need_http2"); k != nil {
		remove(engine, k)
		if is, _ := boolean(val); is {
			put(into(n, "config", k), "http2", k, val)
		}
	}
	if image, _ := lookup(engine, "image"); image == nil {
		c.wasm(n, engine)
	}
	def := model().structs[compatible+"KnativeProvision"]
	for i := 0; i < len(engine.Content); {
		if k, val := engine.Content[i], engine.Content[i+1]; isNull(val) {
			c.drop(engine, k, "")
		} else if def.byName[k.Value] == nil {
			c.drop(engine, k, "is not carried over: no engine has it")
		} else {
			i += 2
		}
	}
	wrap(n, key, "knative")
}

// wasm refuses a function that is a WebAssembly module: no engine runs one.
func (c *converter) wasm(n, engine *yaml.Node) {
	mark, _ := lookup(engine, "wasm_module_url")
	if _, kind := lookup(n, "type"); mark == nil && kind != nil && kind.Value == "WASM" {
		mark = kind
	}
	_, name := lookup(n, "name")
	if mark == nil || name == nil {
		return
	}
	ch := &checker{file: c.path}
	ch.report(oprc.CodeDialect, mark, nil, "build it as a container image, and name that in `container_image`", "function %s is a WebAssembly module, which no engine runs", name.Value)
	c.found = append(c.found, ch.found...)
}

// wrap makes the value of a field the one field of a mapping.
func wrap(n, key *yaml.Node, name string) {
	i := slices.Index(n.Content, key) + 1
	val := n.Content[i]
	n.Content[i] = &yaml.Node{
		Kind: yaml.MappingNode, Tag: tagMap, Style: val.Style & yaml.FlowStyle, Line: val.Line, Column: val.Column,
		Content: []*yaml.Node{scalarAt(name, key), val},
	}
}

// dropUnless drops a field, with a note unless it has the value that goes
// without saying.
func (c *converter) dropUnless(n *yaml.Node, name, usual, why string) {
	key, val := lookup(n, name)
	if key == nil {
		return
	}
	if strings.EqualFold(val.Value, usual) || isNull(val) {
		why = ""
	}
	c.drop(n, key, why)
}

func each(n *yaml.Node, list string, visit func(*yaml.Node)) {
	_, items := lookup(n, list)
	if items == nil || items.Kind != yaml.SequenceNode {
		return
	}
	for _, item := range items.Content {
		if item.Kind == yaml.MappingNode {
			visit(item)
		}
	}
}

func rename(n *yaml.Node, old, now string) {
	if key, _ := lookup(n, old); key != nil {
		if taken, _ := lookup(n, now); taken == nil {
			key.Value = now
		}
	}
}

// put adds a field that comes from elsewhere, unless the mapping has it.
func put(n *yaml.Node, name string, from, val *yaml.Node) {
	if taken, _ := lookup(n, name); taken != nil {
		return
	}
	key := scalarAt(name, from)
	n.Content = append(n.Content, key, val)
}

// into returns the mapping under a field, and makes it where there is none.
func into(n *yaml.Node, name string, from *yaml.Node) *yaml.Node {
	_, val := lookup(n, name)
	if val == nil || val.Kind != yaml.MappingNode {
		val = &yaml.Node{Kind: yaml.MappingNode, Tag: tagMap, Line: from.Line, Column: from.Column}
		rest := scalarAt(name, from)
		if key, _ := lookup(n, name); key != nil {
			remove(n, key)
		}
		n.Content = append(n.Content, rest, val)
	}
	return val
}

func fieldNames(n *yaml.Node) []string {
	var out []string
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			out = append(out, n.Content[i].Value)
		}
	}
	return out
}

// unlessEmpty returns why, or nothing where the value says nothing.
func unlessEmpty(n *yaml.Node, why string) string {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			if unlessEmpty(n.Content[i], why) != "" {
				return why
			}
		}
		return ""
	case yaml.SequenceNode:
		if len(n.Content) == 0 {
			return ""
		}
	case yaml.ScalarNode:
		if isNull(n) || n.Value == "" {
			return ""
		}
	}
	return why
}
