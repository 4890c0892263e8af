//go:build kubernetes

package kubernetes_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

const storyFiles = `
-- shop.yaml --
kind: Environment
name: edge
availability: 0.95
---
kind: Environment
name: cloud
availability: 0.95
kubernetes:
  pullSecrets: [registry]
  serviceAccount: functions
  nodeSelector: {pool: functions, kubernetes.io/os: linux}
  tolerations: [{key: dedicated, value: functions, effect: NoSchedule}, {key: example.com/gpu}]
---
name: shop
functions: [{name: pay, provision: {docker: {image: "registry.example/pay:1"}}}]
classes: [{name: order, functions: [{name: pay, function: .pay}]}]
deployments: [{_key: .order, targetEnvs: [edge, cloud], replicaCount: 2}]
-- others.yaml --
kind: Environment
name: cloud
availability: 0.95
kubernetes:
  serviceAccount: others
  nodeSelector: {pool: others}
-- bare.yaml --
kind: Environment
name: cloud
availability: 0.95
-- images.json --
{"images": {"registry.example/*": {"command": ["./echo"], "healthPath": "/health"}}}
`

// Two environments in one plan, one of processes and one in the cluster: a class has a
// replica in each, and when the cluster's CRM goes away the other replica keeps serving.
func TestTwoEnvironmentsInOnePlan(t *testing.T) {
	s := newSpace(t)
	dir, url := t.TempDir(), rdbtest.Server(t)
	for file := range strings.SplitSeq(strings.TrimPrefix(storyFiles, "\n-- "), "\n-- ") {
		name, text, _ := strings.Cut(file, " --\n")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", dir+"/", "../../cmd/oprc", "../../cmd/oprc-crm", "../../examples/functions/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(dir, "oprc"), args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_STATE_HOME="+dir+"/state", "OPRC_REDIS_URL="+url, "OAAS_PM_PORT="+freePort())
		return cmd
	}
	output := func(args ...string) string {
		t.Helper()
		out, err := command(args...).CombinedOutput()
		if err != nil {
			t.Logf("oprc %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	start := func(args ...string) *exec.Cmd {
		t.Helper()
		cmd := command(args...)
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
		return cmd
	}
	start("serve")
	start("crm", "run", "--env", "edge", "--id", "edge", "--driver", "process", "--images", "images.json")
	cloud := start("crm", "run", "--env", "cloud", "--id", "cloud", "--driver", "kubernetes", "--", "--kubeconfig", s.kubeconfig, "--namespace", s.name)
	plan := output("apply", "-f", "shop.yaml", "--yes")
	if !strings.Contains(plan, "edge") || !strings.Contains(plan, "cloud") {
		t.Errorf("the plan does not name both environments:\n%s", plan)
	}
	units := func(edge, cloud string) func() bool {
		return func() bool {
			out := output("get", "units")
			return regexp.MustCompile(`(?m)@edge +`+edge).MatchString(out) && regexp.MustCompile(`(?m)@cloud +`+cloud).MatchString(out)
		}
	}
	s.eventually("both replicas are RUNNING", units("RUNNING", "RUNNING"))
	placing := output("explain", "placement", "shop.order")
	if !strings.Contains(placing, "edge") || !strings.Contains(placing, "cloud") {
		t.Errorf("explain placement:\n%s", placing)
	}
	if got := output("get", "units", "-o", "json"); !strings.Contains(got, "."+s.name+".svc.cluster.local") {
		t.Errorf("no URL in the cluster:\n%s", got)
	}
	s.podsOfAnEnvironment(output, units("RUNNING", "RUNNING"))
	_ = cloud.Process.Signal(os.Interrupt)
	_ = cloud.Wait()
	s.eventually("the replica in the cluster is shown as DOWN", units("RUNNING", "DOWN"))
	at := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(output("get", "units", "-o", "json"))
	resp, err := http.Post(at, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatalf("the replica at the edge does not answer: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), "shop.pay") {
		t.Errorf("answer: %s %s", resp.Status, text)
	}
	if len(s.list("Deployment")) != 1 {
		t.Error("the Deployment is gone with its CRM")
	}
}

// podsOfAnEnvironment follows how pods run in the cluster from the environment's document
// to the Deployment: as declared, exported and applied again, changed, and removed.
func (s *space) podsOfAnEnvironment(output func(...string) string, running func() bool) {
	pods := func() map[string]any {
		for _, d := range s.list("Deployment") {
			spec, _, _ := unstructured.NestedMap(d.Object, "spec", "template", "spec")
			out := map[string]any{}
			for _, field := range []string{"imagePullSecrets", "serviceAccountName", "nodeSelector", "tolerations"} {
				if v, there := spec[field]; there {
					out[field] = v
				}
			}
			return out
		}
		return nil
	}
	declared := map[string]any{
		"imagePullSecrets":   []any{map[string]any{"name": "registry"}},
		"serviceAccountName": "functions",
		"nodeSelector":       map[string]any{"pool": "functions", "kubernetes.io/os": "linux"},
		"tolerations": []any{
			map[string]any{"key": "dedicated", "operator": "Equal", "value": "functions", "effect": "NoSchedule"},
			map[string]any{"key": "example.com/gpu", "operator": "Exists"},
		},
	}
	if diff := cmp.Diff(declared, pods()); diff != "" {
		s.t.Errorf("pods (-declared +Deployment):\n%s", diff)
	}
	output("export", "--environments", "--dir", "out")
	if again := output("plan", "-f", "out/cloud.yaml"); !strings.Contains(again, "No changes") {
		s.t.Errorf("what was exported is not what was declared:\n%s", again)
	}
	for _, step := range []struct {
		file string
		want map[string]any
	}{
		{"others.yaml", map[string]any{"serviceAccountName": "others", "nodeSelector": map[string]any{"pool": "others"}}},
		{"bare.yaml", map[string]any{}},
		{"out/cloud.yaml", declared},
	} {
		output("apply", "-f", step.file, "--yes")
		s.eventually("pods run as "+step.file+" says", func() bool { return cmp.Equal(step.want, pods()) && running() })
	}
}
