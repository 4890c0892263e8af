package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// findCandidates decides which environments the deployment may use at all.
func (d *decision) findCandidates() {
	d.checkNames()
	switch d.basis {
	case fromMembers:
		for _, m := range d.in.Deployment.Members {
			d.candidates = append(d.candidates, m.Env)
		}
	case fromTargets:
		d.candidates = slices.Clone(d.in.Deployment.TargetEnvs)
		d.noteRepeats()
	case fromPool:
		d.poolCandidates()
	case fromDefault:
		if env := d.defaultEnv(); env != "" {
			d.candidates = []string{env}
			where := "the default one" // offline it has no name
			if !d.envs[env].Spec.Default {
				where = strconv.Quote(env)
			}
			d.add(Finding{
				Code: oprc.CodeDefault, Severity: oprc.SeverityInfo, Pointer: "/targetEnvs",
				Message: "no environment is named: it runs in " + where,
			})
		}
	}
	slices.Sort(d.candidates)
	d.candidates = slices.Compact(d.candidates)
	for _, name := range d.candidates {
		d.explainCandidate(name, "")
	}
	slices.SortFunc(d.out.Explanation.Candidates, func(a, b Candidate) int { return cmp.Compare(a.Env, b.Env) })
}

// explainCandidate lists an environment; why is empty unless it was left out.
func (d *decision) explainCandidate(name, why string) {
	c := Candidate{Env: name, Why: why}
	if e := d.envs[name]; e != nil {
		c.Availability, c.Units = availabilityOf(e), e.Units
	}
	d.out.Explanation.Candidates = append(d.out.Explanation.Candidates, c)
}

// availabilityOf is what the environment reports, else what it declares; 0 when
// neither is known.
func availabilityOf(e *oprc.EnvironmentState) float64 {
	return min(cmp.Or(max(0, e.Availability), max(0, e.Spec.Availability)), 1)
}

// checkNames reports the environments that the deployment names and nobody
// registered.
func (d *decision) checkNames() {
	for i, t := range d.in.Deployment.TargetEnvs {
		d.checkName(t, fmt.Sprintf("/targetEnvs/%d", i))
	}
	for i, m := range d.in.Deployment.Members {
		if m.Env != "" {
			d.checkName(m.Env, fmt.Sprintf("/members/%d/env", i))
		}
	}
}

func (d *decision) checkName(env, pointer string) {
	if d.envs[env] != nil {
		return
	}
	f := Finding{Code: oprc.CodeEnvironment, Severity: oprc.SeverityError, Pointer: pointer}
	known := d.names()
	if len(known) == 0 {
		f.Message = fmt.Sprintf("environment %q is not known; none is registered", env)
		f.Hint = "register it with a document of kind: Environment, or with: oprc env create " + env
	} else {
		f.Message = fmt.Sprintf("environment %q is not known; known: %s", env, list(known))
		f.Hint = "register it, or name one that is known"
		if near := oprc.Nearest(env, known); near != "" {
			f.Hint = fmt.Sprintf("did you mean %q?", near)
		}
	}
	d.add(f)
}

// names returns the known environments, sorted.
func (d *decision) names() []string {
	names := make([]string, 0, len(d.in.Environments))
	for _, e := range d.in.Environments {
		names = append(names, e.Spec.Name)
	}
	slices.Sort(names)
	return names
}

