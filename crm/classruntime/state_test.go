package classruntime_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/classruntime"
	"github.com/oaas-platform/oprc/crm/kubernetes"
)

func parse(t *testing.T, text string) *kubernetes.Object {
	t.Helper()
	o := &kubernetes.Object{}
	if err := json.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

func order(partition, replica int) crm.Command {
	u := crm.Unit{
		ID: "shop.order/" + string(rune('0'+partition)) + "/" + string(rune('0'+replica)) + "@cloud", ClsKey: "shop.order", TargetEnv: "cloud",
		PartitionInfo: crm.PartitionInfo{PartitionID: partition, ReplicaID: replica}, PartitionCount: 2, ReplicaCount: 2,
		MemberID: 1, ShardID: 2*partition + replica, Primary: replica == 0, ShardType: "raft", Consistency: crm.Strong,
		Peers:        []crm.Peer{{MemberID: 2, Env: "edge", ReplicaID: 1 - replica, ShardID: 2*partition + 1 - replica, Primary: replica != 0}},
		Requirements: &crm.Requirements{Throughput: 100, Latency: 20, Availability: 0.999},
		Functions: []crm.Function{
			{Key: "shop.mail", StaticURL: "https://mail.example.org"},
			{Key: "shop.pay", Image: "registry.example/pay:1", Config: crm.FunctionConfig{APIPath: "api", Env: crm.Env{"MODE": {Text: "fast"}}}},
		},
	}
	return crm.Command{Type: crm.OpDeploy, ID: u.ID, Generation: 1, SpecHash: "sha256:1", Unit: u}
}

func TestObject(t *testing.T) {
	got, err := classruntime.Spec(order(0, 0), order(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, `{
		"package_class_key": "shop.order",
		"functions": [{"function_key": "shop.pay", "config": {"MODE": "fast"},
			"provision_config": {"container_image": "registry.example/pay:1", "port": 8080, "need_http2": false}}],
		"nfr_requirements": {"availability_pct": 99.9, "consistency": "strong", "max_latency_ms": 20, "min_throughput_rps": 100},
		"odgm_config": {
			"collections": ["shop.order"], "partition_count": 2, "replica_count": 2, "shard_type": "raft",
			"env_node_ids": {"cloud": [1], "edge": [2]},
			"collection_assignments": {"shop.order": [
				{"partition_id": 0, "primary": 1, "replica": [1, 2], "shard_ids": [0, 1]},
				{"partition_id": 1, "primary": 1, "replica": [1, 2], "shard_ids": [2, 3]}]},
			"invocations": {"fn_routes": {"shop.mail": {"url": "https://mail.example.org", "stateless": true, "standby": false}}}}}`)
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parse(t, string(text)), want); diff != "" {
		t.Errorf("spec (-got +want):\n%s", diff)
	}
	secret := order(0, 0)
	secret.Unit.Functions[1].Config.Env["KEY"] = crm.EnvValue{Secret: crm.SecretKeyRef{Name: "a", Key: "b"}}
	if _, err := classruntime.Spec(secret); err == nil {
		t.Error("a secret passed")
	}
}

func TestState(t *testing.T) {
	mail := crm.FunctionStatus{Condition: crm.Running, InvocationURL: "https://mail.example.org"}
	state := func(c crm.Condition, message string, pay crm.FunctionStatus) crm.State {
		return crm.State{Condition: c, ErrorMsg: message, Functions: map[string]crm.FunctionStatus{"shop.mail": mail, "shop.pay": pay}}
	}
	running := crm.FunctionStatus{Condition: crm.Running, InvocationURL: "http://pay.oaas/api"}
	waiting := crm.FunctionStatus{Condition: crm.Deploying}
	functions := `,"functions":[{"function_key":"shop.pay","predicted_url":"http://pay.oaas","ready":true}]`
	for name, tt := range map[string]struct {
		status string
		want   crm.State
	}{
		"new":           {`{}`, state(crm.Deploying, "", waiting)},
		"running":       {`{"phase":"Running"` + functions + `}`, state(crm.Running, "", running)},
		"available":     {`{"conditions":[{"type":"Available","status":"True"}]` + functions + `}`, state(crm.Running, "", running)},
		"not yet seen":  {`{"observed_generation":1,"phase":"Running"}`, state(crm.Deploying, "", waiting)},
		"one not ready": {`{"phase":"Running","functions":[{"function_key":"shop.pay","ready":false}]}`, state(crm.Deploying, "", waiting)},
		"degraded": {
			`{"phase":"Running","conditions":[{"type":"Degraded","status":"True","reason":"NoRouter","message":"no router in the namespace"}]}`,
			state(crm.Down, "NoRouter: no router in the namespace", crm.FunctionStatus{Condition: crm.Down, ErrorMsg: "NoRouter: no router in the namespace"}),
		},
		"failed": {`{"phase":"Failed","message":"no template"}`, state(crm.Down, "Failed: no template", crm.FunctionStatus{Condition: crm.Down, ErrorMsg: "Failed: no template"})},
	} {
		t.Run(name, func(t *testing.T) {
			got := classruntime.State(parse(t, `{"metadata":{"generation":2},"status":`+tt.status+`}`), order(0, 0).Unit)
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("state (-got +want):\n%s", diff)
			}
		})
	}
}
