package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/placement"
)

// full writes findings as "code severity pointer: message (hint)".
func full(fs []placement.Finding) []string {
	out := []string{}
	for _, f := range fs {
		s := fmt.Sprintf("%s %s %s: %s", f.Code, f.Severity, f.Pointer, f.Message)
		if f.Hint != "" {
			s += " (" + f.Hint + ")"
		}
		out = append(out, s)
	}
	return out
}

func wantFindings(t *testing.T, fs []placement.Finding, want ...string) {
	t.Helper()
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "'", `"`)
	}
	if diff := cmp.Diff(append([]string{}, want...), full(fs)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestFindings(t *testing.T) {
	five := envs(.9, .9, .9, .9, .9)
	tests := map[string]struct {
		in   placement.Input
		want []string
	}{
		"unknown environment": {
			placement.Input{Deployment: on("edge-1", "egde-2"), Environments: []oprc.EnvironmentState{env("edge-1", 0), env("edge-2", 0)}},
			[]string{"E009 error /targetEnvs/1: environment 'egde-2' is not known; known: edge-1, edge-2 (did you mean 'edge-2'?)"},
		},
		"unknown environment of a member": {
			placement.Input{Deployment: oprc.Deployment{Members: []oprc.Member{{ID: 1, Env: "moon"}}}, Environments: []oprc.EnvironmentState{env("edge-1", 0)}},
			[]string{"E009 error /members/0/env: environment 'moon' is not known; known: edge-1 (register it, or name one that is known)"},
		},
		"unknown environment, none registered": {
			placement.Input{Deployment: on("cloud-1")},
			[]string{"E009 error /targetEnvs/0: environment 'cloud-1' is not known; none is registered (register it with a document of kind: Environment, or with: oprc env create cloud-1)"},
		},
		"nothing named, nothing registered": {
			placement.Input{},
			[]string{"E009 error /targetEnvs: no environment is named, and none is registered (register one with a document of kind: Environment)"},
		},
		"nothing named, no default": {
			placement.Input{Environments: envs(.9, .9)},
			[]string{"E009 error /targetEnvs: no environment is named, and there is no default one; known: e01, e02 (name environments in targetEnvs, or mark one with default: true)"},
		},
		"the default is applied": {
			placement.Input{Environments: []oprc.EnvironmentState{env("a", .9), health(defaulted(env("local", 0)), oprc.HealthUnknown)}},
			[]string{"W107 info /targetEnvs: no environment is named: it runs in the default one"},
		},
		"an environment listed twice": {
			placement.Input{Deployment: on("e01", "e02", "e01"), Environments: five},
			[]string{"W107 info /targetEnvs/2: environment 'e01' is listed twice and counts once (remove one of the two)"},
		},
		"availability out of reach": {
			placement.Input{Deployment: on("e01", "e02"), Class: class(oprc.Strong), Availability: .99, Environments: envs(.95, .95)},
			[]string{"E010 error /replicaCount: availability 0.99 cannot be reached over 2 environments: the best is 0.95 with 1 replica (add environments, choose better ones, or lower the target)"},
		},
		"a bad environment stands in the way": {
			placement.Input{Deployment: on("e01", "e02"), Class: class(oprc.Strong), Availability: .95, Environments: envs(.9, .99)},
			[]string{"E010 error /replicaCount: availability 0.95 cannot be reached over 2 environments: the best is 0.9 with 1 replica (targetEnvs [e02] reaches 0.99 with 1 replica)"},
		},
		"availability unknown": {
			placement.Input{Deployment: on("e01", "e02"), Availability: .9, Environments: envs(.95, 0)},
			[]string{"E010 error /targetEnvs/1: availability 0.9 is asked, but that of environment 'e02' is not known (declare it in the document of the environment, or let its CRM report it)"},
		},
		"availability unknown, replicas set": {
			placement.Input{Deployment: oprc.Deployment{ReplicaCount: 1, Members: []oprc.Member{{ID: 4, Env: "e02"}}}, Availability: .9, Environments: envs(.95, 0)},
			[]string{"W105 warning /members/0/env: availability 0.9 is asked, but that of environment 'e02' is not known (declare it in the document of the environment, or let its CRM report it)"},
		},
		"availability unknown everywhere": {
			placement.Input{Availability: .9, Environments: envs(0)},
			[]string{"E010 error /targetEnvs: no registered environment can be used: e01: its availability is not known (declare the availability of an environment, or let its CRM report it)"},
		},
		"nothing healthy": {
			placement.Input{Availability: .9, Environments: []oprc.EnvironmentState{health(env("a", .9), oprc.EnvDown), health(env("b", .9), oprc.HealthUnknown), filled(env("c", .9), 4, 4)}},
			[]string{"E009 error /targetEnvs: no registered environment can be used: a: it is DOWN, b: no CRM has reported from it yet, c: it has room for 0 units, not for 1 (start a CRM there, or name the environments in targetEnvs)"},
		},
		"replicas below the target": {
			placement.Input{Deployment: oprc.Deployment{ReplicaCount: 1, TargetEnvs: []string{"e01", "e02", "e03"}}, Class: class(oprc.Strong), Availability: .99, Environments: envs(.95, .95, .95)},
			[]string{"W105 warning /replicaCount: 1 replica reaches availability 0.95, below the target 0.99 (replicaCount 3 reaches it, and leaving replicaCount out computes it)"},
		},
		"an even count under STRONG": {
			placement.Input{Deployment: oprc.Deployment{ReplicaCount: 2, TargetEnvs: []string{"e01", "e02"}}, Class: class(oprc.Strong), Availability: .9, Environments: envs(.9, .9)},
			[]string{
				"W105 warning /replicaCount: 2 replicas reach availability 0.81, below the target 0.9 (replicaCount 1 reaches it, and leaving replicaCount out computes it)",
				"W105 info /replicaCount: 2 replicas under STRONG never do better than 1: the quorum grows with them (use 1 or 3)",
			},
		},
		"members in one environment stand and fall together": {
			placement.Input{
				Deployment:   oprc.Deployment{ReplicaCount: 2, Members: []oprc.Member{{ID: 1, Env: "e01"}, {ID: 2, Env: "e01"}}},
				Availability: .95, Environments: five,
			},
			[]string{"W105 warning /replicaCount: 2 replicas reach availability 0.9, below the target 0.95 (add environments, choose better ones, or lower the target)"},
		},
		"more replicas than members": {
			placement.Input{Deployment: oprc.Deployment{ReplicaCount: 3, TargetEnvs: []string{"e01", "e02"}}, Environments: five},
			[]string{"E011 error /replicaCount: partition 0 needs 3 owners, only 2 members have room (add members or lower replicaCount to 2)"},
		},
		"more replicas than the default environment holds": {
			placement.Input{Deployment: oprc.Deployment{ReplicaCount: 2}, Environments: envs(.9)},
			[]string{
				"W107 info /targetEnvs: no environment is named: it runs in 'e01'",
				"E011 error /replicaCount: partition 0 needs 2 owners, only 1 member has room (name 2 environments in targetEnvs, or lower replicaCount)",
			},
		},
		"maxShards too small": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: 3, ReplicaCount: 1, Members: []oprc.Member{{ID: 1, Env: "e01", MaxShards: ptr(2)}}}, Environments: five},
			[]string{"E011 error /replicaCount: partition 2 needs 1 owner, no member has room (add members, raise maxShards, or lower replicaCount)"},
		},
		"allPartitions against maxShards": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: 3, ReplicaCount: 1, Members: []oprc.Member{{ID: 1, Env: "e01"}, {ID: 2, Env: "e02", AllPartitions: true, MaxShards: ptr(2)}}}, Environments: five},
			[]string{"E011 error /members/1/maxShards: member 2 has allPartitions, which needs 3 shards, but may own only 2 (raise maxShards or leave allPartitions out)"},
		},
		"an explicit environment is full": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: 3, TargetEnvs: []string{"full"}}, Environments: []oprc.EnvironmentState{filled(env("full", .9), 8, 10)}},
			[]string{"E009 error /targetEnvs/0: environment 'full' has room for 2 units, not for 3 (raise its capacity, or name more environments)"},
		},
		"its CRMs report less room than is declared": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: 3, TargetEnvs: []string{"full"}}, Environments: []oprc.EnvironmentState{reports(filled(env("full", .9), 8, 100), 10)}},
			[]string{"E009 error /targetEnvs/0: environment 'full' has room for 2 units, not for 3 (raise its capacity, or name more environments)"},
		},
		"its CRMs report more room than is declared": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: 3, TargetEnvs: []string{"full"}}, Environments: []oprc.EnvironmentState{reports(filled(env("full", .9), 8, 10), 100)}},
			[]string{"E009 error /targetEnvs/0: environment 'full' has room for 2 units, not for 3 (raise its capacity, or name more environments)"},
		},
		"declared to take nothing new": {
			placement.Input{Deployment: oprc.Deployment{TargetEnvs: []string{"e"}}, Environments: []oprc.EnvironmentState{filled(env("e", .9), 0, 0)}},
			[]string{"E009 error /targetEnvs/0: environment 'e' has room for 0 units, not for 1 (raise its capacity, or name more environments)"},
		},
		"reported to take nothing new": {
			placement.Input{Deployment: oprc.Deployment{TargetEnvs: []string{"e"}}, Environments: []oprc.EnvironmentState{reports(env("e", .9), 0)}},
			[]string{"E009 error /targetEnvs/0: environment 'e' has room for 0 units, not for 1 (raise its capacity, or name more environments)"},
		},
		"declared 3, reported 0": {
			placement.Input{Deployment: oprc.Deployment{TargetEnvs: []string{"e"}}, Environments: []oprc.EnvironmentState{reports(filled(env("e", .9), 0, 3), 0)}},
			[]string{"E009 error /targetEnvs/0: environment 'e' has room for 0 units, not for 1 (raise its capacity, or name more environments)"},
		},
		"a capacity without units is no limit": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: 9, TargetEnvs: []string{"e"}}, Environments: []oprc.EnvironmentState{withCPU(env("e", .9))}},
			nil,
		},
		"nothing is declared, and its CRMs report too little": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: 3, TargetEnvs: []string{"full"}}, Environments: []oprc.EnvironmentState{reports(env("full", .9), 2)}},
			[]string{"E009 error /targetEnvs/0: environment 'full' has room for 2 units, not for 3 (raise its capacity, or name more environments)"},
		},
		"members": {
			placement.Input{Deployment: oprc.Deployment{Members: []oprc.Member{{ID: 0, Env: "e01"}, {ID: 2}, {ID: 2, Env: "e02", MaxShards: ptr(-2)}}}, Environments: five},
			[]string{
				"E011 error /members/0/id: member id is 0; it must be at least 1 (number members from 1)",
				"E009 error /members/1: member 2 names no environment (add env: NAME)",
				"E004 error /members/2/id: member id 2 is used twice (give each member an id of its own)",
				"E011 error /members/2/maxShards: maxShards is -2; it must be -1 or more (-1 means no limit)",
			},
		},
		"counts": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: -1, ReplicaCount: -2, TargetEnvs: []string{"e01"}}, Environments: five},
			[]string{
				"E011 error /partitionCount: partitionCount is -1; it must be at least 1",
				"E011 error /replicaCount: replicaCount is -2; it must be at least 1 (leave it out to have it computed)",
			},
		},
		"too many shards": {
			placement.Input{Deployment: oprc.Deployment{PartitionCount: 1 << 40, ReplicaCount: 1 << 40, TargetEnvs: []string{"e01"}}, Environments: five},
			[]string{"E021 error /partitionCount: 1099511627776 partitions with 1099511627776 replicas are more than 1048576 shards"},
		},
		"explicit assignments": {
			placement.Input{Deployment: oprc.Deployment{
				PartitionCount: 3,
				Members:        []oprc.Member{{ID: 1, Env: "e01", MaxShards: ptr(1)}, {ID: 2, Env: "e02", AllPartitions: true}},
				Assignments: []oprc.Assignment{
					{Primary: 3, Owners: []int{1, 2}, ShardIDs: []int{0, 1}},
					{Primary: 1, Owners: []int{1, 1}, ShardIDs: []int{1, -2}},
					{Primary: 7, Owners: []int{7}, ShardIDs: nil},
					{Primary: 1},
				},
			}, Environments: five},
			[]string{
				"E011 error /assignments: 4 assignments for 3 partitions; there must be one for each (write one for each partition, or none to have them computed)",
				"E011 error /assignments/0/primary: primary 3 is not among the owners (name one of the owners: 1, 2)",
				"E011 error /assignments/1/owners/1: owner 1 is listed twice",
				"E011 error /assignments/1/shardIds/0: shard id 1 is used twice (number shards across the whole deployment)",
				"E011 error /assignments/1/shardIds/1: shard id is -2; it must be at least 0",
				"E011 error /assignments/2/shardIds: 1 owner but 0 shard ids (owners and shardIds go in pairs)",
				"E011 error /assignments/2/owners/0: owner 7 is not a member; members: 1, 2",
				"E011 error /assignments/3: the partition has no owners (list at least one member id)",
				"E011 error /members/0/maxShards: member 1 owns 3 shards, more than its maxShards 1 (raise maxShards or assign fewer)",
				"E011 error /members/1/allPartitions: member 2 has allPartitions but owns 1 of 4 partitions (make it an owner of every partition)",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := placement.Place(test.in)
			wantFindings(t, p.Findings, test.want...)
			if again := placement.Place(test.in); !cmp.Equal(p, again) {
				t.Error("a second run differs")
			}
		})
	}
}

