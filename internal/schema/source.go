package schema

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
)

// A source is the text of a file with the places of its nodes: what rewrites a
// file moves pieces of the text and leaves the other bytes as they are.
type source struct {
	data  []byte
	lines []int // offsets of the lines
	spans map[*yaml.Node]span
}

// A span is where a node stands in the text.
type span struct {
	start int // of the node, its anchor and tag included
	body  int // behind anchor and tag
	end   int // behind the node; for a block, behind its last line and the comments that belong to it
	// indent is the column, from 0, of the entries of a block, or of the block that
	// holds another node.
	indent int
	flow   bool // inside brackets, or brackets itself
}

func newSource(data []byte, roots []*yaml.Node) *source {
	s := &source{data: data, lines: []int{0}, spans: map[*yaml.Node]span{}}
	for i, c := range data {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	for _, root := range roots {
		s.place(root, -1, false)
	}
	return s
}

// offset turns the place of a node into an offset.
func (s *source) offset(n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(s.lines) {
		return len(s.data)
	}
	at := s.lines[n.Line-1]
	if bytes.HasPrefix(s.data[at:], byteOrderMark) {
		at += len(byteOrderMark)
	}
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(s.data[at:])
		at += size
	}
	return at
}

// place finds the span of a node and of those below it. indent is the column of
// the block that holds the node.
func (s *source) place(n *yaml.Node, indent int, flow bool) int {
	sp := span{start: s.offset(n), indent: indent, flow: flow}
	sp.body = s.afterProperties(sp.start)
	switch {
	case n.Kind == yaml.AliasNode:
		sp.end = s.word(sp.start)
	case n.Kind == yaml.ScalarNode:
		if isNull(n) && n.Value == "" {
			sp.body = min(sp.body, sp.start+len(strings.TrimRight(string(s.data[sp.start:sp.body]), " \t\r\n")))
			sp.end = sp.body
			break
		}
		sp.end = s.scalarEnd(n, sp.body, indent, flow)
	case n.Style&yaml.FlowStyle != 0:
		sp.flow = true
		end := sp.body
		if c := s.at(sp.body); c == '[' || c == '{' {
			end++
		}
		for _, child := range n.Content {
			end = s.place(child, indent, true)
		}
		if c := s.at(sp.body); c == '[' || c == '{' {
			end = s.closing(end)
		}
		sp.end = end
	default:
		s.block(n, &sp)
	}
	s.spans[n] = sp
	return sp.end
}

// block places the entries of a mapping or list in block style.
func (s *source) block(n *yaml.Node, sp *span) {
	sp.body = s.skipBlank(sp.body)
	sp.indent = s.column(sp.body)
	end := sp.body
	for i, child := range n.Content {
		end = s.place(child, sp.indent, false)
		if isNull(child) && child.Value == "" && n.Kind == yaml.MappingNode && i%2 == 1 {
			end = max(end, s.spans[n.Content[i-1]].end+1) // behind the colon
		}
	}
	last := s.lineEnd(end)
	sp.end = max(s.tail(last, sp.indent, n.Kind == yaml.SequenceNode), s.commentedOut(n, last, sp.indent))
}

// commentedOut returns the offset behind the entries of a block that were commented
// out at its end: `# - name: x` in the column of a list's dashes, where a key may
// follow in the same column, and what an editor comments out from the start of
// the line.
func (s *source) commentedOut(n *yaml.Node, from, indent int) int {
	end, entry, broken := from, -1, false
	for at := from; at < len(s.data); at = s.nextLine(at) {
		line := s.line(at)
		if len(line) == 0 {
			entry, broken = -1, true
			continue
		}
		if line[0] != '#' {
			break
		}
		column, spaces := s.column(at+leading(s.data[at:])), leading(line[1:])
		// Prose above may be about the entry in its column, but not about one further right.
		here := column == indent && spaces <= 1 && (!broken || n.Kind == yaml.SequenceNode) ||
			column < indent && !broken && (column+spaces == indent || column+spaces == indent+1)
		switch {
		case here && isEntryOf(n, line[1+spaces:]):
			entry, end = spaces, s.nextLine(at)
		case entry >= 0 && spaces > entry: // its other lines
			end = s.nextLine(at)
		default:
			entry, broken = -1, true
		}
	}
	return end
}

