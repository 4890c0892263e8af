package view

import (
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Rewrite prints how a file's text would change, as a unified diff.
func (o Output) Rewrite(path, before, after string) error {
	diff := udiff.Unified(path, path, before, after)
	var b strings.Builder
	for line := range strings.Lines(diff) {
		text := strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(text, "+"):
			text = green(text)
		case strings.HasPrefix(text, "-"):
			text = red(text)
		case strings.HasPrefix(text, "@@"):
			text = cyan(text)
		}
		b.WriteString(text + "\n")
	}
	return o.print(b.String())
}
