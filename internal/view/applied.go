package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Applied prints what an apply did. Text says nothing about environments that
// wait: that is a hint, for stderr.
func (o Output) Applied(r reconcile.Result) error {
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string           `json:"formatVersion"`
			PlanID        string           `json:"planId"`
			Summary       plan.Summary     `json:"summary"`
			Revs          map[string]int64 `json:"revs"`
			Environments  map[string]int64 `json:"environments"`
			Waiting       []string         `json:"waiting"`
			Diverged      []string         `json:"diverged"`
			Verified      int              `json:"verified"`
		}{FormatVersion, r.PlanID, r.Summary, r.Revs, r.Environments, r.Waiting, r.Diverged, r.Verified})
	}
	s := r.Summary
	did := fmt.Sprintf("%d created, %d updated, %d deleted, %d unchanged", s.Create, s.Update, s.Delete, s.Unchanged)
	if n := s.Commands.Deploy; n > 0 {
		did += "; " + count(n, "unit") + " sent to deploy"
	}
	if n := s.Commands.Undeploy; n > 0 {
		did += "; " + count(n, "unit") + " sent to undeploy"
	}
	var b strings.Builder
	writeRevs(&b, oprc.KindEnv, r.Environments)
	writeRevs(&b, oprc.KindPackage, r.Revs)
	if s.Create+s.Update+s.Delete+s.Commands.Deploy+s.Commands.Undeploy == 0 {
		return o.print(bold("No changes.") + " Live state matches the request (" + count(s.Unchanged, "object") + " compared).\n")
	}
	b.WriteString(bold("Applied: ") + did + "\n")
	for _, d := range r.Diverged {
		b.WriteString("! not as planned, somebody else wrote meanwhile: " + clean(d) + "\n")
	}
	if len(r.Diverged) == 0 && r.Verified > 0 {
		b.WriteString("Verified: live state matches the plan (" + count(r.Verified, "changed object") + " read back).\n")
	}
	return o.print(b.String())
}

func writeRevs(b *strings.Builder, kind oprc.Kind, revs map[string]int64) {
	for _, name := range slices.Sorted(maps.Keys(revs)) {
		if revs[name] > 0 {
			fmt.Fprintf(b, "%s/%s revision %d\n", kind, clean(name), revs[name])
		} else {
			fmt.Fprintf(b, "%s/%s deleted\n", kind, clean(name))
		}
	}
}
