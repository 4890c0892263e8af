// Package resolve decides what packages mean together: absolute keys, checked
// references, folded inheritance, checked macros, dependency order.
package resolve

import "github.com/oaas-platform/oprc/internal/oprc"

// A Catalogue is a set of packages, resolved together. Every key and reference
// in it is absolute. Values are shared: treat them as read-only.
type Catalogue struct {
	Packages    map[string]oprc.Package    // as written, by name; without builtin
	Classes     map[string]oprc.Class      // by key, Resolved set
	Functions   map[string]oprc.Function   // by key
	Deployments map[string]oprc.Deployment // by class key, as declared: not yet placed
	Order       []string                   // package names, dependencies first, ties by name
	Depends     map[string][]string        // package -> packages it reads directly (required, parents, bindings, macros), sorted
}

// Packages resolves the packages of docs together with those of live that docs
// do not replace. Positions of findings come from docs; findings about live
// packages have none. The order of docs does not matter.
//
// The catalogue is complete even when there are errors, but a package with an
// error (Diagnostic.Package) must not be used.
func Packages(docs []oprc.Document, live map[string]oprc.Package) (*Catalogue, oprc.Diagnostics) {
	panic("skeleton")
}
