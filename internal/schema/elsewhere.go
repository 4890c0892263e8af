package schema

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// foreign returns the `kind` of a document that belongs to another system, as
// Kubernetes objects do: it has `apiVersion` and `kind`, and no field of a package or
// an environment.
func (c *checker) foreign(root *yaml.Node) *yaml.Node {
	_, version := lookup(root, "apiVersion")
	_, kind := lookup(root, "kind")
	if version == nil || kind == nil || version.Kind != yaml.ScalarNode || kind.Kind != yaml.ScalarNode {
		return nil
	}
	for i := 0; i < len(root.Content); i += 2 {
		key := root.Content[i].Value
		if key == "kind" || key == "apiVersion" {
			continue
		}
		for _, name := range []string{compatible + "Package", "Environment"} {
			if def := c.model.structs[name]; def.byName[key] != nil || def.renamed[key] != nil {
				return nil
			}
		}
	}
	return kind
}

// passedOver reports a foreign document.
func (c *checker) passedOver(root, kind *yaml.Node) {
	_, version := lookup(root, "apiVersion")
	what := fmt.Sprintf("%s of %s", shorten(kind.Value), shorten(version.Value))
	if hint := c.wrapped(root); hint != "" {
		c.report(oprc.CodeType, root, nil, hint, "expected a package, got one that is wrapped as a Kubernetes object: %s", what)
		return
	}
	if !c.passOver {
		c.report(oprc.CodeType, root, nil, "remove it from the file, or name the directory of the file: there it is passed over",
			"expected a package or an environment, got a document of another system: %s", what)
		return
	}
	c.report(oprc.CodeForeign, root, nil, "name it in .oprcignore to read it no more", "a document of another system is passed over: %s", what)
	if n := len(c.found); n > 0 {
		c.found[n-1].Severity = oprc.SeverityInfo
	}
}
