package placement_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/placement"
)

// Findings at the limits: where the next number would be another answer.
func TestFindingsAtTheLimits(t *testing.T) {
	some := func(n int) []oprc.EnvironmentState { return envs(make([]float64, n)...) }
	ten := "e01, e02, e03, e04, e05, e06, e07, e08, e09, e10"
	inTwo := []oprc.Member{{ID: 1, Env: "e01"}, {ID: 2, Env: "e01"}, {ID: 3, Env: "e02"}}
	tests := map[string]struct {
		in   placement.Input
		want []string
	}{
		"ten environments are all named": {
			placement.Input{Deployment: on("moon"), Environments: some(10)},
			[]string{"E009 error /targetEnvs/0: environment 'moon' is not known; known: " + ten + " (register it, or name one that is known)"},
		},
		"more are counted": {
			placement.Input{Deployment: on("moon"), Environments: some(12)},
			[]string{"E009 error /targetEnvs/0: environment 'moon' is not known; known: " + ten + " and 2 more (register it, or name one that is known)"},
		},
		"an availability is asked, nothing is registered": {
			placement.Input{Availability: .9},
			[]string{"E009 error /targetEnvs: no environment is registered (register one with a document of kind: Environment)"},
		},
		"more replicas than environments to choose from": {
			placement.Input{Deployment: oprc.Deployment{ReplicaCount: 2}, Availability: .9, Environments: envs(.9)},
			[]string{"E011 error /replicaCount: partition 0 needs 2 owners, only 1 member has room (name 2 environments in targetEnvs, or lower replicaCount)"},
		},
		"allPartitions with just enough shards is not what is wrong": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: 2, ReplicaCount: 2, Members: []oprc.Member{
				{ID: 1, Env: "e01", AllPartitions: true, MaxShards: ptr(2)}, {ID: 2, Env: "e02", MaxShards: ptr(0)},
			}}, Environments: some(2)},
			[]string{"E011 error /replicaCount: partition 0 needs 2 owners, only 1 member has room (add members, raise maxShards, or lower replicaCount)"},
		},
		"assignments that use up maxShards, and allPartitions that has them all": {
			placement.Input{Deployment: oprc.Deployment{
				PartitionCount: 2,
				Members:        []oprc.Member{{ID: 1, Env: "e01", MaxShards: ptr(1)}, {ID: 2, Env: "e02", AllPartitions: true}},
				Assignments:    []oprc.Assignment{owns(1, []int{1, 2}, 0, 1), owns(2, []int{2}, 2)},
			}, Environments: some(2)},
			nil,
		},
		"assignments to a member that may own nothing": {
			placement.Input{Deployment: oprc.Deployment{
				Members:     []oprc.Member{{ID: 1, Env: "e01", MaxShards: ptr(0)}},
				Assignments: []oprc.Assignment{owns(1, []int{1}, 0)},
			}, Environments: some(1)},
			[]string{"E011 error /members/0/maxShards: member 1 owns 1 shard, more than its maxShards 0 (raise maxShards or assign fewer)"},
		},
		"replicas, and no availability is asked": {
			placement.Input{Deployment: oprc.Deployment{ReplicaCount: 1, TargetEnvs: []string{"e01"}}, Environments: some(1)},
			nil,
		},
		"assignments below the target": {
			placement.Input{
				Deployment:   oprc.Deployment{TargetEnvs: []string{"e01"}, Assignments: []oprc.Assignment{owns(1, []int{1}, 0)}},
				Availability: .95, Environments: envs(.9),
			},
			[]string{"W105 warning /replicaCount: 1 replica reaches availability 0.9, below the target 0.95 (add environments, choose better ones, or lower the target)"},
		},
		"of members that share an environment, two fall together": {
			placement.Input{
				Deployment: oprc.Deployment{ReplicaCount: 3, Members: inTwo}, Class: class(oprc.Strong),
				Availability: .95, Environments: envs(.9, .9),
			},
			[]string{"W105 warning /replicaCount: 3 replicas reach availability 0.9, below the target 0.95 (add environments, choose better ones, or lower the target)"},
		},
		"no more replicas than environments: no two fall together": {
			placement.Input{Deployment: oprc.Deployment{ReplicaCount: 2, Members: inTwo}, Availability: .99, Environments: envs(.9, .9)},
			nil,
		},
		"the best that can be reached takes as few replicas as it can": {
			placement.Input{Class: class(oprc.Strong), Availability: .9, Environments: envs(.5, .5, .5)},
			[]string{"E010 error /replicaCount: availability 0.9 cannot be reached over 3 environments: the best is 0.5 with 1 replica (add environments, choose better ones, or lower the target)"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wantFindings(t, placement.Place(test.in).Findings, test.want...)
		})
	}
}

