package schema

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Convert rewrites a file of the snake_case dialect, or one with older spellings,
// as [Load] reads it without a warning. Comments stay; the result is formatted.
// The report says, line by line, what could not be carried over or means
// something slightly different now. A file that is not YAML, or has a key twice,
// is an [oprc.InvalidError].
func Convert(data []byte) (out []byte, report []string, err error) {
	trees, found := parseTrees(oprc.File{Data: data})
	if err := found.Err(); err != nil {
		return nil, nil, err
	}
	if err := repeated(data).Err(); err != nil {
		return nil, nil, err
	}
	c := &converter{}
	for _, tree := range trees {
		root := content(tree)
		if root == nil || root.Kind != yaml.MappingNode {
			continue
		}
		if mark, _ := dialectMark(root); mark != nil {
			c.foreignPackage(root)
		}
		if _, kind := lookup(root, "kind"); kind == nil || kind.Value != oprc.KindEnvironment {
			c.modernise(model().structs[compatible+"Package"], root)
		}
		canonicalise(tree)
	}
	if out, err = printed(data, trees); err != nil {
		return nil, nil, err
	}
	if out, err = Format(out); err != nil {
		return nil, nil, err
	}
	return out, c.report(), nil
}

// repeated finds the keys that stand twice: which of them holds is not for us to
// say.
func repeated(data []byte) (found oprc.Diagnostics) {
	roots, _ := parse(oprc.File{Data: data})
	for _, root := range roots {
		c := &checker{}
		c.free(root, nil)
		for _, d := range c.found {
			if d.Code == oprc.CodeDuplicate {
				found = append(found, d)
			}
		}
	}
	return found
}

// A converter rewrites trees and notes what is lost.
type converter struct {
	notes []note
	pkg   string
	own   map[string]bool // names of the document's classes and functions
}

type note struct {
	line int
	text string
}

func (c *converter) note(at *yaml.Node, format string, args ...any) {
	c.notes = append(c.notes, note{at.Line, fmt.Sprintf(format, args...)})
}

func (c *converter) report() []string {
	slices.SortStableFunc(c.notes, func(a, b note) int { return a.line - b.line })
	var out []string
	for _, n := range c.notes {
		out = append(out, fmt.Sprintf("line %d: %s", n.line, n.text))
	}
	return out
}

// drop removes a field and hands its comments to a neighbour. Unless why is
// empty, the report says that the field is lost.
func (c *converter) drop(n, key *yaml.Node, why string) {
	if why != "" {
		c.note(key, "`%s` %s", key.Value, why)
	}
	var comments []string
	gather(key, &comments)
	if _, val := lookup(n, key.Value); val != nil {
		gather(val, &comments)
	}
	i := slices.Index(n.Content, key)
	remove(n, key)
	if len(comments) == 0 || len(n.Content) == 0 {
		return
	}
	text := strings.Join(comments, "\n")
	if i < len(n.Content) {
		next := n.Content[i]
		next.HeadComment = strings.TrimSpace(text + "\n" + next.HeadComment)
		return
	}
	last := n.Content[len(n.Content)-2]
	last.FootComment = strings.TrimSpace(last.FootComment + "\n" + text)
}

func gather(n *yaml.Node, out *[]string) {
	for _, text := range []string{n.HeadComment, n.LineComment, n.FootComment} {
		if text != "" {
			*out = append(*out, text)
		}
	}
	for _, child := range n.Content {
		gather(child, out)
	}
}

// modernise replaces older names, words and scalars by what they are read as.
func (c *converter) modernise(def *definition, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	c.dropOld(def, n)
	(&checker{quiet: true}).legacy(def, n, nil)
	for i := 0; i+1 < len(n.Content); {
		key, val := n.Content[i], n.Content[i+1]
		if old := def.renamed[key.Value]; old != nil && def.byName[key.Value] == nil {
			if taken, _ := lookup(n, old.name); taken == nil {
				key.Value = old.name
			}
		}
		f := def.byName[key.Value]
		if f != nil && isNull(val) && f.value.shape >= listShape {
			c.drop(n, key, "")
			continue
		}
		if f != nil {
			c.value(f.value, val, f)
		}
		i += 2
	}
}

// dropOld removes the fields that have no meaning in a file.
func (c *converter) dropOld(def *definition, n *yaml.Node) {
	for _, name := range []string{"objectType", "_rev", "status", "resolved"} {
		key, _ := lookup(n, name)
		switch {
		case key == nil:
		case name == "objectType" && strings.TrimPrefix(def.name, compatible) == "Class":
			c.drop(n, key, "has no meaning any more")
		case systemField(def, name):
			c.drop(n, key, "is kept by the system")
		}
	}
}

func (c *converter) value(v *value, n *yaml.Node, f *field) {
	switch {
	case v.shape == textShape && isBare(n):
		n.Tag, n.Style = tagStr, yaml.DoubleQuotedStyle
	case v.shape == textShape && n.Kind == yaml.ScalarNode:
		if now := f.was[n.Value]; now != "" {
			n.Value = now
		}
		if f.name == "function" || f.name == "parents" {
			if name, ok := strings.CutPrefix(n.Value, "builtin.logical."); ok {
				n.Value = oprc.Key(oprc.BuiltinPackage, name)
			}
		}
	case v.shape == structShape:
		c.modernise(v.def, n)
	case v.shape == listShape && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			c.value(v.elem, item, f)
		}
	case v.shape == mapShape && n.Kind == yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			c.value(v.elem, n.Content[i], f)
		}
	}
}
