package placement_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/placement"
)

// owns is an assignment: who leads, who owns, which shards.
func owns(primary int, owners []int, shards ...int) oprc.Assignment {
	return oprc.Assignment{Primary: primary, Owners: owners, ShardIDs: shards}
}

func TestAssignments(t *testing.T) {
	many := envs(.99, .99, .99, .99)
	tests := map[string]struct {
		deployment oprc.Deployment
		want       []oprc.Assignment
	}{
		"one environment, three partitions": {
			oprc.Deployment{PartitionCount: 3, ReplicaCount: 1, TargetEnvs: []string{"e01"}},
			[]oprc.Assignment{owns(1, []int{1}, 0), owns(1, []int{1}, 1), owns(1, []int{1}, 2)},
		},
		"round robin over three members": {
			oprc.Deployment{PartitionCount: 3, ReplicaCount: 2, TargetEnvs: []string{"e01", "e02", "e03"}},
			[]oprc.Assignment{owns(1, []int{1, 2}, 0, 1), owns(3, []int{3, 1}, 2, 3), owns(2, []int{2, 3}, 4, 5)},
		},
		"allPartitions first": {
			oprc.Deployment{PartitionCount: 2, ReplicaCount: 2, Members: []oprc.Member{
				{ID: 1, Env: "e01"}, {ID: 2, Env: "e02"}, {ID: 3, Env: "e03", AllPartitions: true},
			}},
			[]oprc.Assignment{owns(1, []int{3, 1}, 0, 1), owns(2, []int{3, 2}, 2, 3)},
		},
		"allPartitions may exceed replicaCount": {
			oprc.Deployment{PartitionCount: 1, ReplicaCount: 1, Members: []oprc.Member{
				{ID: 1, Env: "e01", AllPartitions: true}, {ID: 2, Env: "e02", AllPartitions: true},
			}},
			[]oprc.Assignment{owns(1, []int{1, 2}, 0, 1)},
		},
		"maxShards": {
			oprc.Deployment{PartitionCount: 4, ReplicaCount: 1, Members: []oprc.Member{
				{ID: 7, Env: "e01", MaxShards: ptr(1)}, {ID: 9, Env: "e02", MaxShards: ptr(-1)},
			}},
			[]oprc.Assignment{owns(7, []int{7}, 0), owns(9, []int{9}, 1), owns(9, []int{9}, 2), owns(9, []int{9}, 3)},
		},
		"a chain of hand-overs where greed fails": {
			oprc.Deployment{PartitionCount: 2, ReplicaCount: 2, Members: []oprc.Member{
				{ID: 1, Env: "e01", MaxShards: ptr(1)}, {ID: 2, Env: "e02", MaxShards: ptr(1)}, {ID: 3, Env: "e03"},
			}},
			[]oprc.Assignment{owns(2, []int{3, 2}, 0, 1), owns(1, []int{3, 1}, 2, 3)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.deployment.Key = cls
			p := mustPlace(t, placement.Input{Deployment: test.deployment, Environments: many})
			checkInvariants(t, p.Deployment)
			if diff := cmp.Diff(test.want, p.Deployment.Assignments); diff != "" {
				t.Errorf("assignments (-want +got):\n%s", diff)
			}
		})
	}
}

// scenario draws a deployment over target environments or members with caps.
func scenario(t *rapid.T) placement.Input {
	n := rapid.IntRange(1, 6).Draw(t, "environments")
	in := placement.Input{Environments: envs(slices.Repeat([]float64{.95}, n)...), Class: class(oprc.ConsistencyNone)}
	d := oprc.Deployment{
		Key: cls, PartitionCount: rapid.IntRange(1, 12).Draw(t, "partitions"),
		ReplicaCount: rapid.IntRange(1, n).Draw(t, "replicas"),
	}
	if rapid.Bool().Draw(t, "members") {
		for i := range n {
			m := oprc.Member{ID: i + 1, Env: in.Environments[i].Spec.Name}
			if rapid.IntRange(0, 3).Draw(t, "capped") == 0 {
				m.MaxShards = ptr(rapid.IntRange(0, d.PartitionCount).Draw(t, "maxShards"))
			} else {
				m.AllPartitions = rapid.IntRange(0, 5).Draw(t, "all") == 0
			}
			d.Members = append(d.Members, m)
		}
	} else {
		for i := range n {
			d.TargetEnvs = append(d.TargetEnvs, in.Environments[i].Spec.Name)
		}
	}
	in.Deployment = d
	return in
}

