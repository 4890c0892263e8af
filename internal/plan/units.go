package plan

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Units says what CRMs must run for a placed deployment: one unit for each
// replica of each partition, sorted by partition, then replica. class is
// resolved; functions holds at least those that it binds, by key; settings are those of
// the environments that have some, by name.
func Units(d oprc.Deployment, class oprc.Class, functions map[string]oprc.Function, settings map[string]*oprc.Kubernetes) []oprc.DeploymentUnit {
	members := crews(d.Members, class, functions)
	total := 0
	for _, as := range d.Assignments {
		total += len(as.Owners)
	}
	units := make([]oprc.DeploymentUnit, 0, total)
	spec := stateSpec(class)
	for partition, as := range d.Assignments {
		for replica, owner := range as.Owners {
			m, known := members[owner]
			if !known || replica >= len(as.ShardIDs) {
				continue
			}
			units = append(units, oprc.DeploymentUnit{
				Protocol:       oprc.Protocol,
				ID:             oprc.UnitID(d.Key, partition, replica, m.Env),
				ClsKey:         d.Key,
				StateType:      class.StateType,
				Functions:      m.functions,
				Bindings:       m.bindings,
				Macros:         m.macros,
				StateSpec:      spec,
				PartitionInfo:  oprc.PartitionInfo{PartitionID: partition, ReplicaID: replica},
				PartitionCount: len(d.Assignments),
				ReplicaCount:   len(as.Owners),
				Peers:          peers(as, replica, members),
				TargetEnv:      m.Env,
				MemberID:       owner,
				ShardID:        as.ShardIDs[replica],
				Primary:        as.Primary == owner,
				Consistency:    cmp.Or(consistency(class), oprc.ConsistencyNone),
				Provision:      m.provision,
				Standby:        m.standby,
				ForceTemplate:  m.ForceTemplate,
				ShardType:      d.ShardType,
				Options:        d.Options,
				Requirements:   class.Requirements,
				Constraints:    class.Constraints,
				Restarts:       d.Restarts,
				Kubernetes:     settings[m.Env],
			})
		}
	}
	return units
}

// podSettings are what the documents of environments say about pods, by environment.
func podSettings(environments iter.Seq[oprc.EnvironmentState]) map[string]*oprc.Kubernetes {
	out := map[string]*oprc.Kubernetes{}
	for e := range environments {
		if e.Spec.Kubernetes != nil {
			out[e.Spec.Name] = e.Spec.Kubernetes
		}
	}
	return out
}

// peers lists the other replicas of a partition.
func peers(as oprc.Assignment, self int, members map[int]crew) []oprc.UnitPeer {
	var out []oprc.UnitPeer
	for replica, owner := range as.Owners {
		if m, known := members[owner]; known && replica != self && replica < len(as.ShardIDs) {
			out = append(out, oprc.UnitPeer{
				MemberID: owner, Env: m.Env, ReplicaID: replica, ShardID: as.ShardIDs[replica], Primary: as.Primary == owner,
			})
		}
	}
	return out
}

// stateSpec is the keys of a class's objects, inherited ones included.
func stateSpec(class oprc.Class) *oprc.StateSpec {
	var spec oprc.StateSpec
	if class.StateSpec != nil {
		spec.DefaultProvider = class.StateSpec.DefaultProvider
	}
	if class.Resolved != nil {
		for _, name := range slices.Sorted(maps.Keys(class.Resolved.KeySpecs)) {
			spec.KeySpecs = append(spec.KeySpecs, class.Resolved.KeySpecs[name])
		}
	}
	if len(spec.KeySpecs) == 0 && spec.DefaultProvider == "" {
		return nil
	}
	return &spec
}

// crews says what the units of each member run, by member id. Most members run
// the same.
func crews(members []oprc.Member, class oprc.Class, functions map[string]oprc.Function) map[int]crew {
	out := make(map[int]crew, len(members))
	var common *crew
	for _, m := range members {
		if len(m.DisabledFn) == 0 && common != nil {
			out[m.ID] = common.with(m)
			continue
		}
		c := crewOf(m, class, functions)
		if len(m.DisabledFn) == 0 {
			common = &c
		}
		out[m.ID] = c
	}
	return out
}

