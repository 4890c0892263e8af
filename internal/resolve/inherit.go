package resolve

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// linkParents finds the classes that others inherit from.
func (w *world) linkParents() {
	for _, p := range w.packs {
		for _, c := range p.classes {
			for j, ref := range c.spec.Parents {
				if ref == "" {
					continue
				}
				pointer := at("classes", c.index, "parents", j)
				ref = w.modern(p, ref, pointer)
				if twoReadings(w, w.classes, p, oprc.CodeParent, pointer, "class", ref) {
					continue
				}
				if up := w.classRef(p, ref); up != nil {
					c.parents = append(c.parents, parent{up, j})
					continue
				}
				w.report(p, oprc.CodeParent, pointer, w.nearClass(p, ref),
					"class "+quote(c.spec.Name)+" inherits from "+quote(ref)+", and there is no such class")
			}
		}
	}
}

// parentsFirst lists all classes so that each comes after those it inherits from.
// A cycle is reported, and cut.
func (w *world) parentsFirst() []*class {
	classes := make([]*class, 0, len(w.classes))
	for _, key := range slices.Sorted(maps.Keys(w.classes)) {
		classes = append(classes, w.classes[key])
	}
	number := make(map[*class]int, len(classes))
	for i, c := range classes {
		number[c] = i
	}
	g := graph{next: make([][]int, len(classes))}
	for i, c := range classes {
		for _, up := range c.parents {
			g.next[i] = append(g.next[i], number[up.class])
		}
	}
	order := g.cycles(func(cycle []step) {
		var names []named
		for _, s := range cycle {
			c := classes[s.node]
			names = append(names, named{
				key: c.key, name: c.spec.Name, pack: c.pack,
				pointer: at("classes", c.index, "parents", c.parents[s.edge].index),
			})
		}
		w.reportCycle(oprc.CodeParent, names, "remove one of these parents", func(n named, path string) string {
			return "class " + quote(n.name) + " inherits from itself: " + path
		})
	})
	sorted := make([]*class, 0, len(order))
	for _, i := range order {
		c := classes[i]
		kept := c.parents[:0:0]
		for j, up := range c.parents {
			if g.next[i][j] >= 0 {
				kept = append(kept, up)
			}
		}
		c.parents = kept
		sorted = append(sorted, c)
	}
	for _, p := range w.packs {
		for _, c := range p.classes {
			if w.classes[c.key] != c { // a repeated key: judged, but not part of the catalogue
				sorted = append(sorted, c)
			}
		}
	}
	return sorted
}

// resolveClass makes references absolute, checks the class's own members, and
// folds its parents into it. The parents are resolved already.
func (w *world) resolveClass(c *class) {
	c.out = *c.spec
	c.out.Key, c.out.Pkg = c.key, c.pack.name
	c.out.Functions = w.bindings(c)
	c.out.RefSpec = w.references(c)
	w.checkKeys(c)
	w.checkQoS(c.pack, at("classes", c.index), c.spec.Requirements, c.spec.Constraints)
	if len(c.spec.Parents) > 0 {
		c.out.Parents = make([]string, len(c.spec.Parents))
		for i, ref := range c.spec.Parents {
			c.out.Parents[i] = absolute(c.pack, ref)
		}
		for _, up := range c.parents {
			c.out.Parents[up.index] = up.class.key
		}
	}
	w.boundInheritance(c)
	c.out.Resolved = fold(c)
}

const (
	maxDepth     = 64      // levels of classes that a class inherits through
	maxInherited = 100_000 // members and ancestors that the classes of a package inherit, all together
)

// boundInheritance cuts a class off its parents where resolving it would take more than
// is allowed. That is said once for a package, however many of its classes it is about.
func (w *world) boundInheritance(c *class) {
	members := 0
	for _, up := range c.parents {
		c.depth = max(c.depth, up.class.depth+1)
		from := up.class.out.Resolved
		members += 1 + len(from.Functions) + len(from.KeySpecs) + len(from.RefSpecs) + len(from.Ancestors)
	}
	what, hint := "", ""
	switch c.pack.inherited += members; {
	case c.depth > maxDepth:
		what = fmt.Sprintf("class %s inherits through %d levels of classes; the limit is %d", quote(c.spec.Name), c.depth, maxDepth)
		hint = "inherit from a class further up, or give the classes functions in common instead of ancestors"
	case c.pack.inherited > maxInherited:
		what = fmt.Sprintf("with class %s the classes of package %s inherit %d members in all; the limit is %d",
			quote(c.spec.Name), quote(c.pack.name), c.pack.inherited, maxInherited)
		hint = "inherit less, or split the package"
	default:
		return
	}
	c.parents = nil
	if !c.pack.unbounded {
		c.pack.unbounded = true
		w.report(c.pack, oprc.CodeLimits, at("classes", c.index, "parents"), hint, what)
	}
}

// fold merges the members of the parents, in order, and the class's own. Later
// ones override.
func fold(c *class) *oprc.Resolved {
	r := &oprc.Resolved{Functions: make(map[string]oprc.Binding, len(c.out.Functions)+4)}
	for _, up := range c.parents {
		from := up.class.out.Resolved
		override(r.Functions, from.Functions)
		for name, k := range from.KeySpecs {
			put(&r.KeySpecs, name, k)
		}
		for name, ref := range from.RefSpecs {
			put(&r.RefSpecs, name, ref)
		}
	}
	if slices.ContainsFunc(c.out.Functions, func(b oprc.Binding) bool { return b.DefaultRoute }) {
		clearRoute(r.Functions)
	}
	for _, b := range c.out.Functions {
		r.Functions[b.Name] = b
	}
	if c.spec.StateSpec != nil {
		for _, k := range c.spec.StateSpec.KeySpecs {
			put(&r.KeySpecs, k.Name, k)
		}
	}
	for _, ref := range c.out.RefSpec {
		put(&r.RefSpecs, ref.Name, ref)
	}
	r.Ancestors = ancestors(c)
	return r
}

// override lays the bindings of a parent over those of earlier ones. A class has
// one default route: a new one takes over from what it inherits.
func override(bindings, with map[string]oprc.Binding) {
	for _, b := range with {
		if b.DefaultRoute {
			clearRoute(bindings)
			break
		}
	}
	maps.Copy(bindings, with)
}

func clearRoute(bindings map[string]oprc.Binding) {
	for name, b := range bindings {
		if b.DefaultRoute {
			b.DefaultRoute = false
			bindings[name] = b
		}
	}
}

func put[V any](m *map[string]V, name string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[name] = v
}

// ancestors lists the keys of all classes that c inherits from: parents in the
// order listed, then theirs.
func ancestors(c *class) []string {
	var keys []string
	seen := map[*class]bool{}
	level := []*class{c}
	for len(level) > 0 {
		var next []*class
		for _, at := range level {
			for _, up := range at.parents {
				if !seen[up.class] {
					seen[up.class] = true
					keys = append(keys, up.class.key)
					next = append(next, up.class)
				}
			}
		}
		level = next
	}
	return keys
}
