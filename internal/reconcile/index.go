package reconcile

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// An index is what listings and metrics need of live state over and over. It is not
// changed once it is made; the next one shares with it what has not moved.
type index struct {
	of       plan.Live
	classes  map[string]*classSum // of classes that have units
	counts   map[UnitState]int    // units that are not gone
	packages map[string][]string  // deployments of a package, sorted
	sorted   map[oprc.Kind]func() []string
}

// A classSum is what the units of a class come to.
type classSum struct {
	members   []member // sorted by id
	condition oprc.Condition
	units     int // that are to run
	running   int
	drift     bool
	errorMsg  string
}

// A member is a unit of a class.
type member struct{ id, env string }

// A UnitState is what metrics tell apart of units.
type UnitState struct {
	Env            string
	Condition      oprc.Condition
	Settled, Drift bool
}

// renewed is the index of live, made from x, which may be nil: of what moved since then.
func (x *index) renewed(live plan.Live) *index {
	if x == nil {
		x = &index{}
	}
	moved := x.movedUnits(live)
	catalogue := x.sorted == nil || !sameMap(x.of.Digests, live.Digests) || !sameMap(x.of.Deployments, live.Deployments) || !sameMap(x.of.Packages, live.Packages)
	if !catalogue && len(moved) == 0 {
		same := *x
		same.of = live
		return &same
	}
	next := &index{of: live, classes: x.classes, counts: x.counts, packages: x.packages}
	if len(moved) > 0 {
		next.classes, next.counts = maps.Clone(x.classes), maps.Clone(x.counts)
		if x.classes == nil {
			next.classes, next.counts = map[string]*classSum{}, map[UnitState]int{}
		}
		for cls, members := range moved {
			next.renew(cls, members, x)
		}
	}
	if catalogue {
		next.packages = map[string][]string{}
		for key, d := range live.Deployments {
			next.packages[d.Pkg] = append(next.packages[d.Pkg], key)
		}
		for _, keys := range next.packages {
			slices.Sort(keys)
		}
	}
	next.sorted = map[oprc.Kind]func() []string{oprc.KindUnit: sync.OnceValue(next.unitKeys)}
	for _, kind := range []oprc.Kind{oprc.KindPackage, oprc.KindDeployment, oprc.KindClass, oprc.KindFunction} {
		if next.sorted[kind] = x.sorted[kind]; catalogue {
			next.sorted[kind] = sync.OnceValue(func() []string { return keysIn(live, kind) })
		}
	}
	return next
}

// movedUnits returns the units that are not as they were, by class.
func (x *index) movedUnits(live plan.Live) map[string][]member {
	moved := map[string][]member{}
	add := func(id, env string) {
		cls := classOf(id)
		moved[cls] = append(moved[cls], member{id, env})
	}
	envs := maps.Clone(live.Units)
	for env, units := range x.of.Units {
		if _, still := envs[env]; !still {
			envs[env] = units
		}
	}
	for env := range envs {
		before, now := x.of.Units[env], live.Units[env]
		was, is := x.of.Statuses[env], live.Statuses[env]
		healthy := x.of.Environments[env].Health == live.Environments[env].Health
		if healthy && sameMap(before, now) && sameMap(was, is) {
			continue
		}
		for id, d := range now {
			if old, there := before[id]; !healthy || !there || old != d || newer(was[id], is[id]) {
				add(id, env)
			}
		}
		for id := range before {
			if _, still := now[id]; !still {
				add(id, env)
			}
		}
	}
	return moved
}

// newer reports whether a status is another one.
func newer(was, is oprc.Status) bool {
	return was.Generation != is.Generation || was.ReportID != is.ReportID || was.Condition != is.Condition ||
		was.SpecHash != is.SpecHash || was.ErrorMsg != is.ErrorMsg
}

