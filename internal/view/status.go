package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A Status is how far a package or deployment runs.
type Status struct {
	Object      reconcile.Object
	Deployments []reconcile.Object
	Units       []*reconcile.UnitView // that are asked to run, sorted by id
}

// Status prints how many units run, and those that do not.
func (o Output) Status(s Status) error {
	running, worst := 0, oprc.Condition("")
	var open []*reconcile.UnitView
	for _, u := range s.Units {
		worst = reconcile.Worst(worst, u.Condition)
		if u.Condition == oprc.Running {
			running++
			continue
		}
		open = append(open, u)
	}
	if o.Format == JSON || o.Format == YAML {
		return o.statusDocument(s, worst, running, open)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s, %d of %s run\n", s.Object.Kind, bold(clean(s.Object.Key)), condition(worst), running, count(len(s.Units), "unit"))
	if s.Object.Kind == oprc.KindPackage && len(s.Deployments) > 0 {
		t := table{header: []string{"DEPLOYMENT", "CONDITION", "RUNNING"}}
		for _, d := range s.Deployments {
			t.add(o.row(d)[:3]...)
		}
		b.WriteString("\n" + t.render(""))
	}
	b.WriteString(o.openUnits(open))
	return o.print(b.String())
}

// openUnits lists the units that do not run, those that wait longest first.
func (o Output) openUnits(open []*reconcile.UnitView) string {
	const most = 10
	if len(open) == 0 {
		return ""
	}
	open = slices.Clone(open)
	slices.SortStableFunc(open, func(a, b *reconcile.UnitView) int { return a.DispatchedAt.Compare(b.DispatchedAt) })
	t := table{header: []string{"UNIT", "CONDITION", "SENT", "ERROR"}}
	for _, u := range open[:min(most, len(open))] {
		t.add(clean(u.Unit.ID), condition(u.Condition), o.age(u.DispatchedAt), dash(cut(errorOf(u), 80)))
	}
	out := "\n" + t.render("")
	if more := len(open) - most; more > 0 {
		out += fmt.Sprintf("and %d more\n", more)
	}
	return out
}

func errorOf(u *reconcile.UnitView) string {
	if u.Status == nil {
		return ""
	}
	return u.Status.ErrorMsg
}

func (o Output) statusDocument(s Status, worst oprc.Condition, running int, open []*reconcile.UnitView) error {
	type unit struct {
		ID        string         `json:"id"`
		Condition oprc.Condition `json:"condition"`
		ErrorMsg  string         `json:"errorMsg,omitempty"`
	}
	waiting := make([]unit, len(open))
	for i, u := range open {
		waiting[i] = unit{u.Unit.ID, u.Condition, errorOf(u)}
	}
	deployments := make([]reconcile.DeploymentBrief, 0, len(s.Deployments))
	for _, obj := range s.Deployments {
		if d, ok := obj.Doc.(*reconcile.DeploymentView); ok {
			deployments = append(deployments, reconcile.DeploymentBrief{Key: d.Key, Condition: d.Condition})
		}
	}
	return o.Document(struct {
		FormatVersion string                      `json:"formatVersion"`
		Kind          oprc.Kind                   `json:"kind"`
		Key           string                      `json:"key"`
		Condition     oprc.Condition              `json:"condition,omitempty"`
		Units         int                         `json:"units"`
		Running       int                         `json:"running"`
		Deployments   []reconcile.DeploymentBrief `json:"deployments"`
		Waiting       []unit                      `json:"waiting"`
	}{FormatVersion, s.Object.Kind, s.Object.Key, worst, len(s.Units), running, deployments, waiting})
}
