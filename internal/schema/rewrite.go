package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// A rewriter writes a file again whose trees were changed. What was not changed
// comes out byte for byte, and comments move with what they stand by.
type rewriter struct {
	*source
	path   string
	mark   []byte                    // the byte order mark that begins the file, if one does
	trees  []*yaml.Node              // the top nodes of the documents
	roots  []*yaml.Node              // and as they were read
	was    map[*yaml.Node]yaml.Node  // nodes as they were read
	paired map[*yaml.Node]*yaml.Node // values as they were read, by key
	pairs  map[*yaml.Node]*pair      // entries of block mappings as they were read, by key
	keyOf  map[*yaml.Node]*yaml.Node // and keys by value
	owner  map[*yaml.Node]*rewriter  // of nodes that come from another file
	used   map[*yaml.Node]bool       // the nodes of the changed trees
	dirty  map[*yaml.Node]bool
}

// A pair is an entry of a block mapping as it stands in the text.
type pair struct {
	val    *yaml.Node
	indent int
	lead   int  // its comments above
	start  int  // its key
	end    int  // behind its last line and the comments below that belong to it
	inLine bool // something stands before it on its line, such as the dash of an item
}

// newRewriter remembers trees before they are changed.
func newRewriter(f oprc.File, roots []*yaml.Node) *rewriter {
	data := bytes.TrimPrefix(f.Data, byteOrderMark)
	r := &rewriter{
		source: newSource(data, roots), mark: f.Data[:len(f.Data)-len(data)], path: f.Path, trees: roots, roots: slices.Clone(roots),
		was: map[*yaml.Node]yaml.Node{}, paired: map[*yaml.Node]*yaml.Node{}, pairs: map[*yaml.Node]*pair{}, keyOf: map[*yaml.Node]*yaml.Node{}, owner: map[*yaml.Node]*rewriter{}, used: map[*yaml.Node]bool{}, dirty: map[*yaml.Node]bool{},
	}
	for _, root := range roots {
		r.remember(root)
	}
	return r
}

func (r *rewriter) remember(n *yaml.Node) {
	was := *n
	was.Content = slices.Clone(n.Content)
	r.was[n] = was
	for _, child := range n.Content {
		r.remember(child)
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		r.paired[n.Content[i]], r.keyOf[n.Content[i+1]] = n.Content[i+1], n.Content[i]
	}
	if isBlock(n) {
		r.pair(n)
	}
}

// pair divides the text of a block mapping among its entries.
func (r *rewriter) pair(n *yaml.Node) {
	sp := r.spans[n]
	var before *pair
	for i := 0; i < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		p := &pair{val: val, indent: sp.indent, start: r.spans[key].start, end: r.behind(key, val)}
		line := r.lineStart(p.start)
		switch p.inLine = !r.begins(p.start); {
		case p.inLine:
			p.lead = p.start
		case before == nil:
			_, p.lead = r.gap(r.above(p.start), line)
			p.lead = r.belowHeader(p.lead, line)
		default:
			before.end, p.lead = r.gap(before.end, line)
		}
		r.pairs[key], before = p, p
	}
	before.end = sp.end
}

// behind returns the start of the line below an entry.
func (r *rewriter) behind(key, val *yaml.Node) int {
	end := r.spans[val].end
	if isNull(val) && val.Value == "" {
		end = max(end, r.spans[key].end+1) // behind the colon
	}
	return r.lineEnd(end)
}

// above returns the start of the comments and empty lines above a token, or the
// token where something else stands before it on its line.
func (r *rewriter) above(at int) int {
	if !r.begins(at) {
		return at
	}
	line := r.lineStart(at)
	for line > 0 {
		up := r.lineStart(line - 1)
		if text := r.line(up); len(text) > 0 && text[0] != '#' {
			break
		}
		line = up
	}
	return line
}

// begins reports whether a token is the first of its line.
func (r *rewriter) begins(at int) bool {
	return len(bytes.TrimSpace(bytes.TrimPrefix(r.data[r.lineStart(at):at], byteOrderMark))) == 0
}

// belowHeader keeps at the top what stands there: what an empty line separates
// from the first key, and lines for editors.
func (r *rewriter) belowHeader(lead, to int) int {
	for at := lead; at < to; at = r.nextLine(at) {
		if text := r.line(at); len(text) == 0 || forEditors().Match(text) {
			lead = r.nextLine(at)
		}
	}
	return lead
}