func TestMostShards(t *testing.T) {
	const most = 1 << 20
	for name, test := range map[string]struct {
		partitions, replicas int
		refused              bool
	}{
		"as many partitions as shards": {most, 0, false},
		"one more":                     {most + 1, 0, true},
		"as many together":             {1 << 10, 1 << 10, false},
		"one more replica":             {1 << 10, 1<<10 + 1, true},
		"one more partition":           {1<<10 + 1, 1 << 10, true},
		"more than a machine counts":   {math.MaxInt, math.MaxInt, true},
	} {
		found := placement.Check(oprc.Deployment{PartitionCount: test.partitions, ReplicaCount: test.replicas})
		if refused := len(found) > 0; refused != test.refused {
			t.Errorf("%s: got %v", name, full(found))
		}
	}
}

// Owners are spread over environments where an availability is asked, else by load alone.
func TestOwnersAreSpreadOverEnvironments(t *testing.T) {
	in := placement.Input{Deployment: oprc.Deployment{Key: cls, ReplicaCount: 2, Members: []oprc.Member{
		{ID: 1, Env: "e01"}, {ID: 2, Env: "e01"}, {ID: 3, Env: "e02"},
	}}, Environments: envs(.9, .9)}
	for availability, want := range map[float64][]int{0: {1, 2}, .9: {1, 3}} {
		in.Availability = availability
		if got := mustPlace(t, in).Deployment.Assignments[0].Owners; !cmp.Equal(got, want) {
			t.Errorf("availability %g: got owners %v, want %v", availability, got, want)
		}
	}
}

// Members of one environment share what it has room for.
func TestMembersShareTheRoom(t *testing.T) {
	in := placement.Input{Deployment: oprc.Deployment{Key: cls, PartitionCount: 6, ReplicaCount: 1, Members: []oprc.Member{
		{ID: 1, Env: "a"}, {ID: 2, Env: "a"}, {ID: 3, Env: "a"}, {ID: 4, Env: "b"},
	}}, Environments: []oprc.EnvironmentState{filled(env("a", .9), 4, 7), env("b", .9)}}
	d := mustPlace(t, in).Deployment
	if got, want := fmt.Sprint(owned(d, 1), owned(d, 2), owned(d, 3), owned(d, 4)), "1 1 1 3"; got != want {
		t.Errorf("shards: got %s, want %s", got, want)
	}
}

// What runs in an environment, and what others have there, leave room for the rest.
func TestRoomToGrow(t *testing.T) {
	in := placement.Input{Deployment: oprc.Deployment{Key: cls, PartitionCount: 2, TargetEnvs: []string{"a"}}, Environments: []oprc.EnvironmentState{env("a", .9)}}
	now := mustPlace(t, in).Deployment
	in.Current, in.Environments[0] = &now, filled(env("a", .9), 3, 4) // its two, and one of somebody else
	in.Deployment.PartitionCount = 3
	mustPlace(t, in)
	in.Deployment.PartitionCount = 4
	wantFindings(t, placement.Place(in).Findings,
		"E009 error /targetEnvs/0: environment 'a' has room for 3 units, not for 4 (raise its capacity, or name more environments)")
}

// While the default environment is DOWN, another one takes its place if it has room.
func TestInPlaceOfTheDefault(t *testing.T) {
	for room, want := range map[int]string{2: "b", 1: "a"} {
		in := placement.Input{
			Deployment:   oprc.Deployment{Key: cls, PartitionCount: 2},
			Environments: []oprc.EnvironmentState{health(defaulted(env("a", .9)), oprc.EnvDown), filled(env("b", .9), 0, room)},
		}
		if got := chosen(mustPlace(t, in)); got != want {
			t.Errorf("room for %d of 2: got %s, want %s", room, got, want)
		}
	}
}

// Owners of the last placement stay with members that have the same number in the same
// environment.
func TestMembersAreToldApart(t *testing.T) {
	in := placement.Input{Deployment: oprc.Deployment{Key: cls, PartitionCount: 2, ReplicaCount: 1, Members: []oprc.Member{
		{ID: 1, Env: "e01"}, {ID: 2, Env: "e01"},
	}}, Environments: envs(.9)}
	now := mustPlace(t, in).Deployment
	now.Assignments = []oprc.Assignment{owns(2, []int{2}, 0), owns(1, []int{1}, 1)}
	in.Current = &now
	if diff := cmp.Diff(now.Assignments, mustPlace(t, in).Deployment.Assignments); diff != "" {
		t.Errorf("assignments (-was +is):\n%s", diff)
	}
}

