package kubernetes

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

// stateOf is the unit's state by what the watches saw: that of the function that is
// worst off.
func (d *Driver) stateOf(u *unit) crm.State {
	u.mu.Lock()
	st := crm.State{Condition: crm.Running, Functions: maps.Clone(u.elsewhere)}
	u.mu.Unlock()
	if st.Functions == nil {
		st.Functions = map[string]crm.FunctionStatus{}
	}
	ours := d.podsOf(u.id)
	var complaints []error
	for _, w := range u.all {
		f := d.functionState(u, w, ours[workload.Name(w.Function)])
		st.Functions[w.Function] = f
		switch f.Condition {
		case crm.Down:
			st.Condition = crm.Down
			complaints = append(complaints, fmt.Errorf("%s: %s", w.Function, f.ErrorMsg))
		case crm.Deploying:
			if st.Condition == crm.Running {
				st.Condition = crm.Deploying
			}
		}
	}
	if err := errors.Join(complaints...); err != nil {
		st.ErrorMsg = err.Error()
	}
	for _, list := range ours {
		for _, p := range list {
			if p.ready() {
				st.Replicas = append(st.Replicas, "pod/"+d.Namespace+"/"+p.Metadata.Name)
			}
		}
	}
	slices.Sort(st.Replicas)
	return st
}

// functionState is how a function is doing.
func (d *Driver) functionState(u *unit, w workload.Workload, ours []pod) crm.FunctionStatus {
	for _, o := range u.want { // all of its objects must be seen as they shall be
		if o.GetAnnotations()[AnnotationFunction] != w.Function {
			continue
		}
		live := d.Cached(o.kind, o.GetName())
		if live == nil || live.GetAnnotations()[AnnotationDigest] != o.GetAnnotations()[AnnotationDigest] {
			return crm.FunctionStatus{Condition: crm.Deploying}
		}
	}
	name := Name(u.id, w.Function)
	if d.isKnative(w) {
		return knativeState(d.Cached(knative, name), w, ours)
	}
	url := w.InvocationURL("http://" + name + "." + d.Namespace + ".svc." + d.ClusterDomain)
	return deploymentState(d.Cached(deployments, name), ours, url)
}

// A deployment is what we read of one.
type deployment struct {
	Metadata struct{ Generation int64 }
	Status   struct {
		ObservedGeneration                           int64
		Replicas, UpdatedReplicas, AvailableReplicas int
		Conditions                                   []condition
	}
}

type condition struct{ Type, Status, Reason, Message string }

// find is the condition of a type; its zero value where there is none.
func find(conditions []condition, of string) condition {
	for _, c := range conditions {
		if c.Type == of {
			return c
		}
	}
	return condition{}
}

// read takes an object apart. What does not fit stays zero.
func read[T any](o *Object) (out T) {
	if text, err := json.Marshal(o.Object); err == nil {
		_ = json.Unmarshal(text, &out)
	}
	return out
}

// deploymentState: RUNNING as soon as a pod of the newest version serves and none of an
// older one is left; DOWN for the reason that a pod or the controller gives.
func deploymentState(o *Object, ours []pod, url string) crm.FunctionStatus {
	if o == nil {
		return crm.FunctionStatus{Condition: crm.Deploying}
	}
	dep := read[deployment](o)
	st := dep.Status
	if st.ObservedGeneration < dep.Metadata.Generation {
		return crm.FunctionStatus{Condition: crm.Deploying}
	}
	if st.AvailableReplicas > 0 && st.UpdatedReplicas > 0 && st.Replicas == st.UpdatedReplicas {
		return crm.FunctionStatus{Condition: crm.Running, InvocationURL: url}
	}
	progress := find(st.Conditions, "Progressing")
	out := crm.FunctionStatus{Condition: crm.Deploying}
	reason := trouble(ours)
	failed := find(st.Conditions, "ReplicaFailure")
	switch {
	case reason != "":
	case failed.Status == "True":
		reason = failed.Reason + ": " + failed.Message
	case progress.Reason == "ProgressDeadlineExceeded":
		reason = "no pod became ready in time"
	case progress.Reason == "NewReplicaSetAvailable" && st.AvailableReplicas == 0:
		reason = "no pod is ready"
	}
	if reason != "" {
		out = crm.FunctionStatus{Condition: crm.Down, ErrorMsg: reason}
	}
	if st.AvailableReplicas > 0 {
		out.InvocationURL = url
		if reason != "" {
			out.ErrorMsg += "; the version before still serves"
		}
	}
	return out
}

