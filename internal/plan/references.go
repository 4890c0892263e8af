package plan

import (
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// References are what a spec says of other packages: enough to find out, without their
// specs, whom a plan of one package concerns.
type References struct {
	Reads   []string // packages that may own what must resolve, and those that are required
	Near    []string // packages that may own what is named besides, or have names inside this one's
	Deploys []string // keys of the classes that are deployed
}

// ReferencesOf lists what a spec refers to: every package that may be meant, whether there
// is one or not.
func ReferencesOf(p oprc.Package) References {
	var r References
	owners := func(list *[]string, ref string) {
		for _, name := range ownersOf(oprc.Abs(p.Name, ref)) {
			if name != p.Name {
				*list = append(*list, name)
			}
		}
	}
	visit(&p, visitor{
		strong:   func(ref string) { owners(&r.Reads, ref) },
		weak:     func(ref string) { owners(&r.Near, ref) },
		required: func(name string) { r.Reads = append(r.Reads, name) },
		deploys:  func(key string) { r.Deploys = append(r.Deploys, key) },
	})
	for _, list := range []*[]string{&r.Reads, &r.Near, &r.Deploys} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return r
}

// A visitor is called with the references of a spec, as they are written.
type visitor struct{ strong, weak, required, deploys func(string) }

func visit(p *oprc.Package, v visitor) {
	for _, ref := range strongRefs(p) {
		v.strong(ref)
	}
	for _, name := range requiredNames(p) {
		v.required(name)
	}
	for _, c := range p.Classes {
		v.weak("." + c.Name)
		for _, b := range c.Functions {
			v.weak(b.OutputCls)
		}
		for _, r := range c.RefSpec {
			v.weak(r.Cls)
		}
	}
	for _, f := range p.Functions {
		v.weak("." + f.Name)
		v.weak(f.OutputCls)
	}
	for _, d := range p.Deployments {
		v.deploys(resolve.DeploymentKey(*p, d.Key))
	}
}

// Frozen reports whether a spec holds a frozen function: whether that may lose a binding
// depends on all packages.
func Frozen(p oprc.Package) bool {
	return slices.ContainsFunc(p.Functions, func(f oprc.Function) bool { return f.State == oprc.Frozen })
}

// OwnersOf lists the packages that a class or function may belong to by its key alone.
func OwnersOf(key string) []string { return ownersOf(key) }

// UnitsByEnvironment counts the units that a deployment has in each environment.
func UnitsByEnvironment(d oprc.Deployment) map[string]int {
	envs := make(map[int]string, len(d.Members))
	for _, m := range d.Members {
		envs[m.ID] = m.Env
	}
	counts := make(map[string]int, len(d.Members))
	for _, as := range d.Assignments {
		for _, owner := range as.Owners {
			if env, known := envs[owner]; known {
				counts[env]++
			}
		}
	}
	return counts
}

// A Rest is what a reading of parts of live state knows of what it left out.
type Rest struct {
	Units map[string]int  // by environment, of deployments that were not read
	Sizes map[string]Size // by origin, of everything
}

// A Part is what a plan is about, where that is not an origin as a whole.
type Part struct {
	Origin string
	Names  []string       // packages that may change, come or go
	Specs  []oprc.Package // that some of them are to have
}

// PartOf says what a plan of a request is about. It is false where everything bears on the
// plan: because the request speaks for all of an origin, or changes environments.
func PartOf(s Scope, docs []oprc.Document, found oprc.Diagnostics) (Part, bool) {
	part := Part{Origin: s.Origin}
	if s.Complete || len(s.Maintain) > 0 || len(s.Restart) > 0 {
		return part, false
	}
	for _, d := range docs {
		if d.Package == nil {
			return part, false
		}
		part.Names, part.Specs = append(part.Names, d.Name()), append(part.Specs, *d.Package)
	}
	for _, d := range found {
		if d.Package != "" {
			part.Names = append(part.Names, d.Package)
		}
	}
	for _, name := range s.Delete {
		if strings.HasPrefix(name, string(oprc.KindEnv)+"/") {
			return part, false
		}
		part.Names = append(part.Names, name)
	}
	return part, true
}