// A member that gets allPartitions takes the last slot whose owner may leave it.
func TestWhoMakesPlaceForAllPartitions(t *testing.T) {
	for name, test := range map[string]struct {
		all  []int // members with allPartitions
		want []int // owners
	}{
		"the last owner goes":            {[]int{3}, []int{1, 3}},
		"the last owner has to stay":     {[]int{2, 3}, []int{3, 2}},
		"all have to be there, one more": {[]int{1, 2, 3}, []int{1, 2, 3}},
	} {
		in := placement.Input{Deployment: oprc.Deployment{Key: cls, PartitionCount: 1, ReplicaCount: 2, Members: []oprc.Member{
			{ID: 1, Env: "e01"}, {ID: 2, Env: "e02"}, {ID: 3, Env: "e03"},
		}}, Environments: envs(.9, .9, .9)}
		now := mustPlace(t, in).Deployment
		in.Current = &now
		in.Deployment.Members = append([]oprc.Member(nil), in.Deployment.Members...)
		for _, id := range test.all {
			in.Deployment.Members[id-1].AllPartitions = true
		}
		if got := mustPlace(t, in).Deployment.Assignments[0].Owners; !cmp.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// A new member takes shards divided by members, rounded up, and not one more.
func TestShareOfANewcomer(t *testing.T) {
	for partitions, want := range map[int]int{7: 2, 8: 2, 9: 3} {
		in := placement.Input{Environments: envs(.9, .9, .9, .9)}
		in.Deployment = oprc.Deployment{Key: cls, PartitionCount: partitions, ReplicaCount: 1, Members: []oprc.Member{
			{ID: 1, Env: "e01"}, {ID: 2, Env: "e02", MaxShards: ptr(0)}, {ID: 3, Env: "e03", MaxShards: ptr(0)},
		}}
		now := mustPlace(t, in).Deployment
		in.Current = &now
		in.Deployment.Members = append(in.Deployment.Members, oprc.Member{ID: 4, Env: "e04"})
		if got := owned(mustPlace(t, in).Deployment, 4); got != want {
			t.Errorf("got %d shards, want %d of %d over 4 members", got, want, partitions)
		}
	}
}

// A new member takes the first partition where the others would put two owners into one
// environment.
func TestNewcomerKeepsOwnersApart(t *testing.T) {
	in := placement.Input{Availability: .9, Environments: envs(.9, .9, .9)}
	in.Deployment = oprc.Deployment{Key: cls, PartitionCount: 2, ReplicaCount: 2, Members: []oprc.Member{
		{ID: 1, Env: "e01"}, {ID: 2, Env: "e02"}, {ID: 3, Env: "e03"},
	}}
	now := mustPlace(t, in).Deployment
	now.Assignments = []oprc.Assignment{owns(2, []int{1, 2}, 0, 1), owns(3, []int{1, 3}, 2, 3)}
	in.Current = &now
	in.Deployment.Members = append(in.Deployment.Members, oprc.Member{ID: 4, Env: "e03"})
	want := []oprc.Assignment{owns(2, []int{4, 2}, 0, 1), owns(3, []int{1, 3}, 2, 3)}
	if diff := cmp.Diff(want, mustPlace(t, in).Deployment.Assignments); diff != "" {
		t.Errorf("assignments (-want +got):\n%s", diff)
	}
}

// An environment keeps its number; the lowest, where it had several.
func TestNumbersOfEnvironments(t *testing.T) {
	in := placement.Input{Environments: envs(.9, .9), Deployment: oprc.Deployment{Key: cls, Members: []oprc.Member{
		{ID: 3, Env: "e02"}, {ID: 1, Env: "e02"}, {ID: 2, Env: "e02"},
	}}}
	now := mustPlace(t, in).Deployment
	in.Current, in.Deployment = &now, on("e01", "e02")
	want := []oprc.Member{{ID: 1, Env: "e02"}, {ID: 2, Env: "e01"}}
	if diff := cmp.Diff(want, mustPlace(t, in).Deployment.Members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestSlackIsWhatIsReachedBeyondTheTarget(t *testing.T) {
	for name, declared := range map[string]int{"computed": 0, "declared": 1} {
		in := placement.Input{Deployment: oprc.Deployment{ReplicaCount: declared, TargetEnvs: []string{"e01"}}, Availability: .9, Environments: envs(.99)}
		if got := mustPlace(t, in).Explanation.Slack; math.Abs(got-.09) > 1e-9 {
			t.Errorf("%s: got %g, want 0.09", name, got)
		}
	}
}

// What rounding may take away is forgiven, and no more.
func TestReachesButForRounding(t *testing.T) {
	target, rounding := .99, 1e-12
	for q, want := range map[float64]bool{target: true, target - rounding: true, target - 2*rounding: false} {
		if got := placement.Reaches(q, target); got != want {
			t.Errorf("%v for %v: got %t", q, target, got)
		}
	}
}

// The user's assignments count on the members: they go with any of them, and with no other.
func TestWithoutAMemberTheAssignmentsGo(t *testing.T) {
	in := placement.Input{Environments: envs(.9, .9), Deployment: oprc.Deployment{
		Members: []oprc.Member{{ID: 1, Env: "e01"}}, Assignments: []oprc.Assignment{owns(1, []int{1}, 0)},
	}}
	if got := placement.Without(in, "e02").Deployment; !cmp.Equal(got, in.Deployment) {
		t.Errorf("without an environment that has no member: %+v", got)
	}
	if got := placement.Without(in, "e01").Deployment; len(got.Members)+len(got.Assignments) > 0 {
		t.Errorf("without that of its member: %+v", got)
	}
}

// why renders shares, a line for each owner.
func why(p placement.Placement, in placement.Input) string {
	var out strings.Builder
	for _, s := range p.Shares(in) {
		for _, o := range s.Owners {
			fmt.Fprintf(&out, "%d: %d@%s shard %d: %s", s.Partition, o.Member, o.Env, o.Shard, o.Why)
			if o.Primary {
				fmt.Fprintf(&out, "; leads: %s", o.WhyLead)
			}
			out.WriteByte('\n')
		}
	}
	return out.String()
}

func TestSharesSayWhy(t *testing.T) {
	in := placement.Input{
		Deployment:   oprc.Deployment{Key: cls, PartitionCount: 2, ReplicaCount: 2, TargetEnvs: []string{"e01", "e02", "e03"}},
		Environments: envs(.9, .9, .9, .9),
	}
	want := func(in placement.Input, want string) {
		t.Helper()
		if diff := cmp.Diff(strings.TrimLeft(want, "\n"), why(mustPlace(t, in), in)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	want(in, `
0: 1@e01 shard 0: least loaded with room: it owns 2 of 4 shards; leads: primaries are spread evenly: it leads 1 of 2 partitions
0: 2@e02 shard 1: least loaded with room: it owns 1 of 4 shards
1: 3@e03 shard 2: least loaded with room: it owns 1 of 4 shards; leads: primaries are spread evenly: it leads 1 of 2 partitions
1: 1@e01 shard 3: least loaded with room: it owns 2 of 4 shards
`)

	now := mustPlace(t, in).Deployment
	in.Current = &now
	in.Deployment.PartitionCount, in.Deployment.TargetEnvs = 3, []string{"e02", "e03", "e04"}
	in.Environments = in.Environments[1:] // e01 is gone
	want(in, `
0: 1@e04 shard 0: takes over from e01 (gone); least loaded with room: it owns 2 of 6 shards; leads: primaries are spread evenly: it leads 1 of 3 partitions
0: 2@e02 shard 1: it owned the partition before: what is valid stays
1: 3@e03 shard 2: it owned the partition before: what is valid stays; leads: it led before
1: 1@e04 shard 3: takes over from e01 (gone); least loaded with room: it owns 2 of 6 shards
2: 2@e02 shard 4: least loaded with room: it owns 2 of 6 shards; leads: primaries are spread evenly: it leads 1 of 3 partitions
2: 3@e03 shard 5: least loaded with room: it owns 2 of 6 shards
`)

	in.Environments = envs(.9, .9, .9, .9)
	in.Deployment.PartitionCount = 1
	want(in, `
0: 1@e04 shard 0: takes over from e01 (no member any more); least loaded with room: it owns 1 of 2 shards; leads: primaries are spread evenly: it leads 1 of 1 partition
0: 2@e02 shard 1: it owned the partition before: what is valid stays
`)

	in.Deployment.TargetEnvs = []string{"e01", "e02", "e03"}
	in.Environments[0] = health(in.Environments[0], oprc.EnvDown)
	want(in, `
0: 3@e03 shard 0: takes over from e01 (DOWN); least loaded with room: it owns 1 of 2 shards
0: 2@e02 shard 1: it owned the partition before: what is valid stays; leads: primaries are spread evenly: it leads 1 of 1 partition
`)

	in.Deployment = oprc.Deployment{
		Key: cls, Members: []oprc.Member{{ID: 1, Env: "e02", AllPartitions: true}}, PartitionCount: 1,
	}
	want(in, `
0: 1@e02 shard 0: the member has allPartitions; leads: primaries are spread evenly: it leads 1 of 1 partition
`)

	in.Deployment = oprc.Deployment{Key: cls, TargetEnvs: []string{"e02"}, Assignments: []oprc.Assignment{owns(1, []int{1}, 0)}}
	want(in, `
0: 1@e02 shard 0: the deployment's own assignments say so; leads: the deployment's own assignments say so
`)
}