// A pod is what we read of one.
type pod struct {
	Metadata struct {
		Name              string
		DeletionTimestamp string
		Labels            map[string]string
	}
	Status struct {
		Phase, Reason, Message                   string
		Conditions                               []condition
		ContainerStatuses, InitContainerStatuses []containerStatus
	}
}

type containerStatus struct {
	Ready            bool
	State, LastState struct {
		Waiting    *struct{ Reason, Message string }
		Terminated *struct {
			Reason, Message string
			ExitCode        int
		}
	}
}

func (p pod) ready() bool { return find(p.Status.Conditions, "Ready").Status == "True" }

// podsOf are the unit's pods that are not ending, by the label of their function.
func (d *Driver) podsOf(id string) map[string][]pod {
	out := map[string][]pod{}
	for _, o := range d.CachedBy(pods, LabelUnit, workload.Name(id)) {
		if p := read[pod](o); p.Metadata.DeletionTimestamp == "" {
			function := p.Metadata.Labels[LabelFunction]
			out[function] = append(out[function], p)
		}
	}
	return out
}

// hopeless are reasons for which a container waits that do not pass by waiting.
var hopeless = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable",
	"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
}

// trouble is why a pod does not become ready; "" if no pod says so.
func trouble(ours []pod) string {
	for _, p := range ours {
		if p.ready() {
			continue
		}
		if p.Status.Phase == "Failed" {
			return sentence(cmp.Or(p.Status.Reason, "Failed"), p.Status.Message)
		}
		if c := find(p.Status.Conditions, "PodScheduled"); c.Status == "False" && c.Reason == "Unschedulable" {
			return sentence(c.Reason, c.Message)
		}
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			if reason := c.trouble(); reason != "" {
				return reason
			}
		}
	}
	return ""
}

func (c containerStatus) trouble() string {
	last := c.State.Terminated
	if last == nil {
		last = c.LastState.Terminated
	}
	ended := ""
	if last != nil && !c.Ready {
		ended = cmp.Or(last.Reason, "Error")
		if ended == "OOMKilled" {
			ended += ": it used more memory than its limit"
		} else {
			ended += fmt.Sprintf(": exit status %d", last.ExitCode)
		}
		if text := strings.TrimSpace(last.Message); text != "" {
			ended += ": " + text
		}
	}
	w := c.State.Waiting
	switch {
	case w == nil || !slices.Contains(hopeless, w.Reason):
		return ended
	case w.Reason == "CrashLoopBackOff" && ended != "":
		return w.Reason + ": " + ended
	case w.Reason == "ErrImagePull": // the two follow each other for ever
		return sentence("ImagePullBackOff", w.Message)
	}
	return sentence(w.Reason, w.Message)
}

// mostMessage bounds what is reported of a message.
const mostMessage = 1000

func sentence(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + message[:min(len(message), mostMessage)]
}

// A service is what we read of a Knative Service.
type service struct {
	Metadata struct{ Generation int64 }
	Status   struct {
		ObservedGeneration int64
		URL                string `json:"url"`
		Conditions         []condition
	}
}

// knativeState is what the condition Ready says. Without pods it runs, too: the next
// call starts one.
func knativeState(o *Object, w workload.Workload, ours []pod) crm.FunctionStatus {
	if o == nil {
		return crm.FunctionStatus{Condition: crm.Deploying}
	}
	svc := read[service](o)
	out := crm.FunctionStatus{Condition: crm.Deploying}
	if svc.Status.URL != "" {
		out.InvocationURL = w.InvocationURL(svc.Status.URL)
	}
	ready := find(svc.Status.Conditions, "Ready")
	if svc.Status.ObservedGeneration < svc.Metadata.Generation {
		return out
	}
	switch ready.Status {
	case "True":
		out.Condition = crm.Running
	case "False":
		out.Condition, out.ErrorMsg = crm.Down, cmp.Or(trouble(ours), sentence(ready.Reason, ready.Message))
	}
	return out
}
