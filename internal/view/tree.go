package view

import (
	"fmt"
	"strings"

	lgtree "charm.land/lipgloss/v2/tree"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A World is the listings that a tree is drawn from.
type World struct {
	Packages    []reconcile.Object
	Classes     []reconcile.Object
	Deployments []reconcile.Object
	Units       []reconcile.Object
}

// Tree prints packages with their classes, deployments and units.
func (o Output) Tree(w World) error {
	roots := w.nodes()
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string `json:"formatVersion"`
			Items         []node `json:"items"`
		}{FormatVersion, roots})
	}
	var b strings.Builder
	for _, n := range roots {
		b.WriteString(n.draw().String() + "\n")
	}
	return o.print(b.String())
}

// A node is one object of the tree.
type node struct {
	Kind      oprc.Kind `json:"kind"`
	Key       string    `json:"key"`
	Condition string    `json:"condition,omitempty"`
	Note      string    `json:"note,omitempty"`
	Children  []node    `json:"children"`
}

func (n node) draw() *lgtree.Tree {
	text := faint(string(n.Kind)) + " " + clean(n.Key)
	if n.Condition != "" {
		text += "  " + condition(n.Condition)
	}
	if n.Note != "" {
		text += "  " + faint(clean(n.Note))
	}
	t := lgtree.Root(text)
	for _, c := range n.Children {
		if len(c.Children) == 0 {
			t.Child(c.draw().Value())
			continue
		}
		t.Child(c.draw())
	}
	return t
}

// nodes nests the listings; their order stays.
func (w World) nodes() []node {
	units := map[string][]node{}
	for _, obj := range w.Units {
		if u, ok := obj.Doc.(*reconcile.UnitView); ok {
			n := node{Kind: obj.Kind, Key: obj.Key, Condition: string(u.Condition)}
			if u.Status != nil {
				n.Note = u.Status.ErrorMsg
			}
			units[u.Unit.ClsKey] = append(units[u.Unit.ClsKey], n)
		}
	}
	deployments := map[string][]node{}
	for _, obj := range w.Deployments {
		if d, ok := obj.Doc.(*reconcile.DeploymentView); ok {
			deployments[d.Key] = append(deployments[d.Key], node{
				Kind: obj.Kind, Key: obj.Key, Condition: string(d.Condition),
				Note: fmt.Sprintf("%d/%d running", d.Running, d.Units), Children: units[d.Key],
			})
		}
	}
	classes := map[string][]node{}
	for _, obj := range w.Classes {
		if c, ok := obj.Doc.(*reconcile.ClassView); ok {
			classes[c.Pkg] = append(classes[c.Pkg], node{
				Kind: obj.Kind, Key: obj.Key, Note: inherits(c.Parents), Children: deployments[c.Key],
			})
		}
	}
	var out []node
	for _, obj := range w.Packages {
		if p, ok := obj.Doc.(*reconcile.PackageView); ok {
			out = append(out, node{
				Kind: obj.Kind, Key: obj.Key, Condition: string(p.Condition),
				Note: fmt.Sprintf("rev %d", p.Rev), Children: classes[p.Name],
			})
		}
	}
	return out
}
