//go:build kubernetes

package kubernetes_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// A plane is a control plane of Kubernetes: etcd, an API server and the controllers
// that are needed. There is no scheduler and no kubelet: a test plays them.
type plane struct {
	dir, server string
	api         *exec.Cmd
	others      []*exec.Cmd
	admin       dynamic.Interface
	spaces      atomic.Int32
}

var control plane

// mostSpaces is how many namespaces tests may have: each has a CRM with a token.
const mostSpaces = 40

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "oprc-kubernetes-")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	control.dir = dir
	defer control.stop()
	control.start()
	code := m.Run()
	if !filtered() {
		if diff := control.rights(); diff != "" {
			fmt.Printf("rights of deploy/kubernetes/crm/role.yaml (-used +granted):\n%s", diff)
			return 1
		}
	}
	return code
}

// filtered reports whether only some of the tests ran.
func filtered() bool {
	return slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.run=") && a != "-test.run=" })
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// program finds one of the control plane's programs.
func program(name string) string {
	for _, dir := range []string{os.Getenv("KUBEBUILDER_ASSETS"), "../../bin/kubernetes"} {
		if file := filepath.Join(dir, name); dir != "" {
			if _, err := os.Stat(file); err == nil {
				file, err = filepath.Abs(file)
				check(err)
				return file
			}
		}
	}
	found, err := exec.LookPath(name)
	if err != nil {
		panic(name + " is missing: run .ci/deps-kubernetes")
	}
	return found
}

func (p *plane) write(name, text string) string {
	file := filepath.Join(p.dir, name)
	check(os.WriteFile(file, []byte(text), 0o600))
	return file
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func (p *plane) start() {
	etcd, peers, port := "http://127.0.0.1:"+freePort(), "http://127.0.0.1:"+freePort(), freePort()
	p.server = "https://127.0.0.1:" + port
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	sa := p.write("sa.key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	tokens := "admin-token,admin,admin,system:masters\n"
	for i := range mostSpaces {
		tokens += fmt.Sprintf("crm-%d,system:serviceaccount:env-%d:oprc-crm,crm-%d,system:serviceaccounts\n", i, i, i)
	}
	tokens = p.write("tokens.csv", tokens)
	policy := p.write("audit.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived, ResponseStarted]\nrules:\n  - level: Metadata\n")
	p.others = append(p.others, p.run("etcd", "--data-dir", filepath.Join(p.dir, "etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers, "--unsafe-no-fsync"))
	p.api = exec.Command(program("kube-apiserver"), "--etcd-servers", etcd, "--secure-port", port, "--bind-address=127.0.0.1", "--cert-dir", filepath.Join(p.dir, "certs"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file", sa, "--service-account-signing-key-file", sa,
		"--token-auth-file", tokens, "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/16", "--disable-admission-plugins=ServiceAccount",
		"--audit-policy-file", policy, "--audit-log-path", filepath.Join(p.dir, "audit.log"))
	p.startAPI()
	p.admin, err = dynamic.NewForConfig(&rest.Config{Host: p.server, BearerToken: "admin-token", QPS: -1, TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	check(err)
	p.others = append(p.others, p.run("kube-controller-manager", "--kubeconfig", p.kubeconfig("admin-token"), "--leader-elect=false", "--secure-port=0",
		"--controllers=deployment-controller,replicaset-controller,garbage-collector-controller,namespace-controller", "--kube-api-qps=200", "--kube-api-burst=400"))
}

// run starts a program of the control plane, which ends with the tests.
func (p *plane) run(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(program(name), args...)
	p.log(cmd, name)
	check(cmd.Start())
	return cmd
}

// log keeps what a program says, for whoever looks.
func (p *plane) log(cmd *exec.Cmd, name string) {
	out, err := os.OpenFile(filepath.Join(p.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(err)
	cmd.Stdout, cmd.Stderr = out, out
}

// startAPI starts the API server, again after killAPI, and waits until it serves.
func (p *plane) startAPI() {
	cmd := exec.Command(p.api.Path, p.api.Args[1:]...)
	p.log(cmd, "kube-apiserver")
	check(cmd.Start())
	p.api = cmd
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 5 * time.Second}
	for range 1200 {
		req, err := http.NewRequest(http.MethodGet, p.server+"/readyz", http.NoBody)
		check(err)
		req.Header.Set("Authorization", "Bearer admin-token")
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	text, _ := os.ReadFile(filepath.Join(p.dir, "kube-apiserver.log"))
	panic("the API server does not get ready:\n" + string(text[max(0, len(text)-4000):]))
}

func (p *plane) killAPI() {
	_ = p.api.Process.Kill()
	_ = p.api.Wait()
}

func (p *plane) stop() {
	for _, cmd := range slices.Backward(p.others) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	p.killAPI()
}

// kubeconfig writes one for the owner of a token.
func (p *plane) kubeconfig(token string) string {
	return p.write(token+".kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: test, user: {token: %q}}]
`, p.server, token))
}

// rights compares what CRMs did, by the API server's audit log, with what their role
// grants.
func (p *plane) rights() string {
	used, granted := map[string]bool{}, map[string]bool{}
	text, err := os.ReadFile(filepath.Join(p.dir, "audit.log"))
	check(err)
	for line := range bytes.Lines(text) {
		var e struct {
			Verb           string
			User           struct{ Username string }
			ObjectRef      struct{ APIGroup, Resource, Subresource string }
			ResponseStatus struct{ Code int }
		}
		if json.Unmarshal(line, &e) == nil && strings.HasSuffix(e.User.Username, ":oprc-crm") && e.ResponseStatus.Code < 400 {
			used[e.ObjectRef.APIGroup+"/"+e.ObjectRef.Resource+" "+e.Verb] = true
			if e.Verb == "patch" && e.ResponseStatus.Code == http.StatusCreated { // server-side apply of what is not there
				used[e.ObjectRef.APIGroup+"/"+e.ObjectRef.Resource+" create"] = true
			}
		}
	}
	for _, o := range manifests("role.yaml") {
		rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
		for _, r := range rules {
			rule := r.(map[string]any)
			for _, verb := range rule["verbs"].([]any) {
				granted[fmt.Sprintf("%s/%s %s", rule["apiGroups"].([]any)[0], rule["resources"].([]any)[0], verb)] = true
			}
		}
	}
	return cmp.Diff(slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(granted)))
}

// manifests reads the documents of a file of deploy/kubernetes/crm.
func manifests(name string) []*unstructured.Unstructured {
	f, err := os.Open("../../deploy/kubernetes/crm/" + name)
	check(err)
	defer func() { _ = f.Close() }()
	var out []*unstructured.Unstructured
	for in := yaml.NewYAMLOrJSONDecoder(f, 4096); ; {
		o := &unstructured.Unstructured{}
		err := in.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		check(err)
		out = append(out, o)
	}
}

var (
	metaDelete = metav1.DeleteOptions{}
	metaPatch  = metav1.PatchOptions{}
)

const mergePatch = types.MergePatchType

// define makes the cluster know a kind, with any fields.
func (s *space) define(group, version, kind, plural string) {
	s.t.Helper()
	anything := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": plural + "." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced", "names": map[string]any{"kind": kind, "plural": plural, "singular": strings.ToLower(kind)},
			"versions": []any{map[string]any{
				"name": version, "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{"spec": anything, "status": anything}}},
			}},
		},
	}}
	s.apply(o)
	s.t.Cleanup(func() {
		_ = s.of("CustomResourceDefinition").Delete(context.Background(), o.GetName(), metaDelete)
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if _, err := control.admin.Resource(schemaOf(group, version, plural)).Namespace(s.name).List(s.t.Context(), metav1.ListOptions{}); err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the cluster never serves %s", o.GetName())
		}
	}
}

func schemaOf(group, version, plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: plural}
}

var resources = map[string]schema.GroupVersionResource{
	"Namespace":                {Version: "v1", Resource: "namespaces"},
	"ServiceAccount":           {Version: "v1", Resource: "serviceaccounts"},
	"Service":                  {Version: "v1", Resource: "services"},
	"Pod":                      {Version: "v1", Resource: "pods"},
	"Role":                     {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
	"RoleBinding":              {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	"Deployment":               {Group: "apps", Version: "v1", Resource: "deployments"},
	"HorizontalPodAutoscaler":  {Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
	"PodDisruptionBudget":      {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	"CustomResourceDefinition": {Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
	"Knative":                  {Group: "serving.knative.dev", Version: "v1", Resource: "services"},
	"ClassRuntime":             {Group: "oaas.io", Version: "v1alpha1", Resource: "classruntimes"},
}

// A space is a namespace with the CRM's rights in it, and a kubelet that is played.
type space struct {
	t          *testing.T
	name       string
	kubeconfig string
}

func newSpace(t *testing.T) *space {
	t.Helper()
	n := int(control.spaces.Add(1)) - 1
	if n >= mostSpaces {
		t.Fatal("too many namespaces: raise mostSpaces")
	}
	s := &space{t: t, name: fmt.Sprintf("env-%d", n), kubeconfig: control.kubeconfig(fmt.Sprintf("crm-%d", n))}
	for _, file := range []string{"namespace.yaml", "role.yaml"} {
		for _, o := range manifests(file) {
			if o.GetKind() == "Namespace" {
				o.SetName(s.name)
			}
			subjects, found, _ := unstructured.NestedSlice(o.Object, "subjects")
			if found { // kustomize does it
				subjects[0].(map[string]any)["namespace"] = s.name
				check(unstructured.SetNestedSlice(o.Object, subjects, "subjects"))
			}
			s.apply(o)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.kubelet(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func (s *space) of(kind string) dynamic.ResourceInterface {
	if slices.Contains([]string{"Namespace", "CustomResourceDefinition"}, kind) {
		return control.admin.Resource(resources[kind])
	}
	return control.admin.Resource(resources[kind]).Namespace(s.name)
}

func (s *space) apply(o *unstructured.Unstructured) {
	s.t.Helper()
	if _, err := s.of(o.GetKind()).Apply(s.t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
		s.t.Fatal(err)
	}
}

// list returns the objects of a kind by name.
func (s *space) list(kind string) map[string]unstructured.Unstructured {
	s.t.Helper()
	list, err := s.of(kind).List(s.t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=oprc"})
	if err != nil && !apierrors.IsNotFound(err) {
		s.t.Fatal(err)
	}
	out := map[string]unstructured.Unstructured{}
	if err == nil {
		for _, o := range list.Items {
			out[o.GetName()] = o
		}
	}
	return out
}

// written says of each object which version it is, and of which uid, status aside.
func (s *space) written() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for _, kind := range []string{"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"} {
		for name, o := range s.list(kind) {
			out[kind+" "+name] = string(o.GetUID()) + " " + o.GetResourceVersion()
		}
	}
	return out
}

func (s *space) patch(kind, name, patch string, subresources ...string) {
	s.t.Helper()
	if _, err := s.of(kind).Patch(s.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...); err != nil {
		s.t.Fatal(err)
	}
}

// kubelet plays scheduler and kubelet for all pods of the namespace: what becomes of
// a pod is in its image's name.
func (s *space) kubelet(ctx context.Context) {
	for ctx.Err() == nil {
		list, err := s.of("Pod").List(ctx, metav1.ListOptions{})
		if err == nil {
			for _, p := range list.Items {
				if _, seen, _ := unstructured.NestedSlice(p.Object, "status", "containerStatuses"); !seen {
					_, _ = s.of("Pod").Patch(ctx, p.GetName(), types.MergePatchType, []byte(fate(p)), metav1.PatchOptions{}, "status")
				}
			}
			w, err := s.of("Pod").Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
			if err == nil {
				select {
				case <-w.ResultChan():
				case <-ctx.Done():
				}
				w.Stop()
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// fate is the status that a pod gets.
func fate(p unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(p.Object, "spec", "containers")
	image, _ := containers[0].(map[string]any)["image"].(string)
	status := func(phase, ready, state string, more ...string) string {
		conditions := append([]string{fmt.Sprintf(`{"type":"Ready","status":%q}`, ready)}, more...)
		return fmt.Sprintf(`{"status":{"phase":%q,"conditions":[%s],"containerStatuses":[{"name":"function","image":%q,"imageID":"","restartCount":0,"ready":%t,%s}]}}`,
			phase, strings.Join(conditions, ","), image, ready == "True", state)
	}
	switch {
	case strings.Contains(image, "missing"):
		return status("Pending", "False", `"state":{"waiting":{"reason":"ImagePullBackOff","message":"Back-off pulling image"}}`)
	case strings.Contains(image, "crash"):
		return status("Running", "False", `"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"reason":"Error","exitCode":3}}`)
	case strings.Contains(image, "greedy"):
		return status("Running", "False", `"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"reason":"OOMKilled","exitCode":137}}`)
	case strings.Contains(image, "huge"):
		return status("Pending", "False", `"state":{"waiting":{"reason":"Waiting"}}`, `{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/3 nodes are available"}`)
	}
	return status("Running", "True", `"state":{"running":{}}`)
}
