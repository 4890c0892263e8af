package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// blocked returns the packages that cannot be deleted because others that remain
// need them, directly or because those cannot be deleted either.
func (a *attempt) blocked(removing map[string]bool) map[string]bool {
	blocked := map[string]bool{}
	if len(removing) == 0 {
		return blocked
	}
	owner := map[string]string{}
	for name := range removing {
		p := a.Live.Packages[name].Spec
		for _, c := range p.Classes {
			owner[oprc.Key(name, c.Name)] = name
		}
		for _, f := range p.Functions {
			owner[oprc.Key(name, f.Name)] = name
		}
	}
	needs := map[string][]string{} // package -> packages to be removed that it needs
	for name, p := range a.packages {
		for _, ref := range strongRefs(&p) {
			if gone, ok := owner[oprc.Abs(name, ref)]; ok && gone != name {
				needs[name] = append(needs[name], gone)
			}
		}
		for _, required := range requiredNames(&p) {
			if removing[required] && required != name {
				needs[name] = append(needs[name], required)
			}
		}
	}
	dependants := map[string][]string{}
	for grew := true; grew; {
		grew = false
		for _, name := range slices.Sorted(maps.Keys(needs)) {
			if removing[name] && !blocked[name] {
				continue
			}
			for _, gone := range needs[name] {
				if !slices.Contains(dependants[gone], name) {
					dependants[gone] = append(dependants[gone], name)
					blocked[gone], grew = true, true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dependants)) {
		a.addDeletion(name, dependants[name])
	}
	return blocked
}

func (a *attempt) addDeletion(name string, dependants []string) {
	slices.Sort(dependants)
	a.add(finding{
		Diagnostic: oprc.Diagnostic{
			Code: oprc.CodeRequired, Severity: oprc.SeverityError, Package: name,
			Message: fmt.Sprintf("package %s cannot be deleted: it is needed by %s", name, list(dependants)),
			Hint:    "delete them together, or remove what they use first",
		},
		subject: subject(oprc.KindPackage, name),
	})
}

// checkDefault finds a second default environment.
func (a *attempt) checkDefault() {
	var defaults []string
	for _, e := range a.environments {
		if e.Spec.Default && !a.leaving(e.Spec.Name) {
			defaults = append(defaults, e.Spec.Name)
		}
	}
	if len(defaults) < 2 {
		return
	}
	for _, name := range defaults {
		d, named := a.envDocs[name]
		if !named || !a.changedEnvs[name] {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(defaults), func(n string) bool { return n == name })
		a.add(finding{
			Diagnostic: oprc.Diagnostic{
				Code: oprc.CodeEnvironment, Severity: oprc.SeverityError, Position: d.Where.At("/default"), Pointer: "/default",
				Message: fmt.Sprintf("environment %s cannot be the default: %s is one already", name, list(others)),
				Hint:    "at most one environment is the default; change the other in the same plan",
			},
			subject: subject(oprc.KindEnv, name),
		})
	}
}

// checkFrozen finds functions that are frozen, and change, go, or lose their last binding
// all the same.
func (a *attempt) checkFrozen() {
	for _, name := range slices.Sorted(maps.Keys(a.changed)) {
		for _, was := range a.Live.Packages[name].Spec.Functions {
			if was.State == oprc.Frozen {
				a.checkFrozenFunction(name, was)
			}
		}
		for _, key := range a.unbound(name) {
			a.frozen(name, "/classes", fmt.Sprintf("function %s is frozen, and this takes its last binding away", key))
		}
	}
}

func (a *attempt) checkFrozenFunction(pkg string, was oprc.Function) {
	key, now := oprc.Key(pkg, was.Name), a.packages[pkg].Functions
	i := slices.IndexFunc(now, func(f oprc.Function) bool { return f.Name == was.Name })
	switch {
	case i < 0:
		a.frozen(pkg, "/functions", fmt.Sprintf("function %s is frozen: it may not be removed", key))
	case now[i].State == oprc.Frozen && oprc.Digest(was) != oprc.Digest(now[i]):
		a.frozen(pkg, fmt.Sprintf("/functions/%d", i), fmt.Sprintf("function %s is frozen: its spec may not change", key))
	}
}

func (a *attempt) frozen(pkg, at, message string) {
	d, _ := a.doc(pkg)
	hint := "set state to ENABLED in the same change"
	if at == "/functions" {
		hint = "set state to ENABLED first, and remove it in another change"
	}
	a.add(finding{
		Diagnostic: oprc.Diagnostic{
			Code: oprc.CodeFrozen, Severity: oprc.SeverityError, Position: d.Where.At(at), Pointer: at, Package: pkg, Message: message, Hint: hint,
		},
		subject: subject(oprc.KindPackage, pkg),
	})
}

// unbound lists frozen functions that a package binds as it is live, that stay frozen, and
// that no package will bind.
func (a *attempt) unbound(pkg string) []string {
	var out []string
	for _, key := range bindings(a.Live.Packages[pkg].Spec) {
		for _, owner := range ownersOf(key) {
			f, stays := functionNamed(a.packages[owner], key[len(owner)+1:])
			was, _ := functionNamed(a.Live.Packages[owner].Spec, key[len(owner)+1:])
			if stays && f.State == oprc.Frozen && was.State == oprc.Frozen && !a.binds(key) {
				out = append(out, key)
			}
		}
	}
	return out
}

// binds reports whether some package will bind a function.
func (a *attempt) binds(key string) bool {
	for _, p := range a.packages {
		if slices.Contains(bindings(p), key) {
			return true
		}
	}
	return false
}

// bindings lists the functions that the classes of a package bind themselves, sorted.
func bindings(p oprc.Package) []string {
	var keys []string
	for _, c := range p.Classes {
		for _, b := range c.Functions {
			keys = append(keys, oprc.Abs(p.Name, b.Function))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// checkEnvironmentUse finds environments that are to be deleted although units
// will still be there.
func (a *attempt) checkEnvironmentUse() {
	if len(a.envGone) == 0 {
		return
	}
	users := map[string][]string{}
	for key, d := range a.final() {
		for _, m := range d.Members {
			if a.leaving(m.Env) && !slices.Contains(users[m.Env], key) {
				users[m.Env] = append(users[m.Env], key)
			}
		}
	}
	for _, env := range slices.Sorted(maps.Keys(users)) {
		slices.Sort(users[env])
		a.add(finding{
			Diagnostic: oprc.Diagnostic{
				Code: oprc.CodeEnvironment, Severity: oprc.SeverityError,
				Message: fmt.Sprintf("environment %s cannot be deleted: %s still run there", env, list(users[env])),
				Hint:    "move or delete these deployments first",
			},
			subject: subject(oprc.KindEnv, env),
		})
	}
}

// final is every deployment that will run, by class key.
func (a *attempt) final() map[string]oprc.Deployment {
	all := maps.Clone(a.placed)
	for key, d := range a.Live.Deployments {
		if _, placed := all[key]; !placed && !(a.planned[d.Pkg] && !a.bad[d.Pkg]) {
			all[key] = d
		}
	}
	return all
}

// list joins names for a sentence and cuts a long one.
func list(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func functionNamed(p oprc.Package, name string) (oprc.Function, bool) {
	i := slices.IndexFunc(p.Functions, func(f oprc.Function) bool { return f.Name == name })
	if i < 0 {
		return oprc.Function{}, false
	}
	return p.Functions[i], true
}

func classNamed(p oprc.Package, name string) (oprc.Class, bool) {
	i := slices.IndexFunc(p.Classes, func(c oprc.Class) bool { return c.Name == name })
	if i < 0 {
		return oprc.Class{}, false
	}
	return p.Classes[i], true
}

func deploymentFor(p oprc.Package, key string) (oprc.Deployment, bool) {
	i := slices.IndexFunc(p.Deployments, func(d oprc.Deployment) bool { return resolve.DeploymentKey(p, d.Key) == key })
	if i < 0 {
		return oprc.Deployment{}, false
	}
	return p.Deployments[i], true
}
