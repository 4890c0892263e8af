package kubernetes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

// Options say how units become objects.
type Options struct {
	ClusterOptions
	ClusterDomain       string            // of the names of services; default: cluster.local
	PullSecrets         []string          // names of Secrets with registry credentials
	ServiceAccount      string            // of the pods; default: the namespace's, without its token
	NodeSelector        map[string]string // labels that nodes must have
	Tolerations         []crm.Toleration  // taints that pods bear
	User                string            // UID[:GID] of containers, or "image"; default: 65532:65532
	Writable            bool              // the root file system is not read-only
	Capabilities        []string          // that containers keep; default: none
	KnativeAsDeployment bool              // functions that were written for Knative become Deployments, too
}

// ParseToleration reads KEY[=VALUE][:EFFECT].
func ParseToleration(text string) (crm.Toleration, error) {
	var t crm.Toleration
	key, effect, _ := strings.Cut(text, ":")
	t.Effect = effect
	t.Key, t.Value, _ = strings.Cut(key, "=")
	if t.Key == "" || !slices.Contains([]string{"", "NoSchedule", "PreferNoSchedule", "NoExecute"}, t.Effect) {
		return t, fmt.Errorf("%w: toleration %q is not KEY[=VALUE][:EFFECT], with NoSchedule, PreferNoSchedule or NoExecute", crm.ErrInvalid, text)
	}
	return t, nil
}

func tolerationFields(t crm.Toleration) m {
	out := m{"key": t.Key, "operator": "Exists"}
	if t.Value != "" {
		out["operator"], out["value"] = "Equal", t.Value
	}
	if t.Effect != "" {
		out["effect"] = t.Effect
	}
	return out
}

// A wanted is an object that shall be, with its kind.
type wanted struct {
	kind Kind
	*Object
}

// nameLimit lets the names of pods, which add 17 characters, hold the whole name.
const nameLimit = 46

// hashLength is that of the end of [workload.Name] that tells names apart.
const hashLength = 11

// Name is the name of a function's objects.
func Name(unit, function string) string { return shortened(workload.Name(unit, function)) }

func shortened(name string) string {
	if len(name) <= nameLimit {
		return name
	}
	readable, hash := name[:nameLimit-hashLength], name[len(name)-hashLength:]
	return strings.TrimRight(readable, "-") + hash
}

// A maker makes the objects of one function.
type maker struct {
	Options
	command crm.Command
	w       workload.Workload
	name    string
	labels  m // of everything
	pods    m // what picks the function's pods
}

// objectsOf are the objects that a unit shall have: those of each function in turn.
func (o Options) objectsOf(c crm.Command, all []workload.Workload) ([]wanted, error) {
	command, err := encode(c)
	if err != nil {
		return nil, err
	}
	o = o.with(c.Unit.Kubernetes)
	var out []wanted
	for _, w := range all {
		mk := maker{Options: o, command: c, w: w, name: Name(c.ID, w.Function)}
		mk.pods = m{
			LabelManaged: "oprc", LabelEnv: workload.LabelValue(o.Env),
			LabelUnit: workload.Name(c.ID), LabelFunction: workload.Name(w.Function),
		}
		mk.labels = maps.Clone(mk.pods)
		mk.labels[LabelPartition] = partitionOf(c.Unit)
		if o.isKnative(w) {
			out = append(out, mk.knative(command))
		} else {
			out = append(out, mk.deployment(command), mk.service())
			if mk.scales() {
				out = append(out, mk.autoscaler())
			}
		}
		if c.Unit.Consistency == crm.Strong {
			out = append(out, mk.budget())
		}
	}
	return out, nil
}

// with takes what the environment's document says over what the options say, field by
// field.
func (o Options) with(k *crm.KubernetesSettings) Options {
	if k == nil {
		return o
	}
	if len(k.PullSecrets) > 0 {
		o.PullSecrets = k.PullSecrets
	}
	if len(k.NodeSelector) > 0 {
		o.NodeSelector = k.NodeSelector
	}
	if len(k.Tolerations) > 0 {
		o.Tolerations = k.Tolerations
	}
	o.ServiceAccount = cmp.Or(k.ServiceAccount, o.ServiceAccount)
	return o
}

// mostAnnotation is how much of a command an annotation holds: all annotations of an
// object are at most 256 KiB.
const mostAnnotation = 200 << 10

// encode writes a command for an annotation, without what differs between its
// repetitions; "" where it is too long, and cannot be adopted.
func encode(c crm.Command) (string, error) {
	c.Time = time.Time{}
	text, err := json.Marshal(c)
	if err != nil || len(text) > mostAnnotation {
		return "", err
	}
	return string(text), nil
}

func (o Options) isKnative(w workload.Workload) bool { return w.Knative && !o.KnativeAsDeployment }