// renew sums a class up again, some units of which moved.
func (x *index) renew(cls string, moved []member, before *index) {
	all := moved
	if old := before.classes[cls]; old != nil {
		all = slices.Concat(old.members, moved)
		for _, m := range old.members {
			before.tell(m, func(s UnitState) { x.counts[s]-- })
		}
	}
	slices.SortFunc(all, func(a, b member) int { return strings.Compare(a.id, b.id) })
	sum := &classSum{}
	for _, m := range slices.Compact(all) {
		d, there := x.of.Units[m.env][m.id]
		if !there {
			continue
		}
		sum.members = append(sum.members, m)
		st := x.of.Statuses[m.env][m.id]
		sum.add(d, st, judge(d, st, x.of.Environments[m.env].Health))
		x.tell(m, func(s UnitState) { x.counts[s]++ })
	}
	if x.classes[cls] = sum; len(sum.members) == 0 {
		delete(x.classes, cls)
	}
}

// tell calls do with the state of a unit, unless it is gone.
func (x *index) tell(m member, do func(UnitState)) {
	d := x.of.Units[m.env][m.id]
	if is := judge(d, x.of.Statuses[m.env][m.id], x.of.Environments[m.env].Health); !is.gone {
		do(UnitState{m.env, is.condition, is.settled, is.drift})
	}
}

func (s *classSum) add(d oprc.UnitDigest, st oprc.Status, is judgement) {
	if is.gone {
		return
	}
	if d.Runs() {
		s.units++
		s.condition = Worst(s.condition, is.condition)
		if is.condition == oprc.Running {
			s.running++
		}
	}
	s.drift = s.drift || is.drift
	if s.errorMsg == "" && st.Generation > 0 && is.condition == oprc.Down {
		s.errorMsg = st.ErrorMsg
	}
}

// classOf is the class of a unit.
func classOf(id string) string {
	cls, _, _ := strings.Cut(id, "/")
	return cls
}

// unitKeys returns the ids of the units that are not gone, sorted.
func (x *index) unitKeys() []string {
	var ids []string
	for _, cls := range slices.Sorted(maps.Keys(x.classes)) {
		for _, m := range x.classes[cls].members {
			x.tell(m, func(UnitState) { ids = append(ids, m.id) })
		}
	}
	slices.Sort(ids) // nearly so: a class may begin like another one
	return ids
}

// keysIn returns the keys of a kind of the catalogue, sorted.
func keysIn(live plan.Live, kind oprc.Kind) []string {
	switch kind {
	case oprc.KindPackage:
		return slices.Sorted(maps.Keys(live.Packages))
	case oprc.KindDeployment:
		return slices.Sorted(maps.Keys(live.Deployments))
	}
	var keys []string
	for object := range live.Digests {
		if key, is := strings.CutPrefix(object, string(kind)+"/"); is {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// sameMap reports whether two maps are one.
func sameMap[K comparable, V any](a, b map[K]V) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// Keys returns the keys of all objects of a kind, sorted; of neither sources nor runtimes.
// The slice must not be changed.
func (in *Inspection) Keys(kind oprc.Kind) ([]string, error) {
	switch kind {
	case oprc.KindEnv:
		return sortedKeys(environments(in.live)), nil
	case oprc.KindCRM:
		return sortedKeys(crms(in.live)), nil
	}
	keys, ok := in.sorted[kind]
	if !ok {
		return nil, fmt.Errorf("kind %q: %w", kind, oprc.ErrNotFound)
	}
	return keys(), nil
}

// UnitStates returns how many units there are in each state, without those that are gone.
// The map must not be changed.
func (in *Inspection) UnitStates() map[UnitState]int { return in.counts }

// DeploymentConditions returns how many deployments there are in each condition.
func (in *Inspection) DeploymentConditions() map[oprc.Condition]int {
	out := map[oprc.Condition]int{}
	for key := range in.live.Deployments {
		out[in.conditionOf(key)]++
	}
	return out
}
