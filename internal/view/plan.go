package view

import (
	"fmt"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Plan prints a plan in any format but name. next is the command that carries it
// out, for people; "" says nothing.
func (o Output) Plan(p *plan.Plan, next string) error {
	p = p.Masked(o.Mask)
	switch o.Format {
	case JSON, YAML:
		return o.Document(p)
	case Markdown:
		return o.print(planMarkdown(p, next, o.maxBytes()))
	case GitHub:
		return o.print(planAnnotations(p))
	case SARIF:
		return writeJSON(o.W, sarif(p.Diagnostics))
	}
	return o.print(planText(p, next, o.Format == Wide))
}

func planText(p *plan.Plan, next string, wide bool) string {
	var b strings.Builder
	for _, g := range planGroups(p) {
		for _, l := range g.lines(wide) {
			b.WriteString(l.styled() + "\n")
		}
		b.WriteString("\n")
	}
	for _, name := range p.Kept {
		b.WriteString(yellow("!") + " " + kept(name) + "\n")
	}
	if p.Empty() {
		b.WriteString(bold("No changes.") + " Live state is what the files ask for (" + count(p.Summary.Unchanged, "object") + " compared).\n")
		return b.String()
	}
	b.WriteString(bold("Plan: ") + PlanSummary(p) + "\n")
	b.WriteString(faint(p.ID) + "\n")
	if next != "" {
		b.WriteString("\nTo carry it out: " + bold(next) + "\n")
	}
	return b.String()
}

// kept says why a package or environment does not change.
func kept(name string) string {
	if env, is := strings.CutPrefix(name, string(oprc.KindEnv)+"/"); is {
		return "environment " + clean(env) + " stays as it is: it has errors, is in use, or another origin owns it"
	}
	return "package " + clean(name) + " stays at its last good state: it, or a package it needs, has errors"
}

// PlanSummary is the plan in one line: what changes and which commands go where.
func PlanSummary(p *plan.Plan) string { return summaryLine(p.Summary) }

func summaryLine(s plan.Summary) string {
	out := fmt.Sprintf("%d to create, %d to update, %d to delete, %d unchanged", s.Create, s.Update, s.Delete, s.Unchanged)
	var cmds []string
	if n := s.Commands.Deploy; n > 0 {
		cmds = append(cmds, count(n, "unit")+" to deploy")
	}
	if n := s.Commands.Undeploy; n > 0 {
		cmds = append(cmds, count(n, "unit")+" to undeploy")
	}
	if len(cmds) == 0 {
		return out + "; no unit changes"
	}
	out += "; " + strings.Join(cmds, ", ")
	if len(s.Blast.Environments) > 0 {
		out += " in " + clean(strings.Join(s.Blast.Environments, ", "))
	}
	return out
}

// A planLine is one line of a plan's tree.
type planLine struct {
	depth  int
	marker string // "+", "~", "-", or "" for a field
	text   string
	note   string // after the text, subdued
}

func (l planLine) styled() string {
	indent := strings.Repeat("  ", l.depth)
	text := l.text
	switch l.marker {
	case "+":
		text = green("+") + " " + text
	case "-":
		text = red("-") + " " + text
	case "":
		text = "    " + text
	default:
		text = yellow(l.marker) + " " + text
	}
	if l.note != "" {
		text += "  " + faint(l.note)
	}
	return indent + text
}

// diff is the line for a Markdown diff block, where the first column colours.
func (l planLine) diff() string {
	mark := map[string]string{"+": "+", "-": "-", "": " "}[l.marker]
	if mark == "" {
		mark = "!"
	}
	text := l.text
	if l.marker == "" {
		text = "  " + text
	}
	if l.note != "" {
		text += "  (" + l.note + ")"
	}
	return mark + " " + strings.Repeat("  ", l.depth) + text
}

func marker(actions []plan.Action) string {
	var has struct{ create, update, del bool }
	for _, a := range actions {
		switch a {
		case plan.Create:
			has.create = true
		case plan.Delete:
			has.del = true
		case plan.Update, plan.Redeploy:
			has.update = true
		}
	}
	switch {
	case has.create && has.del:
		return "-/+"
	case has.create:
		return "+"
	case has.del:
		return "-"
	}
	return "~"
}

// why words a reason where the action does not say it already.
func why(c plan.Change) string {
	switch c.Reason {
	case plan.ReasonInherited:
		return "because of a parent, function or required package"
	case plan.ReasonPlacement:
		return "placement"
	case plan.ReasonDrift:
		return "drift: a CRM runs something else"
	case plan.ReasonNoReport:
		return "was never dispatched"
	case plan.ReasonDisabled:
		return "disabled"
	}
	return ""
}

func planAnnotations(p *plan.Plan) string {
	var b strings.Builder
	b.WriteString(annotations(p.Diagnostics))
	b.WriteString(annotation("notice", oprc.Position{}, "oprc plan", PlanSummary(p)))
	for _, c := range p.Changes {
		for _, f := range c.Fields {
			if f.File == "" || c.Kind == oprc.KindUnit {
				continue
			}
			b.WriteString(annotation("notice", oprc.Position{File: f.File, Line: f.Line},
				string(c.Kind)+" "+c.Key, fieldText(f, 200)))
		}
	}
	return b.String()
}

func planMarkdown(p *plan.Plan, next string, limit int) string {
	if p.Empty() {
		return "### oprc plan: no changes\n\n" + count(p.Summary.Unchanged, "object") + " compared.\n"
	}
	head := "### oprc plan: " + mdText(PlanSummary(p)) + "\n\n"
	if n := len(p.Diagnostics); n > 0 {
		head += count(n, "finding") + "; `oprc validate` shows them.\n\n"
	}
	head += "`" + p.ID + "`\n"
	if next != "" {
		head += fenced("sh", next)
	}
	groups := planGroups(p)
	blocks := make([]string, len(groups))
	for i, g := range groups {
		var lines []string
		for _, l := range g.lines(false) {
			lines = append(lines, l.diff())
		}
		blocks[i] = fmt.Sprintf("\n<details><summary>%s: %s</summary>\n\n%s\n</details>\n",
			mdText(g.title()), count(len(g.changes), "change"), fenced("diff", strings.Join(lines, "\n")))
	}
	return joinWithin(limit, head, blocks, func(left int) string {
		return fmt.Sprintf("\n%d of %s left out to stay within %d bytes; `oprc plan` shows all of it.\n",
			left, count(len(blocks), "part"), limit)
	})
}
