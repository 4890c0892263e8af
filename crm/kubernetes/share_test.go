//go:build kubernetes

package kubernetes_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/classruntime"
	"github.com/oaas-platform/oprc/crm/kubernetes"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

// A ledger plays the control plane.
type ledger struct {
	*space
	url string
	db  *rdb.DB
}

func newLedger(s *space) *ledger {
	s.t.Helper()
	url := rdbtest.Server(s.t)
	db, err := rdb.Open(s.t.Context(), rdb.Options{URL: url, Keys: rdb.Keys{N: "oaas_pm", T: "oaas.pm"}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = db.Close() })
	return &ledger{s, url, db}
}

// dispatch sends commands as the control plane does.
func (l *ledger) dispatch(op crm.Op, commands ...crm.Command) {
	l.t.Helper()
	for i := range commands {
		commands[i].Type, commands[i].SpecHash, commands[i].Time = op, oprc.Digest(commands[i].Unit), time.Now()
	}
	if err := l.db.Dispatch(l.t.Context(), "cloud", commands, 0); err != nil {
		l.t.Fatal(err)
	}
}

// last returns, of each unit, the condition that was reported last on its generation.
func (l *ledger) last() map[string]string {
	l.t.Helper()
	entries, err := rdb.Probe{DB: l.db, Env: "cloud"}.Reports(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if e.Err == nil && e.Report.Type == oprc.ReportStatus {
			out[e.Report.ID] = fmt.Sprint(e.Report.Generation, " ", e.Report.Condition)
		}
	}
	return out
}

// images are those of the Deployments, by unit.
func (l *ledger) images() map[string]string {
	l.t.Helper()
	out := map[string]string{}
	for _, o := range l.list("Deployment") {
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		out[o.GetAnnotations()[kubernetes.AnnotationUnit]] = fmt.Sprint(containers[0].(map[string]any)["image"])
	}
	return out
}

// Two CRMs share the units; when one ends, the other has all of them, and nothing in the
// cluster changes.
func TestTwoCRMs(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	l := newLedger(s)
	start := func(id string) (stop func()) {
		d := s.driver(kubernetes.Options{})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- crm.Run(ctx, crm.Options{Redis: l.url, Env: "cloud", ID: id, ReportEvery: 2 * time.Second, LeaseTime: 10 * time.Second}, d)
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			d.Close()
		}
	}
	stopA, stopB := start("a"), start("b")
	var units []crm.Command
	for i := range 6 {
		units = append(units, order(fmt.Sprintf("shop.order/%d/0@cloud", i), 1, crm.Provision{}))
	}
	l.dispatch(crm.OpDeploy, units...)
	running := func(generation int) func() bool {
		return func() bool {
			last := l.last()
			for _, c := range units {
				if last[c.ID] != fmt.Sprint(generation, " RUNNING") {
					return false
				}
			}
			return true
		}
	}
	s.eventually("all units are RUNNING", running(1))
	uids := func() string {
		out := map[string]string{}
		for _, kind := range []string{"Deployment", "Service", "Pod"} {
			for name, o := range s.list(kind) {
				out[kind+" "+name] = string(o.GetUID())
			}
		}
		return fmt.Sprint(out)
	}
	before := uids()
	stopA()
	for i := range units {
		units[i].Generation = 2
		units[i].Unit.ReplicaCount = 3 // another unit, the same workload
	}
	l.dispatch(crm.OpDeploy, units...)
	s.eventually("the one that is left has them all", running(2))
	if after := uids(); after != before {
		t.Errorf("something was made anew:\n%s\n%s", before, after)
	}
	for i := range units {
		units[i].Generation = 3
	}
	l.dispatch(crm.OpUndeploy, units...)
	s.eventually("nothing is left", func() bool { return len(s.written()) == 0 })
	stopB()
}

