package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// The oracle says what should run, from the specs alone. It knows nothing of
// plans, digests or catalogues, and looks references up by itself.
type oracle struct {
	packages map[string]oprc.Package
	envs     map[string]oprc.EnvironmentState
}

// An expectation is what must run of one class.
type expectation struct {
	Partitions int
	Replicas   int
	Envs       []string          // where it may run
	Functions  map[string]string // key -> image
}

// running says what should run, by class key.
func (o oracle) running() map[string]expectation {
	want := map[string]expectation{}
	for name, p := range o.packages {
		for _, d := range p.Deployments {
			key := oprc.Abs(name, d.Key)
			owner, class := o.class(key)
			if p.Disabled || class.Disabled || class.MarkForRemoval || o.packages[owner].Disabled {
				continue
			}
			envs := slices.Clone(d.TargetEnvs)
			for _, m := range d.Members {
				envs = append(envs, m.Env)
			}
			slices.Sort(envs)
			replicas := d.ReplicaCount
			if replicas == 0 {
				replicas = o.replicas(class, envs)
			}
			want[key] = expectation{
				Partitions: max(d.PartitionCount, 1), Replicas: replicas, Envs: envs, Functions: o.images(key),
			}
		}
	}
	return want
}

// class finds a class by its key.
func (o oracle) class(key string) (string, oprc.Class) {
	for name, p := range o.packages {
		for _, c := range p.Classes {
			if name+"."+c.Name == key {
				return name, c
			}
		}
	}
	panic("no class " + key)
}

// bindings folds inheritance: binding name -> function key.
func (o oracle) bindings(key string) map[string]string {
	owner, class := o.class(key)
	all := map[string]string{}
	for _, parent := range class.Parents {
		maps.Copy(all, o.bindings(absolute(owner, parent)))
	}
	for _, b := range class.Functions {
		all[b.Name] = absolute(owner, b.Function)
	}
	return all
}

func (o oracle) images(cls string) map[string]string {
	images := map[string]string{}
	for _, key := range o.bindings(cls) {
		for name, p := range o.packages {
			for _, f := range p.Functions {
				if name+"."+f.Name == key && f.State != oprc.Disabled && f.Provision != nil {
					images[key] = f.Provision.Docker.Image
				}
			}
		}
	}
	return images
}

func absolute(pkg, ref string) string {
	if rest, relative := strings.CutPrefix(ref, "."); relative {
		return pkg + "." + rest
	}
	return ref
}

// replicas enumerates every outcome of n environments, worst first.
func (o oracle) replicas(class oprc.Class, envs []string) int {
	goal, strong := 0.0, false
	if class.Requirements != nil {
		goal = class.Requirements.Availability
	}
	if class.Constraints != nil {
		strong = class.Constraints.Consistency == oprc.Strong
	}
	up := make([]float64, 0, len(envs))
	for _, e := range envs {
		up = append(up, o.envs[e].Availability)
	}
	slices.Sort(up)
	for n := 1; n <= len(up); n++ {
		quorum := 1
		if strong {
			quorum = n/2 + 1
		}
		if likelihood(up[:n], quorum) >= goal-1e-12 {
			return n
		}
	}
	return -1
}

// likelihood adds up the outcomes in which at least quorum of the places are up.
func likelihood(up []float64, quorum int) float64 {
	sum := 0.0
	for outcome := range 1 << len(up) {
		p, alive := 1.0, 0
		for i, a := range up {
			if outcome>>i&1 == 1 {
				p *= a
				alive++
			} else {
				p *= 1 - a
			}
		}
		if alive >= quorum {
			sum += p
		}
	}
	return sum
}

// judge compares what runs with what should, and returns every difference.
func (o oracle) judge(units map[string]oprc.DeploymentUnit) []string {
	want := o.running()
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	places := map[string]map[string]bool{} // class/partition -> envs
	count := map[string]int{}
	for id, u := range units {
		w, ok := want[u.ClsKey]
		if !ok {
			complain("%s runs but should not", id)
			continue
		}
		images := map[string]string{}
		for _, f := range u.Functions {
			images[f.Key] = f.Image
		}
		if !maps.Equal(images, w.Functions) {
			complain("%s runs %v, want %v", id, images, w.Functions)
		}
		part := fmt.Sprintf("%s/%d", u.ClsKey, u.PartitionInfo.PartitionID)
		if places[part] == nil {
			places[part] = map[string]bool{}
		}
		if places[part][u.TargetEnv] || !slices.Contains(w.Envs, u.TargetEnv) {
			complain("%s should not be in %s", id, u.TargetEnv)
		}
		places[part][u.TargetEnv] = true
		count[u.ClsKey]++
	}
	for cls, w := range want {
		if count[cls] != w.Partitions*w.Replicas {
			complain("%s has %d units, want %d partitions of %d replicas", cls, count[cls], w.Partitions, w.Replicas)
		}
	}
	slices.Sort(wrong)
	return wrong
}
