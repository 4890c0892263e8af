package placement_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/placement"
)

const cls = "shop.cart"

// env is a healthy environment of that availability.
func env(name string, availability float64) oprc.EnvironmentState {
	e := oprc.EnvironmentState{Health: oprc.Healthy, Availability: availability}
	e.Spec = oprc.Environment{Name: name}
	return e
}

// envs makes e1, e2, … of those availabilities.
func envs(availabilities ...float64) []oprc.EnvironmentState {
	var out []oprc.EnvironmentState
	for i, a := range availabilities {
		out = append(out, env(fmt.Sprintf("e%02d", i+1), a))
	}
	return out
}

func defaulted(e oprc.EnvironmentState) oprc.EnvironmentState {
	e.Spec.Default = true
	return e
}

func health(e oprc.EnvironmentState, h oprc.Health) oprc.EnvironmentState {
	e.Health = h
	return e
}

// filled is e with a capacity of most units, of which used are taken.
func filled(e oprc.EnvironmentState, used, most int) oprc.EnvironmentState {
	e.Units, e.Spec.Capacity = used, &oprc.Capacity{Units: &most}
	return e
}

// reports is e with CRMs that report room for most units.
func reports(e oprc.EnvironmentState, most int) oprc.EnvironmentState {
	e.ReportedUnits = &most
	return e
}

// withCPU is e with a capacity that says nothing of units.
func withCPU(e oprc.EnvironmentState) oprc.EnvironmentState {
	e.Spec.Capacity = &oprc.Capacity{CPU: "8"}
	return e
}

func class(c oprc.Consistency) oprc.Class {
	return oprc.Class{Key: cls, Name: "cart", Constraints: &oprc.Constraints{Consistency: c}}
}

func on(targets ...string) oprc.Deployment {
	return oprc.Deployment{Key: cls, TargetEnvs: targets}
}

func ptr(n int) *int { return &n }

// mustPlace places and fails the test on an error finding.
func mustPlace(t fatal, in placement.Input) placement.Placement {
	t.Helper()
	p := placement.Place(in)
	if p.Failed() {
		t.Fatalf("placement failed: %+v", p.Findings)
	}
	return p
}

type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// codes lists what was found, as "code pointer".
func codes(fs []placement.Finding) []string {
	out := []string{}
	for _, f := range fs {
		out = append(out, fmt.Sprintf("%s %s %s", f.Code, f.Severity, f.Pointer))
	}
	slices.Sort(out)
	return out
}

// checkInvariants judges a placement by what every reader of it relies on.
func checkInvariants(t fatal, d oprc.Deployment) {
	t.Helper()
	members := make(map[int]oprc.Member)
	for _, m := range d.Members {
		if m.ID < 1 || m.Env == "" || members[m.ID].ID != 0 {
			t.Fatalf("bad member %+v in %+v", m, d.Members)
		}
		members[m.ID] = m
	}
	if len(d.Assignments) != d.PartitionCount {
		t.Fatalf("%d assignments for %d partitions", len(d.Assignments), d.PartitionCount)
	}
	load, shards := make(map[int]int), make(map[int]bool)
	total := 0
	for p, a := range d.Assignments {
		if len(a.Owners) != len(a.ShardIDs) || len(a.Owners) < d.ReplicaCount {
			t.Fatalf("partition %d: owners %v, shards %v, replicas %d", p, a.Owners, a.ShardIDs, d.ReplicaCount)
		}
		if !slices.Contains(a.Owners, a.Primary) {
			t.Fatalf("partition %d: primary %d is not among %v", p, a.Primary, a.Owners)
		}
		for i, o := range a.Owners {
			if members[o].ID == 0 || slices.Contains(a.Owners[:i], o) {
				t.Fatalf("partition %d: owner %d of %v is unknown or repeated", p, o, a.Owners)
			}
			load[o]++
			total++
			shards[a.ShardIDs[i]] = true
		}
	}
	for s := range total {
		if !shards[s] {
			t.Fatalf("shard ids are not 0..%d: %v", total-1, d.Assignments)
		}
	}
	for id, m := range members {
		if m.Limit() >= 0 && load[id] > m.Limit() {
			t.Fatalf("member %d has %d shards, at most %d allowed", id, load[id], m.Limit())
		}
		if m.AllPartitions && load[id] != d.PartitionCount {
			t.Fatalf("member %d should own all partitions, owns %d", id, load[id])
		}
	}
}

var _ fatal = (*testing.T)(nil)