// isEntryOf reports whether a text without its comment sign is an entry as a block
// has them: an item like the others of a list, or a field.
func isEntryOf(n *yaml.Node, text []byte) bool {
	if n.Kind == yaml.MappingNode {
		return fieldLine().Match(text)
	}
	item, isItem := bytes.CutPrefix(text, []byte("- "))
	if !isItem {
		return false
	}
	return slices.ContainsFunc(n.Content, func(other *yaml.Node) bool {
		switch {
		case other.Kind != yaml.MappingNode:
			return len(bytes.Fields(item)) == 1 && other.Kind == yaml.ScalarNode
		case item[0] == '{':
			return true
		}
		key, _, isField := bytes.Cut(item, []byte(":"))
		_, known := lookup(other, string(bytes.TrimSpace(key)))
		return isField && known != nil
	})
}

var fieldLine = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_.-]*:(\s|$)`)

// tail returns the offset behind the comments that follow a block and are
// indented as it is: they belong to its last entry. A comment right above what
// follows belongs to that.
func (s *source) tail(from, indent int, list bool) int {
	if list {
		indent++ // a comment in the column of the dashes may belong to the key below
	}
	to := s.skipBlankLines(from)
	_, lead := s.gap(from, to)
	end := from
	for at := from; at < lead; at = s.nextLine(at) {
		line := s.line(at)
		if len(line) == 0 {
			continue
		}
		if s.column(at+leading(s.data[at:])) < indent {
			break
		}
		end = s.nextLine(at)
	}
	return end
}

// gap divides the empty lines and comments between two entries, from one line's
// start to another's: comments up to tail belong to the entry above, those from
// lead on to the one below. A comment belongs to the line right below it, unless it
// is indented deeper; one with empty lines around it to what follows.
func (s *source) gap(from, to int) (tail, lead int) {
	to = min(to, len(s.data))
	below := s.column(to + leading(s.data[to:]))
	last := to == len(s.data) || isMarker(s.data[to:]) // nothing below that a comment could be about
	lead = to
	var starts []int
	for at := from; at < to; at = s.nextLine(at) {
		starts = append(starts, at)
	}
	for i := len(starts); i > 0; {
		first := i // of the run of comments that ends above line i
		for first > 0 && s.isComment(starts[first-1]) && s.column(starts[first-1]+leading(s.data[starts[first-1]:])) <= below {
			first--
		}
		touches := i == len(starts) && !last
		alone := first == 0 || len(s.line(starts[first-1])) == 0
		if first < i && (touches || alone && first > 0) {
			lead = starts[first]
		} else if first < i || first > 0 && len(s.line(starts[first-1])) > 0 {
			break
		}
		for first > 0 && len(s.line(starts[first-1])) == 0 {
			first--
		}
		i = first
	}
	tail = from
	for at := from; at < lead; at = s.nextLine(at) {
		if len(s.line(at)) > 0 {
			tail = s.nextLine(at)
		}
	}
	return tail, lead
}

func (s *source) at(i int) byte {
	if i < len(s.data) {
		return s.data[i]
	}
	return 0
}

// line returns the text of the line that starts at an offset, without its
// indentation and end.
func (s *source) line(at int) []byte {
	at = min(at, len(s.data))
	end := bytes.IndexByte(s.data[at:], '\n')
	if end < 0 {
		end = len(s.data) - at
	}
	return bytes.TrimSpace(s.data[at : at+end])
}

func (s *source) isComment(at int) bool { return bytes.HasPrefix(s.line(at), []byte("#")) }

func (s *source) nextLine(at int) int {
	at = min(at, len(s.data))
	if i := bytes.IndexByte(s.data[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(s.data)
}

// lineEnd returns the start of the next line; a line's start is its own.
func (s *source) lineEnd(at int) int {
	at = min(at, len(s.data))
	if at == 0 || s.data[at-1] == '\n' {
		return at
	}
	return s.nextLine(at)
}

func (s *source) lineStart(at int) int { return bytes.LastIndexByte(s.data[:at], '\n') + 1 }

func (s *source) column(at int) int {
	at = min(at, len(s.data))
	return utf8.RuneCount(bytes.TrimPrefix(s.data[s.lineStart(at):at], byteOrderMark))
}

// skipBlankLines returns the start of the next line that is neither empty nor a
// comment.
func (s *source) skipBlankLines(at int) int {
	for at < len(s.data) {
		if line := s.line(at); len(line) > 0 && line[0] != '#' {
			break
		}
		at = s.nextLine(at)
	}
	return at
}

// skipBlank passes over space, line ends and comments.
func (s *source) skipBlank(at int) int {
	for at < len(s.data) {
		switch c := s.data[at]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			at++
		case c == '#' && (at == 0 || isSpace(s.data[at-1])):
			at = s.nextLine(at)
		default:
			return at
		}
	}
	return at
}

func (s *source) word(at int) int {
	for at < len(s.data) && !isSpace(s.data[at]) && !strings.ContainsRune(",]}", rune(s.data[at])) {
		at++
	}
	return at
}

// afterProperties passes over anchors and tags.
func (s *source) afterProperties(at int) int {
	for c := s.at(at); c == '&' || c == '!'; c = s.at(at) {
		for at < len(s.data) && !isSpace(s.data[at]) && s.data[at] != ',' && s.data[at] != ']' && s.data[at] != '}' {
			at++
		}
		at = s.skipBlank(at)
	}
	return at
}

// closing finds the bracket that ends a flow collection, behind its last child.
func (s *source) closing(at int) int {
	for at = s.skipBlank(at); at < len(s.data); at = s.skipBlank(at + 1) {
		if c := s.data[at]; c == ']' || c == '}' {
			return at + 1
		}
	}
	return at
}

func (s *source) scalarEnd(n *yaml.Node, at, indent int, flow bool) int {
	switch s.at(at) {
	case '"':
		for at++; at < len(s.data) && s.data[at] != '"'; at++ {
			if s.data[at] == '\\' {
				at++
			}
		}
		return min(at+1, len(s.data))
	case '\'':
		for at++; at < len(s.data); at++ {
			if s.data[at] == '\'' {
				if s.at(at+1) != '\'' {
					break
				}
				at++
			}
		}
		return min(at+1, len(s.data))
	case '|', '>':
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			return s.textBlockEnd(at, indent)
		}
	}
	return s.plainEnd(at, indent, flow)
}

// textBlockEnd finds the end of a text block: the first line that is indented
// less. Its empty lines belong to it where the header keeps them.
func (s *source) textBlockEnd(at, indent int) int {
	header := s.line(at)
	if i := bytes.IndexAny(header, " \t"); i >= 0 {
		header = header[:i]
	}
	keep := bytes.IndexByte(header, '+') >= 0
	end := s.nextLine(at)
	for line := end; line < len(s.data); line = s.nextLine(line) {
		switch text := s.line(line); {
		case len(text) == 0:
			if keep {
				end = s.nextLine(line)
			}
			continue
		case s.column(line+leading(s.data[line:])) <= indent, indent < 0 && isMarker(s.data[line:]):
			return s.chomp(end)
		}
		end = s.nextLine(line)
	}
	return s.chomp(end)
}

// chomp steps back over a line's end.
func (s *source) chomp(at int) int {
	if at > 0 && s.data[at-1] == '\n' {
		at--
		if at > 0 && s.data[at-1] == '\r' {
			at--
		}
	}
	return at
}

func (s *source) plainEnd(at, indent int, flow bool) int {
	end := at
	for at < len(s.data) {
		switch c := s.data[at]; {
		case c == '\n':
			next := s.nextLine(at)
			for next < len(s.data) && len(s.line(next)) == 0 {
				next = s.nextLine(next)
			}
			if next >= len(s.data) || s.isComment(next) || !flow && (s.column(next+leading(s.data[next:])) <= indent || isMarker(s.data[next:])) {
				return end
			}
			at = next + leading(s.data[next:])
			continue
		case c == '#' && isSpace(s.data[at-1]):
			return end
		case c == ':' && (at+1 >= len(s.data) || isSpace(s.data[at+1]) || flow && strings.ContainsRune(",[]{}", rune(s.data[at+1]))):
			return end
		case flow && strings.ContainsRune(",[]{}", rune(c)):
			return end
		case !isSpace(c):
			end = at + 1
		}
		at++
	}
	return end
}

// isMarker reports whether a line starts or ends a document.
func isMarker(line []byte) bool {
	for _, mark := range []string{"---", "..."} {
		if bytes.HasPrefix(line, []byte(mark)) && (len(line) == 3 || isSpace(line[3])) {
			return true
		}
	}
	return false
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// leading counts the spaces and tabs that a line starts with.
func leading(line []byte) int {
	for i, c := range line {
		if c != ' ' && c != '\t' {
			return i
		}
	}
	return len(line)
}