var forEditors = lazyregexp.New(`^#!|yaml-language-server|-\*-|\bvim:`)

// changed reports whether a node or one below it is not as it was read.
func (r *rewriter) changed(n *yaml.Node) bool {
	if dirty, known := r.dirty[n]; known {
		return dirty
	}
	was, old := r.was[n]
	dirty := !old || was.Value != n.Value || was.Tag != n.Tag || was.Style != n.Style || was.Kind != n.Kind || !slices.Equal(was.Content, n.Content)
	for _, child := range n.Content {
		dirty = r.changed(child) || dirty
	}
	r.dirty[n] = dirty
	return dirty
}

// text returns the text of the file with the changes of its trees. It is an error
// if that would not read as the trees do.
func (r *rewriter) text() ([]byte, error) {
	if !slices.ContainsFunc(r.trees, r.changed) && slices.Equal(r.trees, r.roots) {
		return slices.Concat(r.mark, r.data), nil
	}
	if !r.understood() {
		return nil, errNotRewritten
	}
	out := slices.Clone(r.mark)
	from := 0
	for _, root := range r.roots {
		start, end := r.spans[root].start, r.spans[root].end
		if !r.holds(root) { // moved to another document
			if isBlock(root) {
				start = r.above(r.spans[root].body)
			}
			if up := r.lineStart(max(start-1, 0)); isMarker(r.data[up:start]) {
				start = up
			}
			out = append(out, r.data[from:start]...)
		} else {
			out = append(out, r.splice(from, end, root)...)
		}
		from = end
	}
	out = append(out, r.data[from:]...)
	if bytes.Equal(out[len(r.mark):], r.data) {
		return out, nil
	}
	again, found := parseTrees(oprc.File{Path: r.path, Data: out})
	same := found.Err() == nil && slices.EqualFunc(again, r.trees, sameTree)
	if !same {
		return nil, errNotRewritten
	}
	return out, nil
}

// errNotRewritten is for files in a layout that nobody writes by hand.
var errNotRewritten = fmt.Errorf("this file cannot be rewritten without changing what it means: %w", oprc.ErrInvalid)

// understood reports whether the nodes were found in the text one after another.
func (r *rewriter) understood() bool {
	for n, sp := range r.spans {
		at := sp.start
		for _, child := range r.was[n].Content {
			next := r.spans[child]
			if next.start < at || next.end < next.start {
				return false
			}
			at = next.end
		}
		if sp.body < sp.start || sp.end < at || sp.end > len(r.data) {
			return false
		}
		if n.Kind != yaml.MappingNode || !r.wasBlock(n) {
			continue
		}
		at = 0
		for i := 0; i < len(r.was[n].Content); i += 2 {
			p := r.pairs[r.was[n].Content[i]]
			if p.lead < at || p.start < p.lead || p.end < p.start {
				return false
			}
			at = p.end
		}
	}
	return true
}

// use marks the nodes of the changed trees.
func (r *rewriter) use() {
	var mark func(n *yaml.Node)
	mark = func(n *yaml.Node) {
		r.used[n] = true
		for _, child := range n.Content {
			mark(child)
		}
	}
	for _, tree := range r.trees {
		mark(tree)
	}
}

// holds reports whether a node that was read is the top of a document still.
func (r *rewriter) holds(root *yaml.Node) bool {
	return slices.Contains(r.trees, root)
}

// sameTree reports whether two trees mean the same.
func sameTree(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor && slices.EqualFunc(a.Content, b.Content, sameTree)
}

