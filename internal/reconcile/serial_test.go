package reconcile_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The oracle of the explorer: a small language of packages with an independent account
// of what they mean. It renders them as YAML for the program, and says which worlds are
// valid, what the records of their classes are, and what runs. It shares no code with
// resolve, placement, plan or reconcile, and never looks at a plan.

// A simWorld is what was asked for and accepted.
type simWorld struct {
	packages map[string]simPackage
	envs     map[string]simEnv
}

type simPackage struct {
	version   string
	needs     []string // "b@^1": package b in major version 1
	functions []simFunction
	classes   []simClass
	deployed  map[string]string // class -> environment
}

// A simFunction runs an image, or calls a binding of the object that it is called on, or
// does neither.
type simFunction struct {
	name, image, calls string
	off                bool
}

type simClass struct {
	name, parent string // parent is a key
	binds        []simBinding
	availability float64 // 0: none is asked for
}

type simBinding struct{ name, function, access string } // function is a key

type simEnv struct {
	capacity int // -1: no limit
	standard bool
	reported float64 // availability; 0: what is declared, 0.99
	label    string
}

func (w simWorld) clone() simWorld {
	return simWorld{maps.Clone(w.packages), maps.Clone(w.envs)}
}

// yaml renders one package.
func (p simPackage) yaml(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: %s\n", name)
	if p.version != "" {
		fmt.Fprintf(&b, "version: %s\n", p.version)
	}
	if len(p.needs) > 0 {
		fmt.Fprintf(&b, "required: [%q]\n", strings.Join(p.needs, `", "`))
	}
	if len(p.functions) > 0 {
		b.WriteString("functions:\n")
	}
	for _, f := range p.functions {
		state := ""
		if f.off {
			state = ", state: DISABLED"
		}
		switch {
		case f.image != "":
			fmt.Fprintf(&b, "  - {name: %s, provision: {knative: {image: %q}}%s}\n", f.name, f.image, state)
		case f.calls != "":
			fmt.Fprintf(&b, "  - {name: %s, type: MACRO, macro: {steps: [{function: %s, target: \"@\", as: x}], output: x}%s}\n", f.name, f.calls, state)
		default:
			fmt.Fprintf(&b, "  - {name: %s, type: LOGICAL%s}\n", f.name, state)
		}
	}
	if len(p.classes) > 0 {
		b.WriteString("classes:\n")
	}
	for _, c := range p.classes {
		fmt.Fprintf(&b, "  - name: %s\n", c.name)
		if c.parent != "" {
			fmt.Fprintf(&b, "    parents: [%s]\n", c.parent)
		}
		if c.availability > 0 {
			fmt.Fprintf(&b, "    requirements: {availability: %g}\n", c.availability)
		}
		if len(c.binds) > 0 {
			b.WriteString("    functions:\n")
		}
		for _, bind := range c.binds {
			fmt.Fprintf(&b, "      - {name: %s, function: %s, access: %s}\n", bind.name, bind.function, bind.access)
		}
	}
	if len(p.deployed) > 0 {
		b.WriteString("deployments:\n")
	}
	for _, cls := range slices.Sorted(maps.Keys(p.deployed)) {
		fmt.Fprintf(&b, "  - {key: .%s, targetEnvs: [%s]}\n", cls, p.deployed[cls])
	}
	return b.String()
}

// yaml renders an environment.
func (e simEnv) yaml(name string) string {
	out := fmt.Sprintf("kind: Environment\nname: %s\navailability: 0.99\ndefault: %v\n", name, e.standard)
	if e.capacity >= 0 {
		out += fmt.Sprintf("capacity: {units: %d}\n", e.capacity)
	}
	if e.label != "" {
		out += fmt.Sprintf("labels: {note: %q}\n", e.label)
	}
	return out
}

func (w simWorld) class(key string) (simClass, bool) {
	pkg, name, _ := strings.Cut(key, ".")
	for _, c := range w.packages[pkg].classes {
		if c.name == name {
			return c, true
		}
	}
	return simClass{}, false
}

func (w simWorld) function(key string) (simFunction, bool) {
	pkg, name, _ := strings.Cut(key, ".")
	for _, f := range w.packages[pkg].functions {
		if f.name == name {
			return f, true
		}
	}
	return simFunction{}, false
}

