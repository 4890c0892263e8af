package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Diff prints how a package's spec changed between two entries of its history, as
// a unified diff of YAML.
func (o Output) Diff(pkg string, from, to oprc.HistoryEntry) error {
	before, err := o.specYAML(from)
	if err != nil {
		return err
	}
	after, err := o.specYAML(to)
	if err != nil {
		return err
	}
	label := func(e oprc.HistoryEntry) string { return fmt.Sprintf("%s@%d", pkg, e.Rev) }
	diff := udiff.Unified(label(from), label(to), before, after)
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string `json:"formatVersion"`
			Package       string `json:"package"`
			From          int64  `json:"from"`
			To            int64  `json:"to"`
			Diff          string `json:"diff"`
		}{FormatVersion, pkg, from.Rev, to.Rev, diff})
	}
	var b strings.Builder
	for line := range strings.Lines(diff) {
		text := clean(strings.TrimSuffix(line, "\n"))
		switch {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
			text = bold(text)
		case strings.HasPrefix(line, "-"):
			text = red(text)
		case strings.HasPrefix(line, "+"):
			text = green(text)
		case strings.HasPrefix(line, "@@"):
			text = faint(text)
		}
		b.WriteString(text + "\n")
	}
	return o.print(b.String())
}

// specYAML is the spec of an entry, its secrets masked; nothing where it was deleted.
func (o Output) specYAML(e oprc.HistoryEntry) (string, error) {
	if e.Spec == nil {
		return "", nil
	}
	doc, err := oprc.Canonical(e.Spec)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = writeYAML(&b, json.RawMessage(o.masked(doc)))
	return b.String(), err
}
