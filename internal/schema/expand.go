package schema

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// An expander replaces aliases by copies of what they name and merge keys by the
// fields they bring. It gives up at the limits, so that a small file cannot
// become a large tree.
type expander struct {
	file    string
	added   int          // nodes copied so far
	open    []*yaml.Node // aliases being expanded
	refused *oprc.Diagnostic
}

func (e *expander) refuse(n *yaml.Node, message string) *yaml.Node {
	if e.refused == nil {
		d := finding(oprc.CodeLimits, oprc.Position{File: e.file, Line: n.Line, Column: n.Column}, message)
		e.refused = &d
	}
	return n
}

func (e *expander) expand(n *yaml.Node, depth int) *yaml.Node {
	switch {
	case e.refused != nil:
		return n
	case depth > maxDepth && n.Kind != yaml.ScalarNode:
		return e.refuse(n, depthMessage)
	case n.Kind == yaml.AliasNode:
		return e.alias(n, depth)
	}
	if len(e.open) > 0 {
		if e.added++; e.added > maxNodes {
			return e.refuse(e.open[0], fmt.Sprintf("aliases blow the document up to more than %d nodes", maxNodes))
		}
		copied := *n
		copied.Content = append([]*yaml.Node(nil), n.Content...)
		n = &copied
	}
	merges := false
	for i, child := range n.Content {
		n.Content[i] = e.expand(child, depth+1)
		merges = merges || n.Kind == yaml.MappingNode && i%2 == 0 && child.Tag == tagMerge
	}
	if merges && e.refused == nil {
		e.merge(n)
	}
	return n
}

func (e *expander) alias(n *yaml.Node, depth int) *yaml.Node {
	for _, open := range e.open {
		if open.Alias == n.Alias {
			return e.refuse(n, fmt.Sprintf("the alias `*%s` stands inside what it names", n.Value))
		}
	}
	e.open = append(e.open, n)
	out := e.expand(n.Alias, depth)
	e.open = e.open[:len(e.open)-1]
	if e.refused == nil {
		out.Anchor = ""
		out.Line, out.Column = n.Line, n.Column
	}
	return out
}

// merge replaces `<<` by the fields of its mapping, or of each mapping of its
// list. Fields that the mapping has itself win, and earlier ones over later.
func (e *expander) merge(n *yaml.Node) {
	has := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Tag != tagMerge {
			has[n.Content[i].Value] = true
		}
	}
	var out []*yaml.Node
	var first *yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Tag != tagMerge {
			out = append(out, key, val)
			continue
		}
		if first != nil {
			d := finding(oprc.CodeDuplicate, oprc.Position{File: e.file, Line: key.Line, Column: key.Column},
				fmt.Sprintf("the key `<<` is here again; it is first on line %d", first.Line))
			d.Hint = "merge several mappings as a list: `<<: [*a, *b]`"
			e.refused = &d
			return
		}
		first = key
		from := []*yaml.Node{val}
		if val.Kind == yaml.SequenceNode {
			from = val.Content
		}
		for _, m := range from {
			if m.Kind != yaml.MappingNode {
				d := finding(oprc.CodeType, oprc.Position{File: e.file, Line: m.Line, Column: m.Column},
					"`<<`: expected a mapping to merge, got "+got(m))
				e.refused = &d
				return
			}
			for j := 0; j < len(m.Content); j += 2 {
				if name := m.Content[j].Value; !has[name] {
					has[name] = true
					out = append(out, m.Content[j], m.Content[j+1])
				}
			}
		}
	}
	n.Content = out
}