// list joins names for a sentence, at most ten of them.
func list(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (d *decision) noteRepeats() {
	seen := make(map[string]bool)
	for i, t := range d.in.Deployment.TargetEnvs {
		if seen[t] {
			d.add(Finding{
				Code: oprc.CodeDefault, Severity: oprc.SeverityInfo, Pointer: fmt.Sprintf("/targetEnvs/%d", i),
				Message: fmt.Sprintf("environment %q is listed twice and counts once", t),
				Hint:    "remove one of the two",
			})
		}
		seen[t] = true
	}
}

// poolCandidates considers every registered environment.
func (d *decision) poolCandidates() {
	for i := range d.in.Environments {
		e := &d.in.Environments[i]
		if why := d.unfit(e); why != "" {
			d.explainCandidate(e.Spec.Name, why)
			continue
		}
		d.candidates = append(d.candidates, e.Spec.Name)
	}
	if len(d.candidates) > 0 {
		return
	}
	f := Finding{
		Code: oprc.CodeEnvironment, Severity: oprc.SeverityError, Pointer: "/targetEnvs",
		Message: "no environment is registered",
		Hint:    "register one with a document of kind: Environment",
	}
	if len(d.in.Environments) > 0 {
		var why []string
		for _, c := range d.out.Explanation.Candidates {
			why = append(why, c.Env+": "+c.Why)
		}
		f.Message = "no registered environment can be used: " + list(why)
		f.Hint = "start a CRM there, or name the environments in targetEnvs"
		if d.someUnknownAvailability() {
			f.Code = oprc.CodeAvailability
			f.Hint = "declare the availability of an environment, or let its CRM report it"
		}
	}
	d.add(f)
}

func (d *decision) someUnknownAvailability() bool {
	return slices.ContainsFunc(d.out.Explanation.Candidates, func(c Candidate) bool { return c.Why == whyUnknown })
}

const whyUnknown = "its availability is not known"

// unfit says why an environment of the pool cannot be chosen, or "".
func (d *decision) unfit(e *oprc.EnvironmentState) string {
	switch {
	case e.Health == oprc.EnvDown:
		return "it is DOWN"
	case d.tooSoon(e):
		return whyTooSoon(e)
	case !isUp(e) && !e.Spec.Default:
		return "no CRM has reported from it yet"
	case availabilityOf(e) == 0:
		return whyUnknown
	}
	if room := d.room(e.Spec.Name); room < d.partitions {
		return fmt.Sprintf("it has room for %s, not for %d", units(room), d.partitions)
	}
	return ""
}

// tooSoon reports whether the environment came back so short a time ago that a
// deployment which runs elsewhere does not go there yet. What is placed for the
// first time does not wait, nor does what runs there.
func (d *decision) tooSoon(e *oprc.EnvironmentState) bool {
	return !e.RecoveringUntil.IsZero() && d.in.Current != nil && d.own[e.Spec.Name] == 0
}

func whyTooSoon(e *oprc.EnvironmentState) string {
	return "it was DOWN, and is trusted again from " + e.RecoveringUntil.UTC().Format(time.RFC3339)
}

func isUp(e *oprc.EnvironmentState) bool {
	return e.Health == oprc.Healthy || e.Health == oprc.Degraded
}

// defaultEnv is where a deployment goes that asks for nothing: the default
// environment, or the only one; while it is DOWN the best one that is up, and of
// those first where the deployment already is.
func (d *decision) defaultEnv() string {
	var pick *oprc.EnvironmentState
	for i := range d.in.Environments {
		e := &d.in.Environments[i]
		if e.Spec.Default || len(d.in.Environments) == 1 {
			pick = e
			break
		}
	}
	if pick == nil {
		f := Finding{
			Code: oprc.CodeEnvironment, Severity: oprc.SeverityError, Pointer: "/targetEnvs",
			Message: "no environment is named, and none is registered", Hint: "register one with a document of kind: Environment",
		}
		if known := d.names(); len(known) > 0 {
			f.Message = "no environment is named, and there is no default one; known: " + list(known)
			f.Hint = "name environments in targetEnvs, or mark one with default: true"
		}
		d.add(f)
		return ""
	}
	why := "it is DOWN"
	switch {
	case pick.Health == oprc.EnvDown:
	case d.tooSoon(pick):
		why = whyTooSoon(pick)
	default:
		return pick.Spec.Name
	}
	var up []string
	for i := range d.in.Environments {
		if e := &d.in.Environments[i]; isUp(e) && !d.tooSoon(e) && d.room(e.Spec.Name) >= d.partitions {
			up = append(up, e.Spec.Name)
		}
	}
	if len(up) == 0 {
		return pick.Spec.Name
	}
	d.explainCandidate(pick.Spec.Name, why)
	d.prefer(up)
	return up[0]
}

// prefer sorts environments by how good they are: where the deployment already
// is, then availability, then room, then load, then name.
func (d *decision) prefer(names []string) {
	slices.SortFunc(names, func(a, b string) int {
		ea, eb := d.envs[a], d.envs[b]
		return cmp.Or(
			-cmp.Compare(min(1, d.own[a]), min(1, d.own[b])),
			-cmp.Compare(availabilityOf(ea), availabilityOf(eb)),
			-cmp.Compare(d.room(a), d.room(b)),
			cmp.Compare(ea.Units, eb.Units),
			cmp.Compare(a, b))
	})
}

// unitsByEnv counts the units of a placed deployment by environment.
func unitsByEnv(placed *oprc.Deployment) map[string]int {
	if placed == nil {
		return nil
	}
	env := make(map[int]string, len(placed.Members))
	for _, m := range placed.Members {
		env[m.ID] = m.Env
	}
	count := make(map[string]int)
	for _, a := range placed.Assignments {
		for _, o := range a.Owners {
			count[env[o]]++
		}
	}
	return count
}

// room is how many units of this deployment an environment can carry. What runs
// there now always has room, so a capacity that shrinks does not chase it away.
func (d *decision) room(env string) int {
	e := d.envs[env]
	if e == nil {
		return math.MaxInt
	}
	most := e.MaxUnits()
	if most == nil {
		return math.MaxInt
	}
	own := d.own[env]
	return max(own, *most-max(0, e.Units-own))
}

func units(n int) string { return plural(n, "unit") }