func partitionOf(u crm.Unit) string {
	return workload.Name(u.ClsKey, strconv.Itoa(u.PartitionInfo.PartitionID))
}

// meta is the metadata of the function's objects. The main one carries the command:
// what a later run needs to know.
func (mk maker) meta(command string) m {
	annotations := m{AnnotationUnit: mk.command.ID, AnnotationFunction: mk.w.Function}
	if command != "" {
		annotations[AnnotationCommand] = command
	}
	return m{"name": mk.name, "namespace": mk.Namespace, "labels": mk.labels, "annotations": annotations}
}

// podMeta is the metadata of the function's pods. Nothing is in it that may change
// while they go on.
func (mk maker) podMeta() m {
	annotations := m{AnnotationUnit: mk.command.ID, AnnotationFunction: mk.w.Function}
	if mk.w.Restarts > 0 {
		annotations[prefix+"restarts"] = strconv.Itoa(mk.w.Restarts)
	}
	return m{"labels": mk.labels, "annotations": annotations}
}

func (mk maker) deployment(command string) wanted {
	pod := mk.podSpec()
	if name, there := pod["serviceAccountName"]; there {
		// The API server copies the name into the field's old name, and from there back where
		// only the new one is removed. Knative refuses the old one.
		pod["serviceAccount"] = name
	}
	container := pod["containers"].([]any)[0].(m)
	probe := m{"tcpSocket": m{"port": "http"}}
	if mk.w.Probe.Path != "" {
		probe = m{"httpGet": m{"path": mk.w.Probe.Path, "port": "http"}}
	}
	timed := func(period, failures int) m {
		p := maps.Clone(probe)
		p["periodSeconds"], p["failureThreshold"] = period, failures
		return p
	}
	container["startupProbe"] = timed(1, 120)
	container["readinessProbe"] = timed(2, 2)
	container["livenessProbe"] = timed(10, 3)
	// Callers go on until they have heard that the pod is leaving.
	container["lifecycle"] = m{"preStop": m{"sleep": m{"seconds": 5}}}
	spec := m{
		"selector":                m{"matchLabels": mk.pods},
		"progressDeadlineSeconds": 150,
		"strategy":                m{"type": "RollingUpdate", "rollingUpdate": m{"maxSurge": 1, "maxUnavailable": 0}},
		"template":                m{"metadata": mk.podMeta(), "spec": pod},
	}
	if !mk.scales() { // else the autoscaler has the field
		spec["replicas"] = mk.least()
	}
	return wanted{deployments, Sealed(m{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": mk.meta(command), "spec": spec})}
}

// podSpec is what Deployments and Knative Services have in common: a pod with as few
// rights as a function needs, where the options do not say otherwise.
func (mk maker) podSpec() m {
	security := m{
		"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": !mk.Writable, "runAsNonRoot": true,
		"capabilities": m{"drop": []any{"ALL"}}, "seccompProfile": m{"type": "RuntimeDefault"},
	}
	if len(mk.Capabilities) > 0 {
		security["capabilities"].(m)["add"] = mk.Capabilities
	}
	if mk.User != "image" {
		uid, gid, _ := strings.Cut(mk.User, ":")
		security["runAsUser"], _ = strconv.Atoi(uid)
		if gid != "" {
			security["runAsGroup"], _ = strconv.Atoi(gid)
		}
	}
	port := m{"name": "http", "containerPort": mk.w.Port, "protocol": "TCP"}
	container := m{
		"name": "function", "image": mk.w.Image, "ports": []any{port}, "env": mk.env(), "securityContext": security,
		"volumeMounts": []any{m{"name": "tmp", "mountPath": "/tmp"}},
	}
	if mk.w.PullPolicy != "" {
		container["imagePullPolicy"] = mk.w.PullPolicy
	}
	if r := resources(mk.w); len(r) > 0 {
		container["resources"] = r
	}
	spec := m{
		"containers": []any{container}, "volumes": []any{m{"name": "tmp", "emptyDir": m{}}},
		"automountServiceAccountToken": mk.ServiceAccount != "", "enableServiceLinks": false,
	}
	if mk.ServiceAccount != "" {
		spec["serviceAccountName"] = mk.ServiceAccount
	}
	if len(mk.NodeSelector) > 0 {
		spec["nodeSelector"] = mk.NodeSelector
	}
	for _, t := range mk.Tolerations {
		list, _ := spec["tolerations"].([]any)
		spec["tolerations"] = append(list, tolerationFields(t))
	}
	for _, name := range mk.PullSecrets {
		list, _ := spec["imagePullSecrets"].([]any)
		spec["imagePullSecrets"] = append(list, m{"name": name})
	}
	return spec
}

// env refers to Secrets of the namespace where the unit refers to secrets.
func (mk maker) env() []any {
	env := maps.Clone(mk.w.Env)
	env["HOST"] = crm.EnvValue{Text: "0.0.0.0"}
	if !mk.isKnative(mk.w) { // Knative sets it, and lets nobody else
		env["PORT"] = crm.EnvValue{Text: strconv.Itoa(mk.w.Port)}
	}
	var out []any
	for _, name := range slices.Sorted(maps.Keys(env)) {
		v := env[name]
		if v.IsSecret() {
			out = append(out, m{"name": name, "valueFrom": m{"secretKeyRef": m{"name": v.Secret.Name, "key": v.Secret.Key}}})
		} else {
			out = append(out, m{"name": name, "value": v.Text})
		}
	}
	return out
}

// resources writes quantities as the cluster returns them.
func resources(w workload.Workload) m {
	out := m{}
	for kind, r := range map[string]workload.Resources{"requests": w.Requests, "limits": w.Limits} {
		list := m{}
		for name, text := range map[string]string{"cpu": r.CPU, "memory": r.Memory} {
			if q, err := resource.ParseQuantity(text); err == nil {
				list[name] = q.String()
			}
		}
		if len(list) > 0 {
			out[kind] = list
		}
	}
	return out
}

func (mk maker) service() wanted {
	port := m{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
	if mk.w.HTTP2 {
		port["appProtocol"] = "kubernetes.io/h2c"
	}
	return wanted{services, Sealed(m{
		"apiVersion": "v1", "kind": "Service", "metadata": mk.meta(""),
		"spec": m{"selector": mk.pods, "ports": []any{port}},
	})}
}

// least is how many pods there are at least: a Deployment cannot start from none.
func (mk maker) least() int { return max(1, mk.w.Scale.Min) }

// scales reports whether an autoscaler chooses the number of pods. It measures what
// they use of the cpu that they request.
func (mk maker) scales() bool { return mk.w.Scale.Max > mk.least() && mk.w.Requests.CPU != "" }

// scaleAt is the share of the requested cpu that an autoscaler aims at, in percent.
const scaleAt = 80

func (mk maker) autoscaler() wanted {
	spec := m{
		"scaleTargetRef": m{"apiVersion": "apps/v1", "kind": "Deployment", "name": mk.name},
		"minReplicas":    mk.least(), "maxReplicas": mk.w.Scale.Max,
		"metrics": []any{m{"type": "Resource", "resource": m{"name": "cpu", "target": m{"type": "Utilization", "averageUtilization": scaleAt}}}},
	}
	if d := mk.w.Scale.DownDelay; d > 0 {
		spec["behavior"] = m{"scaleDown": m{"stabilizationWindowSeconds": min(int(d.Seconds()), 3600)}}
	}
	return wanted{autoscalers, Sealed(m{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": mk.meta(""), "spec": spec})}
}

// budget keeps a node's maintenance from taking more than one replica of a strongly
// consistent partition at a time. All units of the partition ask for the same one.
func (mk maker) budget() wanted {
	partition := partitionOf(mk.command.Unit)
	selector := m{
		LabelManaged: "oprc", LabelEnv: workload.LabelValue(mk.Env),
		LabelPartition: partition, LabelFunction: workload.Name(mk.w.Function),
	}
	meta := m{"name": shortened(workload.Name(partition, mk.w.Function)), "namespace": mk.Namespace, "labels": selector}
	return wanted{budgets, Sealed(m{
		"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta,
		"spec": m{"maxUnavailable": 1, "selector": m{"matchLabels": selector}},
	})}
}

// knative is a Knative Service, which scales by calls and to zero.
func (mk maker) knative(command string) wanted {
	template := mk.podMeta()
	annotations := template["annotations"].(m)
	scale := mk.w.Scale
	for name, n := range map[string]int{"min-scale": scale.Min, "max-scale": scale.Max, "target": scale.TargetConcurrency} {
		if n > 0 || n == 0 && name == "min-scale" {
			annotations["autoscaling.knative.dev/"+name] = strconv.Itoa(n)
		}
	}
	if scale.DownDelay > 0 {
		annotations["autoscaling.knative.dev/scale-down-delay"] = scale.DownDelay.String()
	}
	pod := mk.podSpec()
	container := pod["containers"].([]any)[0].(m)
	name := "http1"
	if mk.w.HTTP2 {
		name = "h2c"
	}
	container["ports"] = []any{m{"name": name, "containerPort": mk.w.Port, "protocol": "TCP"}}
	if mk.w.Probe.Path != "" {
		container["readinessProbe"] = m{"httpGet": m{"path": mk.w.Probe.Path}}
	}
	if scale.Concurrency > 0 {
		pod["containerConcurrency"] = scale.Concurrency
	}
	if mk.w.Timeout > 0 {
		pod["timeoutSeconds"] = max(1, int(mk.w.Timeout.Seconds()))
	}
	return wanted{knative, Sealed(m{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": mk.meta(command),
		"spec": m{"template": m{"metadata": template, "spec": pod}},
	})}
}
