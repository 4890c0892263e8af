package reconcile_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// lib is a package that others build on: class P binds f, which runs an image, and g.
func lib(change func(*simPackage)) simPackage {
	p := simPackage{
		version:   "1.0.0",
		functions: []simFunction{{name: "f", image: "i:1"}, {name: "g"}},
		classes:   []simClass{{name: "P", binds: []simBinding{{"f", "b.f", "PUBLIC"}, {"g", "b.g", "PUBLIC"}}}},
	}
	if change != nil {
		change(&p)
	}
	return p
}

// app is a package with a class of its own.
func app(change func(*simPackage)) simPackage {
	p := simPackage{classes: []simClass{{name: "C"}}, deployed: map[string]string{"C": "e"}}
	if change != nil {
		change(&p)
	}
	return p
}

func one(name string, p simPackage) demand { return demand{packages: map[string]simPackage{name: p}} }

// A relation is one way in which what a writer asks for bears on what another does.
type relation struct {
	base  simWorld
	a, b  demand
	third demand // what a third writer does meanwhile

	anyOrder bool // the last writer wins, whether anything is compared or not
}

var noLimit = simEnv{capacity: -1}

// relations are those in which two writers that see the same world can both be right, and
// the outcome wrong.
func relations() map[string]relation {
	world := func(packages map[string]simPackage, envs map[string]simEnv) simWorld {
		if envs == nil {
			envs = map[string]simEnv{"e": noLimit}
		}
		return simWorld{packages, envs}
	}
	child := func(p *simPackage) { p.classes[0].parent = "b.P" }
	based := world(map[string]simPackage{"b": lib(nil)}, nil)
	return map[string]relation{
		"a binding is dropped, a macro comes to call it": {
			base: based,
			a:    one("b", lib(func(p *simPackage) { p.classes[0].binds = p.classes[0].binds[:1] })),
			b: one("a", app(func(p *simPackage) {
				child(p)
				p.functions = []simFunction{{name: "m", calls: "g"}}
				p.classes[0].binds = []simBinding{{"m", "a.m", "PUBLIC"}}
			})),
			third: one("c", app(child)),
		},
		"a version moves on, somebody comes to require the old one": {
			base:  based,
			a:     one("b", lib(func(p *simPackage) { p.version = "2.0.0" })),
			b:     one("a", app(func(p *simPackage) { p.needs = []string{"b@^1"} })),
			third: one("c", app(func(p *simPackage) { p.needs = []string{"b@^2"} })),
		},
		"an image changes, a class comes to bind the function": {
			base:  based,
			a:     one("b", lib(func(p *simPackage) { p.functions[0].image = "i:2" })),
			b:     one("a", app(func(p *simPackage) { p.classes[0].binds = []simBinding{{"f", "b.f", "PUBLIC"}} })),
			third: one("c", app(child)),
		},
		"a function is switched off, a class comes to inherit it": {
			base:  based,
			a:     one("b", lib(func(p *simPackage) { p.functions[0].off = true })),
			b:     one("a", app(child)),
			third: one("b", lib(func(p *simPackage) { p.functions[0].image = "i:3" })),
		},
		"access changes, a class comes to inherit it": {
			base:  based,
			a:     one("b", lib(func(p *simPackage) { p.classes[0].binds[1].access = "PRIVATE" })),
			b:     one("a", app(func(p *simPackage) { child(p); p.deployed = nil })),
			third: one("c", app(child)),
		},
		"room for one, two deployments": {
			base:  world(map[string]simPackage{"b": lib(nil)}, map[string]simEnv{"e": {capacity: 1}}),
			a:     one("a", app(nil)),
			b:     one("c", app(nil)),
			third: one("d", app(nil)),
		},
		"two default environments": {
			base:  world(nil, map[string]simEnv{"e": noLimit, "e2": noLimit}),
			a:     demand{envs: map[string]simEnv{"e": {capacity: -1, standard: true}}},
			b:     demand{envs: map[string]simEnv{"e2": {capacity: -1, standard: true}}},
			third: demand{envs: map[string]simEnv{"e3": {capacity: -1, standard: true}}},
		},
		"a package goes, another comes to use it": {
			base:  based,
			a:     demand{remove: []string{"b"}},
			b:     one("a", app(child)),
			third: one("b", lib(func(p *simPackage) { p.functions[0].image = "i:4" })),
		},
		"availability falls, somebody comes to ask for it": {
			base:  based,
			a:     demand{reports: map[string]float64{"e": 0.75}},
			b:     one("a", app(func(p *simPackage) { p.classes[0].availability = 0.98 })),
			third: demand{envs: map[string]simEnv{"e": {capacity: -1, label: "unrelated"}}},
		},
		"a class is deployed, its package goes": {
			base:     world(map[string]simPackage{"b": lib(nil), "a": app(func(p *simPackage) { child(p); p.deployed = nil })}, nil),
			a:        one("a", app(child)),
			b:        demand{remove: []string{"a"}},
			third:    one("b", lib(func(p *simPackage) { p.functions[0].image = "i:7" })),
			anyOrder: true,
		},
		"the same package, twice": {
			base:     world(map[string]simPackage{"b": lib(nil), "a": app(child)}, nil),
			a:        one("b", lib(func(p *simPackage) { p.functions[0].image = "i:5" })),
			b:        one("b", lib(func(p *simPackage) { p.functions[0].image = "i:6" })),
			third:    one("c", app(child)),
			anyOrder: true,
		},
	}
}

