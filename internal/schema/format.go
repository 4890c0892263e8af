package schema

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Format returns a file with its fields in canonical order and spelling. What is
// in order already stays byte for byte, comments stay with what they describe, what
// the file means does not change, and formatting twice changes nothing more.
//
// A file that could not be written again safely is returned as it is. One that cannot be read, or is of the snake_case dialect, is an
// [oprc.InvalidError].
func Format(f oprc.File) ([]byte, error) {
	roots, found := parseTrees(f)
	if err := found.Err(); err != nil {
		return nil, err
	}
	for _, root := range roots {
		if mark, at := dialectMark(root); mark != nil {
			c := &checker{file: f.Path}
			c.dialect(mark, at)
			return nil, c.found.Err()
		}
	}
	r := newRewriter(f, roots)
	for _, root := range roots {
		r.canonicalise(root)
	}
	r.use()
	out, err := r.text()
	if errors.Is(err, errNotRewritten) {
		return f.Data, nil
	}
	return out, err
}

// parseTrees reads the documents of a file with their aliases.
func parseTrees(f oprc.File) ([]*yaml.Node, oprc.Diagnostics) {
	if _, found := parse(f); found.Err() != nil {
		return nil, found
	}
	return parseRaw(f)
}

// canonicalise renames and sorts the fields of a document.
func (r *rewriter) canonicalise(root *yaml.Node) {
	if root.Kind != yaml.MappingNode {
		return
	}
	def := model().structs[compatible+"Package"]
	if _, kind := lookup(root, "kind"); kind != nil && kind.Value == oprc.KindEnvironment {
		def = model().structs["Environment"]
	}
	sorter{r, hasAlias(root)}.structure(def, root)
}

// A sorter brings the fields of a tree into the order of the definitions.
type sorter struct {
	*rewriter
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
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b entry) int { return a.rank - b.rank })
	if len(entries) > 0 && !s.keepOrder && s.movable(n, sorted[0].key) {
		entries = sorted
	}
	n.Content = n.Content[:0]
	for _, e := range entries {
		n.Content = append(n.Content, e.key, e.val)
	}
}

// movable reports whether the entries of a mapping can change places with their
// comments: each on lines of its own, and no comment above one that would begin
// a list item.
func (s sorter) movable(n, first *yaml.Node) bool {
	if !isBlock(n) {
		return !slices.ContainsFunc(n.Content, s.wasBlock) && !s.hasComments(n)
	}
	for i := 0; i < len(n.Content); i += 2 {
		p := s.pairs[n.Content[i]]
		if p == nil {
			continue // it is new
		}
		if s.keepsEmptyLines(p.val) {
			return false
		}
		if p.inLine && (i > 0 || len(bytes.Trim(s.data[s.lineStart(p.start):p.start], "- \ufeff")) > 0) {
			return false
		}
	}
	p, now := s.pairs[first], s.pairs[n.Content[0]]
	return p == nil || now == nil || !now.inLine || p.inLine || p.lead == s.lineStart(p.start)
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

// keepsEmptyLines reports whether a text block that ends an entry takes the empty
// lines below it for its own.
func (s sorter) keepsEmptyLines(n *yaml.Node) bool {
	for len(n.Content) > 0 {
		n = n.Content[len(n.Content)-1]
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		return false
	}
	header, _, _ := bytes.Cut(s.data[s.spans[n].body:], []byte("\n"))
	header, _, _ = bytes.Cut(header, []byte(" "))
	return bytes.IndexByte(header, '+') >= 0
}

// hasComments reports whether comments stand between the entries of a mapping in
// brackets.
func (s sorter) hasComments(n *yaml.Node) bool {
	sp, old := s.spans[n]
	from := sp.body
	for _, child := range s.was[n].Content {
		next := s.spans[child]
		if bytes.IndexByte(s.data[from:max(from, next.start)], '#') >= 0 {
			return true
		}
		from = next.end
	}
	return old && bytes.IndexByte(s.data[from:max(from, sp.end)], '#') >= 0
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
