package kubernetes_test

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/kubernetes"
)

var update = flag.Bool("update", false, "rewrite testdata")

func ptr[T any](v T) *T { return &v }

// order is a command to deploy one function.
func order(id string, generation int64, p crm.Provision) crm.Command {
	cls, _, _ := strings.Cut(id, "/")
	return crm.Command{
		Type: crm.OpDeploy, ID: id, Generation: generation, SpecHash: "sha256:1", Time: time.Unix(1, 0),
		Unit: crm.Unit{
			ID: id, ClsKey: cls, TargetEnv: "cloud",
			Functions: []crm.Function{{Key: "shop.pay", Image: "registry.example/pay:1", Config: crm.FunctionConfig{
				APIPath: "api", Custom: map[string]string{"healthPath": "/health"},
				Env: crm.Env{"EMPTY": {}, "PASSWORD": {Secret: crm.SecretKeyRef{Name: "shop", Key: "password"}}},
			}}},
			Provision: map[string]crm.Provision{"shop.pay": p},
		},
	}
}

func TestObjects(t *testing.T) {
	scaling := crm.Provision{Deployment: &crm.KubeWorkload{Port: ptr(9000), MinScale: ptr(2), MaxScale: ptr(5), RequestsCPU: "0.5", LimitsMemory: "64Mi", PullPolicy: "Always"}}
	strong := order("shop.order/3/1@cloud", 7, scaling)
	strong.Unit.Consistency, strong.Unit.PartitionInfo = crm.Strong, crm.PartitionInfo{PartitionID: 3, ReplicaID: 1}
	strong.Unit.Restarts = 2
	tests := map[string]struct {
		options kubernetes.Options
		command crm.Command
	}{
		"plain": {kubernetes.Options{User: "65532:65532"}, order("shop.order/0/0@cloud", 1, crm.Provision{})},
		"scaling-strong": {kubernetes.Options{
			User: "image", Writable: true, Capabilities: []string{"NET_BIND_SERVICE"}, PullSecrets: []string{"registry"}, ServiceAccount: "functions",
			NodeSelector: map[string]string{"pool": "functions"}, Tolerations: []crm.Toleration{{Key: "dedicated", Value: "functions", Effect: "NoSchedule"}},
		}, strong},
		"knative": {kubernetes.Options{User: "1000"}, order("shop.order/0/0@cloud", 1, crm.Provision{Knative: &crm.Knative{
			MinScale: ptr(0), MaxScale: ptr(9), Concurrency: ptr(10), TargetConcurrency: ptr(7), ScaleDownDelay: "90s", CPU: "250m",
		}})},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.options.Env, tt.options.Namespace = "cloud", "oprc-cloud"
			got, err := tt.options.Objects(tt.command)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.MarshalIndent(got, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := "testdata/" + name + ".json"
			if *update {
				if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(text)+"\n", string(want)); diff != "" {
				t.Errorf("objects (-got +want; rewrite with -update):\n%s", diff)
			}
		})
	}
}

// What an environment's document says about pods wins over what the CRM was started with,
// field by field.
func TestSettingsOfTheEnvironment(t *testing.T) {
	o := kubernetes.Options{User: "image", PullSecrets: []string{"mine"}, ServiceAccount: "mine", NodeSelector: map[string]string{"pool": "mine"}}
	o.Env, o.Namespace = "cloud", "oprc-cloud"
	c := order("shop.order/0/0@cloud", 1, crm.Provision{})
	c.Unit.Kubernetes = &crm.KubernetesSettings{
		PullSecrets: []string{"registry", "mirror"}, NodeSelector: map[string]string{"pool": "functions"},
		Tolerations: []crm.Toleration{{Key: "gpu"}},
	}
	got, err := o.Objects(c)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]any{}
	for _, field := range []string{"imagePullSecrets", "nodeSelector", "tolerations", "serviceAccountName"} {
		said[field], _, _ = unstructured.NestedFieldNoCopy(got[0].Object, "spec", "template", "spec", field)
	}
	want := map[string]any{
		"imagePullSecrets":   []any{map[string]any{"name": "registry"}, map[string]any{"name": "mirror"}},
		"nodeSelector":       map[string]any{"pool": "functions"},
		"tolerations":        []any{map[string]any{"key": "gpu", "operator": "Exists"}},
		"serviceAccountName": "mine",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What a repetition or another generation of the same unit brings changes no pod.
func TestANewGenerationChangesNoPod(t *testing.T) {
	o := kubernetes.Options{User: "image"}
	o.Env, o.Namespace = "cloud", "oprc-cloud"
	first, later := order("shop.order/0/0@cloud", 1, crm.Provision{}), order("shop.order/0/0@cloud", 2, crm.Provision{})
	later.Unit.Peers = []crm.Peer{{MemberID: 2, Env: "edge"}}
	a, err := o.Objects(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := o.Objects(later)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a[0].Object["spec"], b[0].Object["spec"]); diff != "" {
		t.Errorf("the Deployment's spec differs: %s", diff)
	}
	if diff := cmp.Diff(a[1], b[1]); diff != "" {
		t.Errorf("the Service differs: %s", diff)
	}
	first.Time = time.Unix(99, 0)
	if c, _ := o.Objects(first); !cmp.Equal(a, c) {
		t.Error("a repeated command makes other objects")
	}
}

func TestNamesFitPods(t *testing.T) {
	long := strings.Repeat("very-long-package-name.", 5)
	names := map[string]bool{}
	for _, function := range []string{"shop.a", "shop.b", long + "a", long + "b"} {
		name := kubernetes.Name("shop.order/0/0@cloud", function)
		if len(name) > 46 || names[name] {
			t.Errorf("%q: too long, or used twice", name)
		}
		names[name] = true
	}
}

func TestCovers(t *testing.T) {
	tests := map[string]struct {
		live, want string
		covers     bool
	}{
		"the same":           {`{"a":1}`, `{"a":1}`, true},
		"defaults":           {`{"a":1,"b":2}`, `{"a":1}`, true},
		"changed":            {`{"a":2}`, `{"a":1}`, false},
		"removed":            {`{}`, `{"a":1}`, false},
		"empty is left out":  {`{}`, `{"a":{},"b":""}`, true},
		"false is not":       {`{}`, `{"a":false}`, false},
		"sidecar":            {`{"c":[{"name":"proxy"},{"name":"f","x":1}]}`, `{"c":[{"name":"f"}]}`, true},
		"named and changed":  {`{"c":[{"name":"f","image":"b"}]}`, `{"c":[{"name":"f","image":"a"}]}`, false},
		"named and gone":     {`{"c":[{"name":"g"}]}`, `{"c":[{"name":"f"}]}`, false},
		"one more in a list": {`{"l":["A","B"]}`, `{"l":["A"]}`, false},
		"another in a list":  {`{"l":["B"]}`, `{"l":["A"]}`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var live, want any
			if err := json.Unmarshal([]byte(tt.live), &live); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if got := kubernetes.Covers(live, want); got != tt.covers {
				t.Errorf("got %v, want %v", got, tt.covers)
			}
		})
	}
}

func TestParseToleration(t *testing.T) {
	for text, want := range map[string]crm.Toleration{
		"gpu":               {Key: "gpu"},
		"gpu:NoExecute":     {Key: "gpu", Effect: "NoExecute"},
		"gpu=yes:NoExecute": {Key: "gpu", Value: "yes", Effect: "NoExecute"},
	} {
		if got, err := kubernetes.ParseToleration(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "=yes", "gpu:Never"} {
		if _, err := kubernetes.ParseToleration(text); err == nil {
			t.Errorf("%q passed", text)
		}
	}
}
