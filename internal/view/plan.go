package view

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A PlanReport is a plan and what becomes of it.
type PlanReport struct {
	Plan *plan.Plan
	// Err is why the plan is not carried out as it is; nil where nothing stops it but what
	// the plan itself says.
	Err error
	// Next is the command that carries it out, for people; "" says nothing.
	Next string
	// Contents holds the files by path, for the source lines that text shows.
	Contents map[string][]byte
}

// Plan prints a plan as [Output.Report] does.
func (o Output) Plan(p *plan.Plan, next string) error {
	return o.Report(PlanReport{Plan: p, Next: next})
}

// Report prints a plan in any format but name: what is wrong first, then what it deletes
// and undeploys, then the rest.
func (o Output) Report(r PlanReport) error {
	r.Plan = r.Plan.Masked(o.Mask)
	d := digestOf(r)
	switch o.Format {
	case JSON, YAML:
		return o.Document(d.document())
	case Markdown:
		return o.print(d.markdown(o))
	case GitHub:
		return o.print(d.annotations(o))
	case SARIF:
		return writeJSON(o.W, d.sarif(o))
	}
	return o.print(d.text(o))
}

// A planDigest is a plan in the order in which a reviewer needs it.
type planDigest struct {
	PlanReport
	refusal  *refusal
	removals []removal
	causes   causes
}

func digestOf(r PlanReport) planDigest {
	return planDigest{r, refusalOf(r.Plan, r.Err), removals(r.Plan), causesOf(r.Plan)}
}

// document is the plan for programs.
func (d planDigest) document() any {
	deletes := make([]string, len(d.removals))
	for i, r := range d.removals {
		deletes[i] = r.plain()
	}
	return struct {
		Refused *refusal `json:"refused,omitempty"`
		Deletes []string `json:"deletes"`
		*plan.Plan
	}{d.refusal, deletes, d.Plan}
}

func (d planDigest) text(o Output) string {
	var b strings.Builder
	p, found := d.Plan, Findings{Contents: d.Contents}
	if d.refusal != nil {
		b.WriteString(red(bold(d.refusal.title()+":")) + " " + d.refusal.sentence(p) + "\n")
		for _, f := range d.refusal.Findings {
			b.WriteString(found.finding(f, o.Mask))
		}
		b.WriteString("\n")
	}
	write := func(lines []planLine) {
		for _, l := range lines {
			b.WriteString(l.styled() + "\n")
		}
		b.WriteString("\n")
	}
	if len(d.removals) > 0 {
		b.WriteString(red(bold(removalTitle(p)+":")) + "\n")
		write(d.removalLines())
	}
	folds, rest := folded(p, d.causes)
	if o.Format == Wide {
		folds, rest = nil, p.Changes
	}
	if len(folds) > 0 {
		b.WriteString(bold(foldTitle(folds)+":") + "\n")
		var lines []planLine
		for _, f := range folds {
			lines = append(lines, f.lines()...)
		}
		write(lines)
	}
	for _, g := range planGroups(rest, d.causes) {
		write(g.lines(o.Format == Wide))
	}
	for _, name := range p.Kept {
		b.WriteString(yellow("!") + " " + stays(name) + "\n")
	}
	switch {
	case p.Empty() && d.refusal != nil:
		return strings.TrimSuffix(b.String(), "\n\n") + "\n"
	case p.Empty():
		b.WriteString(bold("No changes.") + " Live state matches the files (" + count(p.Summary.Unchanged, "object") + " compared).\n")
		return b.String()
	}
	b.WriteString(bold("Plan: ") + PlanSummary(p) + "\n")
	b.WriteString(faint(p.ID) + "\n")
	if d.Next != "" && d.refusal == nil {
		b.WriteString("\nTo carry it out: " + bold(d.Next) + "\n")
	}
	return b.String()
}

func (d planDigest) removalLines() []planLine {
	lines := make([]planLine, len(d.removals))
	for i, r := range d.removals {
		lines[i] = r.line()
	}
	return lines
}

// stays says why a package or environment does not change.
func stays(name string) string {
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
		return cmp.Or(clean(c.Cause), "placement")
	case plan.ReasonDrift:
		return "drift: a CRM runs something else"
	case plan.ReasonNoReport:
		if len(c.Before) > 0 || c.Generation > 1 {
			return "its record was lost or differs: it is sent again"
		}
		return "was never sent"
	case plan.ReasonDisabled:
		return "disabled"
	case plan.ReasonRestart:
		return "restart"
	}
	return ""
}
