package placement

import (
	"fmt"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// assign gives every partition its owners, and checks that the environments can
// carry them.
func (d *decision) assign() {
	out := &d.out.Deployment
	if len(d.in.Deployment.Assignments) > 0 {
		out.Assignments = slices.Clone(d.in.Deployment.Assignments)
		d.add(checkAssignments(*out, true)...)
		d.checkRoom()
		return
	}
	l := d.layOut()
	if l == nil {
		return
	}
	lead := l.primaries()
	ids := l.shardIDs()
	out.Assignments = make([]oprc.Assignment, len(l.slots))
	for p, slots := range l.slots {
		a := oprc.Assignment{Primary: l.seats[lead[p]].ID, ShardIDs: ids[p]}
		for _, s := range slots {
			a.Owners = append(a.Owners, l.seats[s].ID)
		}
		out.Assignments[p] = a
	}
	d.checkRoom()
}

// layOut finds owners for all slots, under the strictest limits that allow it. It
// returns nil, and a finding, when there are none.
func (d *decision) layOut() *layout {
	for _, limits := range d.limits() {
		l := newLayout(d.out.Deployment.Members, limits, d.partitions, d.replicas, d.in.Availability > 0)
		if !l.feasible() {
			continue
		}
		l.keep(d.in.Current)
		l.pin()
		if l.fill() >= 0 {
			continue
		}
		l.welcome()
		return l
	}
	plain := declaredLimits(d.out.Deployment.Members, d.partitions)
	d.add(tooFew(d.out.Deployment.Members, plain, d.partitions, d.replicas)...)
	if len(d.out.Deployment.Members) < d.replicas && (d.basis == fromPool || d.basis == fromDefault) {
		last := &d.out.Findings[len(d.out.Findings)-1]
		last.Hint = fmt.Sprintf("name %s in targetEnvs, or lower replicaCount", environments(d.replicas))
	}
	return nil
}

// limits returns the limits to try, strictest first, each parallel to the
// members. Members that were made for environments avoid those that are DOWN;
// members that the user declared stay and wait.
func (d *decision) limits() [][]int {
	members := d.out.Deployment.Members
	plain := declaredLimits(members, d.partitions)
	roomy := d.withinRoom(members, plain)
	if d.basis == fromMembers {
		return [][]int{roomy, plain}
	}
	up := func(limits []int) []int {
		out := slices.Clone(limits)
		for i, m := range members {
			if e := d.envs[m.Env]; e != nil && e.Health == oprc.EnvDown {
				out[i] = 0
			}
		}
		return out
	}
	return [][]int{up(roomy), roomy, plain}
}

// declaredLimits returns the most partitions that each member may own.
func declaredLimits(members []oprc.Member, partitions int) []int {
	out := make([]int, len(members))
	for i, m := range members {
		if out[i] = partitions; m.Limit() >= 0 {
			out[i] = min(partitions, m.Limit())
		}
	}
	return out
}

// withinRoom lowers limits to what the environments have room for, shared evenly
// by the members of one environment.
func (d *decision) withinRoom(members []oprc.Member, limits []int) []int {
	byEnv := make(map[string][]int)
	for i, m := range members {
		byEnv[m.Env] = append(byEnv[m.Env], i)
	}
	out := slices.Clone(limits)
	for env, is := range byEnv {
		room := d.room(env)
		for n, i := range is {
			share := room / (len(is) - n)
			out[i] = min(out[i], share)
			room -= out[i]
		}
	}
	return out
}

// tooFew is the finding for the first partition that cannot have its owners.
func tooFew(members []oprc.Member, limits []int, partitions, replicas int) []Finding {
	l := newLayout(members, limits, partitions, replicas, false)
	if l.feasible() {
		return nil
	}
	for _, s := range l.seats {
		if s.AllPartitions && s.limit < partitions {
			return []Finding{{
				Code: oprc.CodeShards, Severity: oprc.SeverityError, Pointer: memberPointer(members, s.ID) + "/maxShards",
				Message: fmt.Sprintf("member %d has allPartitions, which needs %d shards, but may own only %d", s.ID, partitions, s.limit),
				Hint:    "raise maxShards or leave allPartitions out",
			}}
		}
	}
	l.pin()
	p := l.fill()
	have := 0
	for _, s := range l.slots[p] {
		if s != vacant {
			have++
		}
	}
	hint := "add members, raise maxShards, or lower replicaCount"
	if have == len(members) {
		hint = fmt.Sprintf("add members or lower replicaCount to %d", have)
	}
	return []Finding{{
		Code: oprc.CodeShards, Severity: oprc.SeverityError, Pointer: "/replicaCount",
		Message: fmt.Sprintf("partition %d needs %s, %s", p, owners(len(l.slots[p])), haveRoom(have)),
		Hint:    hint,
	}}
}

func haveRoom(n int) string {
	switch n {
	case 0:
		return "no member has room"
	case 1:
		return "only 1 member has room"
	}
	return fmt.Sprintf("only %d members have room", n)
}

func memberPointer(members []oprc.Member, id int) string {
	i := slices.IndexFunc(members, func(m oprc.Member) bool { return m.ID == id })
	return fmt.Sprintf("/members/%d", max(0, i))
}

// checkRoom reports environments that cannot carry what was assigned to them.
func (d *decision) checkRoom() {
	need := unitsByEnv(&d.out.Deployment)
	for _, name := range d.out.Deployment.TargetEnvs {
		if room := d.room(name); need[name] > room {
			d.add(Finding{
				Code: oprc.CodeEnvironment, Severity: oprc.SeverityError, Pointer: d.pointerTo(name),
				Message: fmt.Sprintf("environment %q has room for %s, not for %d", name, units(room), need[name]),
				Hint:    "raise its capacity, or name more environments",
			})
		}
	}
}

// shardIDs numbers the slots from 0 across the deployment. A slot keeps its
// number where that leaves no gap.
func (l *layout) shardIDs() [][]int {
	total := 0
	for _, slots := range l.slots {
		total += len(slots)
	}
	used := make([]bool, total)
	out := make([][]int, len(l.slots))
	for p, slots := range l.slots {
		out[p] = slices.Repeat([]int{vacant}, len(slots))
		if l.before == nil || p >= len(l.before.Assignments) {
			continue
		}
		for slot, id := range l.before.Assignments[p].ShardIDs {
			if slot < len(slots) && id >= 0 && id < total && !used[id] {
				out[p][slot], used[id] = id, true
			}
		}
	}
	next := 0
	for p := range out {
		for slot, id := range out[p] {
			if id != vacant {
				continue
			}
			for used[next] {
				next++
			}
			out[p][slot], used[next] = next, true
		}
	}
	return out
}