// members are the bindings of a class, inherited ones included. ok is false where a
// parent is missing.
func (w simWorld) members(key string) (out map[string]simBinding, ok bool) {
	c, ok := w.class(key)
	if !ok {
		return nil, false
	}
	out = map[string]simBinding{}
	if c.parent != "" {
		inherited, ok := w.members(c.parent)
		if !ok {
			return nil, false
		}
		maps.Copy(out, inherited)
	}
	for _, b := range c.binds {
		out[b.name] = b
	}
	return out, true
}

// invalid says what is wrong with a world; "" if nothing is. Where an environment gives
// less availability than a class was promised, nobody but the class is to blame: own
// names the packages for which that counts, nil all.
func (w simWorld) invalid(own map[string]simPackage) string {
	used, standards := map[string]int{}, 0
	for name, p := range w.packages {
		for _, need := range p.needs {
			on, major, _ := strings.Cut(need, "@^")
			to, there := w.packages[on]
			if !there || !strings.HasPrefix(to.version, major+".") {
				return fmt.Sprintf("%s needs %s", name, need)
			}
		}
		for _, c := range p.classes {
			if why := w.invalidClass(name + "." + c.name); why != "" {
				return why
			}
		}
		for cls, env := range p.deployed {
			e, known := w.envs[env]
			if !known {
				return fmt.Sprintf("%s.%s goes to %s, which is not there", name, cls, env)
			}
			used[env]++
			c, _ := w.class(name + "." + cls)
			has := 0.99
			if e.reported > 0 {
				has = e.reported
			}
			if _, counts := own[name]; c.availability > has && (counts || own == nil) {
				return fmt.Sprintf("%s.%s asks for %g of %s, which has %g", name, cls, c.availability, env, has)
			}
		}
	}
	for name, e := range w.envs {
		if e.capacity >= 0 && used[name] > e.capacity {
			return name + " is full"
		}
		if e.standard {
			standards++
		}
	}
	if standards > 1 {
		return "two default environments"
	}
	return ""
}

func (w simWorld) invalidClass(key string) string {
	members, ok := w.members(key)
	if !ok {
		return key + " has a parent that is not there"
	}
	for _, b := range members {
		f, there := w.function(b.function)
		if !there {
			return fmt.Sprintf("%s binds %s, which is not there", key, b.function)
		}
		if _, has := members[f.calls]; f.calls != "" && !has {
			return fmt.Sprintf("%s calls %s on %s, which has no such binding", b.function, f.calls, key)
		}
	}
	return ""
}

// A simState is what can be seen of a world from outside.
type simState struct {
	packages map[string]string            // -> YAML
	envs     map[string]string            // -> YAML
	classes  map[string]map[string]string // class key -> binding -> "function access"
	units    map[string]map[string]string // unit id -> function -> image
}

// state is what should be seen of a world.
func (w simWorld) state() simState {
	s := simState{map[string]string{}, map[string]string{}, map[string]map[string]string{}, map[string]map[string]string{}}
	for name, e := range w.envs {
		s.envs[name] = e.yaml(name)
	}
	for name, p := range w.packages {
		s.packages[name] = p.yaml(name)
		for _, c := range p.classes {
			key := name + "." + c.name
			members, _ := w.members(key)
			s.classes[key] = map[string]string{}
			for _, b := range members {
				s.classes[key][b.name] = b.function + " " + b.access
			}
			env, deployed := p.deployed[c.name]
			if !deployed {
				continue
			}
			runs := map[string]string{}
			for _, b := range members {
				if f, _ := w.function(b.function); f.image != "" && !f.off {
					runs[b.function] = f.image
				}
			}
			s.units[key+"/0/0@"+env] = runs
		}
	}
	return s
}

// A demand is what one writer asks for: packages and environments to apply, packages to
// delete, or what a CRM reports.
type demand struct {
	packages map[string]simPackage
	envs     map[string]simEnv
	remove   []string
	reports  map[string]float64 // environment -> availability
}

// on is the world after the demand; must says what forbids it, and may what somebody could
// object to.
func (x demand) on(w simWorld) (out simWorld, must, may string) {
	out = w.clone()
	maps.Copy(out.packages, x.packages)
	for name, e := range x.envs {
		e.reported = out.envs[name].reported
		out.envs[name] = e
	}
	for _, name := range x.remove {
		delete(out.packages, name)
	}
	for name, a := range x.reports {
		e := out.envs[name]
		e.reported = a
		out.envs[name] = e
	}
	if len(x.reports) > 0 {
		return out, "", "" // nobody refuses a report
	}
	own := x.packages
	if own == nil {
		own = map[string]simPackage{}
	}
	return out, out.invalid(own), out.invalid(nil)
}

