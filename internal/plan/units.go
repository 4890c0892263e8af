package plan

import (
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Units says what CRMs must run for a placed deployment: one unit for each
// replica of each partition, sorted by partition, then replica. class is
// resolved; functions holds at least those that it binds, by key.
func Units(d oprc.Deployment, class oprc.Class, functions map[string]oprc.Function) []oprc.DeploymentUnit {
	members := crews(d.Members, class, functions)
	total := 0
	for _, as := range d.Assignments {
		total += len(as.Owners)
	}
	units := make([]oprc.DeploymentUnit, 0, total)
	for partition, as := range d.Assignments {
		for replica, owner := range as.Owners {
			m, known := members[owner]
			if !known || replica >= len(as.ShardIDs) {
				continue
			}
			units = append(units, oprc.DeploymentUnit{
				ID:            oprc.UnitID(d.Key, partition, replica, m.Env),
				ClsKey:        d.Key,
				Functions:     m.functions,
				PartitionInfo: oprc.PartitionInfo{PartitionID: partition, ReplicaID: replica},
				TargetEnv:     m.Env,
				MemberID:      owner,
				ShardID:       as.ShardIDs[replica],
				Primary:       as.Primary == owner,
				Provision:     m.provision,
				Standby:       m.standby,
				ForceTemplate: m.ForceTemplate,
				ShardType:     d.ShardType,
				Options:       d.Options,
				Requirements:  class.Requirements,
				Constraints:   class.Constraints,
			})
		}
	}
	return units
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
	provision map[string]oprc.Provision
	standby   []string
}

// with is the crew of another member that runs the same functions.
func (c crew) with(m oprc.Member) crew {
	c.Member, c.standby = m, slices.Sorted(slices.Values(m.StandbyFn))
	return c
}

func crewOf(m oprc.Member, class oprc.Class, functions map[string]oprc.Function) crew {
	bound := boundFunctions(class, m.DisabledFn)
	c := crew{functions: make([]oprc.UnitFunction, 0, len(bound))}.with(m)
	for _, key := range bound {
		f, known := functions[key]
		if !known || !runsInUnits(f) {
			continue
		}
		c.functions = append(c.functions, oprc.UnitFunction{Key: key, Image: f.Provision.Image(), Config: f.Config})
		if c.provision == nil {
			c.provision = make(map[string]oprc.Provision, len(bound))
		}
		c.provision[key] = *f.Provision
	}
	return c
}

// boundFunctions lists the functions that class binds, without those bound by
// disabled bindings alone, sorted.
func boundFunctions(class oprc.Class, disabled []string) []string {
	if class.Resolved == nil {
		return nil
	}
	keys := make([]string, 0, len(class.Resolved.Functions))
	for name, b := range class.Resolved.Functions {
		if !slices.Contains(disabled, name) && !slices.Contains(disabled, b.Function) {
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
