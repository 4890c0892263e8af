package placement

import (
	"fmt"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Check finds what is wrong with a deployment whatever the environments are:
// counts, members, and the assignments that the user gave. [Place] finds the same
// and more.
func Check(d oprc.Deployment) []Finding {
	out := checkCounts(d)
	out = append(out, checkMembers(d)...)
	if failed(out) {
		return out
	}
	members, known := knownMembers(d)
	switch {
	case len(d.Assignments) > 0:
		d.Members = members
		out = append(out, checkAssignments(d, known)...)
	case d.ReplicaCount > 0 && known:
		limits := declaredLimits(members, partitionsOf(d))
		out = append(out, tooFew(members, limits, partitionsOf(d), d.ReplicaCount)...)
	}
	return out
}

// knownMembers returns the members, as far as the deployment alone decides them.
func knownMembers(d oprc.Deployment) ([]oprc.Member, bool) {
	if len(d.Members) > 0 {
		return d.Members, true
	}
	var out []oprc.Member
	for i, env := range inOrder(d.TargetEnvs) {
		out = append(out, oprc.Member{ID: i + 1, Env: env})
	}
	return out, len(out) > 0
}

func shardError(pointer, hint, format string, args ...any) Finding {
	return Finding{
		Code: oprc.CodeShards, Severity: oprc.SeverityError, Pointer: pointer, Hint: hint,
		Message: fmt.Sprintf(format, args...),
	}
}

func checkCounts(d oprc.Deployment) []Finding {
	var out []Finding
	if d.PartitionCount < 0 {
		out = append(out, shardError("/partitionCount", "", "partitionCount is %d; it must be at least 1", d.PartitionCount))
	}
	if d.ReplicaCount < 0 {
		out = append(out, shardError("/replicaCount", "leave it out to have it computed",
			"replicaCount is %d; it must be at least 1", d.ReplicaCount))
	}
	if p, r := partitionsOf(d), max(1, d.ReplicaCount); p > MaxShards || r > MaxShards/p {
		f := shardError("/partitionCount", "", "%d partitions with %s are more than %d shards", p, replicas(r), MaxShards)
		f.Code = oprc.CodeLimits
		out = append(out, f)
	}
	return out
}

func checkMembers(d oprc.Deployment) []Finding {
	var out []Finding
	seen := make(map[int]bool)
	for i, m := range d.Members {
		at := fmt.Sprintf("/members/%d", i)
		switch {
		case m.ID < 1:
			out = append(out, shardError(at+"/id", "number members from 1", "member id is %d; it must be at least 1", m.ID))
		case seen[m.ID]:
			f := shardError(at+"/id", "give each member an id of its own", "member id %d is used twice", m.ID)
			f.Code = oprc.CodeDuplicate
			out = append(out, f)
		}
		seen[m.ID] = true
		if m.Env == "" {
			f := shardError(at, "add env: NAME", "member %d names no environment", m.ID)
			f.Code = oprc.CodeEnvironment
			out = append(out, f)
		}
		if m.Limit() < -1 {
			out = append(out, shardError(at+"/maxShards", "-1 means no limit", "maxShards is %d; it must be -1 or more", m.Limit()))
		}
	}
	return out
}

// checkAssignments checks the invariants of assignments. knowMembers is
// false when the members are not settled yet.
func checkAssignments(d oprc.Deployment, knowMembers bool) []Finding {
	var out []Finding
	if n := partitionsOf(d); len(d.Assignments) != n {
		out = append(out, shardError("/assignments", "write one for each partition, or none to have them computed",
			"%s for %s; there must be one for each", plural(len(d.Assignments), "assignment"), plural(n, "partition")))
	}
	members := make(map[int]oprc.Member)
	var ids []int
	for _, m := range d.Members {
		members[m.ID] = m
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	load, shards := make(map[int]int), make(map[int]bool)
	for i, a := range d.Assignments {
		at := fmt.Sprintf("/assignments/%d", i)
		out = append(out, checkOwners(at, a)...)
		for j, o := range a.Owners {
			if _, known := members[o]; knowMembers && !known {
				out = append(out, shardError(fmt.Sprintf("%s/owners/%d", at, j), "", "owner %d is not a member; members: %s", o, idList(ids)))
			}
			load[o]++
		}
		for j, s := range a.ShardIDs {
			p := fmt.Sprintf("%s/shardIds/%d", at, j)
			if s < 0 {
				out = append(out, shardError(p, "", "shard id is %d; it must be at least 0", s))
			} else if shards[s] {
				out = append(out, shardError(p, "number shards across the whole deployment", "shard id %d is used twice", s))
			}
			shards[s] = true
		}
	}
	for i, m := range d.Members {
		at := fmt.Sprintf("/members/%d", i)
		if m.Limit() >= 0 && load[m.ID] > m.Limit() {
			out = append(out, shardError(at+"/maxShards", "raise maxShards or assign fewer",
				"member %d owns %s, more than its maxShards %d", m.ID, plural(load[m.ID], "shard"), m.Limit()))
		}
		if m.AllPartitions && load[m.ID] < len(d.Assignments) {
			out = append(out, shardError(at+"/allPartitions", "make it an owner of every partition",
				"member %d has allPartitions but owns %d of %s", m.ID, load[m.ID], plural(len(d.Assignments), "partition")))
		}
	}
	return out
}

// checkOwners checks one assignment by itself.
func checkOwners(at string, a oprc.Assignment) []Finding {
	var out []Finding
	if len(a.Owners) == 0 {
		out = append(out, shardError(at, "list at least one member id", "the partition has no owners"))
	}
	for j, o := range a.Owners {
		if slices.Contains(a.Owners[:j], o) {
			out = append(out, shardError(fmt.Sprintf("%s/owners/%d", at, j), "", "owner %d is listed twice", o))
		}
	}
	if len(a.Owners) != len(a.ShardIDs) {
		out = append(out, shardError(at+"/shardIds", "owners and shardIds go in pairs",
			"%s but %s", owners(len(a.Owners)), plural(len(a.ShardIDs), "shard id")))
	}
	if len(a.Owners) > 0 && !slices.Contains(a.Owners, a.Primary) {
		out = append(out, shardError(at+"/primary", "name one of the owners: "+idList(a.Owners),
			"primary %d is not among the owners", a.Primary))
	}
	return out
}

func idList(ids []int) string {
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, fmt.Sprint(id))
	}
	if len(names) == 0 {
		return "none"
	}
	return list(names)
}
