package schema

import (
	"slices"
	"strconv"
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
	c.templates(n)
	c.demands(root, n)
	for _, name := range []string{"condition", "status", "created_at", "updated_at"} {
		if key, _ := lookup(n, name); key != nil {
			c.drop(n, key, "")
		}
	}
	for _, lost := range [][2]string{
		{"functions", "is not carried over: functions are provisioned where they are declared"},
		{"available_envs", "is not carried over: name the environments in `targetEnvs`"},
		{"telemetry", "is not carried over"},
	} {
		if key, val := lookup(n, lost[0]); key != nil {
			c.drop(n, key, unlessEmpty(val, lost[1]))
		}
	}
}

// templates makes env_templates members, one for each target environment, with
// the template that theirs must use.
func (c *converter) templates(n *yaml.Node) {
	key, templates := lookup(n, "env_templates")
	if key == nil {
		return
	}
	_, targets := lookup(n, "targetEnvs")
	if unlessEmpty(templates, "x") == "" || templates.Kind != yaml.MappingNode {
		c.drop(n, key, "")
		return
	}
	var envs []*yaml.Node
	if targets != nil {
		envs = slices.Clone(targets.Content)
	}
	for i := 0; i < len(templates.Content); i += 2 {
		if env := templates.Content[i]; !slices.ContainsFunc(envs, func(n *yaml.Node) bool { return n.Value == env.Value }) {
			envs = append(envs, env)
		}
	}
	members := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: key.Line, Column: key.Column}
	for i, env := range envs {
		id := scalarAt(strconv.Itoa(i+1), env)
		id.Tag = tagInt
		fields := []*yaml.Node{scalarAt("id", env), id, scalarAt("env", env), scalarAt(env.Value, env)}
		if _, template := lookup(templates, env.Value); template != nil && !isNull(template) {
			fields = append(fields, scalarAt("forceTemplate", env), scalarAt(template.Value, template))
		}
		members.Content = append(members.Content, &yaml.Node{
			Kind: yaml.MappingNode, Tag: tagMap, Style: yaml.FlowStyle, Line: env.Line, Column: env.Column, Content: fields,
		})
	}
	if taken, _ := lookup(n, "members"); taken != nil {
		c.drop(n, key, "is not carried over: give a member a `forceTemplate`")
		return
	}
	key.Value = "members"
	n.Content[slices.Index(n.Content, key)+1] = members
}

// classOptions moves the options of a class to its deployments.
func (c *converter) classOptions(root, class *yaml.Node) {
	key, options := lookup(class, "options")
	if key == nil || unlessEmpty(options, "x") == "" {
		return
	}
	_, name := lookup(class, "name")
	var deployments []*yaml.Node
	each(root, "deployments", func(item *yaml.Node) {
		if _, ref := lookup(item, "_key"); ref != nil && name != nil && (ref.Value == "."+name.Value || ref.Value == oprc.Key(c.pkg, name.Value)) {
			deployments = append(deployments, item)
		}
	})
	if len(deployments) == 0 || options.Kind != yaml.MappingNode {
		c.drop(class, key, "is not carried over: options belong to a deployment, and this file deploys the class nowhere")
		return
	}
	remove(class, key)
	for i, d := range deployments {
		if taken, _ := lookup(d, "options"); taken == nil && i == 0 {
			d.Content = append(d.Content, scalarAt("options", key), options)
			continue
		}
		for j := 0; j < len(options.Content); j += 2 {
			put(into(d, "options", key), options.Content[j].Value, options.Content[j], copied(options.Content[j+1]))
		}
	}
}

func copied(n *yaml.Node) *yaml.Node {
	out := *n
	out.Content = nil
	for _, child := range n.Content {
		out.Content = append(out.Content, copied(child))
	}
	return &out
}

// join moves each deployment that is a document of its own to the document of its
// package.
func join(cs []*converter) {
	for _, c := range cs {
		for _, root := range slices.Clone(c.trees) {
			if !isBareDeployment(root) {
				continue
			}
			_, pkg := lookup(root, "package_name")
			if to, home := packageDocumentOf(cs, pkg); home != nil {
				c.note(root, "the deployment was moved to package %s in %s", pkg.Value, to.path)
				to.adopt(c, home, root)
				c.trees = slices.DeleteFunc(c.trees, func(n *yaml.Node) bool { return n == root })
			}
		}
	}
}

// packageDocumentOf finds the document of a package among those of the files.
func packageDocumentOf(cs []*converter, pkg *yaml.Node) (*converter, *yaml.Node) {
	if pkg == nil {
		return nil, nil
	}
	for _, c := range cs {
		for _, root := range c.trees {
			if isBareDeployment(root) {
				continue
			}
			if _, name := lookup(root, "name"); name != nil && name.Value == pkg.Value {
				return c, root
			}
		}
	}
	return nil, nil
}

// adopt adds a deployment that stood elsewhere to a package.
func (c *converter) adopt(from *converter, root, deployment *yaml.Node) {
	if from != c {
		c.owner[deployment] = from.rewriter
		c.from = append(c.from, from)
	}
	key, list := lookup(root, "deployments")
	if list == nil || list.Kind != yaml.SequenceNode {
		list = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: deployment.Line, Column: deployment.Column}
		if key != nil {
			remove(root, key)
		}
		root.Content = append(root.Content, scalarAt("deployments", deployment), list)
	}
	list.Content = append(list.Content, deployment)
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
