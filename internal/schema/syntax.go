package schema

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
)

var depthMessage = fmt.Sprintf("the document nests deeper than %d levels", maxDepth)

// syntaxError words the parser's complaint in one sentence of ours, and points
// where a reader would look.
func syntaxError(f oprc.File, data []byte, err error) oprc.Diagnostic {
	pos := oprc.Position{File: f.Path, Line: 1, Column: 1}
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return finding(oprc.CodeSyntax, pos, "the file is not YAML")
	}
	lines := bytes.Split(data, []byte("\n"))
	pos = place(f.Path, lines, e.Mark)
	if errors.Is(err, errDepth) || strings.Contains(e.Message, errDepth.Error()) {
		d := finding(oprc.CodeLimits, pos, depthMessage)
		return d
	}
	line := lineAt(lines, pos.Line)
	if tab := tabIndent(line); tab > 0 {
		pos.Column = tab
		d := finding(oprc.CodeSyntax, pos, "a tab indents this line, expected spaces")
		d.Hint = "replace the tab by spaces"
		return d
	}
	if d, ok := neverClosed(f.Path, lines, pos); ok {
		return d
	}
	if d, ok := misread(f.Path, lines, pos); ok {
		return d
	}
	for _, c := range complaints {
		if !strings.Contains(e.Message, c.says) || !strings.Contains(e.ContextMsg, c.context) {
			continue
		}
		message := c.message
		if c.opened {
			pos = place(f.Path, lines, e.ContextMark)
		}
		if strings.Contains(message, "%s") {
			message = fmt.Sprintf(message, quoted(e.Message))
		}
		d := finding(oprc.CodeSyntax, pos, message)
		d.Hint = c.hint
		if m := noColon().FindStringSubmatch(string(lineAt(lines, pos.Line))); c.opened && d.Hint == "" && m != nil {
			d.Hint = "write " + fixed(m[1]+": "+m[2])
		}
		return d
	}
	return finding(oprc.CodeSyntax, pos, "this is not valid YAML")
}

// complaints lists what the parser says, and what we say instead.
var complaints = []struct {
	says, context string // parts of the parser's message and of its context
	message       string // %s: the name that the parser quotes
	hint          string
	opened        bool // point at what was opened, not at where the parser stopped
}{
	{says: "unexpected end of stream", context: "quoted", message: "this quoted text is never closed", hint: "add the closing quote", opened: true},
	{says: "unexpected document indicator", context: "quoted", message: "this quoted text is not closed before the document ends", hint: "add the closing quote", opened: true},
	{says: "unknown escape", message: "this escape sequence is unknown in a double-quoted text", hint: `write \\ for a backslash, or use single quotes`},
	{says: "Unicode character escape", message: "this escape sequence names no character"},
	{says: "hexadecimal", message: "this escape sequence lacks hexadecimal digits"},
	{says: "',' or ']'", message: "this list is never closed: expected `,` or `]`", hint: "add the closing `]`", opened: true},
	{says: "',' or '}'", message: "this mapping is never closed: expected `,` or `}`", hint: "add the closing `}`", opened: true},
	{says: "expected '-' indicator", message: "this line does not continue the list above: expected an item that starts with `-`, or less indentation", hint: "align it with the block that it belongs to"},
	{says: "did not find expected key", message: "this line does not continue the mapping above: expected a `key: value` with the same indentation", hint: "align it with the keys of its block"},
	{says: "mapping values are not allowed", message: "a `:` is not expected here: the line above is not finished, is indented otherwise, or the value needs quotes", hint: "check the indentation, or quote the text that holds the colon"},
	{says: "could not find expected ':'", message: "expected a `:` after the key that starts here", opened: true},
	{says: "block sequence entries are not allowed", message: "a list item is not expected here", hint: "start the list on a line of its own"},
	{says: "mapping keys are not allowed", message: "a key is not expected here", hint: "start the mapping on a line of its own"},
	{says: "expected node content", message: "expected a value here"},
	{says: "cannot start any token", message: "this character cannot start a value", hint: "quote the text"},
	{says: "tab", message: "a tab stands where spaces are expected", hint: "replace the tab by spaces"},
	{says: "unknown anchor", message: "the alias %s names no anchor in this document", hint: "declare it above as `&NAME`, or quote the text if it is no alias"},
	{says: "undefined tag handle", message: "this tag is not known"},
	{says: "alphabetic or numeric", message: "expected a name after `&` or `*`", hint: "quote the text if it is no anchor or alias"},
	{says: "document start", message: "expected the end of the document here", hint: "start another document with a line `---`"},
	{says: "document-end", message: "nothing may follow `...` on its line"},
	{says: "comment or line break", message: "expected a comment or the end of the line"},
	{says: "comment without preceding whitespace", message: "a comment needs a space before its `#`"},
	{says: "directive", message: "this directive is not known", hint: "quote the text that starts with %"},
	{says: "control characters", message: "a control character stands here, expected text"},
	{says: "invalid Unicode character", message: "a character stands here that YAML does not allow"},
	{says: "indentation", context: "block scalar", message: "the indentation of this text block is wrong"},
}