func TestExplicitAssignmentsAreKept(t *testing.T) {
	d := oprc.Deployment{
		Key: cls, PartitionCount: 2, ReplicaCount: 1, TargetEnvs: []string{"e01", "e02"},
		Assignments: []oprc.Assignment{{Primary: 2, Owners: []int{2, 1}, ShardIDs: []int{7, 3}}, {Primary: 1, Owners: []int{1}, ShardIDs: []int{5}}},
	}
	current := mustPlace(t, placement.Input{Deployment: on("e02", "e01"), Environments: envs(.9, .9)}).Deployment
	got := mustPlace(t, placement.Input{Deployment: d, Environments: envs(.9, .9), Current: &current}).Deployment
	if diff := cmp.Diff(d.Assignments, got.Assignments); diff != "" {
		t.Errorf("assignments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]oprc.Member{{ID: 1, Env: "e01"}, {ID: 2, Env: "e02"}}, got.Members); diff != "" {
		t.Errorf("ids count from 1 in the order of targetEnvs, whatever came before (-want +got):\n%s", diff)
	}
}

func TestShardTypeFollowsConsistency(t *testing.T) {
	for consistency, want := range map[oprc.Consistency]string{
		"": "basic", oprc.ConsistencyNone: "basic", oprc.ReadYourWrite: "mst", oprc.BoundedStaleness: "mst", oprc.Strong: "raft",
	} {
		in := placement.Input{Deployment: on("e01"), Class: class(consistency), Environments: envs(.9)}
		if got := mustPlace(t, in).Deployment.ShardType; got != want {
			t.Errorf("%s: got %s, want %s", consistency, got, want)
		}
		in.Deployment.ShardType = "own"
		if got := mustPlace(t, in).Deployment.ShardType; got != "own" {
			t.Errorf("%s: a declared shardType became %s", consistency, got)
		}
	}
}

// chosen lists the environments in which a placement has members.
func chosen(p placement.Placement) string { return strings.Join(p.Deployment.TargetEnvs, " ") }

// owning lists the environments that own a shard.
func owning(d oprc.Deployment) string {
	var names []string
	for _, m := range d.Members {
		if owned(d, m.ID) > 0 {
			names = append(names, m.Env)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestSelection(t *testing.T) {
	tests := map[string]struct {
		envs   []oprc.EnvironmentState
		target float64
		want   string
	}{
		"the most available first": {envs(.9, .99, .95), .99, "e02 e03"},
		"then the one with room":   {[]oprc.EnvironmentState{filled(env("a", .9), 5, 10), filled(env("b", .9), 20, 100), env("c", .9)}, .99, "b c"},
		"then the least loaded": {func() []oprc.EnvironmentState {
			es := envs(.9, .9, .9)
			es[0].Units = 3
			return es
		}(), .99, "e02 e03"},
		"then by name":         {envs(.9, .9, .9), .99, "e01 e02"},
		"DEGRADED is healthy":  {[]oprc.EnvironmentState{health(env("a", .99), oprc.Degraded), env("b", .98)}, .9, "a"},
		"DOWN is not":          {[]oprc.EnvironmentState{health(env("a", .99), oprc.EnvDown), env("b", .98)}, .9, "b"},
		"nobody has reported":  {[]oprc.EnvironmentState{health(env("a", .99), oprc.HealthUnknown), env("b", .98)}, .9, "b"},
		"but the default":      {[]oprc.EnvironmentState{health(defaulted(env("a", .99)), oprc.HealthUnknown), env("b", .98)}, .9, "a"},
		"full":                 {[]oprc.EnvironmentState{filled(env("a", .99), 10, 10), env("b", .98)}, .9, "b"},
		"takes nothing new":    {[]oprc.EnvironmentState{filled(env("a", .99), 0, 0), env("b", .98)}, .9, "b"},
		"reports that it does": {[]oprc.EnvironmentState{reports(env("a", .99), 0), env("b", .98)}, .9, "b"},
		"declared, not reported": {func() []oprc.EnvironmentState {
			e := env("a", 0)
			e.Spec.Availability = .95
			return []oprc.EnvironmentState{e}
		}(), .9, "a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := mustPlace(t, placement.Input{Availability: test.target, Environments: test.envs})
			if got := chosen(p); got != test.want {
				t.Errorf("got %q, want %q; %+v", got, test.want, p.Explanation)
			}
			for _, c := range p.Explanation.Candidates {
				if c.Chosen != slices.Contains(p.Deployment.TargetEnvs, c.Env) || c.Chosen == (c.Why != "") {
					t.Errorf("candidate %+v does not explain %q", c, chosen(p))
				}
			}
		})
	}
}

// TestChoiceIsKept is what keeps deployments from wandering with the load.
func TestChoiceIsKept(t *testing.T) {
	es := envs(.9, .9, .9)
	in := placement.Input{Availability: .99, Environments: es}
	first := mustPlace(t, in)
	if chosen(first) != "e01 e02" {
		t.Fatalf("got %q", chosen(first))
	}
	in.Current = &first.Deployment
	in.Environments = envs(.9, .9, .99)
	in.Environments[0].Units, in.Environments[1].Units = 50, 50
	if p := mustPlace(t, in); !cmp.Equal(p.Deployment, first.Deployment) {
		t.Errorf("a better environment lured it away: %s", cmp.Diff(first.Deployment, p.Deployment))
	}
	in.Environments = []oprc.EnvironmentState{filled(es[0], 2, 1), es[1], es[2]}
	if p := mustPlace(t, in); !cmp.Equal(p.Deployment, first.Deployment) {
		t.Errorf("a capacity that shrank chased it away: %s", cmp.Diff(first.Deployment, p.Deployment))
	}
	in.Environments = []oprc.EnvironmentState{filled(es[0], 2, 0), reports(es[1], 0), es[2]}
	if p := mustPlace(t, in); !cmp.Equal(p.Deployment, first.Deployment) {
		t.Errorf("an environment that takes nothing new chased it away: %s", cmp.Diff(first.Deployment, p.Deployment))
	}
	in.Environments = []oprc.EnvironmentState{health(es[0], oprc.EnvDown), es[1], es[2]}
	moved := mustPlace(t, in)
	if chosen(moved) != "e03 e02" && chosen(moved) != "e02 e03" {
		t.Errorf("it stays in an environment that is DOWN: %q", chosen(moved))
	}
	in.Current, in.Environments = &moved.Deployment, es
	if p := mustPlace(t, in); !cmp.Equal(p.Deployment, moved.Deployment) {
		t.Errorf("it went back: %s", cmp.Diff(moved.Deployment, p.Deployment))
	}
}

func TestDown(t *testing.T) {
	up := []oprc.EnvironmentState{env("a", .9), env("b", .9), defaulted(env("c", .9))}
	down := []oprc.EnvironmentState{health(up[0], oprc.EnvDown), up[1], health(up[2], oprc.EnvDown)}
	both := oprc.Deployment{Key: cls, PartitionCount: 4, TargetEnvs: []string{"a", "b"}}
	tests := map[string]struct {
		declared   oprc.Deployment
		want, then string // owners, before and while a and c are down
	}{
		"targets: shards move to those that are up": {both, "a b", "b"},
		"targets: they wait where nobody else can take them": {
			oprc.Deployment{Key: cls, PartitionCount: 4, ReplicaCount: 2, TargetEnvs: []string{"a", "b"}}, "a b", "a b",
		},
		"members stay and wait": {
			oprc.Deployment{Key: cls, PartitionCount: 4, Members: []oprc.Member{{ID: 1, Env: "a"}, {ID: 2, Env: "b"}}}, "a b", "a b",
		},
		"the default gives way": {oprc.Deployment{Key: cls}, "c", "b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := placement.Input{Deployment: test.declared, Environments: up}
			now := mustPlace(t, in).Deployment
			if got := owning(now); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			in.Current, in.Environments = &now, down
			then := mustPlace(t, in).Deployment
			if got := owning(then); got != test.then {
				t.Errorf("while a and c are down: got %q, want %q", got, test.then)
			}
			in.Current, in.Environments = &then, up
			if got := owning(mustPlace(t, in).Deployment); got != test.want {
				t.Errorf("when they are back: got %q, want %q", got, test.want)
			}
		})
	}
}

func TestShardsAvoidFullEnvironments(t *testing.T) {
	in := placement.Input{
		Deployment:   oprc.Deployment{Key: cls, PartitionCount: 6, TargetEnvs: []string{"a", "b"}},
		Environments: []oprc.EnvironmentState{filled(env("a", .9), 9, 10), env("b", .9)},
	}
	d := mustPlace(t, in).Deployment
	if owned(d, 1) != 1 || owned(d, 2) != 5 {
		t.Errorf("a has room for one unit, got %v", d.Assignments)
	}
}

// TestReplicasSpreadOverEnvironments is what Q counts on.
func TestReplicasSpreadOverEnvironments(t *testing.T) {
	p := mustPlace(t, placement.Input{
		Deployment: oprc.Deployment{Key: cls, PartitionCount: 5, Members: []oprc.Member{
			{ID: 1, Env: "e01"}, {ID: 2, Env: "e01"}, {ID: 3, Env: "e01"}, {ID: 4, Env: "e02"},
		}},
		Availability: .99, Environments: envs(.9, .9),
	})
	for i, a := range p.Deployment.Assignments {
		if !slices.Contains(a.Owners, 4) || len(a.Owners) != 2 {
			t.Errorf("partition %d has no owner in e02: %v", i, a.Owners)
		}
	}
}

func TestMembersKeepTheirIDs(t *testing.T) {
	in := placement.Input{Deployment: on("e01", "e02", "e03"), Environments: envs(.9, .9, .9, .9)}
	now := mustPlace(t, in).Deployment
	in.Current, in.Deployment = &now, on("e04", "e03", "e02")
	want := []oprc.Member{{ID: 1, Env: "e04"}, {ID: 2, Env: "e02"}, {ID: 3, Env: "e03"}}
	if diff := cmp.Diff(want, mustPlace(t, in).Deployment.Members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// TestSlotsStay: what replaces an owner takes its slot, so that no other unit gets
// another name or shard.
func TestSlotsStay(t *testing.T) {
	in := placement.Input{
		Deployment:   oprc.Deployment{Key: cls, PartitionCount: 2, ReplicaCount: 2, TargetEnvs: []string{"e01", "e02", "e03"}},
		Environments: envs(.9, .9, .9),
	}
	now := mustPlace(t, in).Deployment
	in.Current, in.Deployment.TargetEnvs = &now, []string{"e02", "e03"}
	got := mustPlace(t, in).Deployment.Assignments
	want := []oprc.Assignment{{Primary: 2, Owners: []int{3, 2}, ShardIDs: []int{0, 1}}, {Primary: 3, Owners: []int{3, 2}, ShardIDs: []int{2, 3}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("before %v\n(-want +got):\n%s", now.Assignments, diff)
	}
	in.Current.Assignments = want
	in.Deployment.ReplicaCount = 1
	got = mustPlace(t, in).Deployment.Assignments
	for p, a := range got {
		if len(a.Owners) != 1 || a.ShardIDs[0] != p && a.ShardIDs[0] != 0 {
			t.Errorf("partition %d: %+v", p, a)
		}
	}
}

func TestCheckNeedsNoEnvironments(t *testing.T) {
	wantFindings(t, placement.Check(oprc.Deployment{ReplicaCount: 3, TargetEnvs: []string{"x", "y"}}),
		"E011 error /replicaCount: partition 0 needs 3 owners, only 2 members have room (add members or lower replicaCount to 2)")
	wantFindings(t, placement.Check(oprc.Deployment{ReplicaCount: 3}))
	wantFindings(t, placement.Check(oprc.Deployment{Assignments: []oprc.Assignment{{Primary: 9, Owners: []int{9}, ShardIDs: []int{0}}}}))
}

func TestInputIsLeftAlone(t *testing.T) {
	build := func() placement.Input {
		in := placement.Input{
			Deployment: oprc.Deployment{Key: cls, PartitionCount: 3, ReplicaCount: 1, TargetEnvs: []string{"e03", "e01", "e02"}},
			Class:      class(oprc.Strong), Availability: .9, Environments: envs(.9, .95, .99),
		}
		now := placement.Place(in).Deployment
		in.Current = &now
		in.Deployment.TargetEnvs = []string{"e03", "e02"}
		return in
	}
	in := build()
	placement.Place(in)
	placement.Place(placement.Without(in, "e02"))
	if diff := cmp.Diff(build(), in); diff != "" {
		t.Errorf("the input was changed (-was +is):\n%s", diff)
	}
}

func BenchmarkPlace(b *testing.B) {
	in := placement.Input{
		Deployment: oprc.Deployment{Key: cls, PartitionCount: 3}, Class: class(oprc.Strong),
		Availability: .999, Environments: envs(slices.Repeat([]float64{.99}, 10)...),
	}
	now := placement.Place(in).Deployment
	in.Current = &now
	b.ReportAllocs()
	for b.Loop() {
		placement.Place(in)
	}
}

// shared puts two partitions on members a and b, led by b and a.
func shared() *oprc.Deployment {
	return &oprc.Deployment{
		Key: cls, PartitionCount: 2, ReplicaCount: 2, TargetEnvs: []string{"a", "b"},
		Members:     []oprc.Member{{ID: 1, Env: "a"}, {ID: 2, Env: "b"}},
		Assignments: []oprc.Assignment{owns(2, []int{1, 2}, 3, 1), owns(1, []int{2, 1}, 0, 2)},
	}
}

func TestWhatStays(t *testing.T) {
	three := []oprc.EnvironmentState{env("a", .9), env("b", .9), env("c", .9)}
	tests := map[string]struct {
		declared oprc.Deployment
		want     []oprc.Assignment
	}{
		"primaries, slots and shard ids": {
			oprc.Deployment{PartitionCount: 2, ReplicaCount: 2, TargetEnvs: []string{"a", "b"}}, shared().Assignments,
		},
		"shard ids, where there are more replicas": {
			oprc.Deployment{PartitionCount: 2, ReplicaCount: 3, TargetEnvs: []string{"a", "b", "c"}},
			[]oprc.Assignment{owns(2, []int{1, 2, 3}, 3, 1, 4), owns(1, []int{2, 1, 3}, 0, 2, 5)},
		},
		"shard ids, where there are more partitions": {
			oprc.Deployment{PartitionCount: 3, ReplicaCount: 2, TargetEnvs: []string{"a", "b"}},
			[]oprc.Assignment{owns(2, []int{1, 2}, 3, 1), owns(1, []int{2, 1}, 0, 2), owns(1, []int{1, 2}, 4, 5)},
		},
		"an owner beyond the slots takes one that lost its own": {
			oprc.Deployment{PartitionCount: 2, ReplicaCount: 1, TargetEnvs: []string{"b", "c"}},
			[]oprc.Assignment{owns(2, []int{2}, 1), owns(1, []int{1}, 0)},
		},
		"members with new numbers in the same environments": {
			oprc.Deployment{PartitionCount: 2, ReplicaCount: 2, Members: []oprc.Member{{ID: 5, Env: "b"}, {ID: 6, Env: "a"}}},
			[]oprc.Assignment{owns(5, []int{6, 5}, 3, 1), owns(6, []int{5, 6}, 0, 2)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.declared.Key = cls
			p := mustPlace(t, placement.Input{Deployment: test.declared, Environments: three, Current: shared()})
			checkInvariants(t, p.Deployment)
			if diff := cmp.Diff(test.want, p.Deployment.Assignments); diff != "" {
				t.Errorf("assignments (-want +got):\n%s", diff)
			}
		})
	}
}

// What runs elsewhere does not hurry back to an environment that was DOWN.
func TestNoHurryBack(t *testing.T) {
	until := time.Date(2026, 3, 1, 12, 1, 0, 0, time.UTC)
	recovering := func(e oprc.EnvironmentState) oprc.EnvironmentState { e.RecoveringUntil = until; return e }
	b, c := env("b", .9), defaulted(env("c", .9))
	in := placement.Input{Deployment: oprc.Deployment{Key: cls}, Environments: []oprc.EnvironmentState{b, recovering(c)}}
	if p := mustPlace(t, in); owning(p.Deployment) != "c" {
		t.Errorf("a new deployment is kept away: %q", owning(p.Deployment))
	}
	in.Environments = []oprc.EnvironmentState{b, health(c, oprc.EnvDown)}
	moved := mustPlace(t, in).Deployment
	in.Current, in.Environments = &moved, []oprc.EnvironmentState{b, recovering(c)}
	p := mustPlace(t, in)
	if owning(p.Deployment) != "b" {
		t.Errorf("it hurried to %q", owning(p.Deployment))
	}
	if i := slices.IndexFunc(p.Explanation.Candidates, func(c placement.Candidate) bool { return c.Env == "c" }); i < 0 ||
		!strings.Contains(p.Explanation.Candidates[i].Why, "trusted again from 2026-03-01T12:01:00Z") {
		t.Errorf("why not c: %+v", p.Explanation.Candidates)
	}
	in.Environments = []oprc.EnvironmentState{health(b, oprc.EnvDown), recovering(c)}
	if p := mustPlace(t, in); owning(p.Deployment) != "c" {
		t.Errorf("better soon than never: %q", owning(p.Deployment))
	}
	in.Environments = []oprc.EnvironmentState{b, c}
	if p := mustPlace(t, in); owning(p.Deployment) != "c" {
		t.Errorf("it never returns: %q", owning(p.Deployment))
	}

	es := envs(.9, .9)
	pool := placement.Input{Availability: .9, Environments: []oprc.EnvironmentState{es[0], health(es[1], oprc.EnvDown)}}
	there := mustPlace(t, pool).Deployment
	pool.Current, pool.Environments = &there, []oprc.EnvironmentState{health(es[0], oprc.EnvDown), recovering(es[1])}
	if p := placement.Place(pool); !p.Failed() {
		t.Errorf("it fled at once to an environment that had just come back: %q", owning(p.Deployment))
	}
}
