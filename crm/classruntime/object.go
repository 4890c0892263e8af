package classruntime

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/crm/kubernetes"
	"github.com/oaas-platform/oprc/crm/workload"
)

// kind is the operator's.
var kind = kubernetes.Kind{Resource: schema.GroupVersionResource{Group: "oaas.io", Version: "v1alpha1", Resource: "classruntimes"}, Name: "ClassRuntime"}

// The annotations of an object: one of each unit in it, and the unit whose class was
// applied last.
const (
	unitPrefix = "oprc.oaas.io/unit-"
	classKey   = "oprc.oaas.io/class"
)

// A share is what a unit brings to the object of its class: which replica of which
// partition it is, and the command it was deployed by.
type share struct {
	ID         string     `json:"id"`
	Generation int64      `json:"generation"`
	SpecHash   string     `json:"specHash"`
	Partition  int        `json:"partition"`
	Owners     []crm.Peer `json:"owners"` // of the partition, by replica, this unit among them
}

func shareOf(c crm.Command) share {
	u := c.Unit
	owners := append(slices.Clone(u.Peers), crm.Peer{
		MemberID: u.MemberID, Env: u.TargetEnv, ReplicaID: u.PartitionInfo.ReplicaID, ShardID: u.ShardID, Primary: u.Primary,
	})
	slices.SortFunc(owners, func(a, b crm.Peer) int { return cmp.Compare(a.ReplicaID, b.ReplicaID) })
	return share{ID: c.ID, Generation: c.Generation, SpecHash: c.SpecHash, Partition: u.PartitionInfo.PartitionID, Owners: owners}
}

// key is the annotation of a unit.
func key(id string) string { return unitPrefix + workload.Name(id) }

// sharesIn are the units that are in an object, by annotation.
func sharesIn(o *kubernetes.Object) map[string]share {
	out := map[string]share{}
	if o == nil {
		return out
	}
	for name, text := range o.GetAnnotations() {
		var s share
		if strings.HasPrefix(name, unitPrefix) && json.Unmarshal([]byte(text), &s) == nil && s.ID != "" {
			out[name] = s
		}
	}
	return out
}

// classIn is the unit whose class an object was last made of.
func classIn(o *kubernetes.Object) (u crm.Unit, ok bool) {
	if o == nil {
		return u, false
	}
	return u, json.Unmarshal([]byte(o.GetAnnotations()[classKey]), &u) == nil
}

type m = map[string]any

// objectOf is the object of a class, with all units that are in it.
func (d *Driver) objectOf(name string, class crm.Unit, all map[string]share) (*kubernetes.Object, error) {
	// What differs between the units of a class is in their shares: otherwise the object
	// would change with the unit that was deployed last.
	class.ID, class.MemberID, class.ShardID, class.Primary, class.Peers = "", 0, 0, false, nil
	class.PartitionInfo.PartitionID, class.PartitionInfo.ReplicaID = 0, 0
	text, err := json.Marshal(class)
	if err != nil {
		return nil, err
	}
	annotations := m{classKey: string(text)}
	for key, s := range all {
		text, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		annotations[key] = string(text)
	}
	functions, routes, err := functionsOf(class)
	if err != nil {
		return nil, err
	}
	return kubernetes.Sealed(m{
		"apiVersion": "oaas.io/v1alpha1", "kind": "ClassRuntime",
		"metadata": m{
			"name": name, "namespace": d.Namespace, "annotations": annotations,
			"labels": m{kubernetes.LabelManaged: "oprc", kubernetes.LabelEnv: workload.LabelValue(d.env)},
		},
		"spec": m{
			"package_class_key": class.ClsKey, "functions": functions,
			"odgm_config": grid(class, all, routes), "nfr_requirements": needs(class),
		},
	}), nil
}

// merged is live with the labels, annotations and fields of want; fields that others
// have set beside them stay.
func merged(live, want *kubernetes.Object) *kubernetes.Object {
	out := live.DeepCopy()
	annotations := out.GetAnnotations()
	maps.DeleteFunc(annotations, func(name, _ string) bool { return strings.HasPrefix(name, unitPrefix) })
	maps.Copy(annotations, want.GetAnnotations())
	out.SetAnnotations(annotations)
	labels := out.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, want.GetLabels())
	out.SetLabels(labels)
	spec, _ := out.Object["spec"].(m)
	if spec == nil {
		spec = m{}
	}
	maps.Copy(spec, want.Object["spec"].(m))
	out.Object["spec"] = spec
	return out
}

