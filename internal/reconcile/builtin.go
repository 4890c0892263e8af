package reconcile

import (
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// builtin returns an object of the package that is always there. No ledger holds it, and
// listings, which are of what was applied, leave it out.
func builtin(kind oprc.Kind, key string) (o Object, is bool) {
	p := resolve.Builtin()
	switch kind {
	case oprc.KindPackage:
		if key == p.Name {
			return Object{kind, key, &PackageView{Name: p.Name, PackageRecord: oprc.PackageRecord{Spec: *p}, Deployments: []DeploymentBrief{}}}, true
		}
	case oprc.KindClass:
		for _, c := range p.Classes {
			if c.Key, c.Pkg = oprc.Key(p.Name, c.Name), p.Name; c.Key != key {
				continue
			}
			c.Resolved = &oprc.Resolved{Functions: map[string]oprc.Binding{}}
			for _, b := range c.Functions {
				b.Function = oprc.Abs(p.Name, b.Function)
				c.Resolved.Functions[b.Name] = b
			}
			return Object{kind, key, &ClassView{Class: c}}, true
		}
	case oprc.KindFunction:
		for _, f := range p.Functions {
			if f.Key, f.Pkg = oprc.Key(p.Name, f.Name), p.Name; f.Key == key {
				return Object{kind, key, &FunctionView{Function: f, Status: oprc.FunctionStatus{Condition: oprc.Running}}}, true
			}
		}
	}
	return Object{}, false
}
