package view

import (
	"fmt"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// markdown is the plan as a comment: its verdict and everything that it removes stand
// before whatever may be cut.
func (d planDigest) markdown(o Output) string {
	p := d.Plan
	if p.Empty() && d.refusal == nil {
		return "### oprc plan: no changes\n\n" + count(p.Summary.Unchanged, "object") + " compared.\n" + d.remarks(o)
	}
	var b strings.Builder
	if d.refusal != nil {
		b.WriteString("### oprc plan: " + strings.ToLower(d.refusal.title()) + "\n\n" + mdText(d.refusal.sentence(p)) + "\n")
		b.WriteString(findingsTable(d.refusal.Findings, o))
	} else {
		b.WriteString("### oprc plan: " + mdText(PlanSummary(p)) + "\n")
	}
	tail := ""
	if !p.Empty() {
		if d.refusal != nil {
			tail = "\n" + mdText(PlanSummary(p)) + "\n"
		}
		tail += "\n`" + p.ID + "`\n"
		if d.Next != "" && d.refusal == nil {
			tail += fenced("sh", d.Next)
		}
	}
	tail += d.remarks(o)
	b.WriteString(d.markdownRemovals(o.maxBytes() - b.Len() - len(tail) - 200))
	b.WriteString(tail)
	blocks := d.markdownBlocks()
	return joinWithin(o.maxBytes(), b.String(), blocks, func(left int) string {
		return fmt.Sprintf("\n%d of %s left out to stay within %d bytes (no deletion is among them); `oprc plan` shows all of it.\n",
			left, count(len(blocks), "part"), o.maxBytes())
	})
}

// findingsTable shows the first findings, at most a third of the document.
func findingsTable(found oprc.Diagnostics, o Output) string {
	if len(found) == 0 {
		return ""
	}
	rows := make([]string, len(found))
	for i, f := range found {
		rows[i] = findingRow(f, o)
	}
	return joinWithin(o.maxBytes()/3, "\n| | where | finding |\n|---|---|---|\n", rows, func(left int) string {
		return fmt.Sprintf("\n%s more; `oprc validate` shows all of them.\n", count(left, "finding"))
	})
}

// remarks counts the warnings.
func (d planDigest) remarks(o Output) string {
	var rows []string
	for _, f := range d.Plan.Diagnostics {
		if f.Severity == oprc.SeverityWarning {
			rows = append(rows, findingRow(f, o))
		}
	}
	if len(rows) == 0 {
		return ""
	}
	head := fmt.Sprintf("\n<details><summary>%s</summary>\n\n| | where | finding |\n|---|---|---|\n", count(len(rows), "warning"))
	return joinWithin(o.maxBytes()/6, head, rows, func(left int) string {
		return fmt.Sprintf("\n%d more; `oprc validate` shows all of them.\n", left)
	}) + "\n</details>\n"
}

// markdownRemovals names all that is removed. Where the lines do not fit, the names alone
// are given, and only what does not even then is counted.
func (d planDigest) markdownRemovals(limit int) string {
	if len(d.removals) == 0 {
		return ""
	}
	head := "\n**" + mdText(removalTitle(d.Plan)) + "**\n\n"
	var lines, names []string
	for _, r := range d.removals {
		lines = append(lines, "- "+r.plain())
		names = append(names, r.line().text)
	}
	whole := head + fenced("diff", strings.Join(lines, "\n"))
	if len(whole) <= limit {
		return whole
	}
	list := strings.Join(names, ", ")
	if room := limit - len(head) - 80; len(list) > room {
		shown := 0
		for total := 0; shown < len(names) && total+len(names[shown])+2 <= room; shown++ {
			total += len(names[shown]) + 2
		}
		list = strings.Join(names[:shown], ", ") + fmt.Sprintf(" and %d more that do not fit into this comment", len(names)-shown)
	}
	return head + fenced("", list)
}

// markdownBlocks are what is folded, and one block for each package.
func (d planDigest) markdownBlocks() []string {
	var blocks []string
	block := func(title string, changes int, lines []planLine, open string) {
		var text []string
		for _, l := range lines {
			text = append(text, l.diff())
		}
		blocks = append(blocks, fmt.Sprintf("\n<details%s><summary>%s: %s</summary>\n\n%s\n</details>\n",
			open, mdText(title), count(changes, "change"), fenced("diff", strings.Join(text, "\n"))))
	}
	folds, rest := folded(d.Plan, d.causes)
	if len(folds) > 0 {
		var lines []planLine
		n := 0
		for _, f := range folds {
			lines = append(lines, f.lines()...)
			n += len(f.changes)
		}
		block("the same in many places", n, lines, " open")
	}
	for _, g := range planGroups(rest, d.causes) {
		block(g.title(), len(g.changes), g.lines(false), "")
	}
	for _, name := range d.Plan.Kept {
		blocks = append(blocks, "\n"+mdText(stays(name))+"\n")
	}
	return blocks
}
