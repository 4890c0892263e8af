package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A world is what all origins want, with who wants it.
type world struct {
	envs     []oprc.EnvironmentState
	packages map[string]oprc.Package
	origin   map[string]string
}

var origins = []string{"git:a", "git:b", oprc.OriginCLI}

// library packages may be used by every origin. They change, but keep their members.
func library(name string) bool { return strings.HasPrefix(name, "lib") }

func generateWorld(t *rapid.T) world {
	w := world{packages: map[string]oprc.Package{}, origin: map[string]string{}}
	for i, a := range rapid.SliceOfN(rapid.SampledFrom([]float64{0.9, 0.95, 0.99}), 1, 4).Draw(t, "availability") {
		w.envs = append(w.envs, environment(fmt.Sprintf("env-%d", i), a))
	}
	n := rapid.IntRange(1, 6).Draw(t, "packages")
	for i := range n {
		name := fmt.Sprintf("p%d", i)
		if rapid.IntRange(0, 3).Draw(t, "library") == 0 {
			name = fmt.Sprintf("lib%d", i)
		}
		w.origin[name] = rapid.SampledFrom(origins).Draw(t, "origin")
		w.packages[name] = w.generate(t, name)
	}
	return w
}

// visible lists the packages that name may refer to: libraries and those of its
// own origin that stand before it, so that there are no cycles.
func (w world) visible(name string) []string {
	var names []string
	for other := range w.packages {
		if rank(other) < rank(name) && (library(other) || w.origin[other] == w.origin[name]) {
			names = append(names, other)
		}
	}
	slices.Sort(names)
	return names
}

func rank(name string) int { return int(name[len(name)-1]) }

func (w world) generate(t *rapid.T, name string) oprc.Package {
	p := oprc.Package{Name: name, Disabled: !library(name) && chance(t, 8, "disabled")}
	for i := range rapid.IntRange(1, 3).Draw(t, "functions") {
		p.Functions = append(p.Functions, task(fmt.Sprintf("f%d", i), fmt.Sprintf("img:%d", rapid.IntRange(0, 3).Draw(t, "image"))))
	}
	var functions, classes []string
	for _, other := range w.visible(name) {
		for _, f := range w.packages[other].Functions {
			functions = append(functions, other+"."+f.Name)
		}
		for _, c := range w.packages[other].Classes {
			classes = append(classes, other+"."+c.Name)
		}
	}
	for _, f := range p.Functions {
		functions = append(functions, "."+f.Name)
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "classes") {
		c := oprc.Class{Name: fmt.Sprintf("c%d", i), StateType: oprc.StateNormal, Disabled: !library(name) && chance(t, 10, "class disabled")}
		for j, f := range rapid.SliceOfNDistinct(rapid.SampledFrom(functions), 0, 3, rapid.ID).Draw(t, "bound") {
			c.Functions = append(c.Functions, oprc.Binding{Name: fmt.Sprintf("b%d", j), Function: f, Access: oprc.Public})
		}
		if len(classes) > 0 && chance(t, 2, "has parent") {
			c.Parents = []string{rapid.SampledFrom(classes).Draw(t, "parent")}
		}
		w.require(t, &c)
		p.Classes = append(p.Classes, c)
		classes = append(classes, "."+c.Name)
		if chance(t, 2, "deployed") {
			p.Deployments = append(p.Deployments, w.deploy(t, c))
		}
	}
	return p
}

// require gives some classes an availability target that can be reached.
func (w world) require(t *rapid.T, c *oprc.Class) {
	if !chance(t, 2, "target") {
		return
	}
	if chance(t, 2, "strong") {
		c.Constraints = &oprc.Constraints{Consistency: oprc.Strong}
	}
	c.Requirements = &oprc.Requirements{Availability: rapid.SampledFrom([]float64{0.9, 0.97, 0.999}).Draw(t, "goal")}
	if w.oracle().replicas(*c, w.names()) < 0 {
		c.Requirements = nil
	}
}

func (w world) names() []string {
	names := make([]string, 0, len(w.envs))
	for _, e := range w.envs {
		names = append(names, e.Spec.Name)
	}
	return names
}

func (w world) deploy(t *rapid.T, c oprc.Class) oprc.Deployment {
	d := oprc.Deployment{Key: "." + c.Name, PartitionCount: rapid.IntRange(1, 3).Draw(t, "partitions"), TargetEnvs: w.names()}
	if c.Requirements == nil {
		d.TargetEnvs = rapid.SliceOfNDistinct(rapid.SampledFrom(w.names()), 1, len(w.envs), rapid.ID).Draw(t, "targets")
		d.ReplicaCount = rapid.IntRange(1, len(d.TargetEnvs)).Draw(t, "replicas")
	}
	return d
}

