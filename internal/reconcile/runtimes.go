package reconcile

import (
	"cmp"
	"slices"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// badness orders conditions; across units the worst wins.
var badness = map[oprc.Condition]int{
	oprc.Deleted: 1, oprc.Running: 2, oprc.Pending: 3, oprc.Deploying: 4, oprc.Down: 5,
}

// Worst returns the worst of two conditions; "" is no condition.
func Worst(a, b oprc.Condition) oprc.Condition {
	if badness[b] > badness[a] {
		return b
	}
	return a
}

// RuntimeOf sums the units of one class in one environment up. Units that were
// told to go do not count. ok is false when none is left.
func RuntimeOf(cls, env string, units []UnitView, now time.Time) (rt oprc.ClassRuntime, ok bool) {
	parts := map[int]*tally{}
	strong := false
	for _, u := range units {
		if u.Op != oprc.Deploy {
			continue
		}
		if c := u.Unit.Constraints; c != nil && c.Consistency == oprc.Strong {
			strong = true
		}
		p := parts[u.Unit.PartitionInfo.PartitionID]
		if p == nil {
			p = &tally{}
			parts[u.Unit.PartitionInfo.PartitionID] = p
		}
		p.add(u)
	}
	rt = oprc.ClassRuntime{
		Key: cls + "@" + env, ClsKey: cls, Env: env, Status: oprc.RuntimeRunning,
		Partitions: []oprc.RuntimePartition{}, LastUpdate: now,
	}
	anyUp, deploying := false, false
	for id, p := range parts {
		slices.Sort(p.replicas)
		rt.Partitions = append(rt.Partitions, oprc.RuntimePartition{ID: id, Replicas: p.replicas, Time: p.last})
		anyUp, deploying = anyUp || p.up > 0, deploying || p.deploying > 0
		if !p.quorum(strong) {
			rt.Status = oprc.RuntimeDown
		}
	}
	if rt.Status == oprc.RuntimeDown && anyUp && deploying {
		rt.Status = oprc.RuntimeScaling
	}
	slices.SortFunc(rt.Partitions, func(a, b oprc.RuntimePartition) int { return cmp.Compare(a.ID, b.ID) })
	return rt, len(parts) > 0
}

// A tally counts the units of one partition.
type tally struct {
	units, up, deploying int
	replicas             []string
	last                 time.Time
}

func (t *tally) add(u UnitView) {
	t.units++
	switch u.Condition {
	case oprc.Running:
		t.up++
		names := []string{u.Unit.ID}
		if u.Status != nil && len(u.Status.Replicas) > 0 {
			names = u.Status.Replicas
		}
		t.replicas = append(t.replicas, names...)
	case oprc.Pending, oprc.Deploying:
		t.deploying++
	}
	if u.Status != nil && u.Status.Time.After(t.last) {
		t.last = u.Status.Time
	}
}

// quorum reports whether enough units are up: most of them under STRONG, one of
// them otherwise.
func (t *tally) quorum(strong bool) bool {
	if strong {
		return t.up > t.units/2
	}
	return t.up > 0
}

// View joins a unit's record and status into what a reader should believe.
func View(rec oprc.UnitRecord, st oprc.Status, health oprc.Health) UnitView {
	d := oprc.UnitDigest{Generation: rec.Generation}
	if rec.Op == oprc.Deploy {
		d.SpecHash = rec.SpecHash
	}
	is := judge(d, st, health)
	u := UnitView{UnitRecord: rec, Condition: is.condition, Settled: is.settled, Drift: is.drift}
	if st.Generation > 0 {
		u.Status = &st
	}
	return u
}

// A judgement is what a reader should believe of a unit.
type judgement struct {
	condition            oprc.Condition
	settled, drift, gone bool // gone: it was told to go, and has gone
}

func judge(d oprc.UnitDigest, st oprc.Status, health oprc.Health) judgement {
	is := judgement{condition: oprc.Pending, settled: st.Generation == d.Generation}
	if is.settled {
		is.condition = st.Condition
		is.drift = d.Runs() && (st.Condition == oprc.Deleted || st.SpecHash != "" && st.SpecHash != d.SpecHash)
	}
	if health == oprc.EnvDown && is.condition != oprc.Deleted {
		is.condition = oprc.Down
	}
	is.gone = !d.Runs() && is.settled && is.condition == oprc.Deleted
	return is
}
