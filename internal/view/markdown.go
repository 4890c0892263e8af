package view

import (
	"fmt"
	"strings"
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
	return strings.NewReplacer("\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "|", "\\|", "<", "&lt;", ">", "&gt;",
		"[", "\\[", "]", "\\]", "#", "\\#", "@", "@\u200b").Replace(clean(s))
}

func (f Findings) markdown(limit int) string {
	head := "### oprc validate: " + f.line(false) + "\n"
	if len(f.Diagnostics) == 0 {
		return head
	}
	head += "\n| | where | finding |\n|---|---|---|\n"
	rows := make([]string, len(f.Diagnostics))
	for i, d := range f.Diagnostics {
		msg := mdText(d.Message)
		if d.Hint != "" {
			msg += "<br>" + mdText(d.Hint)
		}
		rows[i] = fmt.Sprintf("| %s %s | %s | %s |\n", d.Severity, d.Code, mdText(d.Position.String()), msg)
	}
	return joinWithin(limit, head, rows, func(left int) string {
		return fmt.Sprintf("\n%s left out to stay within %d bytes; `oprc validate` shows all of them.\n", count(left, "finding"), limit)
	})
}