// feasible judges by counting: each partition needs its owners, and a member
// serves a partition at most once.
func feasible(d oprc.Deployment) bool {
	pinned, have := 0, 0
	for _, m := range d.Members {
		room := d.PartitionCount
		if m.Limit() >= 0 {
			room = min(room, m.Limit())
		}
		have += room
		if m.AllPartitions {
			pinned++
			if room < d.PartitionCount {
				return false
			}
		}
	}
	if len(d.Members) == 0 {
		have = len(d.TargetEnvs) * d.PartitionCount
	}
	return have >= d.PartitionCount*max(pinned, d.ReplicaCount)
}

func TestPlacementIsFoundExactlyWhenThereIsOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := scenario(t)
		p := placement.Place(in)
		if p.Failed() != !feasible(in.Deployment) {
			t.Fatalf("failed: %v, feasible: %v; %+v", p.Failed(), feasible(in.Deployment), p.Findings)
		}
		if p.Failed() {
			if f := p.Findings[0]; f.Code != oprc.CodeShards {
				t.Fatalf("got %+v, want E011", f)
			}
			return
		}
		checkInvariants(t, p.Deployment)
		if diff := cmp.Diff(p, placement.Place(in)); diff != "" {
			t.Fatalf("a second run differs:\n%s", diff)
		}
	})
}

// moved counts the shards whose member changed, among partitions that both have.
func moved(before, after oprc.Deployment) int {
	n := 0
	for p := range min(len(before.Assignments), len(after.Assignments)) {
		for _, o := range before.Assignments[p].Owners {
			if !slices.Contains(after.Assignments[p].Owners, o) {
				n++
			}
		}
	}
	return n
}

func shards(d oprc.Deployment) int {
	n := 0
	for _, a := range d.Assignments {
		n += len(a.Owners)
	}
	return n
}

func primarySpread(d oprc.Deployment) int {
	count := make(map[int]int)
	for _, m := range d.Members {
		count[m.ID] = 0
	}
	for _, a := range d.Assignments {
		count[a.Primary]++
	}
	lo, hi := len(d.Assignments), 0
	for _, n := range count {
		lo, hi = min(lo, n), max(hi, n)
	}
	return hi - lo
}

func TestNothingMovesWithoutReason(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := scenario(t)
		first := placement.Place(in)
		if first.Failed() {
			return
		}
		in.Current = &first.Deployment
		again := placement.Place(in)
		if diff := cmp.Diff(first.Deployment, again.Deployment); diff != "" {
			t.Fatalf("the second placement differs (-first +second):\n%s", diff)
		}
	})
}

func TestMovementOnMemberChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "members")
		in := placement.Input{Environments: envs(slices.Repeat([]float64{.95}, n+4)...)}
		in.Deployment = oprc.Deployment{
			Key: cls, PartitionCount: rapid.IntRange(1, 20).Draw(t, "partitions"),
			ReplicaCount: rapid.IntRange(1, n).Draw(t, "replicas"),
		}
		for i := range n {
			in.Deployment.TargetEnvs = append(in.Deployment.TargetEnvs, in.Environments[i].Spec.Name)
		}
		now := mustPlace(t, in).Deployment
		for step := range rapid.IntRange(1, 6).Draw(t, "steps") {
			in.Current = &now
			targets := slices.Clone(in.Deployment.TargetEnvs)
			gone, adding := "", len(targets) <= in.Deployment.ReplicaCount || rapid.Bool().Draw(t, "add")
			if adding {
				free := slices.IndexFunc(in.Environments, func(e oprc.EnvironmentState) bool { return !slices.Contains(targets, e.Spec.Name) })
				if free < 0 {
					return
				}
				targets = append(targets, in.Environments[free].Spec.Name)
			} else {
				i := rapid.IntRange(0, len(targets)-1).Draw(t, "gone")
				gone = targets[i]
				targets = slices.Delete(targets, i, i+1)
			}
			in.Deployment.TargetEnvs = targets
			next := mustPlace(t, in).Deployment
			checkInvariants(t, next)
			bound := (shards(now) + len(next.Members) - 1) / len(next.Members)
			if !adding {
				bound = 0
				for _, m := range now.Members {
					if m.Env == gone {
						bound = owned(now, m.ID)
					}
				}
			}
			if got := moved(now, next); got > bound {
				t.Fatalf("step %d (add %v): %d shards moved, at most %d allowed\nbefore %v\nafter %v", step, adding, got, bound, now.Assignments, next.Assignments)
			}
			if spread := primarySpread(next); step == 0 && adding && spread > 1 {
				t.Fatalf("primaries differ by %d: %v", spread, next.Assignments)
			}
			now = next
		}
	})
}

func owned(d oprc.Deployment, id int) int {
	n := 0
	for _, a := range d.Assignments {
		if slices.Contains(a.Owners, id) {
			n++
		}
	}
	return n
}

func TestPrimariesAreEvenOnNewDeployments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "members")
		in := placement.Input{Environments: envs(slices.Repeat([]float64{.95}, n)...)}
		in.Deployment = oprc.Deployment{
			Key: cls, PartitionCount: rapid.IntRange(1, 40).Draw(t, "partitions"),
			ReplicaCount: rapid.IntRange(1, n).Draw(t, "replicas"),
		}
		for _, e := range in.Environments {
			in.Deployment.TargetEnvs = append(in.Deployment.TargetEnvs, e.Spec.Name)
		}
		d := mustPlace(t, in).Deployment
		if spread := primarySpread(d); spread > 1 {
			t.Fatalf("primaries differ by %d: %v", spread, d.Assignments)
		}
		load := make([]int, n+1)
		for id := range load {
			load[id] = owned(d, id)
		}
		if slices.Max(load[1:])-slices.Min(load[1:]) > 1 {
			t.Fatalf("loads are uneven: %v", load[1:])
		}
	})
}

func ExampleWithout() {
	in := placement.Input{
		Deployment: on("e01", "e02", "e03"), Class: class(oprc.Strong),
		Availability: 0.99, Environments: envs(.95, .95, .95),
	}
	fmt.Println(placement.Place(in).Explanation.Why)
	fmt.Println(placement.Place(placement.Without(in, "e02")).Explanation.Why)
	// Output:
	// 3 is the smallest n for which Q(n) reaches 0.99: Q(3) = 0.99275, Q(2) = 0.9025
	// no count reaches 0.99; the best is Q(1) = 0.95
}

// TestNewcomerTakesItsShareAlone: even where the others could not help, a new
// member takes no more than shards divided by members.
func TestNewcomerTakesItsShareAlone(t *testing.T) {
	in := placement.Input{Environments: envs(.9, .9, .9, .9)}
	in.Deployment = oprc.Deployment{Key: cls, PartitionCount: 9, ReplicaCount: 1, Members: []oprc.Member{
		{ID: 1, Env: "e01"}, {ID: 2, Env: "e02", MaxShards: ptr(0)}, {ID: 3, Env: "e03", MaxShards: ptr(0)},
	}}
	now := mustPlace(t, in).Deployment
	in.Current = &now
	in.Deployment.Members = append(in.Deployment.Members, oprc.Member{ID: 4, Env: "e04"})
	if got := owned(mustPlace(t, in).Deployment, 4); got != 3 {
		t.Errorf("got %d shards, want 3 of 9 over 4 members", got)
	}
}
