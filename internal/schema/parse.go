package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
)

const (
	maxDepth = 128    // levels of nesting
	maxNodes = 50_000 // nodes that aliases add to a document
)

// parse reads the documents of a file as trees of nodes: no aliases, no merge
// keys, no empty documents. What was read before a mistake is returned with it.
func parse(f oprc.File) ([]*yaml.Node, oprc.Diagnostics) {
	docs, found := parseRaw(f)
	kept := docs[:0]
	for _, root := range docs {
		e := expander{file: f.Path}
		root = e.expand(root, 1)
		if e.refused != nil {
			found = append(found, *e.refused)
			continue
		}
		kept = append(kept, root)
	}
	return kept, found
}

// parseRaw is parse without the expansion of aliases.
func parseRaw(f oprc.File) ([]*yaml.Node, oprc.Diagnostics) {
	if d := refuse(f); d != nil {
		return nil, oprc.Diagnostics{*d}
	}
	if isJSON(f.Path) {
		return parseJSON(f)
	}
	data := withoutMarks(f.Data)
	loader, err := yaml.NewLoader(bytes.NewReader(readable(data)), yaml.WithPlugin(depthLimit{}))
	if err != nil {
		return nil, oprc.Diagnostics{syntaxError(f, data, err)}
	}
	var docs []*yaml.Node
	for {
		var n yaml.Node
		switch err := loader.Load(&n); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return docs, oprc.Diagnostics{syntaxError(f, data, err)}
		}
		if root := content(&n); root != nil {
			docs = append(docs, root)
		}
	}
}

// content returns the top node of a document, or nil for an empty one.
func content(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.DocumentNode {
		if len(n.Content) == 0 {
			return nil
		}
		n = n.Content[0]
	}
	if n.Kind == yaml.ScalarNode && n.Tag == tagNull && n.Value == "" {
		return nil
	}
	return n
}

// refuse looks at the bytes alone: size, encoding, control characters.
func refuse(f oprc.File) *oprc.Diagnostic {
	if len(f.Data) > oprc.MaxFileSize {
		d := finding(oprc.CodeLimits, oprc.Position{File: f.Path, Line: 1, Column: 1},
			fmt.Sprintf("expected a file of at most %d MiB, got a larger one", oprc.MaxFileSize>>20))
		d.Hint = "split it into several files"
		return &d
	}
	at := func(offset int) oprc.Position { return positionAt(f.Path, f.Data, offset) }
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(f.Data, []byte(mark)) {
			d := finding(oprc.CodeSyntax, at(0), "the file is in UTF-16, expected UTF-8")
			d.Hint = "save it as UTF-8"
			return &d
		}
	}
	control := isControl
	if isJSON(f.Path) {
		control = func(r rune) bool { return r == 0 } // its parser knows where others may be
	}
	if i := bytes.IndexFunc(f.Data, control); i >= 0 {
		what := "a control character"
		if f.Data[i] == 0 {
			what = "a NUL byte"
		}
		d := finding(oprc.CodeSyntax, at(i), what+" stands here, expected text")
		d.Hint = "remove it; a double-quoted text can hold it as an escape"
		return &d
	}
	if d := conflict(f); d != nil {
		return d
	}
	if !utf8.Valid(f.Data) {
		i := invalidUTF8(f.Data)
		d := finding(oprc.CodeSyntax, at(i), fmt.Sprintf("byte 0x%02x is not valid UTF-8 here", f.Data[i]))
		d.Hint = "save the file as UTF-8"
		return &d
	}
	return nil
}

// isControl reports the ASCII control characters that text files do not hold.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
}

// readable makes JSON digestible for a YAML parser without moving a token: tabs
// between tokens become spaces, surrogate pairs one character.
func readable(data []byte) []byte {
	start := bytes.TrimLeft(data, " \t\r\n")
	if len(start) == 0 || (start[0] != '{' && start[0] != '[') {
		return data
	}
	odd := bytes.IndexByte(data, '\t') >= 0 || bytes.Contains(data, []byte(`\u`))
	if !odd || !json.Valid(data) {
		return data
	}
	data = bytes.ReplaceAll(data, []byte("\t"), []byte(" ")) // valid JSON has none inside strings
	return joinSurrogates(data)
}

// byteOrderMark may begin each document of a file.
var byteOrderMark = []byte("\ufeff")

// directive is a line that says which YAML a document is written in. The parser
// knows 1.1 alone; what files use reads the same in each.
var directive = lazyregexp.New(`(?m)^%YAML 1\.[0-9]\b`)

// withoutMarks returns a text without the marks that may begin its documents, and
// with directives that the parser accepts. No token changes its line; on a line that
// a mark begins, columns are counted behind it.
func withoutMarks(data []byte) []byte {
	data = bytes.TrimPrefix(data, byteOrderMark)
	if bytes.IndexByte(data, '%') >= 0 {
		data = directive().ReplaceAll(data, []byte("%YAML 1.1"))
	}
	if !bytes.Contains(data, byteOrderMark) {
		return data
	}
	out := make([]byte, 0, len(data))
	begins := false // a document may begin on this line
	for line := range bytes.Lines(data) {
		if mark := bytes.TrimPrefix(line, byteOrderMark); begins || isMarker(mark) {
			line = mark
		}
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' {
			begins = isMarker(line)
		}
		out = append(out, line...)
	}
	return out
}

// depthLimit stops the parser before deep nesting costs anything.
type depthLimit struct{}

var errDepth = errors.New("nesting limit")

func (depthLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth+1 {
		return errDepth
	}
	return nil
}

func (depthLimit) CheckAlias(_, _ int) error { return nil }

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return 0
}

func positionAt(file string, data []byte, offset int) oprc.Position {
	head := data[:offset]
	line := bytes.LastIndexByte(head, '\n') + 1
	return oprc.Position{
		File:   file,
		Line:   1 + bytes.Count(head, []byte("\n")),
		Column: 1 + utf8.RuneCount(bytes.TrimPrefix(head[line:], []byte("\ufeff"))),
	}
}

// finding is a diagnostic of the severity that its code implies.
func finding(code oprc.Code, at oprc.Position, message string) oprc.Diagnostic {
	severity := oprc.SeverityError
	if code[0] == 'W' {
		severity = oprc.SeverityWarning
	}
	return oprc.Diagnostic{Code: code, Severity: severity, Position: at, Message: message}
}