// Every order of two writers' steps, for each relation and each way of asking.
func TestEveryOrderOfTwo(t *testing.T) {
	texts := newSimTexts()
	var all atomic.Int64
	t.Cleanup(func() { t.Logf("%d orders", all.Load()) })
	for name, rel := range relations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for mode := range 4 {
				s := scenario{rel.base, []writer{{demand: rel.a, saved: mode&1 != 0}, {demand: rel.b, saved: mode&2 != 0}}}
				orders, bad := s.every(t, texts, 20_000, nil)
				all.Add(int64(orders))
				if bad != "" {
					t.Errorf("%s\n%s", bad, s)
				}
			}
		})
	}
}

// A ledger that does not compare what has moved, or does not show it, is found in each
// relation: what the tests above are worth.
func TestExplorerFindsBrokenLedgers(t *testing.T) {
	texts := newSimTexts()
	for name, rel := range relations() {
		if rel.anyOrder {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			damage := func(l *simLedger) { l.careless = true }
			if len(rel.a.reports) > 0 { // a report has no precondition: who decides later has to see it
				damage = func(l *simLedger) {
					was := l.live
					l.careless, l.stale = true, &was
				}
			}
			s := scenario{rel.base, []writer{{demand: rel.a}, {demand: rel.b}}}
			if orders, bad := s.every(t, texts, 20_000, damage); bad == "" {
				t.Errorf("nothing was found in %d orders:\n%s", orders, s)
			}
		})
	}
}

// Random orders of three writers' steps, for each relation.
func TestSomeOrdersOfThree(t *testing.T) {
	seed := seedOf(t)
	rng := rand.New(rand.NewPCG(seed, 3))
	texts := newSimTexts()
	for name, rel := range relations() {
		t.Run(name, func(t *testing.T) {
			for mode := range 2 {
				s := scenario{rel.base, []writer{{demand: rel.a, saved: mode == 1}, {demand: rel.b, saved: mode == 1}, {demand: rel.third}}}
				if bad := s.some(t, texts, rng, 100); bad != "" {
					t.Errorf("seed %d: %s\n%s", seed, bad, s)
				}
			}
		})
	}
}

func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := *exploreSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-explore.seed=%d", seed)
	return seed
}

// Random worlds, three to five writers, random orders.
func TestRandomWorlds(t *testing.T) {
	seed, worlds := seedOf(t), *exploreWorlds
	if worlds == 0 {
		worlds = 100
	}
	texts := newSimTexts()
	for i := range worlds {
		rng := rand.New(rand.NewPCG(seed+uint64(i), 5))
		s := randomScenario(rng)
		if bad := s.some(t, texts, rng, 20); bad != "" {
			t.Fatalf("-explore.seed=%d: %s\n%s", seed+uint64(i), bad, s)
		}
	}
}

func randomScenario(rng *rand.Rand) scenario {
	room := -1
	if rng.IntN(3) == 0 {
		room = 1 + rng.IntN(2)
	}
	s := scenario{base: simWorld{map[string]simPackage{}, map[string]simEnv{"e": {capacity: room}, "e2": noLimit}}}
	for range 3 {
		x := randomWish(rng, s.base)
		if next, _, may := x.on(s.base); may == "" && len(x.reports) == 0 {
			s.base = next
		}
	}
	for range 3 + rng.IntN(3) {
		s.writers = append(s.writers, writer{demand: randomWish(rng, s.base), saved: rng.IntN(4) == 0})
	}
	for i, w := range s.writers {
		if len(w.reports) > 0 {
			s.writers[i].saved = false
		}
	}
	return s
}

func randomWish(rng *rand.Rand, w simWorld) demand {
	coin := func() bool { return rng.IntN(2) == 0 }
	switch n := rng.IntN(12); {
	case n == 0:
		names := []string{"a", "b", "c"}
		name := names[rng.IntN(len(names))]
		if _, there := w.packages[name]; there {
			return demand{remove: []string{name}}
		}
	case n == 1:
		return demand{reports: map[string]float64{"e": []float64{0.75, 0.99}[rng.IntN(2)]}}
	case n == 2:
		name := []string{"e", "e2"}[rng.IntN(2)]
		return demand{envs: map[string]simEnv{name: {capacity: w.envs[name].capacity, standard: coin(), label: []string{"", "x"}[rng.IntN(2)]}}}
	case n < 6:
		return one("b", lib(func(p *simPackage) {
			p.version = fmt.Sprintf("%d.0.0", 1+rng.IntN(2))
			p.functions[0].image = fmt.Sprintf("i:%d", 1+rng.IntN(3))
			p.functions[0].off = rng.IntN(4) == 0
			if coin() {
				p.classes[0].binds[1].access = "PRIVATE"
			}
			if rng.IntN(3) == 0 {
				p.classes[0].binds = p.classes[0].binds[:1]
			}
		}))
	}
	name := []string{"a", "c", "d"}[rng.IntN(3)]
	return one(name, app(func(p *simPackage) {
		c := &p.classes[0]
		switch rng.IntN(4) {
		case 0:
			c.parent = "b.P"
		case 1:
			c.parent = "b.P"
			p.functions = []simFunction{{name: "m", calls: "g"}}
			c.binds = []simBinding{{"m", name + ".m", "PUBLIC"}}
		case 2:
			c.binds = []simBinding{{"f", "b.f", "PUBLIC"}}
		}
		if rng.IntN(3) == 0 {
			p.needs = []string{fmt.Sprintf("b@^%d", 1+rng.IntN(2))}
		}
		if rng.IntN(4) == 0 {
			c.availability = 0.98
		}
		switch rng.IntN(3) {
		case 0:
			p.deployed = nil
		case 1:
			p.deployed = map[string]string{"C": "e2"}
		}
	}))
}
