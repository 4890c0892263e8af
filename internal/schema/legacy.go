package schema

import (
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
	}
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
