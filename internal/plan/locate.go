package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// locate finds the place in the user's files that set a field's new value; the
// zero Position where it was not set in the documents of this plan.
func (a *attempt) locate(c *Change, e edit) oprc.Position {
	switch c.Kind {
	case oprc.KindEnv:
		return a.envDocs[c.Key].Where.At(e.at)
	case oprc.KindPackage:
		return a.at(c.Key, e.at)
	case oprc.KindFunction:
		return a.inFunction(c.Key, e.at)
	case oprc.KindClass:
		return a.inClass(c.Key, tokens(e.at))
	case oprc.KindDeployment:
		return a.inDeployment(c.Key, e.at)
	}
	return a.inUnit(c, tokens(e.path))
}

// at asks the document of a package.
func (a *attempt) at(pkg, ptr string) oprc.Position {
	d, named := a.doc(pkg)
	if !named {
		return oprc.Position{}
	}
	return d.Where.At(ptr)
}

func (a *attempt) inFunction(key, ptr string) oprc.Position {
	pkg := a.catalogue.Functions[key].Pkg
	i := slices.IndexFunc(a.packages[pkg].Functions, func(f oprc.Function) bool { return oprc.Key(pkg, f.Name) == key })
	if i < 0 {
		return oprc.Position{}
	}
	return a.at(pkg, fmt.Sprintf("/functions/%d%s", i, ptr))
}

// inClass also finds what a class has from its parents.
func (a *attempt) inClass(key string, at []string) oprc.Position {
	class := a.catalogue.Classes[key]
	i := slices.IndexFunc(a.packages[class.Pkg].Classes, func(c oprc.Class) bool { return oprc.Key(class.Pkg, c.Name) == key })
	if i < 0 {
		return oprc.Position{}
	}
	base := fmt.Sprintf("/classes/%d", i)
	if len(at) < 3 || at[0] != "resolved" {
		return a.at(class.Pkg, base+pointer(at))
	}
	name, rest := at[2], pointer(at[3:])
	if own := memberPointer(a.packages[class.Pkg].Classes[i], at[1], name); own != "" {
		return a.at(class.Pkg, base+own+rest)
	}
	if class.Resolved == nil {
		return oprc.Position{}
	}
	for _, ancestor := range class.Resolved.Ancestors {
		parent := a.catalogue.Classes[ancestor]
		spec, _ := classNamed(a.packages[parent.Pkg], parent.Name)
		if own := memberPointer(spec, at[1], name); own != "" {
			if at := a.inClass(ancestor, append(tokens(own), at[3:]...)); at != (oprc.Position{}) {
				return at
			}
			break // inherited from a package that this plan has no document of
		}
	}
	return a.at(class.Pkg, base+"/parents")
}

// memberPointer is where a class declares a resolved member, or "".
func memberPointer(c oprc.Class, kind, name string) string {
	switch kind {
	case "functions":
		for i, b := range c.Functions {
			if bindingName(b) == name {
				return fmt.Sprintf("/functions/%d", i)
			}
		}
	case "keySpecs":
		if c.StateSpec == nil {
			return ""
		}
		for i, k := range c.StateSpec.KeySpecs {
			if k.Name == name {
				return fmt.Sprintf("/stateSpec/keySpecs/%d", i)
			}
		}
	case "refSpecs":
		for i, r := range c.RefSpec {
			if r.Name == name {
				return fmt.Sprintf("/refSpec/%d", i)
			}
		}
	}
	return ""
}

// bindingName is a binding's name, which defaults to the end of the function's.
func bindingName(b oprc.Binding) string {
	if b.Name != "" {
		return b.Name
	}
	return b.Function[strings.LastIndexByte(b.Function, '.')+1:]
}

func (a *attempt) inDeployment(key, ptr string) oprc.Position {
	pkg := a.placed[key].Pkg
	i := slices.IndexFunc(a.packages[pkg].Deployments, func(d oprc.Deployment) bool {
		return resolve.DeploymentKey(a.packages[pkg], d.Key) == key
	})
	if i < 0 {
		return oprc.Position{}
	}
	return a.at(pkg, fmt.Sprintf("/deployments/%d%s", i, ptr))
}

// inUnit maps a unit's field to what it was made from: a function, the class, or
// the deployment.
func (a *attempt) inUnit(c *Change, path []string) oprc.Position {
	cls, _, _, _, _ := oprc.ParseUnitID(c.Key)
	if len(path) == 0 {
		return oprc.Position{}
	}
	switch path[0] {
	case "functions", "provision":
		return a.inUnitFunction(cls, path)
	case "requirements", "constraints", "stateType", "stateSpec":
		return a.inClass(cls, path)
	case "bindings":
		return a.inClass(cls, append([]string{"resolved", "functions"}, path[1:]...))
	case "consistency":
		return a.inClass(cls, []string{"constraints", "consistency"})
	case "macros":
		if len(path) > 1 {
			return a.inFunction(path[1], pointer(append([]string{"macro"}, path[2:]...)))
		}
	case "options":
		return a.inDeployment(cls, pointer(path))
	case "standby", "memberId", "targetEnv", "forceTemplate":
		return a.inDeployment(cls, "/members")
	case "shardType", "partitionCount", "replicaCount":
		return a.inDeployment(cls, "/"+path[0])
	}
	return a.inDeployment(cls, "/assignments")
}

func (a *attempt) inUnitFunction(cls string, path []string) oprc.Position {
	if len(path) < 2 {
		return a.inDeployment(cls, "")
	}
	key := path[1]
	f, known := a.catalogue.Functions[key]
	switch {
	case !known:
		return a.inClass(cls, []string{"functions"})
	case len(path) == 2 && f.State == oprc.Disabled:
		return a.inFunction(key, "/state")
	case path[0] == "provision":
		return a.inFunction(key, pointer(append([]string{"provision"}, path[2:]...)))
	case len(path) > 2 && path[2] == "image":
		return a.inFunction(key, "/provision/"+engine(f.Provision)+"/image")
	}
	return a.inFunction(key, pointer(path[2:]))
}

func engine(p *oprc.Provision) string {
	switch {
	case p == nil:
		return ""
	case p.Knative != nil:
		return "knative"
	case p.Docker != nil:
		return "docker"
	}
	return "deployment"
}
