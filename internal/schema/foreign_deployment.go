package schema

import (
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// foreignDeployment rewrites a deployment of the snake_case dialect. What it
// demands of its class moves to the class.
func (c *converter) foreignDeployment(root, n *yaml.Node) {
	c.deploymentKey(n)
	rename(n, "target_envs", "targetEnvs")
	for _, name := range []string{"target_env", "target_clusters"} {
		key, val := lookup(n, name)
		if key == nil {
			continue
		}
		if have, _ := lookup(n, "targetEnvs"); have != nil || isNull(val) {
			c.drop(n, key, unlessEmpty(val, "is not carried over: `targetEnvs` names the environments"))
			continue
		}
		key.Value = "targetEnvs"
		if val.Kind == yaml.ScalarNode {
			one := *val
			*val = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle, Line: val.Line, Column: val.Column, Content: []*yaml.Node{&one}}
		}
	}
	c.odgm(n)
	c.demands(root, n)
	for _, name := range []string{"condition", "status", "created_at", "updated_at"} {
		if key, _ := lookup(n, name); key != nil {
			c.drop(n, key, "")
		}
	}
	for name, why := range map[string]string{
		"functions": "is not carried over: functions are provisioned where they are declared", "available_envs": "is not carried over: name the environments in `targetEnvs`",
		"env_templates": "is not carried over: give a member a `forceTemplate`", "telemetry": "is not carried over",
	} {
		if key, val := lookup(n, name); key != nil {
			c.drop(n, key, unlessEmpty(val, why))
		}
	}
}

// deploymentKey makes class_key the deployment's key; its own name is dropped.
func (c *converter) deploymentKey(n *yaml.Node) {
	class, ref := lookup(n, "class_key")
	key, name := lookup(n, "key")
	pkgKey, pkg := lookup(n, "package_name")
	if class == nil {
		if key != nil {
			key.Value = "_key"
			c.local(name)
		}
	} else {
		class.Value = "_key"
		switch {
		case c.own[ref.Value]:
			c.local(ref)
		case pkg != nil && pkg.Value != c.pkg:
			ref.Value = oprc.Key(pkg.Value, ref.Value)
		case !strings.Contains(ref.Value, "."):
			ref.Value = "." + ref.Value
		}
		if key != nil {
			why := ""
			if "."+name.Value != ref.Value {
				why = "is not carried over: a deployment is named by its class"
			}
			c.drop(n, key, why)
		}
	}
	if pkgKey != nil {
		c.drop(n, pkgKey, "")
	}
}

// odgm spreads the settings of the data grid over the deployment.
func (c *converter) odgm(n *yaml.Node) {
	key, grid := lookup(n, "odgm")
	if key == nil {
		return
	}
	for _, names := range [][2]string{{"partition_count", "partitionCount"}, {"replica_count", "replicaCount"}, {"shard_type", "shardType"}, {"options", "options"}} {
		if k, val := lookup(grid, names[0]); k != nil && !isNull(val) {
			remove(grid, k)
			put(n, names[1], k, val)
		}
	}
	if k, val := lookup(grid, "log"); k != nil && !isNull(val) {
		remove(grid, k)
		put(into(n, "options", k), "log", k, val)
	}
	for _, name := range fieldNames(grid) {
		if k, val := lookup(grid, name); !isNull(val) && unlessEmpty(val, "x") != "" {
			c.note(k, "`odgm.%s` is not carried over", name)
		}
	}
	c.drop(n, key, "")
}

// demands moves a deployment's demands to its class, where that is in the file.
func (c *converter) demands(root, n *yaml.Node) {
	key, nfr := lookup(n, "nfr_requirements")
	if key == nil {
		return
	}
	_, ref := lookup(n, "_key")
	var class *yaml.Node
	each(root, "classes", func(item *yaml.Node) {
		if _, name := lookup(item, "name"); name != nil && ref != nil && "."+name.Value == ref.Value {
			class = item
		}
	})
	names := map[string]string{"min_throughput_rps": "throughput", "max_latency_ms": "latency", "availability": "availability"}
	for _, name := range fieldNames(nfr) {
		k, val := lookup(nfr, name)
		switch {
		case isNull(val):
		case names[name] == "" || class == nil:
			c.note(k, "`nfr_requirements.%s` is not carried over", name)
		default:
			put(into(class, "requirements", k), names[name], k, val)
		}
	}
	c.drop(n, key, "")
}
