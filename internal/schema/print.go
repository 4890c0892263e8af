package schema

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// printYAML writes documents with two spaces of indentation and an empty line
// between the parts that a reader looks for.
func printYAML(trees []*yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	for i, tree := range trees {
		var doc bytes.Buffer
		dumper, err := yaml.NewDumper(&doc, yaml.WithIndent(2), yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(-1))
		if err != nil {
			return nil, err
		}
		spellNulls(tree, false)
		if err := dumper.Dump(tree); err != nil {
			return nil, err
		}
		if err := dumper.Close(); err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(spaced(doc.Bytes()))
	}
	return out.Bytes(), nil
}

// spellNulls writes out what is absent in flow style or as a key, where the
// printer would make it an empty text.
func spellNulls(n *yaml.Node, bare bool) {
	if bare && isNull(n) && n.Value == "" {
		n.Value = "null"
	}
	flow := bare && n.Kind != yaml.ScalarNode || n.Style&yaml.FlowStyle != 0
	for i, child := range n.Content {
		spellNulls(child, flow || n.Kind == yaml.MappingNode && i%2 == 0)
	}
}

// spaced puts an empty line before each list of the document and between the
// items of those lists, above the comments that belong to them.
func spaced(doc []byte) []byte {
	var tree yaml.Node
	if err := yaml.Load(doc, &tree); err != nil {
		return doc
	}
	root := content(&tree)
	if root == nil || root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 {
		return doc
	}
	var starts []int // lines before which an empty line goes
	for i := 0; i < len(root.Content); i += 2 {
		key, list := root.Content[i], root.Content[i+1]
		if list.Kind != yaml.SequenceNode || list.Style&yaml.FlowStyle != 0 || !slices.ContainsFunc(list.Content, isMapping) {
			continue
		}
		if i > 0 {
			starts = append(starts, key.Line)
		}
		for _, item := range list.Content[1:] {
			starts = append(starts, item.Line)
		}
	}
	lines := strings.SplitAfter(string(doc), "\n")
	starts = startsAbove(lines, starts)
	var out strings.Builder
	for n, line := range lines {
		if _, found := slices.BinarySearch(starts, n+1); found {
			out.WriteByte('\n')
		}
		out.WriteString(line)
	}
	return []byte(out.String())
}

func isMapping(n *yaml.Node) bool { return n.Kind == yaml.MappingNode }

// startsAbove moves each line up over the comments that stand right above it; a
// line that has an empty one above needs no other.
func startsAbove(lines []string, starts []int) []int {
	var out []int
	for _, n := range starts {
		for n > 1 && strings.HasPrefix(strings.TrimSpace(lines[n-2]), "#") {
			n--
		}
		if n > 1 && strings.TrimSpace(lines[n-2]) != "" {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// printJSON writes a document as JSON with its fields in the order of the tree.
func printJSON(tree *yaml.Node) ([]byte, error) {
	var raw, out bytes.Buffer
	if err := writeJSON(&raw, content(tree)); err != nil {
		return nil, err
	}
	if err := json.Indent(&out, raw.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func writeJSON(out *bytes.Buffer, n *yaml.Node) error {
	if n == nil {
		out.WriteString("null")
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		out.WriteByte('{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeText(out, n.Content[i].Value); err != nil {
				return err
			}
			out.WriteByte(':')
			if err := writeJSON(out, n.Content[i+1]); err != nil {
				return err
			}
		}
		out.WriteByte('}')
	case yaml.SequenceNode:
		out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeJSON(out, item); err != nil {
				return err
			}
		}
		out.WriteByte(']')
	default:
		if isText(n) && n.Style&quotedStyle != 0 || !isBare(n) && !isNull(n) {
			return writeText(out, n.Value)
		}
		out.WriteString(n.Value)
	}
	return nil
}

func writeText(out *bytes.Buffer, s string) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(s)
}
