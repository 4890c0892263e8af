package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Format returns a file in canonical order, layout and spelling of fields.
// Comments stay with what they describe; what the file means does not change, and
// formatting twice changes nothing more. JSON stays JSON.
//
// A file that is not YAML is an [oprc.InvalidError]. A file whose comments stand
// where they could not be kept is left alone with an error that names the line.
func Format(data []byte) ([]byte, error) {
	out, err := formatOnce(data)
	for range 4 {
		if err != nil {
			return nil, err
		}
		var again []byte
		if again, err = formatOnce(out); bytes.Equal(again, out) && err == nil {
			return out, lostComment(data, out)
		}
		out = again
	}
	if err == nil {
		err = fmt.Errorf("the comments of this file have no stable place: %w", oprc.ErrInvalid)
	}
	return nil, err
}

func formatOnce(data []byte) ([]byte, error) {
	trees, found := parseTrees(oprc.File{Data: data})
	if err := found.Err(); err != nil {
		return nil, err
	}
	for _, tree := range trees {
		canonicalise(tree)
	}
	return printed(data, trees)
}

// printed writes trees in the language of the file that they came from.
func printed(data []byte, trees []*yaml.Node) ([]byte, error) {
	if json.Valid(data) && len(trees) == 1 {
		return printJSON(trees[0])
	}
	return printYAML(trees)
}

// parseTrees reads the documents of a file with their comments and aliases.
func parseTrees(f oprc.File) ([]*yaml.Node, oprc.Diagnostics) {
	if _, found := parse(f); found.Err() != nil {
		return nil, found
	}
	loader, err := yaml.NewLoader(bytes.NewReader(readable(bytes.TrimPrefix(f.Data, []byte("\ufeff")))))
	if err != nil {
		return nil, oprc.Diagnostics{syntaxError(f, f.Data, err)}
	}
	var trees []*yaml.Node
	for {
		var n yaml.Node
		if err := loader.Load(&n); err != nil {
			return trees, nil // the end: parse has read the file once
		}
		trees = append(trees, &n)
	}
}

// canonicalise renames and sorts the fields of a document.
func canonicalise(tree *yaml.Node) {
	root := content(tree)
	if root == nil || root.Kind != yaml.MappingNode {
		return
	}
	def := model().structs[compatible+"Package"]
	if _, kind := lookup(root, "kind"); kind != nil && kind.Value == oprc.KindEnvironment {
		def = model().structs["Environment"]
	}
	s := sorter{keepOrder: hasAlias(root)}
	first := root.Content[:min(1, len(root.Content))]
	s.structure(def, root)
	if len(first) > 0 && first[0] != root.Content[0] && first[0].HeadComment != "" {
		tree.HeadComment = strings.TrimSpace(tree.HeadComment + "\n\n" + first[0].HeadComment)
		first[0].HeadComment = ""
	}
}

// A sorter brings the fields of a tree into the order of the definitions.
type sorter struct {
	keepOrder bool // an alias must not move before its anchor
}

func (s sorter) structure(def *definition, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	type entry struct {
		key, val *yaml.Node
		rank     int
	}
	var entries []entry
	order := orderOf(def)
	for i := 0; i < len(n.Content); i += 2 {
		e := entry{n.Content[i], n.Content[i+1], len(order)}
		if old := def.renamed[e.key.Value]; old != nil && slices.Contains(old.legacy, e.key.Value) {
			if taken, _ := lookup(n, old.name); taken == nil {
				e.key.Value = old.name
			}
		}
		if f := def.byName[e.key.Value]; f != nil {
			e.rank = slices.Index(order, f.name)
			s.value(f.value, e.val)
		}
		entries = append(entries, e)
	}
	if !s.keepOrder {
		slices.SortStableFunc(entries, func(a, b entry) int { return a.rank - b.rank })
	}
	n.Content = n.Content[:0]
	for _, e := range entries {
		n.Content = append(n.Content, e.key, e.val)
	}
}

func (s sorter) value(v *value, n *yaml.Node) {
	switch {
	case v.def != nil:
		s.structure(v.def, n)
	case v.elem != nil && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			s.value(v.elem, item)
		}
	}
}

// preferred lists the fields that come first, where the order of the definitions
// is not the one to read in.
var preferred = map[string][]string{
	"Package":             {"name", "version", "required", "disabled", "classes", "functions", "deployments"},
	"Class":               {"name", "_key", "_rev", "pkg", "description", "stateType", "disabled", "markForRemoval", "parents", "stateSpec", "refSpec", "requirements", "constraints", "config", "functions"},
	"Function":            {"name", "_key", "pkg", "description", "type", "state", "immutable", "outputCls", "variableDescriptions", "requirements", "constraints", "macro", "provision", "config"},
	"FunctionBinding":     {"name", "function", "access", "defaultRoute", "condition", "immutable", "outputCls", "noMain", "noOutput", "defaultArgs", "override", "description"},
	"KnativeProvision":    {"image", "pullPolicy", "port", "minScale", "maxScale", "scaleDownDelay", "concurrency", "targetConcurrency", "cpu", "memory", "requestsCpu", "requestsMemory", "limitsCpu", "limitsMemory", "apiPath", "env"},
	"DeploymentProvision": {"image", "pullPolicy", "port", "replica", "minScale", "maxScale", "requestsCpu", "requestsMemory", "limitsCpu", "limitsMemory", "apiPath", "env"},
	"DataflowStep":        {"function", "target", "targetCls", "as", "args", "bodyTemplate"},
}

// orderOf returns all fields of a definition in canonical order.
func orderOf(def *definition) []string {
	order := preferred[strings.TrimPrefix(def.name, compatible)]
	order = slices.DeleteFunc(slices.Clone(order), func(name string) bool { return def.byName[name] == nil })
	for _, f := range def.fields {
		if !slices.Contains(order, f.name) {
			order = append(order, f.name)
		}
	}
	return order
}

func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || slices.ContainsFunc(n.Content, hasAlias)
}

// lostComment reports the first comment of a file that its new form lacks.
func lostComment(before, after []byte) error {
	for i, line := range bytes.Split(before, []byte("\n")) {
		text := bytes.TrimSpace(line)
		if !bytes.HasPrefix(text, []byte("#")) {
			at := bytes.Index(text, []byte(" #"))
			if at < 0 {
				continue
			}
			text = text[at+1:]
		}
		if !bytes.Contains(after, text) {
			return fmt.Errorf("line %d: the comment %q would be lost; move it to a line of its own above a field: %w", i+1, shorten(string(text)), oprc.ErrInvalid)
		}
	}
	return nil
}
