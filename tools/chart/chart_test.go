// Package chart lints and renders the Helm chart with Helm's own code, in a module of its
// own: none of that is linked into oprc.
package chart_test

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

const (
	chartDir = "../../deploy/helm/oprc"
	digest   = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

var values = map[string]map[string]any{
	"defaults": {},
	"all of it": {
		"replicas":       1,
		"image":          map[string]any{"digest": digest},
		"config":         map[string]any{"port": 9090, "policies": []any{"*.cue"}, "sources": []any{map[string]any{"name": "main", "url": "https://git.example/a.git"}}},
		"configFiles":    map[string]any{"replicas.cue": "package policy\ninput: _\n"},
		"ingress":        map[string]any{"enabled": true, "host": "oprc.example", "className": "nginx", "tls": []any{map[string]any{"hosts": []any{"oprc.example"}, "secretName": "tls"}}},
		"networkPolicy":  map[string]any{"from": []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/8"}}}},
		"serviceMonitor": map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}},
		"nodeSelector":   map[string]any{"disk": "ssd"}, "tolerations": []any{map[string]any{"key": "a", "operator": "Exists"}},
		"podAnnotations": map[string]any{"a": "b"}, "imagePullSecrets": []any{map[string]any{"name": "pull"}},
	},
	"with a CRM": {"crm": map[string]any{"enabled": true, "env": "cloud", "createNamespace": true, "args": []any{"--cluster-domain=example.internal"}}},
	"closed":     {"networkPolicy": map[string]any{"prometheus": nil}},
}

func TestLint(t *testing.T) {
	for name, v := range values {
		for _, m := range lint.RunAll(chartDir, v, "oprc").Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", name, m)
			}
		}
	}
}

func render(t *testing.T, v map[string]any) []string {
	t.Helper()
	chart, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	all, err := util.ToRenderValues(chart, v, common.ReleaseOptions{Name: "prod", Namespace: "oprc", IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		t.Fatal(err)
	}
	var docs []string
	for path, text := range files {
		if filepath.Ext(path) != ".yaml" {
			continue
		}
		for doc := range strings.SplitSeq(text, "\n---\n") {
			if strings.TrimSpace(doc) != "" {
				docs = append(docs, doc)
			}
		}
	}
	return docs
}

// Every document is one that Kubernetes knows, without a field that it would drop.
func TestRender(t *testing.T) {
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			kinds := map[string]int{}
			for _, doc := range render(t, v) {
				var head struct{ Kind string }
				if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
					t.Fatalf("%v in\n%s", err, doc)
				}
				kinds[head.Kind]++
				into := map[string]any{
					"ConfigMap": &corev1.ConfigMap{}, "Service": &corev1.Service{}, "Deployment": &appsv1.Deployment{},
					"PodDisruptionBudget": &policyv1.PodDisruptionBudget{}, "NetworkPolicy": &networkingv1.NetworkPolicy{},
					"Ingress": &networkingv1.Ingress{}, "ServiceMonitor": &map[string]any{},
					"Namespace": &corev1.Namespace{}, "ServiceAccount": &corev1.ServiceAccount{}, "Role": &rbacv1.Role{}, "RoleBinding": &rbacv1.RoleBinding{},
				}[head.Kind]
				if into == nil {
					t.Fatalf("unknown kind %q in\n%s", head.Kind, doc)
				}
				if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
					t.Errorf("%s: %v in\n%s", head.Kind, err, doc)
				}
				if c, ok := into.(*corev1.ConfigMap); ok {
					checkConfig(t, c)
				}
				if r, ok := into.(*rbacv1.Role); ok {
					checkRights(t, r)
				}
				if d, ok := into.(*appsv1.Deployment); ok {
					checkDeployment(t, d, v)
				}
				if p, ok := into.(*networkingv1.NetworkPolicy); ok && name == "defaults" && len(p.Spec.Ingress[0].From) != 2 {
					t.Errorf("the policy lets in %+v, want the namespace and Prometheus", p.Spec.Ingress[0].From)
				}
			}
			crm := 0
			if name == "with a CRM" {
				crm = 1
			}
			daemon := map[string]int{"Deployment": 1 + crm, "Service": 1, "ConfigMap": 1, "NetworkPolicy": 1, "PodDisruptionBudget": 1}
			if name == "all of it" {
				daemon["Ingress"], daemon["ServiceMonitor"], daemon["PodDisruptionBudget"] = 1, 1, 0
			}
			for _, kind := range []string{"Namespace", "ServiceAccount", "Role", "RoleBinding"} {
				daemon[kind] = crm
			}
			for _, kind := range slices.Sorted(maps.Keys(daemon)) {
				if kinds[kind] != daemon[kind] {
					t.Errorf("got %d of kind %s, want %d", kinds[kind], kind, daemon[kind])
				}
			}
		})
	}
}

// A daemon without security listens on loopback, where no probe reaches it.
func checkConfig(t *testing.T, c *corev1.ConfigMap) {
	t.Helper()
	var config struct{ Security struct{ Required bool } }
	if err := yaml.Unmarshal([]byte(c.Data["oprc.yaml"]), &config); err != nil || !config.Security.Required {
		t.Errorf("the daemon listens on loopback alone: %v\n%s", err, c.Data["oprc.yaml"])
	}
}

// The CRM has the rights that deploy/kubernetes/crm gives it, where its functions are.
func checkRights(t *testing.T, r *rbacv1.Role) {
	t.Helper()
	if r.Namespace != "oprc-cloud" {
		t.Errorf("the CRM has rights in %q, want oprc-cloud", r.Namespace)
	}
	text, err := os.ReadFile("../../deploy/kubernetes/crm/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(text), "\n---\n") {
		var want rbacv1.Role
		if err := yaml.Unmarshal([]byte(doc), &want); err != nil {
			t.Fatal(err)
		}
		if want.Kind == "Role" && !reflect.DeepEqual(r.Rules, want.Rules) {
			t.Errorf("the chart gives the rights\n%+v, and deploy/kubernetes/crm\n%+v", r.Rules, want.Rules)
		}
	}
}

func checkDeployment(t *testing.T, d *appsv1.Deployment, v map[string]any) {
	t.Helper()
	c := d.Spec.Template.Spec.Containers[0]
	if _, pinned := v["image"]; pinned && !strings.HasSuffix(c.Image, "@"+digest) {
		t.Errorf("image %s is not the digest that was asked for", c.Image)
	}
	for key, value := range d.Spec.Selector.MatchLabels {
		if d.Spec.Template.Labels[key] != value {
			t.Errorf("the selector wants %s=%s, the pods have %q", key, value, d.Spec.Template.Labels[key])
		}
	}
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		t.Error("the root file system can be written")
	}
}
