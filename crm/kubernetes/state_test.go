package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/kubernetes"
)

func TestDeploymentState(t *testing.T) {
	status := func(text string) string {
		return `{"metadata":{"generation":2},"status":{"observedGeneration":2,` + text + `}}`
	}
	waiting := func(reason, message string) string {
		return `{"status":{"containerStatuses":[{"state":{"waiting":{"reason":"` + reason + `","message":"` + message + `"}}}]}}`
	}
	deploying, running := crm.FunctionStatus{Condition: crm.Deploying}, crm.FunctionStatus{Condition: crm.Running, InvocationURL: "http://f"}
	down := func(reason string) crm.FunctionStatus {
		return crm.FunctionStatus{Condition: crm.Down, ErrorMsg: reason}
	}
	stillServes := down("ImagePullBackOff: no such image; the version before still serves")
	stillServes.InvocationURL = "http://f"
	unready := status(`"replicas":1,"updatedReplicas":1,"conditions":[{"type":"Progressing","status":"True","reason":"ReplicaSetUpdated"}]`)
	tests := map[string]struct {
		deployment string
		pods       []string
		want       crm.FunctionStatus
	}{
		"not seen by the controller": {`{"metadata":{"generation":2},"status":{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"availableReplicas":1}}`, nil, deploying},
		"starting":                   {unready, []string{`{"status":{"phase":"Pending"}}`}, deploying},
		"ready":                      {status(`"replicas":1,"updatedReplicas":1,"availableReplicas":1`), nil, running},
		"the old one is still there": {status(`"replicas":2,"updatedReplicas":1,"availableReplicas":1`), nil, crm.FunctionStatus{Condition: crm.Deploying, InvocationURL: "http://f"}},
		"scaling up":                 {status(`"replicas":3,"updatedReplicas":3,"availableReplicas":1`), nil, running},
		"cannot be pulled":           {unready, []string{waiting("ErrImagePull", "no such image")}, down("ImagePullBackOff: no such image")},
		"the new one cannot be pulled": {
			status(`"replicas":2,"updatedReplicas":1,"availableReplicas":1`),
			[]string{`{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, waiting("ImagePullBackOff", "no such image")},
			stillServes,
		},
		"crashes": {unready, []string{`{"status":{"containerStatuses":[{"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 10s"}},
			"lastState":{"terminated":{"reason":"Error","exitCode":3,"message":"no configuration\n"}}}]}}`}, down("CrashLoopBackOff: Error: exit status 3: no configuration")},
		"out of memory": {
			unready,
			[]string{`{"status":{"containerStatuses":[{"state":{"terminated":{"reason":"OOMKilled","exitCode":137}}}]}}`},
			down("OOMKilled: it used more memory than its limit"),
		},
		"no node": {
			unready,
			[]string{`{"status":{"conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/3 nodes are available"}]}}`},
			down("Unschedulable: 0/3 nodes are available"),
		},
		"evicted":          {unready, []string{`{"status":{"phase":"Failed","reason":"Evicted","message":"low on memory"}}`}, down("Evicted: low on memory")},
		"being created":    {unready, []string{waiting("ContainerCreating", "")}, deploying},
		"over quota":       {status(`"conditions":[{"type":"ReplicaFailure","status":"True","reason":"FailedCreate","message":"exceeded quota"}]`), nil, down("FailedCreate: exceeded quota")},
		"too slow":         {status(`"replicas":1,"updatedReplicas":1,"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded"}]`), nil, down("no pod became ready in time")},
		"ready once":       {status(`"replicas":1,"updatedReplicas":1,"conditions":[{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]`), nil, down("no pod is ready")},
		"restarted, ready": {status(`"replicas":1,"updatedReplicas":1,"availableReplicas":1`), []string{`{"status":{"conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"ready":true,"lastState":{"terminated":{"reason":"OOMKilled"}}}]}}`}, running},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(kubernetes.DeploymentState(tt.deployment, tt.pods...), tt.want); diff != "" {
				t.Errorf("state (-got +want):\n%s", diff)
			}
		})
	}
}

func TestKnativeState(t *testing.T) {
	state := func(ready string) string {
		return `{"metadata":{"generation":2},"status":{"observedGeneration":2,"url":"http://pay.example.org","conditions":[` + ready + `]}}`
	}
	url := "http://pay.example.org/api"
	for name, tt := range map[string]struct {
		object string
		want   crm.FunctionStatus
	}{
		"new":   {`{"metadata":{"generation":1}}`, crm.FunctionStatus{Condition: crm.Deploying}},
		"old":   {strings.Replace(state(`{"type":"Ready","status":"True"}`), `"observedGeneration":2`, `"observedGeneration":1`, 1), crm.FunctionStatus{Condition: crm.Deploying, InvocationURL: url}},
		"ready": {state(`{"type":"Ready","status":"True"}`), crm.FunctionStatus{Condition: crm.Running, InvocationURL: url}},
		"not":   {state(`{"type":"Ready","status":"False","reason":"RevisionFailed","message":"no image"}`), crm.FunctionStatus{Condition: crm.Down, ErrorMsg: "RevisionFailed: no image", InvocationURL: url}},
		"yet":   {state(`{"type":"Ready","status":"Unknown"}`), crm.FunctionStatus{Condition: crm.Deploying, InvocationURL: url}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(kubernetes.KnativeState(tt.object), tt.want); diff != "" {
				t.Errorf("state (-got +want):\n%s", diff)
			}
		})
	}
}
