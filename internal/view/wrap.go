package view

import (
	"strings"

	"charm.land/lipgloss/v2"
)

// Wrap breaks styled lines that are wider than a terminal at spaces, and indents what
// follows. A word that is too wide by itself stays whole.
func Wrap(text string, columns int) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if columns > 0 && lipgloss.Width(line) > columns {
			lines[i] = wrapLine(line, columns)
		}
	}
	return strings.Join(lines, "\n")
}

func wrapLine(line string, columns int) string {
	const further = "    "
	rest := strings.TrimLeft(line, " ")
	indent := line[:len(line)-len(rest)]
	out, width := indent, len(indent)
	for i, word := range strings.SplitAfter(rest, " ") {
		if i > 0 && width+lipgloss.Width(strings.TrimRight(word, " ")) > columns {
			out = strings.TrimRight(out, " ") + "\n" + indent + further
			width = len(indent + further)
		}
		out += word
		width += lipgloss.Width(word)
	}
	return out
}