func chance(t *rapid.T, oneIn int, label string) bool {
	return rapid.IntRange(1, oneIn).Draw(t, label) == 1
}

func task(name, image string) oprc.Function {
	return oprc.Function{
		Name: name, Type: oprc.Task, State: oprc.Enabled,
		Provision: &oprc.Provision{Docker: &oprc.Docker{Image: image, Env: oprc.Env{"DB_PASSWORD": {Text: "s3cret"}}}},
	}
}

// mutate draws a world that differs in a few packages.
func (w world) mutate(t *rapid.T) world {
	next := world{envs: w.envs, packages: maps.Clone(w.packages), origin: maps.Clone(w.origin)}
	for _, name := range slices.Sorted(maps.Keys(w.packages)) {
		switch rapid.IntRange(0, 5).Draw(t, "edit "+name) {
		case 0: // drawn anew, or the library's images
			if library(name) {
				next.packages[name] = reimage(t, w.packages[name])
			} else {
				next.packages[name] = next.generate(t, name)
			}
		case 1:
			next.packages[name] = reimage(t, w.packages[name])
		case 2:
			if !library(name) {
				delete(next.packages, name)
			}
		}
	}
	if chance(t, 2, "add") {
		next.origin["p9"] = rapid.SampledFrom(origins).Draw(t, "origin of p9")
		next.packages["p9"] = next.generate(t, "p9")
	}
	next.mend()
	return next
}

// reimage gives a function another image, or switches it on or off.
func reimage(t *rapid.T, p oprc.Package) oprc.Package {
	p.Functions = slices.Clone(p.Functions)
	f := &p.Functions[rapid.IntRange(0, len(p.Functions)-1).Draw(t, "which")]
	if chance(t, 4, "switch") {
		f.State = map[oprc.FunctionState]oprc.FunctionState{oprc.Enabled: oprc.Disabled, oprc.Disabled: oprc.Enabled}[f.State]
		return p
	}
	*f = task(f.Name, fmt.Sprintf("img:%d", rapid.IntRange(4, 9).Draw(t, "new image")))
	return p
}

// mend drops references that lead nowhere any more.
func (w world) mend() {
	members := map[string]bool{}
	for name, p := range w.packages {
		for _, f := range p.Functions {
			members[name+"."+f.Name] = true
		}
		for _, c := range p.Classes {
			members[name+"."+c.Name] = true
		}
	}
	for name, p := range w.packages {
		p.Classes = slices.Clone(p.Classes)
		for i := range p.Classes {
			c := &p.Classes[i]
			c.Parents = slices.DeleteFunc(slices.Clone(c.Parents), func(ref string) bool { return !members[absolute(name, ref)] })
			c.Functions = slices.DeleteFunc(slices.Clone(c.Functions), func(b oprc.Binding) bool { return !members[absolute(name, b.Function)] })
		}
		w.packages[name] = p
	}
}

func (w world) oracle() oracle {
	o := oracle{packages: w.packages, envs: map[string]oprc.EnvironmentState{}}
	for _, e := range w.envs {
		o.envs[e.Spec.Name] = e
	}
	return o
}

// of is what one origin asks for.
func (w world) of(origin string) plan.Input {
	var docs []oprc.Document
	for _, name := range slices.Sorted(maps.Keys(w.packages)) {
		if w.origin[name] == origin {
			docs = append(docs, document(w.packages[name]))
		}
	}
	return plan.Input{Documents: docs, Scope: plan.Scope{Origin: origin, Complete: true}}
}

// with is w, but for the packages of one origin, which are as in next.
func (w world) with(next world, origin string) world {
	out := world{envs: w.envs, packages: map[string]oprc.Package{}, origin: map[string]string{}}
	for name, p := range w.packages {
		if w.origin[name] != origin {
			out.packages[name], out.origin[name] = p, w.origin[name]
		}
	}
	for name, p := range next.packages {
		if next.origin[name] == origin {
			out.packages[name], out.origin[name] = p, origin
		}
	}
	return out
}

// settle applies everything that a world asks for. Libraries come first.
func settle(t rapid.TB, w world) *ledger {
	l := newLedger(w.envs...)
	for _, name := range slices.SortedFunc(maps.Keys(w.packages), func(a, b string) int { return rank(a) - rank(b) }) {
		l.must(t, plan.Input{Documents: documents(w.packages[name]), Scope: plan.Scope{Origin: w.origin[name]}})
	}
	return l
}
