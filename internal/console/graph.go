package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A graphPage shows which classes inherit from which, and which packages need which, from
// left to right: what a package comes from, and what needs it. A change of the focus reaches what is marked "down".
type graphPage struct {
	Package, Of   string
	Nodes         []*node
	Edges         []edge
	Width, Height int
	Reached       []string
	Names         []string // that can be in focus
	Dependants    int      // packages that need this one and are not drawn
	Undrawn       int      // classes and packages beyond what is drawn
}

// A node is a class or a package.
type node struct {
	Key, Kind, Label, Link string
	X, Y, Layer            int
	Mark                   string // focus, up, down, or ""
	from                   []string
}

// An edge leads from what is needed to what needs it.
type edge struct {
	X1, Y1, X2, Y2, Bend int
	Mark                 string
}

const (
	boxWidth, boxHeight = 200, 30
	layerWidth          = boxWidth + 70
	rowHeight           = boxHeight + 14
	graphNodes          = 300
)

func (s *server) graph(v *visit) error {
	q := v.r.URL.Query()
	pkg, of := q.Get("package"), q.Get("of")
	if pkg == "" {
		return &problem{Status: http.StatusBadRequest, Detail: "Choose a package: the graph shows its classes and all that they come from."}
	}
	k, err := v.kin(pkg)
	if err != nil {
		return err
	}
	if len(k.packages) == 0 {
		return &problem{Status: http.StatusNotFound, Detail: "There is no package " + pkg + "."}
	}
	p := graphPage{Package: pkg, Of: of}
	needing, more, err := v.dependants(pkg)
	if err != nil {
		return err
	}
	p.Dependants = more
	nodes := nodesOf(k.packages, needing)
	p.Undrawn = max(0, len(nodes)-graphNodes)
	p.draw(nodes[:len(nodes)-p.Undrawn])
	return v.render(http.StatusOK, "graph", "packages", "Inheritance of "+pkg, p)
}

// nodesOf are the packages and their classes, each once, what a package comes from first.
func nodesOf(from, needing []reconcile.Object) []*node {
	var out []*node
	seen := map[string]bool{}
	for _, o := range slices.Concat(from, needing) {
		p, ok := o.Doc.(*reconcile.PackageView)
		if !ok || seen[o.Key] {
			continue
		}
		seen[o.Key] = true
		others := slices.DeleteFunc(mentioned(p.Spec), func(name string) bool { return name == o.Key })
		out = append(out, &node{Key: "package " + o.Key, Kind: "package", Label: o.Key, Link: pathOf("packages", o.Key), from: prefixed(others)})
		for _, c := range p.Spec.Classes {
			key := oprc.Key(o.Key, c.Name)
			n := &node{Key: key, Kind: "class", Label: key, Link: pathOf("classes", key)}
			for _, parent := range c.Parents {
				n.from = append(n.from, oprc.Abs(o.Key, parent))
			}
			out = append(out, n)
		}
	}
	return out
}

func prefixed(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "package " + n
	}
	return out
}

// draw gives each node the layer behind all that it comes from, and marks the way of a
// change of the focus.
func (p *graphPage) draw(nodes []*node) {
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.Key, b.Key) })
	of := map[string]*node{}
	for _, n := range nodes {
		of[n.Key] = n
		p.Names = append(p.Names, n.Key)
	}
	layers := map[*node]int{}
	var layer func(n *node) int
	layer = func(n *node) int {
		at, known := layers[n]
		if known {
			return at
		}
		layers[n] = 0 // for who comes from itself
		for _, key := range n.from {
			if up := of[key]; up != nil {
				at = max(at, layer(up)+1)
			}
		}
		layers[n] = at
		return at
	}
	rows := map[int]int{}
	for _, n := range nodes {
		n.Layer = layer(n)
		n.X, n.Y = n.Layer*layerWidth+4, rows[n.Layer]*rowHeight+4
		rows[n.Layer]++
		p.Width, p.Height = max(p.Width, n.X+boxWidth+4), max(p.Height, n.Y+boxHeight+4)
	}
	p.Nodes = nodes
	p.mark(of)
	for _, n := range nodes {
		for _, key := range n.from {
			if up := of[key]; up != nil {
				e := edge{X1: up.X + boxWidth, Y1: up.Y + boxHeight/2, X2: n.X, Y2: n.Y + boxHeight/2}
				e.Bend = (e.X2 - e.X1) / 2
				if up.Mark != "" && n.Mark != "" && (up.Mark != "up" || n.Mark != "down") {
					e.Mark = "on"
				}
				p.Edges = append(p.Edges, e)
			}
		}
	}
}

// mark says of each node whether the focus comes from it, or it from the focus.
func (p *graphPage) mark(of map[string]*node) {
	focus := of[p.Of]
	if focus == nil {
		return
	}
	var up func(n *node)
	up = func(n *node) {
		for _, key := range n.from {
			if m := of[key]; m != nil && m.Mark == "" {
				m.Mark = "up"
				up(m)
			}
		}
	}
	focus.Mark = "focus"
	up(focus)
	for again := true; again; {
		again = false
		for _, n := range p.Nodes {
			comes := slices.ContainsFunc(n.from, func(key string) bool {
				m := of[key]
				return m != nil && (m.Mark == "focus" || m.Mark == "down")
			})
			if comes && n.Mark == "" {
				n.Mark, again = "down", true
				p.Reached = append(p.Reached, n.Label)
			}
		}
	}
}
