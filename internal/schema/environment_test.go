package schema_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
)

func TestKubernetesSettingsOfAnEnvironment(t *testing.T) {
	docs, found := loadOne([]byte(`kind: Environment
name: cloud
kubernetes:
  pullSecrets: [registry]
  serviceAccount: functions
  nodeSelector: {pool: functions, kubernetes.io/os: linux}
  tolerations:
    - {key: dedicated, value: functions, effect: NoSchedule}
    - {key: nvidia.com/gpu}
`), false)
	if len(found) > 0 || len(docs) != 1 {
		t.Fatal(docs, found)
	}
	want := &oprc.Kubernetes{
		PullSecrets: []string{"registry"}, ServiceAccount: "functions", NodeSelector: map[string]string{"pool": "functions", "kubernetes.io/os": "linux"},
		Tolerations: []oprc.Toleration{{Key: "dedicated", Value: "functions", Effect: "NoSchedule"}, {Key: "nvidia.com/gpu"}},
	}
	if diff := cmp.Diff(want, docs[0].Environment.Kubernetes); diff != "" {
		t.Error(diff)
	}
	for written, code := range map[string]string{
		"{pullSecrets: [Registry]}":                               "E009",
		"{serviceAccount: ''}":                                    "E009",
		"{tolerations: [{key: a, effect: Sometimes}]}":            "E003",
		"{tolerations: [{value: a}]}":                             "E009",
		"{nodeSelectors: {a: b}}":                                 "E002",
		"{nodeSelector: {pool: 'bad value!'}}":                    "E009",
		"{nodeSelector: {'bad key!': a}}":                         "E009",
		"{nodeSelector: {-pool: a}}":                              "E009",
		"{nodeSelector: {Example.com/pool: a}}":                   "E009",
		"{nodeSelector: {a/b/c: a}}":                              "E009",
		"{nodeSelector: {" + strings.Repeat("x", 64) + ": a}}":    "E009",
		"{tolerations: [{key: 'a b'}]}":                           "E009",
		"{tolerations: [{key: a/}]}":                              "E009",
		"{tolerations: [{key: a, value: 'b c'}]}":                 "E009",
		"{nodeSelector: {pool: " + strings.Repeat("x", 64) + "}}": "E009",
	} {
		_, found := loadOne([]byte("kind: Environment\nname: a\nkubernetes: "+written+"\n"), false)
		if len(found) != 1 || string(found[0].Code) != code || found[0].Line != 3 {
			t.Errorf("%s: got %v, want %s", written, found, code)
		}
		if len(found) == 1 && strings.Contains(found[0].Message, "alias") {
			t.Errorf("%s: %s", written, found[0].Message)
		}
	}
}