// A crew is what every unit of one member runs.
type crew struct {
	oprc.Member
	functions []oprc.UnitFunction
	bindings  []oprc.UnitBinding
	macros    map[string]oprc.Macro
	provision map[string]oprc.Provision
	standby   []string
}

// with is the crew of another member that runs the same functions.
func (c crew) with(m oprc.Member) crew {
	c.Member, c.standby = m, slices.Sorted(slices.Values(m.StandbyFn))
	if len(c.standby) > 0 || slices.ContainsFunc(c.bindings, func(b oprc.UnitBinding) bool { return b.Standby }) {
		c.bindings = slices.Clone(c.bindings)
		for i, b := range c.bindings {
			c.bindings[i].Standby = slices.Contains(c.standby, b.Name) || slices.Contains(c.standby, b.Function)
		}
	}
	return c
}

func crewOf(m oprc.Member, class oprc.Class, functions map[string]oprc.Function) crew {
	c := crew{bindings: unitBindings(class, m.DisabledFn, functions)}
	bound := boundFunctions(class, m.DisabledFn)
	c.functions = make([]oprc.UnitFunction, 0, len(bound))
	for _, key := range bound {
		f := functions[key]
		switch {
		case f.Type == oprc.MacroFn && f.Macro != nil && f.State != oprc.Disabled:
			if c.macros == nil {
				c.macros = map[string]oprc.Macro{}
			}
			c.macros[key] = *f.Macro
		case runsElsewhere(f):
			c.functions = append(c.functions, unitFunction(key, f, ""))
		case runsInUnits(f):
			c.functions = append(c.functions, unitFunction(key, f, f.Provision.Image()))
			if c.provision == nil {
				c.provision = make(map[string]oprc.Provision, len(bound))
			}
			c.provision[key] = *f.Provision
		}
	}
	return c.with(m)
}

func unitFunction(key string, f oprc.Function, image string) oprc.UnitFunction {
	return oprc.UnitFunction{
		Key: key, Image: image, Config: f.Config, StaticURL: f.Config.StaticURL,
		Requirements: f.Requirements, Constraints: f.Constraints,
	}
}

// unitBindings lists what can be called, sorted by name.
func unitBindings(class oprc.Class, disabled []string, functions map[string]oprc.Function) []oprc.UnitBinding {
	if class.Resolved == nil {
		return nil
	}
	var out []oprc.UnitBinding
	for _, name := range slices.Sorted(maps.Keys(class.Resolved.Functions)) {
		b := class.Resolved.Functions[name]
		if off(name, b, disabled) || functions[b.Function].State == oprc.Disabled {
			continue
		}
		out = append(out, oprc.UnitBinding{
			Name: name, Function: b.Function, Access: cmp.Or(b.Access, oprc.Public), Immutable: b.Immutable,
			DefaultRoute: b.DefaultRoute, Condition: b.Condition, OutputCls: b.OutputCls,
			DefaultArgs: b.DefaultArgs, NoMain: b.NoMain, NoOutput: b.NoOutput, Override: b.Override,
		})
	}
	return out
}

// off reports whether a member does not deploy a binding.
func off(name string, b oprc.Binding, disabled []string) bool {
	return slices.Contains(disabled, name) || slices.Contains(disabled, b.Function)
}

// boundFunctions lists the functions that class binds, without those bound by
// disabled bindings alone, sorted.
func boundFunctions(class oprc.Class, disabled []string) []string {
	if class.Resolved == nil {
		return nil
	}
	keys := make([]string, 0, len(class.Resolved.Functions))
	for name, b := range class.Resolved.Functions {
		if !off(name, b, disabled) {
			keys = append(keys, b.Function)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// runsInUnits reports whether a CRM must start something for f.
func runsInUnits(f oprc.Function) bool {
	return f.Type == oprc.Task && f.State != oprc.Disabled && f.Config.StaticURL == "" && f.Provision.Image() != ""
}

// runsElsewhere reports whether f has an address of its own, and nothing to start.
func runsElsewhere(f oprc.Function) bool {
	return f.Type == oprc.Task && f.State != oprc.Disabled && f.Config.StaticURL != ""
}