// noColon is a key and a value without a colon between them.
var noColon = lazyregexp.New(`^((?:\s|- )*[A-Za-z_][\w.-]*)\s+([^\s:#]+)\s*$`)

var (
	opensQuote = lazyregexp.New(`^(\s*(?:- +)*(?:[^\s:#"']+: +)?)(["'])`)
	opensFlow  = lazyregexp.New(`^(\s*(?:- +)*(?:[^\s:#"']+: +)?)([\[{])`)
)

// neverClosed finds the quote or bracket that was opened above the place where
// the parser stumbled: what it takes for the inside is the rest of the file.
func neverClosed(file string, lines [][]byte, at oprc.Position) (oprc.Diagnostic, bool) {
	closed := 0 // brackets closed on the lines below the one looked at
	quotes := map[byte]bool{}
	for n := at.Line; n >= max(1, at.Line-maxBacktrack); n-- {
		line := lineAt(lines, n)
		if m := opensQuote().FindSubmatchIndex(line); m != nil && n < at.Line {
			quote, rest := line[m[4]], line[m[5]:]

			if bytes.IndexByte(rest, quote) < 0 && quotes[quote] {
				d := finding(oprc.CodeSyntax, oprc.Position{File: file, Line: n, Column: 1 + utf8.RuneCount(line[:m[4]])}, "this quoted text is never closed")
				d.Hint = "add the closing quote: " + fixed(string(line)+string(quote))
				return d, true
			}
		}
		open := balance(line)
		if m := opensFlow().FindSubmatchIndex(line); m != nil && n < at.Line && open > 0 && closed == 0 {
			what, end := "list", "]"
			if line[m[4]] == '{' {
				what, end = "mapping", "}"
			}
			d := finding(oprc.CodeSyntax, oprc.Position{File: file, Line: n, Column: 1 + utf8.RuneCount(line[:m[4]])}, "this "+what+" is never closed")
			d.Hint = "add the closing `" + end + "`"
			return d, true
		}
		closed += max(0, -open)
		for _, quote := range []byte{'"', '\''} {
			if bytes.IndexByte(line, quote) >= 0 {
				quotes[quote] = n == at.Line // the quote nearest below decides
			}
		}
	}
	return oprc.Diagnostic{}, false
}

// maxBacktrack is how many lines above a stumble an opening is looked for.
const maxBacktrack = 500

// balance counts the brackets that a line opens and does not close, outside of
// quotes and comments.
func balance(line []byte) int {
	open := 0
	var quote byte
	for i, c := range line {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' && i > 0 && (line[i-1] == ' ' || line[i-1] == '\t'):
			return open
		case c == '[' || c == '{':
			open++
		case c == ']' || c == '}':
			open--
		}
	}
	return open
}

// quoted returns what the parser put between quotes.
func quoted(s string) string {
	_, rest, _ := strings.Cut(s, "'")
	name, _, _ := strings.Cut(rest, "'")
	return "`*" + name + "`"
}

// place turns a parser's mark into a position inside the file: a mark past the
// last line goes back to the end of the last line with text.
func place(file string, lines [][]byte, m yaml.Mark) oprc.Position {
	line, column := m.Line, m.Column
	for line > 1 && (line > len(lines) || line == len(lines) && len(bytes.TrimSpace(lines[line-1])) == 0) {
		line--
		column = 0
	}
	if line < 1 {
		return oprc.Position{File: file, Line: 1, Column: 1}
	}
	if column < 1 {
		column = 1 + utf8.RuneCount(bytes.TrimRight(lineAt(lines, line), "\r"))
	}
	return oprc.Position{File: file, Line: line, Column: column}
}

func lineAt(lines [][]byte, n int) []byte {
	if n < 1 || n > len(lines) {
		return nil
	}
	return lines[n-1]
}

// tabIndent returns the column of the first tab in a line's indentation, or 0.
func tabIndent(line []byte) int {
	for i, c := range line {
		switch c {
		case ' ':
		case '\t':
			return i + 1
		default:
			return 0
		}
	}
	return 0
}
