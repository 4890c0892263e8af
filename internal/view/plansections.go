package view

import "github.com/oaas-platform/oprc/internal/plan"

// A PlanSection is a part of a plan as a reviewer reads it.
type PlanSection struct {
	Title   string
	Removal bool // what the plan takes away
	Lines   []PlanLine
}

// A PlanLine is one line of a section.
type PlanLine struct {
	Depth  int
	Marker string // "+", "~", "-", "-/+", or "" for a field
	Text   string
	Note   string
}

// PlanSections is a plan in the order of every other view of it: what it removes first,
// then what many changes have in common, then each package.
func PlanSections(p *plan.Plan) []PlanSection {
	d := digestOf(PlanReport{Plan: p})
	var out []PlanSection
	if len(d.removals) > 0 {
		out = append(out, PlanSection{removalTitle(p), true, exported(d.removalLines())})
	}
	folds, rest := folded(p, d.causes)
	if len(folds) > 0 {
		var lines []planLine
		for _, f := range folds {
			lines = append(lines, f.lines()...)
		}
		out = append(out, PlanSection{foldTitle(folds), false, exported(lines)})
	}
	for _, g := range planGroups(rest, d.causes) {
		out = append(out, PlanSection{g.title(), false, exported(g.lines(false))})
	}
	return out
}

func exported(lines []planLine) []PlanLine {
	out := make([]PlanLine, len(lines))
	for i, l := range lines {
		out[i] = PlanLine{l.depth, l.marker, l.text, l.note}
	}
	return out
}
