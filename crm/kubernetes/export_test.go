package kubernetes

import (
	"encoding/json"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/workload"
)

// Objects are what a unit shall have.
func (o Options) Objects(c crm.Command) ([]*Object, error) {
	all, _, err := workload.All(c.Unit)
	if err != nil {
		return nil, err
	}
	want, err := o.objectsOf(c, all)
	var out []*Object
	for _, w := range want {
		out = append(out, w.Object)
	}
	return out, err
}

// DeploymentState judges a Deployment and its pods by their JSON.
func DeploymentState(o string, pods ...string) crm.FunctionStatus {
	ours := make([]pod, len(pods))
	for i, text := range pods {
		if err := json.Unmarshal([]byte(text), &ours[i]); err != nil {
			panic(err)
		}
	}
	return deploymentState(parse(o), ours, "http://f")
}

// KnativeState judges a Knative Service by its JSON.
func KnativeState(o string) crm.FunctionStatus {
	return knativeState(parse(o), workload.Workload{APIPath: "/api"}, nil)
}

func parse(text string) *Object {
	var content m
	if err := json.Unmarshal([]byte(text), &content); err != nil {
		panic(err)
	}
	return &Object{Object: content}
}
