package loop

import (
	"slices"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// refusals says for the histories of packages which of the versions that a new
// revision brings are not applied, and why.
func (s *sourceState) refusals(p *plan.Plan, now time.Time) map[string]oprc.HistoryEntry {
	if s.told == s.reading {
		return nil
	}
	before := s.told
	if before == nil {
		before = &reading{}
	}
	changed := s.reading.since(before)
	out := map[string]oprc.HistoryEntry{}
	for _, name := range p.Kept {
		if !changed[name] {
			continue
		}
		why := "a package that it needs stays at its last good state"
		errs := p.Diagnostics.Errors()
		if i := slices.IndexFunc(errs, func(d oprc.Diagnostic) bool { return d.Package == name }); i >= 0 {
			why = errs[i].String()
		}
		for _, c := range p.Conflicts {
			if slices.Contains(packagesOf([]string{c}), name) {
				why = c
			}
		}
		out[name] = oprc.HistoryEntry{
			Time: now, Action: oprc.ActionRefuse, PlanID: p.ID, Actor: s.rev.Author, Origin: s.c.origin(),
			Commit: s.rev.ID, Message: s.rev.Message, Error: why,
		}
	}
	return out
}