// isBlock reports whether a node is a mapping or list in block style.
func isBlock(n *yaml.Node) bool {
	return (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && n.Style&yaml.FlowStyle == 0 && len(n.Content) > 0
}

func (r *rewriter) wasBlock(n *yaml.Node) bool {
	was, old := r.was[n]
	return old && isBlock(&was)
}

// splice returns a part of the text with the changes of nodes that stand in it,
// one after another.
func (r *rewriter) splice(from, to int, nodes ...*yaml.Node) string {
	var out strings.Builder
	for _, n := range nodes {
		if !r.changed(n) {
			continue
		}
		sp := r.spans[n]
		if r.wasBlock(n) {
			start := max(from, r.above(sp.body))
			out.Write(r.data[from:start])
			out.WriteString(r.block(n, sp.indent))
		} else {
			out.Write(r.data[from:sp.start])
			out.WriteString(r.inline(n, sp.indent))
		}
		from = sp.end
	}
	out.Write(r.data[from:to])
	return out.String()
}

// block writes a mapping or list in block style whose entries begin at a column,
// with the comments above it; what stands on the line of a dash begins there.
func (r *rewriter) block(n *yaml.Node, indent int) string {
	if owner := r.owner[n]; owner != nil {
		return owner.block(n, indent)
	}
	if !r.wasBlock(n) {
		return r.newBlock(n, indent)
	}
	sp, was := r.spans[n], r.was[n]
	top := r.above(sp.body)
	switch {
	case len(n.Content) == 0: // all entries were dropped
		return strings.Repeat(" ", indent) + "{}" + r.newline()
	case slices.Equal(was.Content, n.Content):
		return shift(r.splice(top, sp.end, n.Content...), indent-sp.indent)
	case n.Kind == yaml.SequenceNode:
		return r.longer(n, top, indent)
	}
	var out strings.Builder
	first := r.pairs[was.Content[0]]
	out.WriteString(shift(string(r.data[top:first.lead]), indent-sp.indent))
	gaps := r.gaps(n)
	dropped := r.dropped(n, indent)
	for i := 0; i < len(n.Content); i += 2 {
		text := dropped[n.Content[i]] + r.entry(n.Content[i], n.Content[i+1], indent)
		if i == 0 && first.inLine {
			text = strings.TrimLeft(text, " ")
		}
		out.WriteString(r.closed(text))
		if i/2 < len(gaps) && i+2 < len(n.Content) {
			out.WriteString(gaps[i/2])
		}
	}
	out.WriteString(dropped[nil])
	return out.String()
}

// longer writes a list to which items were added.
func (r *rewriter) longer(n *yaml.Node, top, indent int) string {
	sp, was := r.spans[n], r.was[n]
	out := r.closed(shift(r.splice(top, sp.end, was.Content...), indent-sp.indent))
	for _, item := range n.Content[len(was.Content):] {
		out += r.listItem(item, indent)
	}
	return out
}

// gaps are the empty lines between the entries of a mapping, in order: they stay
// where they are when entries move.
func (r *rewriter) gaps(n *yaml.Node) []string {
	was := r.was[n].Content
	var out []string
	for i := 2; i < len(was); i += 2 {
		if slices.Contains(n.Content, was[i]) {
			out = append(out, string(r.data[r.pairs[was[i-2]].end:r.pairs[was[i]].lead]))
		}
	}
	return out
}

// dropped returns the comments of entries that are no more, by the entry that
// follows them; by nil where none follows.
func (r *rewriter) dropped(n *yaml.Node, indent int) map[*yaml.Node]string {
	out := map[*yaml.Node]string{}
	comments := ""
	was := r.was[n].Content
	for i := 0; i < len(was); i += 2 {
		key := was[i]
		switch p := r.pairs[key]; {
		case slices.Contains(n.Content, key):
			out[key] += comments
			comments = ""
		case !r.used[p.val]:
			comments += r.comments(p, p.lead, indent)
		}
	}
	out[nil] = comments
	return out
}

// comments returns the comments above an entry, inside it and behind it, each on a
// line of its own.
func (r *rewriter) comments(p *pair, from, indent int) string {
	var out strings.Builder
	keep := func(text []byte) {
		out.WriteString(strings.Repeat(" ", indent) + string(bytes.TrimSpace(text)) + r.newline())
	}
	var ends []int    // of what stands on the lines of the entry
	var moved []*pair // entries below that keep their comments
	r.each(p.val, func(n *yaml.Node) {
		ends = append(ends, r.spans[n].end)
		if below := r.pairs[n]; below != nil && r.used[below.val] {
			moved = append(moved, below)
		}
	})
	for at := from; at < p.end; at = r.nextLine(at) {
		next := r.nextLine(at)
		if r.inside(p.val, at) || slices.ContainsFunc(moved, func(m *pair) bool { return m.lead <= at && at < m.end }) {
			continue
		}
		if r.isComment(at) {
			keep(r.line(at))
			continue
		}
		last := max(at, p.start)
		for _, end := range ends {
			if end < next {
				last = max(last, end)
			}
		}
		if i := bytes.Index(r.data[last:next], []byte(" #")); i >= 0 {
			keep(r.data[last+i+1 : next])
		}
	}
	return out.String()
}

func (r *rewriter) each(n *yaml.Node, visit func(*yaml.Node)) {
	visit(n)
	for _, child := range r.was[n].Content {
		r.each(child, visit)
	}
}

// inside reports whether a line begins inside a text of several lines.
func (r *rewriter) inside(n *yaml.Node, line int) bool {
	found := false
	r.each(n, func(n *yaml.Node) {
		sp := r.spans[n]
		found = found || n.Kind == yaml.ScalarNode && sp.start < line && line < sp.end
	})
	return found
}

// entry writes an entry of a block mapping: its comments, key and value.
func (r *rewriter) entry(key, val *yaml.Node, indent int) string {
	p := r.pairs[key]
	if from := r.keyOf[val]; p == nil && from != nil && !r.used[from] {
		p = r.pairs[from] // the value came from another field, and its comments with it
	}
	pad := strings.Repeat(" ", indent)
	if p != nil && r.paired[key] == val {
		text := r.splice(p.start, p.end, key, val)
		if !p.inLine {
			text = string(r.data[p.lead:p.start]) + text
		} else {
			text = strings.Repeat(" ", p.indent) + text
		}
		return shift(text, indent-p.indent)
	}
	var above, behind, below string
	if p != nil {
		above, behind, below = r.around(p, indent)
	}
	if p != nil && !r.used[p.val] {
		above += r.comments(p, r.nextLine(p.start), indent)
		below = ""
	}
	text := above + pad + r.keyText(key) + ":"
	if isBlock(val) {
		return text + behind + r.newline() + r.closed(r.block(val, indent+2)) + below
	}
	return text + " " + r.inline(val, indent) + behind + r.newline() + below
}

// around returns the comments above an entry, behind its first line and below it.
func (r *rewriter) around(p *pair, indent int) (above, behind, below string) {
	if !p.inLine {
		above = shift(string(r.data[p.lead:r.lineStart(p.start)]), indent-p.indent)
	}
	at := r.spans[p.val].end
	if r.wasBlock(p.val) {
		at = p.start
		if i := bytes.Index(r.data[at:r.nextLine(at)], []byte(" #")); i >= 0 {
			behind = string(bytes.TrimRight(r.data[at+i:r.nextLine(at)], "\r\n"))
		}
		return above, behind, ""
	}
	next := r.lineEnd(at)
	behind = string(bytes.TrimRight(r.data[at:max(at, min(next, p.end))], "\r\n"))
	if next < p.end {
		below = shift(string(r.data[next:p.end]), indent-p.indent)
	}
	return above, behind, below
}

func (r *rewriter) keyText(key *yaml.Node) string {
	if _, old := r.spans[key]; old {
		return r.inline(key, 0)
	}
	return r.scalarText(key)
}

// newBlock writes a mapping or list that was not in the text, or not as a block.
func (r *rewriter) newBlock(n *yaml.Node, indent int) string {
	var out strings.Builder
	for i := 0; i < len(n.Content); i++ {
		if n.Kind == yaml.SequenceNode {
			out.WriteString(r.listItem(n.Content[i], indent))
			continue
		}
		out.WriteString(r.closed(r.entry(n.Content[i], n.Content[i+1], indent)))
		i++
	}
	return out.String()
}

func (r *rewriter) listItem(n *yaml.Node, indent int) string {
	pad := strings.Repeat(" ", indent) + "- "
	if isBlock(n) {
		text, above := r.closed(r.block(n, indent+2)), ""
		for strings.HasPrefix(strings.TrimSpace(text), "#") { // stays above the dash
			line, rest, _ := strings.Cut(text, "\n")
			above, text = above+line+"\n", rest
		}
		return shift(above, -2) + pad + strings.TrimLeft(text, " ")
	}
	return pad + r.inline(n, indent) + r.newline()
}

// inline writes a scalar, an alias, or a collection in brackets.
func (r *rewriter) inline(n *yaml.Node, indent int) string {
	if owner := r.owner[n]; owner != nil {
		return owner.inline(n, indent)
	}
	sp, old := r.spans[n]
	was := r.was[n]
	switch {
	case old && !r.changed(n) && !r.wasBlock(n):
		first, rest, more := strings.Cut(string(r.data[sp.start:sp.end]), "\n")
		if !more {
			return first
		}
		return first + "\n" + shift(rest, indent-sp.indent)
	case n.Kind == yaml.ScalarNode && old && was.Kind == yaml.ScalarNode:
		return string(r.data[sp.start:sp.body]) + r.scalarText(n)
	case n.Kind == yaml.ScalarNode:
		return r.scalarText(n)
	case n.Kind == yaml.AliasNode:
		return "*" + n.Value
	case old && sp.flow && slices.Equal(was.Content, n.Content):
		return r.splice(sp.start, sp.end, n.Content...)
	}
	return r.flow(n)
}

// flow writes a collection in brackets. What stood between children stays there
// when they change places.
func (r *rewriter) flow(n *yaml.Node) string {
	open, end, step := "[", "]", 1
	if n.Kind == yaml.MappingNode {
		open, end, step = "{", "}", 2
	}
	was, sp := r.was[n].Content, r.spans[n]
	between := func(i int) string {
		switch {
		case !sp.flow || len(was) == 0:
			if i == 0 {
				return open
			}
			return ", "
		case i == 0:
			return string(r.data[sp.start:r.spans[was[0]].start])
		case len(was) == step:
			return ", "
		}
		i = min(i, len(was)-step)
		return string(r.data[r.flowEnd(was[i-step], was[i-1]):r.spans[was[i]].start])
	}
	var out strings.Builder
	for i := 0; i < len(n.Content); i += step {
		out.WriteString(between(i))
		if step == 1 {
			out.WriteString(r.inline(n.Content[i], 0))
		} else {
			out.WriteString(r.flowEntry(n.Content[i], n.Content[i+1]))
		}
	}
	switch {
	case len(n.Content) == 0:
		return open + end
	case sp.flow && len(was) > 0:
		out.Write(r.data[r.flowEnd(was[len(was)-step], was[len(was)-1]):sp.end])
	default:
		out.WriteString(end)
	}
	return out.String()
}

func (r *rewriter) flowEnd(key, val *yaml.Node) int { return max(r.spans[key].end, r.spans[val].end) }

func (r *rewriter) flowEntry(key, val *yaml.Node) string {
	if r.paired[key] == val && !r.wasBlock(val) {
		return r.splice(r.spans[key].start, r.flowEnd(key, val), key, val)
	}
	return r.keyText(key) + ": " + r.inline(val, 0)
}

// closed ends a text with the end of a line.
func (r *rewriter) closed(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + r.newline()
}

func (r *rewriter) newline() string {
	if bytes.Contains(r.data, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// shift moves the lines of a text to the right or left.
func shift(text string, by int) string {
	if by == 0 {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		switch {
		case strings.TrimSpace(line) == "":
		case by > 0:
			lines[i] = strings.Repeat(" ", by) + line
		default:
			lines[i] = line[min(-by, len(line)-len(strings.TrimLeft(line, " "))):]
		}
	}
	return strings.Join(lines, "")
}

// safePlain are the texts that are read as they are without quotes, everywhere.
var safePlain = lazyregexp.New(`^[A-Za-z_./$][A-Za-z0-9_./$:@+-]*$`)

// scalarText writes a scalar, in quotes where it would be read as another.
func (r *rewriter) scalarText(n *yaml.Node) string {
	if n.Tag != tagStr || !isJSON(r.path) && n.Style&quotedStyle == 0 && safePlain().MatchString(n.Value) && !strings.HasSuffix(n.Value, ":") && plainTag(n.Value) == tagStr {
		return n.Value
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(n.Value) // a text always has a form
	return strings.TrimSuffix(out.String(), "\n")
}

// plainTag returns the tag with which a text without quotes is read.
func plainTag(text string) string {
	var n yaml.Node
	if err := yaml.Load([]byte(text), &n); err != nil || content(&n) == nil {
		return tagInvalid
	}
	return content(&n).Tag
}
