package resolve

import (
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// DeploymentKey is the key of the class that a deployment of package p names: a
// class of p itself where p has one of that name, else the reference made absolute.
func DeploymentKey(p oprc.Package, ref string) string {
	if slices.ContainsFunc(p.Classes, func(c oprc.Class) bool { return c.Name == ref }) {
		return oprc.Key(p.Name, ref)
	}
	return oprc.Abs(p.Name, ref)
}

// resolveDeployments finds the class of each deployment, and checks what it says
// about it.
func (w *world) resolveDeployments() {
	for _, p := range w.packs {
		for i := range p.spec.Deployments {
			d := &deployment{pack: p, index: i, spec: &p.spec.Deployments[i]}
			p.deployments = append(p.deployments, d)
			w.resolveDeployment(d)
		}
	}
}

func (w *world) resolveDeployment(d *deployment) {
	p := d.pack
	d.out = *d.spec
	d.out.Pkg = p.name
	if d.spec.Key == "" {
		return
	}
	pointer := at("deployments", d.index, "_key")
	ref := w.modern(p, d.spec.Key, pointer)
	d.out.Key = absolute(p, ref)
	if twoReadings(w, w.classes, p, oprc.CodeClassRef, pointer, "class", ref) {
		return
	}
	if d.class = w.classRef(p, ref); d.class == nil {
		w.report(p, oprc.CodeClassRef, pointer, w.nearClass(p, ref), "there is no class "+quote(ref)+" to deploy")
		return
	}
	d.out.Key = d.class.key
	if first := w.deployments[d.out.Key]; first != nil {
		message := "class " + quote(d.out.Key) + " is deployed twice"
		if first.pack != p {
			message += "; package " + quote(first.pack.name) + " deploys it already"
		}
		message += firstAt(first.pack.doc, at("deployments", first.index, "_key"))
		w.report(p, oprc.CodeDuplicate, pointer, "keep one of the deployments", message)
	} else {
		w.deployments[d.out.Key] = d
	}
	if p.doc != nil && d.class.spec.StateType == oprc.StateSingleton && d.spec.PartitionCount > 1 {
		w.report(p, oprc.CodeShards, at("deployments", d.index, "partitionCount"), "set it to 1, or leave it out",
			"class "+quote(d.out.Key)+" is a SINGLETON: partitionCount must be 1, not "+itoa(d.spec.PartitionCount))
	}
	if !p.spec.Disabled && !deployed(d) {
		w.warn(p, oprc.CodeIdle, pointer, "enable the class, or remove the deployment",
			"class "+quote(d.out.Key)+" is disabled or about to be removed: this deploys nothing")
	}
	w.resolveMembers(d)
}

// resolveMembers checks the members' numbers, and makes functions that they name
// the names of bindings.
func (w *world) resolveMembers(d *deployment) {
	if len(d.spec.Members) == 0 {
		return
	}
	d.out.Members = slices.Clone(d.spec.Members)
	seen := make(map[int]bool, len(d.out.Members))
	for i := range d.out.Members {
		m := &d.out.Members[i]
		if seen[m.ID] && m.ID >= 1 {
			w.report(d.pack, oprc.CodeDuplicate, at("deployments", d.index, "members", i, "id"), "give each member an id of its own",
				"member id "+itoa(m.ID)+" is used twice")
		}
		seen[m.ID] = true
		m.DisabledFn = w.memberBindings(d, i, "disabledFn", m.DisabledFn)
		m.StandbyFn = w.memberBindings(d, i, "standbyFn", m.StandbyFn)
		for j, ref := range d.spec.Members[i].StandbyFn {
			for _, name := range w.bindingsNamed(d, ref) {
				if slices.Contains(m.DisabledFn, name) {
					w.report(d.pack, oprc.CodeMemberFn, at("deployments", d.index, "members", i, "standbyFn", j), "keep it in one of the two",
						"binding "+quote(name)+" is in disabledFn and in standbyFn of member "+itoa(m.ID))
				}
			}
		}
	}
}

func (w *world) memberBindings(d *deployment, i int, field string, refs []string) []string {
	if len(refs) == 0 {
		return nil
	}
	var names []string
	for j, ref := range refs {
		found := w.bindingsNamed(d, ref)
		if len(found) == 0 && ref != "" {
			hint := nearBinding(strings.TrimPrefix(ref, "."), d.class)
			w.report(d.pack, oprc.CodeMemberFn, at("deployments", d.index, "members", i, field, j), hint,
				field+" names "+quote(ref)+", which is no binding of class "+quote(d.class.key))
		}
		for _, name := range found {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// bindingsNamed returns the bindings that ref names: the one of that name, else
// all of the function that it refers to.
func (w *world) bindingsNamed(d *deployment, ref string) []string {
	bindings := d.class.out.Resolved.Functions
	if _, found := bindings[ref]; found {
		return []string{ref}
	}
	f := lookup(w.functions, d.pack, ref)
	if f == nil {
		return nil
	}
	var names []string
	for _, name := range sortedNames(bindings) {
		if bindings[name].Function == f.key {
			names = append(names, name)
		}
	}
	return names
}

// nearBinding hints at the binding of a class that a name may have meant.
func nearBinding(name string, c *class) string {
	names := sortedNames(c.out.Resolved.Functions)
	if near := oprc.Nearest(name, names); near != "" {
		return didYouMean(near)
	}
	return choice("bindings of class "+quote(c.key), names)
}
