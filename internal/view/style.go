package view

import (
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"

	"github.com/oaas-platform/oprc/internal/oprc"
)

func bold(s string) string   { return lipgloss.NewStyle().Bold(true).Render(s) }
func faint(s string) string  { return lipgloss.NewStyle().Faint(true).Render(s) }
func red(s string) string    { return lipgloss.NewStyle().Foreground(lipgloss.Red).Render(s) }
func green(s string) string  { return lipgloss.NewStyle().Foreground(lipgloss.Green).Render(s) }
func yellow(s string) string { return lipgloss.NewStyle().Foreground(lipgloss.Yellow).Render(s) }
func cyan(s string) string   { return lipgloss.NewStyle().Foreground(lipgloss.Cyan).Render(s) }

// condition colours a state by how good it is.
func condition[S ~string](s S) string {
	switch c := string(s); oprc.Condition(c) {
	case "":
		return "-"
	case oprc.Running, oprc.Condition(oprc.Healthy):
		return green(c)
	case oprc.Down, "false":
		return red(c)
	case oprc.Pending, oprc.Deploying, oprc.Condition(oprc.RuntimeScaling), oprc.Condition(oprc.Degraded), oprc.Condition(oprc.HealthUnknown):
		return yellow(c)
	default:
		return clean(c)
	}
}

// clean makes foreign text safe for a terminal and for the log of a runner: one line, no
// control characters, no "##[" by which GitHub's runner knows a command anywhere in a line.
func clean(s string) string {
	s = strings.ReplaceAll(s, "##[", "##\u200b[")
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t' || r == '\u2028' || r == '\u2029' || r == '\u0085':
			return ' '
		case unprintable(r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// unprintable holds control characters and the marks that reorder text.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
