package plan

import (
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// units compares the units of the placed deployments with what environments were
// told last, and takes away what planned packages no longer want.
func (d *diff) units() {
	wanted := map[string]bool{}
	settings := podSettings(slices.Values(d.attempt.environments))
	for _, key := range slices.Sorted(maps.Keys(d.placed)) {
		for _, u := range Units(d.placed[key], d.catalogue.Classes[key], d.catalogue.Functions, settings) {
			wanted[u.ID] = true
			d.unit(u)
		}
	}
	var m *memory
	for cls, units := range d.known {
		pkg, reason, ours := d.mayUndeploy(cls)
		if !ours {
			continue
		}
		for _, u := range units {
			if !u.Runs() || wanted[u.id] {
				continue
			}
			c := Change{
				Kind: oprc.KindUnit, Key: u.id, Package: pkg, Generation: u.Generation + 1, Actions: []Action{Delete}, Reason: reason,
			}
			if m == nil {
				m = d.memory(d.planned)
			}
			if ran := m.unit(u.id); d.digests.Digest(ran) == u.SpecHash {
				c.ran = &ran
			}
			d.add(c)
		}
	}
}

// unit decides about one unit that should run.
func (d *diff) unit(u oprc.DeploymentUnit) {
	live := d.Live.Units[u.TargetEnv][u.ID]
	hash := d.digests.Digest(u)
	c := Change{
		Kind: oprc.KindUnit, Key: u.ID, Package: d.placed[u.ClsKey].Pkg, Generation: live.Generation + 1, Will: hash, doc: u,
	}
	switch {
	case !live.Runs():
		c.Actions, c.Reason = []Action{Create}, d.whyCreated(u)
	case hash != live.SpecHash:
		c.Actions, c.Reason = []Action{Update}, d.whyUpdated(u)
	case d.Live.Damaged[subject(oprc.KindUnit, u.ID)]:
		c.Actions, c.Reason = []Action{Redeploy}, ReasonDrift
	case d.Heal && !d.LeaveDrift[u.ID] && d.drifted(u, live):
		c.Actions, c.Reason = []Action{Redeploy}, ReasonDrift
	default:
		return
	}
	d.add(c)
}

// drifted reports whether a CRM that has caught up runs something else, or took the
// unit away although nobody asked for that: no later report can bring it back.
func (d *diff) drifted(u oprc.DeploymentUnit, live oprc.UnitDigest) bool {
	s := d.Live.Statuses[u.TargetEnv][u.ID]
	return s.Generation == live.Generation &&
		(s.Condition == oprc.Deleted || s.SpecHash != "" && s.SpecHash != live.SpecHash)
}

func (d *diff) whyCreated(u oprc.DeploymentUnit) Reason {
	reason, changed := d.reasons[subject(oprc.KindDeployment, u.ClsKey)]
	switch {
	case !changed:
		return ReasonNoReport
	case reason == ReasonPlacement || reason == ReasonNoReport:
		return reason
	}
	return ReasonNew
}

// whyUpdated names the nearest cause: the deployment's own package before others,
// specs before placement.
func (d *diff) whyUpdated(u oprc.DeploymentUnit) Reason {
	class, pkg := d.catalogue.Classes[u.ClsKey], d.placed[u.ClsKey].Pkg
	causes := map[Reason]bool{
		d.reasons[subject(oprc.KindDeployment, u.ClsKey)]: true,
		d.reasons[subject(oprc.KindClass, u.ClsKey)]:      true,
	}
	for _, key := range boundFunctions(class, nil) {
		reason := d.reasons[subject(oprc.KindFunction, key)]
		if f := d.catalogue.Functions[key]; f.Pkg != pkg && reason != "" {
			reason = ReasonInherited
		}
		causes[reason] = true
		if d.off[key] {
			return ReasonDisabled
		}
	}
	if causes[ReasonNew] {
		causes[ReasonSpec] = true
	}
	for _, reason := range []Reason{ReasonSpec, ReasonInherited, ReasonRestart, ReasonPlacement, ReasonDrift} {
		if causes[reason] {
			return reason
		}
	}
	if d.reasons[subject(oprc.KindEnv, u.TargetEnv)] != "" { // how pods run there
		return ReasonSpec
	}
	return ReasonNoReport
}

// mayUndeploy says whether units of a class are this plan's to take away, which
// package they belong to, and why they go.
func (d *diff) mayUndeploy(cls string) (pkg string, reason Reason, ours bool) {
	if dep, placed := d.placed[cls]; placed {
		reason = ReasonRemoved
		if d.reasons[subject(oprc.KindDeployment, cls)] == ReasonPlacement {
			reason = ReasonPlacement
		}
		return dep.Pkg, reason, true
	}
	if dep, recorded := d.Live.Deployments[cls]; recorded {
		reason = ReasonRemoved
		if d.reasons[subject(oprc.KindDeployment, cls)] == ReasonDisabled {
			reason = ReasonDisabled
		}
		return dep.Pkg, reason, d.planned[dep.Pkg]
	}
	pkg, ours = d.orphan(cls)
	return pkg, ReasonRemoved, ours
}

// orphan says whose units of a class are that nothing in the catalogue deploys:
// an apply was interrupted between catalogue and environment. They may go if the
// package that they belonged to is planned; or if no such package is left and the
// plan deletes it again, or speaks for a whole origin. Then the base says that the
// package must still be absent.
func (d *diff) orphan(cls string) (pkg string, ours bool) {
	owners := ownersOf(cls)
	if len(owners) == 0 {
		return "", false
	}
	var present []string
	sweeps := d.Scope.Complete || len(d.Scope.Maintain) > 0
	for _, name := range owners {
		_, live := d.Live.Packages[name]
		if live || d.has(name) {
			present = append(present, name)
		}
		sweeps = sweeps || d.scope[name]
	}
	for _, name := range present {
		if !d.planned[name] {
			return "", false
		}
	}
	if len(present) > 0 {
		return present[len(present)-1], true
	}
	if sweeps {
		for _, name := range owners {
			d.absent[name] = true
		}
	}
	return owners[0], sweeps
}
