package schema

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// isJSON reports whether a file is JSON by its name.
func isJSON(name string) bool { return strings.HasSuffix(strings.ToLower(name), ".json") }

// parseJSON reads a file as RFC 8259 says, and nothing else: no comments, no
// trailing commas, no numbers such as 010. Nodes look as if the YAML parser had
// read them. An empty file holds no document.
func parseJSON(f oprc.File) ([]*yaml.Node, oprc.Diagnostics) {
	p := &jsonParser{data: bytes.TrimPrefix(f.Data, byteOrderMark), line: 1}
	p.space()
	if p.at == len(p.data) {
		return nil, nil
	}
	n, err := p.value(1)
	if err == nil {
		if p.space(); p.at < len(p.data) {
			err = p.unexpected("the end of the file")
		}
	}
	if err == nil {
		return []*yaml.Node{n}, nil
	}
	at := positionAt(f.Path, p.data, min(err.at, len(p.data)))
	if rest := len(p.data) - len(bytes.TrimRight(p.data, " \t\r\n")); err.at >= len(p.data)-rest { // behind the last text
		at = positionAt(f.Path, p.data, len(p.data)-rest)
	}
	d := finding(err.code, at, err.message)
	d.Hint = err.hint
	return nil, oprc.Diagnostics{d}
}

// A jsonParser reads one JSON text.
type jsonParser struct {
	data  []byte
	at    int
	line  int // of at
	begin int // of that line
}

type jsonError struct {
	code          oprc.Code
	at            int
	message, hint string
}

func (p *jsonParser) fail(at int, message, hint string) *jsonError {
	return &jsonError{oprc.CodeSyntax, at, message, hint}
}

func (p *jsonParser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *jsonParser) space() {
	for ; p.at < len(p.data); p.at++ {
		switch p.data[p.at] {
		case '\n':
			p.line++
			p.begin = p.at + 1
		case ' ', '\t', '\r':
		default:
			return
		}
	}
}

// node is a node that begins here.
func (p *jsonParser) node(kind yaml.Kind, tag string) *yaml.Node {
	return &yaml.Node{Kind: kind, Tag: tag, Line: p.line, Column: 1 + utf8.RuneCount(p.data[p.begin:p.at])}
}

