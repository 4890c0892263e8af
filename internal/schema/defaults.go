package schema

import (
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// applyDefaults fills in what a package leaves out. The comments of the CUE
// definitions name the same values.
func applyDefaults(p *oprc.Package) {
	for i := range p.Classes {
		classDefaults(&p.Classes[i])
	}
	for i := range p.Functions {
		f := &p.Functions[i]
		orElse(&f.Type, oprc.Task)
		orElse(&f.State, oprc.Enabled)
	}
	for i := range p.Deployments {
		orElse(&p.Deployments[i].PartitionCount, 1)
	}
}

func classDefaults(c *oprc.Class) {
	orElse(&c.StateType, oprc.StateNormal)
	if c.StateSpec != nil {
		orElse(&c.StateSpec.DefaultProvider, "s3")
	}
	if c.Constraints != nil {
		orElse(&c.Constraints.Consistency, oprc.ConsistencyNone)
	}
	for i := range c.Functions {
		b := &c.Functions[i]
		orElse(&b.Name, b.Function[strings.LastIndexByte(b.Function, '.')+1:])
		orElse(&b.Access, oprc.Public)
	}
}

// orElse sets *v to fallback where it is zero.
func orElse[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}