// effect is what the demand changes of a world that can be seen: what a plan of it shows.
func (x demand) effect(w simWorld) string {
	next, _, _ := x.on(w)
	was, will := w.state(), next.state()
	return changes(was.packages, will.packages) + changes(was.envs, will.envs) + changes(was.classes, will.classes) + changes(was.units, will.units)
}

// changes lists what differs between two maps, before and after.
func changes[V any](was, will map[string]V) string {
	out := ""
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if next, stays := will[key]; !stays || fmt.Sprint(next) != fmt.Sprint(was[key]) {
			out += fmt.Sprintf("%s: %v, then %v (%v)\n", key, was[key], next, stays)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(will)) {
		if _, known := was[key]; !known {
			out += fmt.Sprintf("%s: new, %v\n", key, will[key])
		}
	}
	return out
}

func (x demand) String() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(x.envs)) {
		out = append(out, x.envs[name].yaml(name))
	}
	for _, name := range slices.Sorted(maps.Keys(x.packages)) {
		out = append(out, x.packages[name].yaml(name))
	}
	for _, name := range x.remove {
		out = append(out, "delete package "+name+"\n")
	}
	for name, a := range x.reports {
		out = append(out, fmt.Sprintf("a CRM of %s reports an availability of %g\n", name, a))
	}
	return strings.Join(out, "---\n")
}

// An outcome is what became of a demand, and when, in steps of one common clock.
type outcome struct {
	demand
	accepted    bool
	bound       bool // to a plan of the base: may be refused because of any other write, and has to be where it does something else by now
	began, done int
	err         error
}

// explain finds a serial order of the accepted wishes that respects real time, in which
// each is acceptable, and that ends in got; and a place in it for each refused one where
// it has to be refused. It says what is wrong if there is none.
func explain(base simWorld, all []outcome, got simState) string {
	var accepted, refused []outcome
	for _, o := range all {
		if o.accepted {
			accepted = append(accepted, o)
		} else {
			refused = append(refused, o)
		}
	}
	var whys []string // by order
	var try func(w simWorld, done []outcome, worlds []simWorld, left []outcome) bool
	try = func(w simWorld, done []outcome, worlds []simWorld, left []outcome) bool {
		if len(left) == 0 {
			if d := w.state().differs(got); d != "" {
				whys = append(whys, d)
				return false
			}
			for _, r := range refused {
				if !r.refusable(done, worlds) {
					whys = append(whys, fmt.Sprintf("refused without a reason (%v):\n%s", r.err, r.demand))
					return false
				}
			}
			return true
		}
		for i, o := range left {
			late := slices.ContainsFunc(left, func(other outcome) bool { return other.done < o.began })
			if late {
				continue
			}
			next, must, _ := o.on(w)
			if must != "" || o.bound && o.effect(w) != o.effect(base) {
				continue
			}
			rest := slices.Delete(slices.Clone(left), i, i+1)
			if try(next, append(slices.Clone(done), o), append(slices.Clone(worlds), next), rest) {
				return true
			}
		}
		return false
	}
	if try(base, nil, []simWorld{base}, accepted) {
		return ""
	}
	return "no serial order of the accepted requests explains it\n" + strings.Join(whys, "\n")
}

// refusable reports whether the demand is invalid in one of the worlds between the
// accepted ones that were there while it ran.
func (o outcome) refusable(done []outcome, worlds []simWorld) bool {
	for i, w := range worlds {
		early := i < len(done) && slices.ContainsFunc(done[i:], func(d outcome) bool { return d.done < o.began })
		late := slices.ContainsFunc(done[:i], func(d outcome) bool { return d.began > o.done })
		if early || late {
			continue
		}
		if _, _, may := o.on(w); may != "" || o.bound && len(done) > 0 {
			return true
		}
	}
	return false
}

// differs says in what a state is another one; "" if in nothing.
func (s simState) differs(got simState) string {
	for _, part := range []struct {
		what      string
		want, got any
	}{
		{"packages", s.packages, got.packages},
		{"environments", s.envs, got.envs},
		{"classes", s.classes, got.classes},
		{"units", s.units, got.units},
	} {
		if want, has := fmt.Sprint(part.want), fmt.Sprint(part.got); want != has {
			return fmt.Sprintf("%s: got\n\t%s\nin this serial order they were\n\t%s", part.what, has, want)
		}
	}
	return ""
}
