package schema

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// legacy rewrites what older platforms wrote and a rename or another word does
// not cover.
func (c *checker) legacy(def *definition, n *yaml.Node, p *path) {
	switch strings.TrimPrefix(def.name, compatible) {
	case "Class":
		c.dropObjectType(n, p)
		c.stateToRemoval(n, p)
	case "Function":
		c.staticURL(n, p)
	case "Macro":
		c.listToTemplate(n, p, "respBody")
		c.listToTemplate(n, p, "bodyTemplate")
	case "DataflowStep":
		c.listToTemplate(n, p, "mappings")
		c.listToTemplate(n, p, "respBody")
		c.argRefs(n, p)
	}
}

// listToTemplate reads a body that is written as a list of the parts to put
// together, [{fromObj: a, transforms: [{path: $.p, inject: x}]}], as the template
// {x: ${a|output|$.p}}. A list that is written otherwise is left to be refused.
func (c *checker) listToTemplate(n *yaml.Node, p *path, field string) {
	key, list := lookup(n, field)
	if key == nil || list.Kind != yaml.SequenceNode {
		return
	}
	template := &yaml.Node{Kind: yaml.MappingNode, Tag: tagMap, Style: list.Style, Line: list.Line, Column: list.Column}
	for _, item := range list.Content {
		from, part := "", "output"
		if _, val := lookup(item, "fromObj"); val != nil {
			from = val.Value
		} else if _, val := lookup(item, "fromBody"); val != nil {
			from, part = val.Value, "body"
		}
		_, transforms := lookup(item, "transforms")
		if from == "" || transforms == nil || transforms.Kind != yaml.SequenceNode {
			return
		}
		for _, t := range transforms.Content {
			_, inject := lookup(t, "inject")
			if inject == nil || !isText(inject) || inject.Value == "" {
				return
			}
			text := "${" + from + "|" + part
			if _, at := lookup(t, "path"); at != nil && at.Value != "" {
				text += "|" + at.Value
			}
			template.Content = append(template.Content, scalarAt(inject.Value, inject), quotedAt(text+"}", inject))
		}
	}
	c.report(oprc.CodeLegacy, key, p.field("bodyTemplate", key), "write it as a mapping `bodyTemplate`, or run `oprc convert`", "`%s` as a list is an older spelling of `bodyTemplate`", field)
	if taken, _ := lookup(n, "bodyTemplate"); taken == nil || taken == key {
		key.Value = "bodyTemplate"
	}
	n.Content[slices.Index(n.Content, key)+1] = template
}

// argRefs reads {k: a} as the arguments {k: ${@|args|a}}.
func (c *checker) argRefs(n *yaml.Node, p *path) {
	key, refs := lookup(n, "argRefs")
	if key == nil || refs.Kind != yaml.MappingNode {
		return
	}
	c.report(oprc.CodeLegacy, key, p.field("args", key), "write `args: {NAME: ${@|args|ARGUMENT}}`, or run `oprc convert`", "`argRefs` is an older spelling of `args`")
	for i := 1; i < len(refs.Content); i += 2 {
		if ref := refs.Content[i]; ref.Kind == yaml.ScalarNode && !isNull(ref) {
			ref.Value, ref.Tag, ref.Style = "${@|args|"+ref.Value+"}", tagStr, yaml.DoubleQuotedStyle
		}
	}
	if _, args := lookup(n, "args"); args != nil && args.Kind == yaml.MappingNode {
		args.Content = append(args.Content, refs.Content...)
		remove(n, key)
		return
	}
	key.Value = "args"
}

func quotedAt(text string, at *yaml.Node) *yaml.Node {
	n := scalarAt(text, at)
	n.Style = yaml.DoubleQuotedStyle
	return n
}

func (c *checker) dropObjectType(n *yaml.Node, p *path) {
	if key, _ := lookup(n, "objectType"); key != nil {
		c.report(oprc.CodeLegacy, key, p.field("objectType", key), "remove it", "`objectType` has no meaning any more and is ignored")
		remove(n, key)
	}
}

// stateToRemoval reads `state: REMOVING` of a class as markForRemoval.
func (c *checker) stateToRemoval(n *yaml.Node, p *path) {
	key, val := lookup(n, "state")
	if key == nil || val.Value != "REMOVING" {
		return
	}
	c.report(oprc.CodeLegacy, val, p.field("markForRemoval", key), "write `markForRemoval: true`", "`state: REMOVING` is an older spelling of `markForRemoval: true`")
	key.Value = "markForRemoval"
	val.Value, val.Tag, val.Style = "true", tagBool, 0
}

// staticURL moves provision.staticUrl.url to config.staticUrl.
func (c *checker) staticURL(n *yaml.Node, p *path) {
	provKey, prov := lookup(n, "provision")
	key, static := lookup(prov, "staticUrl")
	_, url := lookup(static, "url")
	if url == nil {
		return
	}
	at := p.field("config", key).field("staticUrl", key)
	c.report(oprc.CodeLegacy, key, at, "write it as `config.staticUrl`", "`provision.staticUrl.url` is an older place of `config.staticUrl`")
	remove(prov, key)
	if len(prov.Content) == 0 {
		remove(n, provKey)
	}
	_, config := lookup(n, "config")
	if config == nil || isNull(config) {
		if config != nil {
			k, _ := lookup(n, "config")
			remove(n, k)
		}
		config = &yaml.Node{Kind: yaml.MappingNode, Tag: tagMap, Line: url.Line, Column: url.Column}
		n.Content = append(n.Content, scalarAt("config", key), config)
	}
	if config.Kind != yaml.MappingNode {
		return // a mismatch, reported later
	}
	config.Content = append(config.Content, scalarAt("staticUrl", key), url)
}

// lookup finds a field of a mapping; n may be nil or no mapping.
func lookup(n *yaml.Node, name string) (key, val *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name && n.Content[i].Kind == yaml.ScalarNode {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// remove takes a field out of a mapping.
func remove(n, key *yaml.Node) {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i] == key {
			n.Content = append(n.Content[:i:i], n.Content[i+2:]...)
			return
		}
	}
}

// scalarAt is a text node that stands where another does.
func scalarAt(text string, at *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tagStr, Value: text, Line: at.Line, Column: at.Column}
}
