package schema

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Converted is what [Convert] made of a file.
type Converted struct {
	oprc.File
	Report []Lost // by line
	Moved  bool   // all it held was moved to other files: it can be removed
	Err    error  // an oprc.InvalidError: the file is returned as it was
}

// A Lost is something that could not be carried over, or means something slightly
// different now.
type Lost struct {
	Line    int
	Message string
}

// Convert rewrites files of the snake_case dialect, or with older spellings, as
// [Load] reads them without a warning. Comments stay where they are, and what has a
// current spelling is not touched. Deployments of the dialect that are documents of
// their own are moved to the document of their package, which must be among files.
func Convert(files []oprc.File) []Converted {
	out := make([]Converted, len(files))
	var cs []*converter
	for i, f := range files {
		out[i].File = f
		trees, found := parseTrees(f)
		if found.Err() == nil {
			found = append(found, repeated(f)...)
		}
		if out[i].Err = found.Err(); out[i].Err == nil {
			cs = append(cs, &converter{rewriter: newRewriter(f, trees), to: &out[i]})
		}
	}
	join(cs)
	used := map[*yaml.Node]bool{} // a deployment may have moved to another file
	for _, c := range cs {
		c.convert()
		c.used = used
		c.use()
	}
	for _, c := range cs {
		c.finish()
	}
	return out
}

// repeated finds the keys that stand twice: which of them holds is not for us to
// say.
func repeated(f oprc.File) (found oprc.Diagnostics) {
	roots, _ := parse(f)
	for _, root := range roots {
		c := &checker{file: f.Path}
		c.free(root, nil)
		for _, d := range c.found {
			if d.Code == oprc.CodeDuplicate {
				found = append(found, d)
			}
		}
	}
	return found
}

// A converter rewrites the trees of a file and notes what is lost.
type converter struct {
	*rewriter
	to    *Converted
	found oprc.Diagnostics // what cannot be converted at all
	from  []*converter     // of deployments that were moved here
	pkg   string
	own   map[string]bool // names of the document's classes and functions
}

func (c *converter) convert() {
	for _, root := range c.trees {
		if root.Kind != yaml.MappingNode {
			continue
		}
		if mark, at := dialectMark(root); mark != nil {
			if isBareDeployment(root) {
				_, pkg := lookup(root, "package_name")
				hint := "convert it together with the file of its package"
				if pkg != nil {
					hint = fmt.Sprintf("convert it together with the file of package %s, which takes it in", pkg.Value)
				}
				ch := &checker{file: c.path}
				ch.report(oprc.CodeDialect, mark, at, hint, "this deployment is a document of its own; a deployment is part of its package")
				c.found = append(c.found, ch.found...)
				continue
			}
			c.foreignPackage(root)
		}
		if _, kind := lookup(root, "kind"); kind == nil || kind.Value != oprc.KindEnvironment {
			c.modernise(model().structs[compatible+"Package"], root)
		}
		c.canonicalise(root)
	}
}

func (c *converter) finish() {
	if c.to.Err = c.found.Err(); c.to.Err != nil {
		return
	}
	text, err := c.text()
	if c.to.Err = err; err == nil {
		c.to.Data = text
		c.to.Moved = len(c.roots) > 0 && len(bytes.TrimSpace(text)) == 0
	}
	slices.SortStableFunc(c.to.Report, func(a, b Lost) int { return cmp.Compare(a.Line, b.Line) })
}

func (c *converter) note(at *yaml.Node, format string, args ...any) {
	for _, from := range c.from {
		if _, theirs := from.spans[at]; theirs {
			c = from
			break
		}
	}
	c.to.Report = append(c.to.Report, Lost{at.Line, fmt.Sprintf(format, args...)})
}

// drop removes a field; its comments stay. Unless why is empty, the report says
// that the field is lost.
func (c *converter) drop(n, key *yaml.Node, why string) {
	if why != "" {
		c.note(key, "`%s` %s", key.Value, why)
	}
	remove(n, key)
}

// modernise replaces older names, words and scalars by what they are read as.
func (c *converter) modernise(def *definition, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	c.dropOld(def, n)
	(&checker{quiet: true}).legacy(def, n, nil)
	for i := 0; i+1 < len(n.Content); {
		key, val := n.Content[i], n.Content[i+1]
		if old := def.renamed[key.Value]; old != nil && def.byName[key.Value] == nil {
			if taken, _ := lookup(n, old.name); taken == nil {
				key.Value = old.name
			}
		}
		f := def.byName[key.Value]
		if f != nil && isNull(val) && f.value.shape >= listShape {
			c.drop(n, key, "")
			continue
		}
		if f != nil {
			c.value(f.value, val, f)
		}
		i += 2
	}
}

// dropOld removes the fields that have no meaning in a file.
func (c *converter) dropOld(def *definition, n *yaml.Node) {
	for _, name := range []string{"objectType", "_rev", "status", "resolved"} {
		key, _ := lookup(n, name)
		switch {
		case key == nil:
		case name == "objectType" && strings.TrimPrefix(def.name, compatible) == "Class":
			c.drop(n, key, "has no meaning any more")
		case systemField(def, name):
			c.drop(n, key, "is kept by the system")
		}
	}
}

func (c *converter) value(v *value, n *yaml.Node, f *field) {
	switch {
	case v.shape == textShape && isBare(n):
		n.Tag, n.Style = tagStr, yaml.DoubleQuotedStyle
	case v.shape == textShape && n.Kind == yaml.ScalarNode:
		if now := f.was[n.Value]; now != "" {
			n.Value = now
		}
		if f.name == "function" || f.name == "parents" {
			if name, ok := strings.CutPrefix(n.Value, "builtin.logical."); ok {
				n.Value = oprc.Key(oprc.BuiltinPackage, name)
			}
		}
	case v.shape == structShape:
		c.modernise(v.def, n)
	case v.shape == listShape && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			c.value(v.elem, item, f)
		}
	case v.shape == mapShape && n.Kind == yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			c.value(v.elem, n.Content[i], f)
		}
	}
}
