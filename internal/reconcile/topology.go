package reconcile

import (
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A ClassTopology is a deployed class with each of its replicas as it is now.
type ClassTopology struct {
	Class     string         `json:"class"`
	Package   string         `json:"package"`
	Condition oprc.Condition `json:"condition"` // worst of its units
	Units     int            `json:"units"`
	Running   int            `json:"running"`
	Drift     bool           `json:"drift,omitempty"`
	ErrorMsg  string         `json:"errorMsg,omitempty"`
	Replicas  []Replica      `json:"replicas"` // sorted by partition, then replica
}

// A Replica is one unit of a class.
type Replica struct {
	Unit      string         `json:"unit"`
	Env       string         `json:"env"`
	Partition int            `json:"partition"`
	Replica   int            `json:"replica"`
	Primary   bool           `json:"primary,omitempty"`
	Condition oprc.Condition `json:"condition"`
	Settled   bool           `json:"settled"`
	Drift     bool           `json:"drift,omitempty"`
	Leaving   bool           `json:"leaving,omitempty"` // it has been sent an undeploy command
}

// ConditionOf is the condition of a deployed class; false: it is not deployed.
func (in *Inspection) ConditionOf(class string) (oprc.Condition, bool) {
	_, deployed := in.live.Deployments[class]
	return in.conditionOf(class), deployed
}

// Topology shows where each replica of a deployed class is. It reads nothing: not even
// the records of units.
func (in *Inspection) Topology(class string) (ClassTopology, bool) {
	d, deployed := in.live.Deployments[class]
	if !deployed {
		return ClassTopology{}, false
	}
	t := ClassTopology{Class: class, Package: d.Pkg, Condition: in.conditionOf(class), Replicas: []Replica{}}
	sum := in.classes[class]
	if sum == nil {
		return t, true
	}
	t.Units, t.Running, t.Drift, t.ErrorMsg = sum.units, sum.running, sum.drift, sum.errorMsg
	for _, m := range sum.members {
		u, st := in.live.Units[m.env][m.id], in.live.Statuses[m.env][m.id]
		is := judge(u, st, in.live.Environments[m.env].Health)
		_, partition, replica, _, ok := oprc.ParseUnitID(m.id)
		if is.gone || !ok {
			continue
		}
		t.Replicas = append(t.Replicas, Replica{
			Unit: m.id, Env: m.env, Partition: partition, Replica: replica, Primary: leads(d, partition, m.env) && u.Runs(),
			Condition: is.condition, Settled: is.settled, Drift: is.drift, Leaving: !u.Runs(),
		})
	}
	slices.SortFunc(t.Replicas, func(a, b Replica) int {
		if a.Partition != b.Partition {
			return a.Partition - b.Partition
		}
		return a.Replica - b.Replica
	})
	return t, true
}

// leads reports whether the primary of a partition is in an environment.
func leads(d oprc.Deployment, partition int, env string) bool {
	return partition < len(d.Assignments) && slices.ContainsFunc(d.Members, func(m oprc.Member) bool {
		return m.ID == d.Assignments[partition].Primary && m.Env == env
	})
}