// functionsOf are the class's functions as the operator has them, and the routes to
// those that run elsewhere.
func functionsOf(class crm.Unit) (functions []m, routes m, err error) {
	routes = m{}
	ws, elsewhere, err := workload.All(class)
	if err != nil {
		return nil, nil, err
	}
	functions = []m{}
	for _, w := range ws {
		provision := m{"container_image": w.Image, "port": w.Port, "need_http2": w.HTTP2}
		for name, text := range map[string]string{
			"cpu_request": w.Requests.CPU, "memory_request": w.Requests.Memory, "cpu_limit": w.Limits.CPU, "memory_limit": w.Limits.Memory,
		} {
			if text != "" {
				provision[name] = text
			}
		}
		for name, n := range map[string]int{"min_scale": w.Scale.Min, "max_scale": w.Scale.Max, "max_concurrency": w.Scale.Concurrency} {
			if n >= 0 {
				provision[name] = n
			}
		}
		config := m{}
		for name, v := range w.Env {
			if v.IsSecret() {
				return nil, nil, secretError(w.Function, name)
			}
			if !strings.HasPrefix(name, "OPRC_") { // who it is differs for each unit
				config[name] = v.Text
			}
		}
		functions = append(functions, m{"function_key": w.Function, "provision_config": provision, "config": config})
	}
	for _, key := range slices.Sorted(maps.Keys(elsewhere)) {
		if url := elsewhere[key].InvocationURL; url != "" {
			routes[key] = m{"url": url, "stateless": true, "standby": slices.Contains(class.Standby, key)}
		}
	}
	return functions, routes, nil
}

// grid is what the object data grid has to know: who owns which partition.
func grid(class crm.Unit, all map[string]share, routes m) m {
	nodes := map[string][]int{}
	partitions := map[int]share{}
	for _, s := range all {
		if had, ok := partitions[s.Partition]; !ok || s.Generation > had.Generation || s.Generation == had.Generation && s.ID < had.ID {
			partitions[s.Partition] = s // units of one partition may differ while a change is under way
		}
	}
	assignments := []m{}
	for _, p := range slices.Sorted(maps.Keys(partitions)) {
		a := m{"partition_id": p}
		var members, shards []int
		for _, o := range partitions[p].Owners {
			members, shards = append(members, o.MemberID), append(shards, o.ShardID)
			if o.Primary {
				a["primary"] = o.MemberID
			}
			if !slices.Contains(nodes[o.Env], o.MemberID) {
				nodes[o.Env] = append(nodes[o.Env], o.MemberID)
				slices.Sort(nodes[o.Env])
			}
		}
		a["replica"], a["shard_ids"] = members, shards
		assignments = append(assignments, a)
	}
	out := m{
		"collections":     []string{class.ClsKey},
		"partition_count": max(1, class.PartitionCount), "replica_count": max(1, class.ReplicaCount),
		"shard_type": cmp.Or(class.ShardType, "mst"), "env_node_ids": nodes,
		"collection_assignments": m{class.ClsKey: assignments},
		"invocations":            m{"fn_routes": routes},
	}
	if len(class.Options) > 0 {
		out["options"] = class.Options
	}
	return out
}

// needs are the class's requirements, in the operator's units.
func needs(class crm.Unit) m {
	out := m{}
	if r := class.Requirements; r != nil {
		if r.Throughput > 0 {
			out["min_throughput_rps"] = int(r.Throughput)
		}
		if r.Latency > 0 {
			out["max_latency_ms"] = int(r.Latency)
		}
		if r.Availability > 0 { // 0.999 is 99.9, not 99.90000000000001
			out["availability_pct"], _ = strconv.ParseFloat(strconv.FormatFloat(100*r.Availability, 'g', 12, 64), 64)
		}
	}
	switch class.Consistency {
	case "":
	case crm.Strong:
		out["consistency"] = "strong"
	default:
		out["consistency"] = "eventual"
	}
	return out
}

// classOf is the key of a unit's class.
func classOf(id string) string {
	cls, _, _ := strings.Cut(id, "/")
	return cls
}