// A CRM is killed again and again at any moment, and now and then the API server, while
// units come, change and go: in the end the cluster is what the records say.
func TestKills(t *testing.T) {
	s := newSpace(t)
	l := newLedger(s)
	binary := filepath.Join(t.TempDir(), "oprc-crm")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/oprc-crm")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(binary, "run", "--driver", "kubernetes", "--env", "cloud", "--id", "crm", "--redis", l.url, "--kubeconfig", s.kubeconfig, "--namespace", s.name)
		cmd.Stderr = io.Discard
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	generation, want := map[string]int64{}, map[string]string{}
	kills := 200
	if testing.Short() {
		kills = 20
	}
	for kill := range kills {
		cmd := start()
		for range 1 + chance.IntN(2) {
			id := fmt.Sprintf("shop.order/%d/0@cloud", chance.IntN(5))
			generation[id]++
			c := order(id, generation[id], crm.Provision{})
			if name := fmt.Sprintf("pay:%d", kill); chance.IntN(4) > 0 {
				l.dispatch(crm.OpDeploy, image(c, name))
				want[id] = "registry.example/" + name
			} else {
				l.dispatch(crm.OpUndeploy, c)
				delete(want, id)
			}
		}
		if kill%40 == 10 {
			control.killAPI()
			control.startAPI()
		}
		time.Sleep(time.Duration(chance.IntN(400)) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	cmd := start()
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	s.eventually("the cluster is what the records say", func() bool {
		return fmt.Sprint(l.images()) == fmt.Sprint(want) && len(s.list("Service")) == len(want)
	})
	s.eventually("the reports are, too", func() bool {
		last := l.last()
		for id, g := range generation {
			condition := "DELETED"
			if want[id] != "" {
				condition = "RUNNING"
			}
			if last[id] != fmt.Sprint(g, " ", condition) {
				return false
			}
		}
		return true
	})
}

// The OaaS operator is played here.
func TestClassRuntime(t *testing.T) {
	s := newSpace(t)
	s.define("oaas.io", "v1alpha1", "ClassRuntime", "classruntimes")
	driver := func() *classruntime.Driver {
		d, err := classruntime.New(t.Context(), kubernetes.ClusterOptions{Kubeconfig: s.kubeconfig, Namespace: s.name, Env: "cloud"})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	ctx, cancel := context.WithCancel(t.Context())
	var operator sync.WaitGroup
	defer operator.Wait() // what it asks when the test's context ends fails the test
	defer cancel()
	operator.Go(func() {
		for ctx.Err() == nil {
			for name, o := range s.list("ClassRuntime") {
				seen, _, _ := unstructured.NestedInt64(o.Object, "status", "observed_generation")
				if seen != o.GetGeneration() {
					_, _ = s.of("ClassRuntime").Patch(ctx, name, mergePatch, fmt.Appendf(nil, `{"status":{"observed_generation":%d,"phase":"Running",
						"conditions":[{"type":"Available","status":"True"}],"functions":[{"function_key":"shop.pay","predicted_url":"http://pay.oaas","ready":true}]}}`, o.GetGeneration()), metaPatch, "status")
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	a, b := driver(), driver() // two CRMs, each with a unit of the class
	first, second := order("shop.order/0/0@cloud", 1, crm.Provision{}), order("shop.order/1/0@cloud", 1, crm.Provision{})
	second.Unit.PartitionInfo.PartitionID = 1
	for _, c := range []*crm.Command{&first, &second} {
		delete(c.Unit.Functions[0].Config.Env, "PASSWORD")
		c.Unit.MemberID, c.Unit.Primary, c.Unit.PartitionCount = 1, true, 2
	}
	for d, c := range map[*classruntime.Driver]crm.Command{a: first, b: second} {
		st, err := d.Deploy(t.Context(), c, ignore)
		if err != nil || st.Condition != crm.Running || st.Functions["shop.pay"].InvocationURL != "http://pay.oaas/api" {
			t.Fatalf("got %+v, %v", st, err)
		}
	}
	only := func() *unstructured.Unstructured {
		t.Helper()
		all := s.list("ClassRuntime")
		if len(all) != 1 {
			t.Fatalf("%d ClassRuntimes, want one for both units", len(all))
		}
		for _, o := range all {
			return &o
		}
		return nil
	}
	partitions, _, _ := unstructured.NestedSlice(only().Object, "spec", "odgm_config", "collection_assignments", "shop.order")
	if len(partitions) != 2 {
		t.Errorf("assignments: got %v, want those of two partitions", partitions)
	}

	name := only().GetName()
	s.patch("ClassRuntime", name, `{"spec":{"odgm_config":{"shard_type":"none"}}}`)
	s.eventually("the field is set back", func() bool {
		o := only()
		got, _, _ := unstructured.NestedString(o.Object, "spec", "odgm_config", "shard_type")
		return got == "mst"
	})
	a.Close()
	b.Close()
	s.eventually("the operator is done", func() bool {
		o := only()
		seen, _, _ := unstructured.NestedInt64(o.Object, "status", "observed_generation")
		return seen == o.GetGeneration()
	})
	before := only()
	a = driver()
	defer func() { a.Close() }()
	adopted := 0
	if err := a.Resume(t.Context(), func(c crm.Command, st crm.State) crm.Reporter {
		adopted++
		if st.Condition != crm.Running || c.Generation != 1 || c.SpecHash != "sha256:1" {
			t.Errorf("adopted %+v as %+v", c, st)
		}
		return ignore
	}); err != nil || adopted != 2 {
		t.Fatalf("%d adopted, %v", adopted, err)
	}
	if _, err := a.Deploy(t.Context(), first, ignore); err != nil {
		t.Fatal(err)
	}
	if after := only(); after.GetResourceVersion() != before.GetResourceVersion() {
		t.Errorf("a CRM that is started again wrote the ClassRuntime:\n%v\n%v", before.Object, after.Object)
	}
	if err := a.Undeploy(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if partitions, _, _ := unstructured.NestedSlice(only().Object, "spec", "odgm_config", "collection_assignments", "shop.order"); len(partitions) != 1 {
		t.Errorf("assignments after one unit was undeployed: %v", partitions)
	}
	if err := a.Undeploy(t.Context(), second); err != nil || len(s.list("ClassRuntime")) > 0 {
		t.Errorf("left over: %v, %v", strings.Join(keys(s.list("ClassRuntime")), " "), err)
	}
}

func keys(objects map[string]unstructured.Unstructured) (out []string) {
	for name := range objects {
		out = append(out, name)
	}
	return out
}
