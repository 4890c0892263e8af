package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A unit says all that its CRM needs: what can be called and by whom, the macros, what
// runs elsewhere, the state, and the partition's other replicas.
func TestUnitsSayAll(t *testing.T) {
	strong := &oprc.Constraints{Consistency: oprc.Strong}
	class := oprc.Class{
		Key: "shop.cart", StateType: oprc.StateCollection, Constraints: strong, StateSpec: &oprc.StateSpec{DefaultProvider: "s3"},
		Resolved: &oprc.Resolved{
			Functions: map[string]oprc.Binding{
				"add":   {Name: "add", Function: "shop.add", Access: oprc.Internal, Condition: "object.open", DefaultRoute: true},
				"both":  {Name: "both", Function: "shop.both", Access: oprc.Public, Immutable: true},
				"get":   {Name: "get", Function: "builtin.get", Access: oprc.Public, Immutable: true},
				"off":   {Name: "off", Function: "shop.off", Access: oprc.Public},
				"rate":  {Name: "rate", Function: "shop.rate", Access: oprc.Private},
				"spare": {Name: "spare", Function: "shop.add", Access: oprc.Public},
			},
			KeySpecs: map[string]oprc.KeySpec{"total": {Name: "total"}, "items": {Name: "items", Optional: true}},
		},
	}
	docker := &oprc.Provision{Docker: &oprc.Docker{Image: "add:1"}}
	macro := oprc.Macro{Steps: []oprc.Step{{Function: "add", Target: "@", As: "a"}}, Output: "a"}
	functions := map[string]oprc.Function{
		"shop.add":    {Type: oprc.Task, Provision: docker, Requirements: &oprc.Requirements{Latency: 20}, Constraints: &oprc.Constraints{MaxConcurrency: 4}},
		"shop.both":   {Type: oprc.MacroFn, Macro: &macro},
		"shop.off":    {Type: oprc.Task, Provision: docker, State: oprc.Disabled},
		"shop.rate":   {Type: oprc.Task, Config: oprc.FunctionConfig{StaticURL: "https://rates.example/v1"}},
		"builtin.get": {Type: oprc.Builtin},
	}
	d := oprc.Deployment{
		Key: "shop.cart", ShardType: "raft",
		Members:     []oprc.Member{{ID: 1, Env: "edge", StandbyFn: []string{"spare"}}, {ID: 2, Env: "cloud", DisabledFn: []string{"rate"}}},
		Assignments: []oprc.Assignment{{Primary: 2, Owners: []int{1, 2}, ShardIDs: []int{0, 1}}, {Primary: 1, Owners: []int{1}, ShardIDs: []int{2}}},
	}
	add := oprc.UnitFunction{Key: "shop.add", Image: "add:1", Requirements: functions["shop.add"].Requirements, Constraints: functions["shop.add"].Constraints}
	rate := oprc.UnitFunction{Key: "shop.rate", StaticURL: "https://rates.example/v1", Config: functions["shop.rate"].Config}
	bindings := []oprc.UnitBinding{
		{Name: "add", Function: "shop.add", Access: oprc.Internal, Condition: "object.open", DefaultRoute: true},
		{Name: "both", Function: "shop.both", Access: oprc.Public, Immutable: true},
		{Name: "get", Function: "builtin.get", Access: oprc.Public, Immutable: true},
		{Name: "rate", Function: "shop.rate", Access: oprc.Private},
		{Name: "spare", Function: "shop.add", Access: oprc.Public, Standby: true},
	}
	unit := oprc.DeploymentUnit{
		Protocol: oprc.Protocol, ID: "shop.cart/0/0@edge", ClsKey: "shop.cart", StateType: oprc.StateCollection,
		Functions: []oprc.UnitFunction{add, rate}, Bindings: bindings, Macros: map[string]oprc.Macro{"shop.both": macro},
		StateSpec:      &oprc.StateSpec{DefaultProvider: "s3", KeySpecs: []oprc.KeySpec{{Name: "items", Optional: true}, {Name: "total"}}},
		PartitionCount: 2, ReplicaCount: 2, Peers: []oprc.UnitPeer{{MemberID: 2, Env: "cloud", ReplicaID: 1, ShardID: 1, Primary: true}},
		TargetEnv: "edge", MemberID: 1, Consistency: oprc.Strong, Provision: map[string]oprc.Provision{"shop.add": *docker},
		Standby: []string{"spare"}, ShardType: "raft", Constraints: strong,
	}
	got := plan.Units(d, class, functions, nil)
	if diff := cmp.Diff(unit, got[0]); diff != "" {
		t.Errorf("first unit (-want +got):\n%s", diff)
	}
	cloud := got[1]
	if diff := cmp.Diff([]oprc.UnitFunction{add}, cloud.Functions); diff != "" {
		t.Errorf("functions without the disabled binding's (-want +got):\n%s", diff)
	}
	for _, b := range cloud.Bindings {
		if b.Name == "rate" || b.Standby {
			t.Errorf("binding %+v, which the other member has", b)
		}
	}
	if want := []oprc.UnitPeer{{MemberID: 1, Env: "edge"}}; !cmp.Equal(want, cloud.Peers) {
		t.Errorf("peers: got %+v, want %+v", cloud.Peers, want)
	}
	if alone := got[2]; alone.Peers != nil || alone.ReplicaCount != 1 || alone.PartitionInfo.PartitionID != 1 || !alone.Primary {
		t.Errorf("the unit without peers: got %+v", alone)
	}
}
