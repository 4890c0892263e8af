package plan

import (
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A graph knows which packages read which. It is found from references as they
// are written, so that a plan for one package need not resolve ten thousand.
type graph struct {
	reads  map[string][]string // what a package means depends on these
	readBy map[string][]string
	near   map[string][]string // needed besides to judge it: weak references, keys that may collide
}

// newGraph looks at the specs of one world or, where a package changes, of both.
func newGraph(worlds ...map[string]oprc.Package) *graph {
	g := &graph{reads: map[string][]string{}, readBy: map[string][]string{}, near: map[string][]string{}}
	known, declared := map[string]bool{}, map[string][]string{}
	for _, world := range worlds {
		for name := range world {
			known[name] = true
		}
	}
	for _, world := range worlds {
		for _, p := range world {
			g.scan(&p, known, declared)
		}
	}
	for _, names := range declared {
		for _, a := range names {
			for _, b := range names {
				link(g.near, a, b)
			}
		}
	}
	for p, reads := range g.reads {
		for _, r := range reads {
			g.readBy[r] = append(g.readBy[r], p)
		}
	}
	return g
}

// scan adds what one spec refers to, and remembers whom it deploys.
func (g *graph) scan(p *oprc.Package, known map[string]bool, declared map[string][]string) {
	visit(p, visitor{
		strong: func(ref string) { linkOwners(g.reads, p.Name, ref, known) },
		weak:   func(ref string) { linkOwners(g.near, p.Name, ref, known) },
		required: func(name string) {
			if known[name] {
				link(g.reads, p.Name, name)
			}
		},
		deploys: func(key string) {
			if !slices.Contains(declared[key], p.Name) {
				declared[key] = append(declared[key], p.Name)
			}
		},
	})
}

// strongRefs lists the references that must resolve: parents, bound functions,
// classes that macros name, classes that are deployed.
func strongRefs(p *oprc.Package) []string {
	var refs []string
	for _, c := range p.Classes {
		refs = append(refs, c.Parents...)
		for _, b := range c.Functions {
			refs = append(refs, b.Function)
		}
	}
	for _, f := range p.Functions {
		if f.Macro == nil {
			continue
		}
		for _, s := range f.Macro.Steps {
			refs = append(refs, s.TargetCls)
		}
	}
	for _, d := range p.Deployments {
		refs = append(refs, d.Key)
	}
	return refs
}

// requiredNames lists the packages that p requires, without version ranges.
func requiredNames(p *oprc.Package) []string {
	names := make([]string, 0, len(p.Required))
	for _, r := range p.Required {
		name, _, _ := strings.Cut(r, "@")
		names = append(names, strings.TrimSpace(name))
	}
	return names
}

// linkOwners links pkg to every known package that ref may lie in: names contain
// dots, so `a.b.c` is class b.c of a or class c of a.b.
func linkOwners(edges map[string][]string, pkg, ref string, known map[string]bool) {
	key := oprc.Abs(pkg, ref)
	for i := range len(key) {
		if key[i] == '.' && known[key[:i]] {
			link(edges, pkg, key[:i])
		}
	}
}

func link(edges map[string][]string, from, to string) {
	if from != to && !slices.Contains(edges[from], to) {
		edges[from] = append(edges[from], to)
	}
}

// closure returns start and all that can be reached from it.
func closure(start map[string]bool, edges ...map[string][]string) map[string]bool {
	seen := make(map[string]bool, len(start))
	queue := make([]string, 0, len(start))
	for name := range start {
		seen[name] = true
		queue = append(queue, name)
	}
	for len(queue) > 0 {
		name := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, e := range edges {
			for _, next := range e[name] {
				if !seen[next] {
					seen[next] = true
					queue = append(queue, next)
				}
			}
		}
	}
	return seen
}

// nearest returns the members of wanted that are fewest steps away from start,
// sorted; none where none can be reached.
func nearest(start string, wanted map[string]bool, edges map[string][]string) []string {
	seen, level := map[string]bool{start: true}, []string{start}
	for len(level) > 0 {
		var next, found []string
		for _, name := range level {
			for _, n := range edges[name] {
				if seen[n] {
					continue
				}
				seen[n] = true
				next = append(next, n)
				if wanted[n] {
					found = append(found, n)
				}
			}
		}
		if len(found) > 0 {
			slices.Sort(found)
			return found
		}
		level = next
	}
	return nil
}

// ownersOf lists the packages that a key may belong to by its name alone.
func ownersOf(key string) []string {
	var names []string
	for i := range len(key) {
		if key[i] == '.' {
			names = append(names, key[:i])
		}
	}
	return names
}
