package workload

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/oaas-platform/oprc/crm"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// DefaultPort is where a function listens whose package does not say.
const DefaultPort = 8080

// A Workload is one function of a unit, ready to run.
type Workload struct {
	Unit     string  `json:"unit"`     // id
	Function string  `json:"function"` // key
	Image    string  `json:"image"`
	Port     int     `json:"port"` // where it listens
	Env      crm.Env `json:"env"`  // with who it is: OPRC_UNIT, OPRC_CLASS, OPRC_FUNCTION, OPRC_PARTITION, OPRC_REPLICA; without PORT

	Requests Resources `json:"requests,omitzero"`
	Limits   Resources `json:"limits,omitzero"`
	Scale    Scale     `json:"scale"`

	Probe      Probe         `json:"probe"`
	PullPolicy string        `json:"pullPolicy,omitempty"` // Always, IfNotPresent, Never, or "" for the engine's own
	APIPath    string        `json:"apiPath,omitempty"`    // of calls, with a slash in front
	Timeout    time.Duration `json:"timeout,omitempty"`
	HTTP2      bool          `json:"http2,omitempty"`
	Knative    bool          `json:"knative,omitempty"`  // it was written for Knative
	Restarts   int           `json:"restarts,omitempty"` // of its unit: another number is another workload
}

// Resources are quantities in Kubernetes notation; "" is not set.
type Resources struct {
	CPU    string `json:"cpu,omitempty"`
	Memory string `json:"memory,omitempty"`
}

// Scale says how many instances run. -1 is not set.
type Scale struct {
	Min               int           `json:"min"`
	Max               int           `json:"max"`
	Concurrency       int           `json:"concurrency"`       // most calls at once per instance
	TargetConcurrency int           `json:"targetConcurrency"` // what an autoscaler aims at
	DownDelay         time.Duration `json:"downDelay,omitempty"`
}

// A Probe says how a function shows that it can be called: by an HTTP status below 400
// at Path; or, with no Path, by answering anything at all on its port.
type Probe struct {
	Path string `json:"path,omitempty"`
}

// HealthPath is the member of `config.custom` that names the path of the probe.
const HealthPath = "healthPath"

// Of says what a function of a unit amounts to. Which field of which engine wins is
// decided here, once: the environment is the engine's, then the config's; cpu and
// memory are the limits, and the requests where there are no others. An error is the
// package's fault, and wraps [crm.ErrInvalid].
func Of(u crm.Unit, f crm.Function) (Workload, error) {
	e := engineOf(u.Provision[f.Key])
	w := Workload{
		Unit: u.ID, Function: f.Key, Image: cmp.Or(f.Image, e.image), Port: DefaultPort, Env: crm.Env{},
		Requests: Resources{cmp.Or(set(e.requests.CPU), set(e.plain.CPU)), cmp.Or(set(e.requests.Memory), set(e.plain.Memory))},
		Limits:   Resources{cmp.Or(set(e.limits.CPU), set(e.plain.CPU)), cmp.Or(set(e.limits.Memory), set(e.plain.Memory))},
		Scale:    e.scale, Probe: Probe{f.Config.Custom[HealthPath]}, PullPolicy: e.pullPolicy,
		APIPath: slashed(cmp.Or(f.Config.APIPath, e.apiPath)), Timeout: time.Duration(f.Config.Timeout) * time.Millisecond,
		HTTP2: f.Config.HTTP2, Knative: e.knative, Restarts: u.Restarts,
	}
	if e.port != nil && *e.port > 0 {
		w.Port = *e.port
	}
	maps.Copy(w.Env, e.env)
	maps.Copy(w.Env, f.Config.Env)
	for name, value := range map[string]string{
		"OPRC_UNIT": u.ID, "OPRC_CLASS": u.ClsKey, "OPRC_FUNCTION": f.Key,
		"OPRC_PARTITION": strconv.Itoa(u.PartitionInfo.PartitionID), "OPRC_REPLICA": strconv.Itoa(u.PartitionInfo.ReplicaID),
	} {
		w.Env[name] = crm.EnvValue{Text: value}
	}
	return w, w.check(e)
}

// All returns the workloads of a unit, and the functions that run elsewhere already by
// key.
func All(u crm.Unit) ([]Workload, map[string]crm.FunctionStatus, error) {
	elsewhere := map[string]crm.FunctionStatus{}
	var all []Workload
	for _, f := range u.Functions {
		if url := cmp.Or(f.StaticURL, f.Config.StaticURL); url != "" || f.Image == "" {
			elsewhere[f.Key] = crm.FunctionStatus{Condition: crm.Running, InvocationURL: url}
			continue
		}
		w, err := Of(u, f)
		if err != nil {
			return nil, nil, fmt.Errorf("function %s: %w", f.Key, err)
		}
		all = append(all, w)
	}
	return all, elsewhere, nil
}

