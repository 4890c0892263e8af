//go:build kubernetes

package kubernetes_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/crmtest"
	"github.com/oaas-platform/oprc/crm/kubernetes"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// patience is more than anything takes here on a machine that is busy with other work.
const patience = 2 * time.Minute

// driver is one that has the rights of the role.
func (s *space) driver(o kubernetes.Options) *kubernetes.Driver {
	s.t.Helper()
	o.Kubeconfig, o.Namespace, o.Env = s.kubeconfig, s.name, "cloud"
	d, err := kubernetes.New(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *space) eventually(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// deploy expects a condition and returns the state.
func (s *space) deploy(d *kubernetes.Driver, c crm.Command, want crm.Condition, report crm.Reporter) crm.State {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	st, err := d.Deploy(ctx, c, report)
	if err != nil || st.Condition != want {
		s.t.Fatalf("got %+v, %v, want %s", st, err, want)
	}
	return st
}

func image(c crm.Command, name string) crm.Command {
	c.Unit.Functions = append([]crm.Function(nil), c.Unit.Functions...)
	c.Unit.Functions[0].Image = "registry.example/" + name
	return c
}

func ignore(crm.State) bool { return true }

const payURL = "http://shop-order-0-0-cloud-shop-pay-"

// A unit becomes a Deployment and a Service; what others change is set back; a CRM that
// is started again writes nothing; an image that cannot be pulled is DOWN with its reason
// while the version before serves.
func TestLifeOfAUnit(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	d := s.driver(kubernetes.Options{})
	states := make(chan crm.State, 999)
	report := func(st crm.State) bool { states <- st; return true }
	c := order("shop.order/0/0@cloud", 1, crm.Provision{})
	st := s.deploy(d, c, crm.Running, report)
	f := st.Functions["shop.pay"]
	if !strings.HasPrefix(f.InvocationURL, payURL) || !strings.HasSuffix(f.InvocationURL, "."+s.name+".svc.cluster.local/api") || len(st.Replicas) != 1 {
		t.Errorf("state: %+v", st)
	}
	name := kubernetes.Name(c.ID, "shop.pay")

	s.patch("Deployment", name, `{"spec":{"replicas":4,"template":{"spec":{"nodeSelector":{"a":"b"}}}}}`)
	s.patch("Service", name, `{"spec":{"ports":[{"name":"http","port":99}]}}`)
	s.eventually("the fields are as before", func() bool {
		o, svc := s.list("Deployment")[name], s.list("Service")[name]
		replicas, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
		ports, _, _ := unstructured.NestedSlice(svc.Object, "spec", "ports")
		return replicas == 1 && len(ports) > 0 && ports[0].(map[string]any)["port"] == int64(80)
	})
	if err := s.of("Service").Delete(t.Context(), name, metaDelete); err != nil {
		t.Fatal(err)
	}
	s.eventually("the Service is there again", func() bool { return len(s.list("Service")) == 1 })
	s.deploy(d, c, crm.Running, report)

	d.Close()
	s.eventually("the controllers are done", func() bool {
		o, before := s.list("Deployment")[name], s.written()
		status, _, _ := unstructured.NestedMap(o.Object, "status")
		for _, field := range []string{"replicas", "updatedReplicas", "availableReplicas"} {
			if status[field] != int64(1) {
				return false
			}
		}
		time.Sleep(500 * time.Millisecond)
		return status["observedGeneration"] == o.GetGeneration() && len(s.list("Pod")) == 1 && cmp.Equal(before, s.written())
	})
	before := s.written()
	d = s.driver(kubernetes.Options{})
	defer func() { d.Close() }()
	adopted := 0
	err := d.Resume(t.Context(), func(got crm.Command, st crm.State) crm.Reporter {
		adopted++
		if got.ID != c.ID || got.Generation != 1 || got.SpecHash != c.SpecHash || st.Condition != crm.Running {
			t.Errorf("adopted %+v as %+v", got, st)
		}
		return report
	})
	if err != nil || adopted != 1 {
		t.Fatalf("%d adopted, %v", adopted, err)
	}
	s.deploy(d, c, crm.Running, report)
	if diff := cmp.Diff(s.written(), before); diff != "" {
		t.Errorf("a CRM that is started again wrote something (-after +before):\n%s", diff)
	}

	c.Generation, c.SpecHash = 2, "sha256:2"
	st = s.deploy(d, image(c, "missing:1"), crm.Down, report)
	if want := "shop.pay: ImagePullBackOff: Back-off pulling image; the version before still serves"; st.ErrorMsg != want {
		t.Errorf("got %q, want %q", st.ErrorMsg, want)
	}
	if st.Functions["shop.pay"].InvocationURL != f.InvocationURL {
		t.Errorf("the URL of the version before is gone: %+v", st)
	}
	c.Generation, c.SpecHash = 3, "sha256:3"
	s.deploy(d, image(c, "pay:2"), crm.Running, report)
	if err := d.Undeploy(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if left := s.written(); len(left) > 0 || len(s.list("Pod")) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	d := s.driver(kubernetes.Options{})
	defer d.Close()
	for name, want := range map[string]string{
		"crash":  "shop.pay: CrashLoopBackOff: Error: exit status 3",
		"greedy": "shop.pay: CrashLoopBackOff: OOMKilled: it used more memory than its limit",
		"huge":   "shop.pay: Unschedulable: 0/3 nodes are available",
	} {
		st := s.deploy(d, image(order("shop."+name+"/0/0@cloud", 1, crm.Provision{}), name), crm.Down, ignore)
		if st.ErrorMsg != want {
			t.Errorf("%s: got %q, want %q", name, st.ErrorMsg, want)
		}
	}
	report := make(chan crm.State, 99)
	c := order("shop.mended/0/0@cloud", 1, crm.Provision{})
	s.deploy(d, image(c, "crash"), crm.Down, func(st crm.State) bool { report <- st; return true })
	for pod := range s.list("Pod") {
		if strings.HasPrefix(pod, "shop-mended") {
			s.patch("Pod", pod, `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, "status")
		}
	}
	for limit := time.After(patience); ; {
		select {
		case st := <-report:
			if st.Condition == crm.Running {
				return
			}
		case <-limit:
			t.Fatal("RUNNING is never reported once the pod is ready")
		}
	}
}

// Objects that are no longer asked for go, and those of other units stay.
func TestAutoscalerAndBudget(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	d := s.driver(kubernetes.Options{PullSecrets: []string{"registry"}, NodeSelector: map[string]string{"pool": "f"}, Tolerations: []crm.Toleration{{Key: "gpu"}}})
	defer d.Close()
	scaling := crm.Provision{Deployment: &crm.KubeWorkload{MinScale: ptr(2), MaxScale: ptr(5), RequestsCPU: "100m"}}
	a, b := order("shop.order/0/0@cloud", 1, scaling), order("shop.order/0/1@cloud", 1, scaling)
	a.Unit.Consistency, b.Unit.Consistency = crm.Strong, crm.Strong
	s.deploy(d, a, crm.Running, ignore)
	s.deploy(d, b, crm.Running, ignore)
	count := func() string {
		return fmt.Sprint(len(s.list("Deployment")), len(s.list("Service")), len(s.list("HorizontalPodAutoscaler")), len(s.list("PodDisruptionBudget")))
	}
	if got := count(); got != "2 2 2 1" { // one budget for both replicas of the partition
		t.Errorf("Deployments, Services, autoscalers, budgets: got %s, want 2 2 2 1", got)
	}
	a.Generation, a.Unit.Provision = 2, nil
	s.deploy(d, a, crm.Running, ignore)
	if got := count(); got != "2 2 1 1" {
		t.Errorf("without minScale and maxScale: got %s, want 2 2 1 1", got)
	}
	if err := d.Undeploy(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != "1 1 1 1" {
		t.Errorf("after the first replica was undeployed: got %s, want 1 1 1 1", got)
	}
	if err := d.Undeploy(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	s.eventually("nothing is left", func() bool { return count() == "0 0 0 0" })
}

// A cluster with Knative Serving: its controller is played here.
func TestKnative(t *testing.T) {
	s := newSpace(t)
	d := s.driver(kubernetes.Options{})
	defer d.Close()
	c := order("shop.order/0/0@cloud", 1, crm.Provision{Knative: &crm.Knative{MinScale: ptr(0), Concurrency: ptr(10)}})
	_, err := d.Deploy(t.Context(), c, ignore)
	if err == nil || !strings.Contains(err.Error(), "the cluster has no Knative Serving (serving.knative.dev/v1)") {
		t.Fatalf("without Knative: %v", err)
	}
	s.define("serving.knative.dev", "v1", "Service", "services")
	ctx, cancel := context.WithCancel(t.Context())
	var controller sync.WaitGroup
	defer controller.Wait() // what it asks when the test's context ends fails the test
	defer cancel()
	controller.Go(func() {
		for ctx.Err() == nil {
			for name, o := range s.list("Knative") {
				if _, played, _ := unstructured.NestedString(o.Object, "status", "url"); !played {
					s.patch("Knative", name, fmt.Sprintf(`{"status":{"observedGeneration":%d,"url":"http://pay.example.org","conditions":[{"type":"Ready","status":"True"}]}}`, o.GetGeneration()), "status")
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	st := s.deploy(d, c, crm.Running, ignore)
	if got := st.Functions["shop.pay"].InvocationURL; got != "http://pay.example.org/api" {
		t.Errorf("URL: got %q", got)
	}
	cancel()
	name := kubernetes.Name(c.ID, "shop.pay")
	before := s.list("Knative")[name]
	s.deploy(d, c, crm.Running, ignore)
	if after := s.list("Knative")[name]; after.GetResourceVersion() != before.GetResourceVersion() {
		t.Error("a repeated command wrote the Knative Service again")
	}
	if len(s.list("Deployment")) > 0 {
		t.Error("there is a Deployment, too")
	}
	if err := d.Undeploy(t.Context(), c); err != nil || len(s.list("Knative")) > 0 {
		t.Errorf("left over: %v, %v", s.list("Knative"), err)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	url := rdbtest.Server(t)
	crmtest.Test(t, crmtest.Options{Redis: url, Patience: patience, Start: func(context.Context) (func() error, error) {
		d, err := kubernetes.New(context.Background(), kubernetes.Options{ClusterOptions: kubernetes.ClusterOptions{Kubeconfig: s.kubeconfig, Namespace: s.name, Env: "conformance"}})
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- crm.Run(ctx, crm.Options{Redis: url, Env: "conformance", ID: "kubernetes", ReportEvery: 2 * time.Second}, d)
		}()
		return func() error { cancel(); defer d.Close(); return <-done }, nil
	}})
}