func (p *jsonParser) value(depth int) (*yaml.Node, *jsonError) {
	switch c := p.peek(); {
	case (c == '{' || c == '[') && depth > maxDepth:
		return nil, &jsonError{oprc.CodeLimits, p.at, depthMessage, ""}
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.text()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, word := range []struct{ text, tag string }{{"true", tagBool}, {"false", tagBool}, {"null", tagNull}} {
		if m := jsonWord().Find(p.data[p.at:]); string(m) == word.text {
			n := p.node(yaml.ScalarNode, word.tag)
			n.Value = word.text
			p.at += len(word.text)
			return n, nil
		}
	}
	return nil, p.unexpected("a value")
}

func (p *jsonParser) array(depth int) (*yaml.Node, *jsonError) {
	n := p.node(yaml.SequenceNode, "!!seq")
	n.Style = yaml.FlowStyle
	open := p.at
	p.at++
	for p.space(); p.peek() != ']'; {
		item, err := p.value(depth + 1)
		if err != nil {
			return nil, p.neverClosed(err, open, "list", "]")
		}
		n.Content = append(n.Content, item)
		if err := p.comma(']'); err != nil {
			return nil, p.neverClosed(err, open, "list", "]")
		}
	}
	p.at++
	return n, nil
}

func (p *jsonParser) object(depth int) (*yaml.Node, *jsonError) {
	n := p.node(yaml.MappingNode, tagMap)
	n.Style = yaml.FlowStyle
	open := p.at
	p.at++
	for p.space(); p.peek() != '}'; {
		if p.peek() != '"' {
			return nil, p.neverClosed(p.unexpected("a key in double quotes"), open, "mapping", "}")
		}
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		if p.space(); p.peek() != ':' {
			return nil, p.neverClosed(p.unexpected("`:` after the key"), open, "mapping", "}")
		}
		p.at++
		p.space()
		val, err := p.value(depth + 1)
		if err != nil {
			return nil, p.neverClosed(err, open, "mapping", "}")
		}
		n.Content = append(n.Content, key, val)
		if err := p.comma('}'); err != nil {
			return nil, p.neverClosed(err, open, "mapping", "}")
		}
	}
	p.at++
	return n, nil
}

// comma passes over the comma between two values; before the end there is none.
func (p *jsonParser) comma(end byte) *jsonError {
	switch p.space(); p.peek() {
	case end:
		return nil
	case ',':
		comma := p.at
		p.at++
		if p.space(); p.peek() == end {
			return p.fail(comma, "a comma is not allowed before `"+string(end)+"` in JSON", "remove the comma")
		}
		return nil
	}
	return p.unexpected("`,` or `" + string(end) + "`")
}

// neverClosed points at the bracket that was opened where the file ends inside.
func (p *jsonParser) neverClosed(err *jsonError, open int, what, end string) *jsonError {
	if err.code == oprc.CodeSyntax && err.at >= len(p.data) {
		return p.fail(open, "this "+what+" is never closed", "add the closing `"+end+"`")
	}
	return err
}

var (
	jsonWord   = lazyregexp.New(`^[A-Za-z_$][A-Za-z0-9_$.-]*`)
	jsonNumber = lazyregexp.New(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`)
	numberLike = lazyregexp.New(`^[-+.0-9A-Za-z_]+`)
)

// unexpected says what stands where something else is expected, and how to mend
// what people write there.
func (p *jsonParser) unexpected(want string) *jsonError {
	rest := p.data[p.at:]
	if len(rest) == 0 {
		return p.fail(p.at, "the file ends here, expected "+want, "")
	}
	word := string(jsonWord().Find(rest))
	switch c, _ := utf8.DecodeRune(rest); {
	case c == '/' || c == '#':
		return p.fail(p.at, "a comment is not allowed in JSON", "remove it, or name the file *.yaml: YAML has comments that begin with `#`")
	case c == '\'':
		return p.fail(p.at, "a text in single quotes is not allowed in JSON", "use double quotes")
	case c == '+' || c == '.':
		return p.fail(p.at, "this number is not written as JSON", "write a digit first, as in 0.5")
	case c == '\u00a0' || c == '\ufeff' || c == '\u200b' || c == '\u2028':
		return p.fail(p.at, invisible(c)+" is not allowed here", "replace it by a space")
	case word != "" && want == "a value":
		return p.fail(p.at, fmt.Sprintf("`%s` is not a value of JSON", shorten(word)), wordHint(word))
	case word != "":
		return p.fail(p.at, fmt.Sprintf("expected %s, got `%s`", want, shorten(word)), wordHint(word))
	case c == '"' && strings.HasPrefix(want, "`,`"):
		return p.fail(p.at, "expected "+want+", got a text", "add the missing comma before it")
	default:
		return p.fail(p.at, fmt.Sprintf("expected %s, got `%c`", want, c), "")
	}
}

func wordHint(word string) string {
	switch strings.ToLower(word) {
	case "true", "yes", "on":
		return "write true"
	case "false", "no", "off":
		return "write false"
	case "null", "none", "nil", "undefined":
		return "write null"
	case "nan", "inf", "infinity":
		return "JSON has finite numbers only"
	}
	return fmt.Sprintf("write it in double quotes: %q", shorten(word))
}

func (p *jsonParser) number() (*yaml.Node, *jsonError) {
	m := jsonNumber().Find(p.data[p.at:])
	all := numberLike().Find(p.data[p.at:])
	if len(m) != len(all) {
		hint := "remove the leading zero, or write it as a text in double quotes"
		if digits := bytes.TrimLeft(all, "-"); len(digits) < 2 || digits[0] != '0' || digits[1] < '0' || digits[1] > '9' {
			hint = "write a number such as 12, -1, 0.5 or 1e3, or a text in double quotes"
		}
		return nil, p.fail(p.at, fmt.Sprintf("`%s` is not a number of JSON", shorten(string(all))), hint)
	}
	n := p.node(yaml.ScalarNode, tagInt)
	n.Value = string(m)
	if bytes.ContainsAny(m, ".eE") {
		n.Tag = tagFloat
		if f, _ := strconv.ParseFloat(n.Value, 64); math.IsInf(f, 0) {
			return nil, p.fail(p.at, fmt.Sprintf("the number %s is too large", shorten(n.Value)), "write it as a text in double quotes")
		}
	}
	p.at += len(m)
	return n, nil
}

func (p *jsonParser) text() (*yaml.Node, *jsonError) {
	n := p.node(yaml.ScalarNode, tagStr)
	n.Style = yaml.DoubleQuotedStyle
	open := p.at
	var out []byte
	for p.at++; ; {
		if p.at >= len(p.data) {
			return nil, p.fail(open, "this text is never closed", "add the closing quote")
		}
		switch c := p.data[p.at]; {
		case c == '"':
			p.at++
			n.Value = string(out)
			return n, nil
		case c == '\n' || c == '\r':
			return nil, p.fail(open, "this text is not closed on its line", `add the closing quote, or write \n for a new line`)
		case c < ' ':
			return nil, p.fail(p.at, "a control character is not allowed in a text", fmt.Sprintf(`write \u%04x`, c))
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return nil, err
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
			p.at++
		}
	}
}

// escape reads an escape sequence; a pair of surrogates is one character.
func (p *jsonParser) escape() (rune, *jsonError) {
	if p.at+1 < len(p.data) {
		if i := strings.IndexByte(`"\/bfnrt`, p.data[p.at+1]); i >= 0 {
			p.at += 2
			return rune("\"\\/\b\f\n\r\t"[i]), nil
		}
	}
	r, ok := escape(p.data[p.at:])
	if !ok {
		return 0, p.fail(p.at, "this escape sequence is unknown in JSON", `write \\ for a backslash, or \u and four hexadecimal digits`)
	}
	if !utf16.IsSurrogate(r) {
		p.at += 6
		return r, nil
	}
	low, _ := escape(p.data[p.at+6:])
	pair := utf16.DecodeRune(r, low)
	if pair == utf8.RuneError {
		return 0, p.fail(p.at, "this escape sequence is half of a pair and names no character", "write the character itself")
	}
	p.at += 12
	return pair, nil
}

// invisible names a character that nobody sees.
func invisible(c rune) string {
	switch c {
	case '\u00a0':
		return "a no-break space"
	case '\u200b':
		return "a zero-width space"
	case '\ufeff':
		return "a byte order mark"
	}
	return fmt.Sprintf("the character U+%04X", c)
}
