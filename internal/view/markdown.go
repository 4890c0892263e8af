package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// joinWithin joins blocks until the document would pass limit bytes, and says
// in note, which gets the number of blocks left out, what is missing. head always stays.
func joinWithin(limit int, head string, blocks []string, note func(left int) string) string {
	total := len(head)
	for _, block := range blocks {
		total += len(block)
	}
	if total <= limit {
		return head + strings.Join(blocks, "")
	}
	out, room := head, limit-len(head)-len(note(len(blocks)))
	kept := 0
	for _, block := range blocks {
		if len(block) > room {
			break
		}
		out += block
		room -= len(block)
		kept++
	}
	return out + note(len(blocks)-kept)
}

// fenced is a code block whose fence no content can close.
func fenced(lang, body string) string {
	fence := "```"
	for strings.Contains(body, fence) {
		fence += "`"
	}
	return fence + lang + "\n" + strings.TrimSuffix(body, "\n") + "\n" + fence + "\n"
}

// mdText escapes what Markdown or HTML would read as markup.
func mdText(s string) string {
	return strings.NewReplacer("&", "&amp;", "\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "|", "\\|", "<", "&lt;", ">", "&gt;",
		"[", "\\[", "]", "\\]", "#", "\\#", "@", "@\u200b", "~", "\\~", "$", "\\$", "://", ":\u200b//").Replace(clean(s))
}

func (f Findings) markdown(o Output) string {
	head := "### oprc validate: " + f.line(false) + "\n"
	if len(f.Diagnostics) == 0 {
		return head
	}
	head += "\n| | where | finding |\n|---|---|---|\n"
	rows := make([]string, len(f.Diagnostics))
	for i, d := range bySeverity(f.Diagnostics) {
		rows[i] = findingRow(d, o)
	}
	return joinWithin(o.maxBytes(), head, rows, func(left int) string {
		return fmt.Sprintf("\n%s left out to stay within %d bytes; `oprc validate` shows all of them.\n", count(left, "finding"), o.maxBytes())
	})
}

// findingRow is a finding in a table of three columns.
func findingRow(d oprc.Diagnostic, o Output) string {
	msg := mdText(d.Message)
	if d.Hint != "" {
		msg += "<br>" + mdText(d.Hint)
	}
	d.File = o.path(d.File)
	return fmt.Sprintf("| %s %s | %s | %s |\n", d.Severity, d.Code, mdText(d.Position.String()), msg)
}

// bySeverity lists errors first; findings of one severity keep their order.
func bySeverity(ds oprc.Diagnostics) oprc.Diagnostics {
	rank := map[oprc.Severity]int{oprc.SeverityError: 0, oprc.SeverityWarning: 1, oprc.SeverityInfo: 2}
	out := slices.Clone(ds)
	slices.SortStableFunc(out, func(a, b oprc.Diagnostic) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
	return out
}