// Digest is the same for workloads that are the same: what runs need not be replaced.
func (w Workload) Digest() string { return oprc.Digest(w) }

// InvocationURL is where calls go, of an instance that listens at base.
func (w Workload) InvocationURL(base string) string { return strings.TrimSuffix(base, "/") + w.APIPath }

func (w Workload) check(e engine) error {
	for name, v := range w.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(v.Text, "\x00") {
			return fmt.Errorf("%w: %q cannot be an environment variable", crm.ErrInvalid, name)
		}
	}
	if e.badDelay != "" {
		return fmt.Errorf("%w: scaleDownDelay %q is no duration such as 90s", crm.ErrInvalid, e.badDelay)
	}
	for _, q := range []string{w.Requests.CPU, w.Requests.Memory, w.Limits.CPU, w.Limits.Memory} {
		if q == "" {
			continue
		}
		if _, err := resource.ParseQuantity(q); err != nil {
			return fmt.Errorf("%w: %q is no quantity", crm.ErrInvalid, q)
		}
	}
	return nil
}

// NanoCPUs is the CPU in billionths of one; 0 where it is not set.
func (r Resources) NanoCPUs() int64 {
	q, err := resource.ParseQuantity(r.CPU)
	if err != nil {
		return 0
	}
	return q.ScaledValue(resource.Nano)
}

// Bytes is the memory; 0 where it is not set.
func (r Resources) Bytes() int64 {
	q, err := resource.ParseQuantity(r.Memory)
	if err != nil {
		return 0
	}
	return q.Value()
}

// set is a quantity, or "" where -1 says that it is not set.
func set(quantity string) string {
	if quantity == "-1" {
		return ""
	}
	return quantity
}

func slashed(path string) string {
	if path == "" || path == "/" {
		return ""
	}
	return "/" + strings.TrimPrefix(path, "/")
}

// An engine is what the one engine of a provision says.
type engine struct {
	image, pullPolicy, apiPath string
	port                       *int
	env                        crm.Env
	plain, requests, limits    Resources
	scale                      Scale
	badDelay                   string
	knative                    bool
}

func engineOf(p crm.Provision) engine {
	unset := Scale{Min: -1, Max: -1, Concurrency: -1, TargetConcurrency: -1}
	switch {
	case p.Knative != nil:
		k := p.Knative
		e := engine{
			image: k.Image, pullPolicy: k.PullPolicy, apiPath: k.APIPath, port: k.Port, env: k.Env, knative: true,
			plain:    Resources{k.CPU, k.Memory},
			requests: Resources{k.RequestsCPU, k.RequestsMemory}, limits: Resources{k.LimitsCPU, k.LimitsMemory},
			scale: Scale{
				Min: number(k.MinScale), Max: number(k.MaxScale),
				Concurrency: number(k.Concurrency), TargetConcurrency: number(k.TargetConcurrency),
			},
		}
		var ok bool
		if e.scale.DownDelay, ok = delay(k.ScaleDownDelay); !ok {
			e.badDelay = k.ScaleDownDelay
		}
		return e
	case p.Docker != nil:
		return engine{image: p.Docker.Image, port: p.Docker.Port, env: p.Docker.Env, scale: unset}
	case p.Deployment != nil:
		d := p.Deployment
		e := engine{
			image: d.Image, pullPolicy: d.PullPolicy, apiPath: d.APIPath, port: d.Port, env: d.Env, scale: unset,
			requests: Resources{d.RequestsCPU, d.RequestsMemory}, limits: Resources{d.LimitsCPU, d.LimitsMemory},
		}
		e.scale.Min, e.scale.Max = number(d.MinScale), number(d.MaxScale)
		if n := number(d.Replica); n >= 0 && e.scale.Min < 0 && e.scale.Max < 0 {
			e.scale.Min, e.scale.Max = n, n
		}
		return e
	}
	return engine{scale: unset}
}

func number(n *int) int {
	if n == nil {
		return -1
	}
	return *n
}

// delay reads a duration; a bare number counts seconds.
func delay(text string) (time.Duration, bool) {
	if text == "" || text == "-1" {
		return 0, true
	}
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(n) * time.Second, n >= 0
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}
