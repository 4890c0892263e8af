package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/placement"
)

// addEffects reports what the environments that this plan changes do to a deployment that
// none of its documents speaks for: what placement warns of now and did not before. Nothing
// is refused for it, as a document that says less than before may only say what is so.
func (a *attempt) addEffects(s stand, found []placement.Finding, r *room) {
	if _, named := a.doc(s.pkg); named || len(a.changedEnvs) == 0 {
		return
	}
	found = slices.DeleteFunc(slices.Clone(found), func(f placement.Finding) bool { return f.Severity == oprc.SeverityInfo })
	if len(found) == 0 {
		return
	}
	in := a.placementInput(s, r)
	in.Environments = a.unchanged(r)
	before := placement.Place(in).Findings
	for _, f := range found {
		if !slices.ContainsFunc(before, func(b placement.Finding) bool { return b.Message == f.Message }) {
			a.addEffect(s, f)
		}
	}
}

// unchanged is the environments as they are before this plan, with the units that are
// placed there now.
func (a *attempt) unchanged(r *room) []oprc.EnvironmentState {
	var out []oprc.EnvironmentState
	for _, e := range r.all {
		if name := e.Spec.Name; a.changedEnvs[name] {
			live, known := a.Live.Environments[name]
			if !known {
				continue
			}
			live.Spec.Name, live.Units = name, e.Units
			e = live
		}
		out = append(out, e)
	}
	return out
}

func (a *attempt) addEffect(s stand, f placement.Finding) {
	message := fmt.Sprintf("%s: %s", s.key, f.Message)
	if f.Severity == oprc.SeverityError {
		message += "; it stays as it was placed"
	}
	env := a.culprit(s)
	diagnostic := oprc.Diagnostic{Code: f.Code, Severity: oprc.SeverityWarning, Message: message, Hint: f.Hint}
	if d, declared := a.envDocs[env]; declared {
		diagnostic.Pointer = differs(a.Live.Environments[env].Spec, *d.Environment)
		diagnostic.Position = d.Where.At(diagnostic.Pointer)
	}
	a.add(finding{Diagnostic: diagnostic, subject: subject(oprc.KindEnv, env)})
}

// culprit is the changed environment that a finding on a deployment is reported in: one
// where it runs, or that it names, else the first.
func (a *attempt) culprit(s stand) string {
	near := slices.Clone(s.declared.TargetEnvs)
	for _, d := range []*oprc.Deployment{s.current, &s.declared} {
		if d == nil {
			continue
		}
		for _, m := range d.Members {
			near = append(near, m.Env)
		}
	}
	changed := slices.Sorted(maps.Keys(a.changedEnvs))
	for _, env := range changed {
		if slices.Contains(near, env) {
			return env
		}
	}
	return changed[0]
}

// differs points to the first field of an environment that placement reads and that is
// another than before.
func differs(was, is oprc.Environment) string {
	switch {
	case was.Availability != is.Availability:
		return "/availability"
	case oprc.Digest(was.Capacity) != oprc.Digest(is.Capacity):
		return "/capacity"
	case was.Default != is.Default:
		return "/default"
	}
	return "/name"
}
