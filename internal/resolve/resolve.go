// Package resolve decides what packages mean together: absolute keys, checked
// references, folded inheritance, checked macros, dependency order.
//
//	documents ┐
//	          ├─> world (keys) ─> parents ─> members folded ─> macros, deployments ─> catalogue
//	live ─────┘
//
// It judges what one value alone does not show; that names are well-formed and
// values are within their range was checked when the documents were read. Live
// packages are judged too, where a document may have broken them, but only their
// errors are reported.
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
	w := newWorld(docs, live)
	w.linkRequired()
	w.linkParents()
	for _, c := range w.parentsFirst() {
		w.resolveClass(c)
	}
	w.checkFunctions()
	w.checkMacros()
	w.resolveDeployments()
	w.checkImages()
	return w.catalogue(), w.found.Sort()
}

// catalogue hands over what was resolved.
func (w *world) catalogue() *Catalogue {
	c := &Catalogue{
		Packages:    make(map[string]oprc.Package, len(w.packs)),
		Classes:     make(map[string]oprc.Class, len(w.classes)),
		Functions:   make(map[string]oprc.Function, len(w.functions)),
		Deployments: make(map[string]oprc.Deployment, len(w.deployments)),
		Depends:     make(map[string][]string, len(w.packs)),
		Order:       w.order(),
	}
	for _, p := range w.packs {
		if p.name != oprc.BuiltinPackage {
			c.Packages[p.name] = *p.spec
			c.Depends[p.name] = p.dependsOn()
		}
	}
	for key, cls := range w.classes {
		c.Classes[key] = cls.out
	}
	for key, f := range w.functions {
		c.Functions[key] = f.out
	}
	for key, d := range w.deployments {
		c.Deployments[key] = d.out
	}
	return c
}
