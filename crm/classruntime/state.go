package classruntime

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/kubernetes"
	"github.com/oaas-platform/oprc/crm/workload"
)

// A runtime is what we read of an object.
type runtime struct {
	Metadata struct{ Generation int64 }
	Status   struct {
		Phase, Message string
		Observed       *int64 `json:"observed_generation"`
		Conditions     []struct{ Type, Status, Reason, Message string }
		Functions      []struct {
			Key   string `json:"function_key"`
			URL   string `json:"predicted_url"`
			Ready *bool
		}
	}
}

// stateOf is what the operator says of a class, for a unit of it. Its conditions win
// over its phase.
func stateOf(o *kubernetes.Object, class crm.Unit) crm.State {
	var r runtime
	if o != nil {
		if text, err := json.Marshal(o.Object); err == nil {
			_ = json.Unmarshal(text, &r)
		}
	}
	st := crm.State{Condition: crm.Deploying, Functions: map[string]crm.FunctionStatus{}}
	if o != nil && (r.Status.Observed == nil || *r.Status.Observed >= r.Metadata.Generation) {
		st.Condition, st.ErrorMsg = r.verdict()
	}
	ws, elsewhere, err := workload.All(class)
	if err != nil {
		return crm.State{Condition: crm.Down, ErrorMsg: err.Error()}
	}
	for key, f := range elsewhere {
		st.Functions[key] = f
	}
	for _, w := range ws {
		f := crm.FunctionStatus{Condition: st.Condition}
		for _, seen := range r.Status.Functions {
			if seen.Key != w.Function {
				continue
			}
			if seen.URL != "" {
				f.InvocationURL = w.InvocationURL(seen.URL)
			}
			if seen.Ready != nil && !*seen.Ready && st.Condition == crm.Running {
				f.Condition = crm.Deploying
			}
		}
		if f.Condition == crm.Down {
			f.ErrorMsg = st.ErrorMsg
		}
		st.Functions[w.Function] = f
	}
	for _, f := range st.Functions {
		if f.Condition == crm.Deploying && st.Condition == crm.Running {
			st.Condition = crm.Deploying
		}
	}
	return st
}

// verdict is the condition in the operator's words.
func (r runtime) verdict() (crm.Condition, string) {
	for _, c := range r.Status.Conditions {
		if c.Type == "Degraded" && c.Status == "True" {
			return crm.Down, fmt.Sprintf("%s: %s", cmp.Or(c.Reason, c.Type), cmp.Or(c.Message, r.Status.Message))
		}
	}
	for _, c := range r.Status.Conditions {
		if c.Type == "Available" && c.Status == "True" {
			return crm.Running, ""
		}
	}
	phase := strings.ToLower(r.Status.Phase)
	switch {
	case slices.Contains([]string{"failed", "error", "degraded"}, phase):
		return crm.Down, strings.TrimSuffix(r.Status.Phase+": "+r.Status.Message, ": ")
	case slices.Contains([]string{"running", "ready", "available"}, phase):
		return crm.Running, ""
	}
	return crm.Deploying, ""
}
