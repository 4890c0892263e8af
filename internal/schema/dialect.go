package schema

import (
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// foreign lists fields that only the snake_case dialect has, by the list whose
// items hold them.
var foreign = map[string][]string{
	"classes":     {"function_bindings", "state_spec", "class_key"},
	"functions":   {"function_type", "provision_config", "qos_requirement", "qos_constraint", "function_key"},
	"deployments": {"class_key", "package_name", "target_env", "target_envs", "target_clusters", "available_envs", "nfr_requirements", "odgm"},
}

// bareDeployment lists fields of a deployment of that dialect that is a document of
// its own.
var bareDeployment = []string{"class_key", "package_name", "target_envs", "odgm", "nfr_requirements", "available_envs"}

// isBareDeployment reports whether a document is a deployment of that dialect.
func isBareDeployment(root *yaml.Node) bool {
	for _, list := range []string{"classes", "functions", "deployments"} {
		if key, _ := lookup(root, list); key != nil {
			return false
		}
	}
	key, _ := lookup(root, "class_key")
	if key == nil {
		key, _ = lookup(root, "package_name")
	}
	return key != nil
}

// dialect reports that a document is of the snake_case dialect.
func (c *checker) dialect(mark *yaml.Node, at *path) {
	c.report(oprc.CodeDialect, mark, at, "convert it with `oprc convert`", "`%s` belongs to the snake_case dialect of packages", mark.Value)
}

// dialectMark returns the first key that shows a document to be written in the
// snake_case dialect, with its path, or nil. `metadata` or `dependencies` alone
// shows nothing: it could be a mistake.
func dialectMark(root *yaml.Node) (*yaml.Node, *path) {
	if root.Kind != yaml.MappingNode {
		return nil, nil
	}
	if both, _ := lookup(root, "dependencies"); both != nil {
		if mark, _ := lookup(root, "metadata"); mark != nil {
			return mark, (*path)(nil).field(mark.Value, mark)
		}
	}
	if isBareDeployment(root) {
		for _, name := range bareDeployment {
			if mark, _ := lookup(root, name); mark != nil {
				return mark, (*path)(nil).field(mark.Value, mark)
			}
		}
	}
	for i := 0; i < len(root.Content); i += 2 {
		key, list := root.Content[i], root.Content[i+1]
		names := foreign[key.Value]
		if names == nil || list.Kind != yaml.SequenceNode {
			continue
		}
		for n, item := range list.Content {
			if item.Kind != yaml.MappingNode {
				continue
			}
			for j := 0; j < len(item.Content); j += 2 {
				if slices.Contains(names, item.Content[j].Value) {
					mark := item.Content[j]
					return mark, (*path)(nil).field(key.Value, key).item(n).field(mark.Value, mark)
				}
			}
		}
	}
	return nil, nil
}
