package schema

import (
	"bytes"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A section is the part of a file that holds one document, so that a document of
// a long file is found again without reading the others.
type section struct {
	from, to int
	line     int // lines of the file before it
}

// of cuts the section out of its file.
func (s section) of(f oprc.File) oprc.File {
	f.Data = f.Data[s.from:s.to]
	return f
}

// sections cuts a file at its document markers: lines that start with --- are
// nothing else in YAML, and do not occur in JSON. Directives go with the document
// that follows them.
func sections(data []byte) []section {
	out := []section{{}}
	from, line := -1, 0 // of the directives, comments and blank lines just before
	cut := func(at, lines int) {
		out[len(out)-1].to = at
		out = append(out, section{from: at, line: lines})
	}
	fromLine := 0
	for at := 0; at < len(data); {
		next := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		text := bytes.TrimRight(data[at:next], " \t\r\n")
		switch {
		case bytes.HasPrefix(text, []byte("---")) && (len(text) == 3 || text[3] == ' ' || text[3] == '\t'):
			if from < 0 {
				from, fromLine = at, line
			}
			cut(from, fromLine)
			from = -1
		case len(text) == 0 || text[0] == '#' || text[0] == '%':
			if from < 0 {
				from, fromLine = at, line
			}
		default:
			from = -1
		}
		line += breaks(data[at:next])
		at = next
	}
	out[len(out)-1].to = len(data)
	return out
}

// breaks counts the line breaks in text that ends with a newline, if it has one. YAML
// knows more of them than editors do.
func breaks(text []byte) int {
	n := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) - bytes.Count(text, []byte("\r\n"))
	for _, rare := range []string{"\u0085", "\u2028", "\u2029"} {
		n += bytes.Count(text, []byte(rare))
	}
	return n
}
