package view

import (
	"strings"

	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Why prints a chain of causes, and the command that does something about it.
func (o Output) Why(x reconcile.Explanation, next string) error {
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string `json:"formatVersion"`
			reconcile.Explanation
			Command string `json:"command,omitempty"`
		}{FormatVersion, x, next})
	}
	var b strings.Builder
	for i, c := range x.Causes {
		indent := strings.Repeat("  ", i)
		b.WriteString(indent + string(c.Kind) + " " + bold(clean(c.Key)) + ": " + clean(c.State) + "\n")
		if c.Reason != "" {
			b.WriteString(indent + "  because " + clean(c.Reason) + "\n")
		}
	}
	if x.Good {
		b.WriteString("Nothing is wrong with it.\n")
	}
	if next != "" {
		b.WriteString("\nNext: " + next + "\n")
	}
	return o.print(b.String())
}
