package reconcile_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/schema"
)

// The explorer of interleavings: writers that share a ledger are stopped at each call
// that they make to it, and let go on in an order that somebody chooses: every order for
// two writers, random ones for more. The oracle of serial_test.go judges what is left.

var (
	exploreSeed   = flag.Uint64("explore.seed", 0, "seed of the first random world; 0: by chance")
	exploreWorlds = flag.Int("explore.worlds", 0, "random worlds to explore; 0: as many as make test has time for")
)

// The explorer makes garbage by the gigabyte and keeps nothing.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(servers.Run(m))
}

// A simLedger keeps in memory what the real ledger keeps in Redis, as strictly. What
// it hands out is never changed again.
type simLedger struct {
	mu      sync.Mutex
	live    plan.Live
	classes map[string]oprc.Class
	units   map[string]oprc.Command // unit id -> last command
	gone    map[string]int64

	// unread says which commits rested on what the version does not cover.
	unread []string

	// Faults, to see that the explorer finds them.
	careless bool       // commits whatever has moved
	stale    *plan.Live // is what every reading sees
}

func newSimLedger() *simLedger {
	return &simLedger{
		live: plan.Live{
			Ledger: "simulated", Version: 1,
			Packages: map[string]oprc.PackageRecord{}, Environments: map[string]oprc.EnvironmentState{}, Observed: map[string]oprc.Observation{},
			Deployments: map[string]oprc.Deployment{}, Digests: map[string]oprc.ObjectDigest{},
			Units: map[string]map[string]oprc.UnitDigest{}, Statuses: map[string]map[string]oprc.Status{},
		},
		classes: map[string]oprc.Class{}, units: map[string]oprc.Command{}, gone: map[string]int64{},
	}
}

// clone is a ledger of its own with the same content.
func (l *simLedger) clone() *simLedger {
	return &simLedger{
		live: l.live, classes: maps.Clone(l.classes), units: maps.Clone(l.units), gone: maps.Clone(l.gone),
		careless: l.careless, stale: l.stale,
	}
}

func (l *simLedger) Live(context.Context) (plan.Live, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale != nil {
		return *l.stale, nil
	}
	return l.live, nil
}

func (l *simLedger) moved() error {
	return &oprc.ConflictError{Reason: "moved", Objects: []string{fmt.Sprint("catalogue: now ", l.live.Version)}}
}

func (l *simLedger) Observe(_ context.Context, version int64, seen map[string]*oprc.Observation, _ int64, _ string) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.careless && version != l.live.Version {
		return 0, l.moved()
	}
	l.live.Observed = maps.Clone(l.live.Observed)
	for env, o := range seen {
		if delete(l.live.Observed, env); o != nil {
			l.live.Observed[env] = *o
		}
	}
	l.live.Version++
	return l.live.Version, nil
}

// The queue of writers is a courtesy: what is committed is right without it.
func (l *simLedger) AwaitTurn(context.Context, string, bool) (int, error) { return 0, nil }

func (l *simLedger) EndTurn(context.Context, string) error { return nil }

func (l *simLedger) Gone(_ context.Context, objects []string) (map[string]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]int64{}
	for _, o := range objects {
		out[o] = l.gone[o]
	}
	return out, nil
}

func (l *simLedger) Commit(_ context.Context, c reconcile.Commit) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.careless && (c.Version != l.live.Version || c.Ledger != l.live.Ledger) {
		return 0, l.moved()
	}
	l.live.Version++
	l.live.Packages, l.live.Environments = maps.Clone(l.live.Packages), maps.Clone(l.live.Environments)
	l.live.Deployments, l.live.Digests = maps.Clone(l.live.Deployments), maps.Clone(l.live.Digests)
	for _, gone := range c.Delete {
		object := string(gone.Kind) + "/" + gone.Key
		l.gone[object] = l.live.Digests[object].Rev + 1
		delete(l.live.Digests, object)
		switch gone.Kind {
		case oprc.KindPackage:
			delete(l.live.Packages, gone.Key)
		case oprc.KindEnv:
			delete(l.live.Environments, gone.Key)
		case oprc.KindClass:
			delete(l.classes, gone.Key)
		case oprc.KindDeployment:
			delete(l.live.Deployments, gone.Key)
		}
	}
	for name, rec := range c.Packages {
		rec.Digest = oprc.Digest(rec.Spec)
		l.live.Packages[name] = rec
		l.live.Digests["package/"+name] = oprc.ObjectDigest{Rev: rec.Rev, Hash: rec.Digest, Blob: "-"}
	}
	for name, rec := range c.Environments {
		state := l.live.Environments[name]
		state.EnvironmentRecord = rec
		l.live.Environments[name] = l.seen(state)
		l.live.Digests["environment/"+name] = oprc.ObjectDigest{Rev: rec.Rev, Hash: oprc.Digest(rec.Spec), Blob: "-"}
	}
	for key, doc := range c.Classes {
		l.classes[key] = doc
		l.write("class/"+key, oprc.Digest(doc))
	}
	for key, doc := range c.Functions {
		l.write("function/"+key, oprc.Digest(doc))
	}
	for key, doc := range c.Deployments {
		l.live.Deployments[key] = doc
		l.write("deployment/"+key, oprc.Digest(doc))
	}
	return l.live.Version, nil
}

func (l *simLedger) write(object, hash string) {
	l.live.Digests[object] = oprc.ObjectDigest{Rev: l.live.Digests[object].Rev + 1, Hash: hash, Blob: "-"}
}

// seen derives what follows from heartbeats.
func (l *simLedger) seen(state oprc.EnvironmentState) oprc.EnvironmentState {
	if state.Health == "" {
		state.Health = oprc.HealthUnknown
	}
	state.Availability = state.Spec.Availability
	for _, b := range state.Beats {
		state.Health, state.Availability = oprc.Healthy, b.Availability
	}
	return state
}

func (l *simLedger) Dispatch(_ context.Context, env string, cmds []oprc.Command, _ int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live.Units, l.live.Environments = maps.Clone(l.live.Units), maps.Clone(l.live.Environments)
	units := maps.Clone(l.live.Units[env])
	if units == nil {
		units = map[string]oprc.UnitDigest{}
	}
	var refused []string
	for _, c := range cmds {
		entry := oprc.UnitDigest{Generation: c.Generation}
		if c.Type == oprc.Deploy {
			entry.SpecHash = c.SpecHash
		}
		if units[c.ID].Generation+1 != c.Generation && units[c.ID] != entry {
			refused = append(refused, c.ID)
			continue
		}
		units[c.ID], l.units[c.ID] = entry, c
	}
	l.live.Units[env] = units
	state := l.live.Environments[env]
	state.Units = 0
	for _, u := range units {
		if u.Runs() {
			state.Units++
		}
	}
	l.live.Environments[env] = state
	if len(refused) > 0 {
		return &oprc.ConflictError{Reason: "not the next generation", Objects: refused}
	}
	return nil
}

// report is what a CRM's heartbeat leaves.
func (l *simLedger) report(env string, availability float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live.Environments = maps.Clone(l.live.Environments)
	state := l.live.Environments[env]
	state.Beats = []oprc.Heartbeat{{CRM: "crm", Availability: availability}}
	l.live.Environments[env] = l.seen(state)
}

// state is what can be seen.
func (l *simLedger) state(texts *simTexts) simState {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := simState{map[string]string{}, map[string]string{}, map[string]map[string]string{}, map[string]map[string]string{}}
	for name, rec := range l.live.Packages {
		s.packages[name] = texts.of(oprc.Digest(rec.Spec))
	}
	for name, state := range l.live.Environments {
		s.envs[name] = texts.of(oprc.Digest(state.Spec))
	}
	for key, c := range l.classes {
		s.classes[key] = bindingsOf(c)
	}
	for id, c := range l.units {
		if c.Type == oprc.Deploy {
			s.units[id] = imagesOf(c.Unit)
		}
	}
	return s
}

func bindingsOf(c oprc.Class) map[string]string {
	out := map[string]string{}
	if c.Resolved != nil {
		for name, b := range c.Resolved.Functions {
			out[name] = b.Function + " " + string(b.Access)
		}
	}
	return out
}

func imagesOf(u oprc.DeploymentUnit) map[string]string {
	out := map[string]string{}
	for _, f := range u.Functions {
		out[f.Key] = f.Image
	}
	return out
}

// simTexts reads YAML, each text once, and knows from which text a spec came.
type simTexts struct {
	mu    sync.Mutex
	read  map[string][]oprc.Document
	texts map[string]string // digest -> text
}

func newSimTexts() *simTexts {
	return &simTexts{read: map[string][]oprc.Document{}, texts: map[string]string{}}
}

func (x *simTexts) of(digest string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if text, ok := x.texts[digest]; ok {
		return text
	}
	return "a spec that nobody wrote: " + digest
}

// load is the Reconciler's Load.
func (x *simTexts) load(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []oprc.Document
	for _, f := range files {
		docs, ok := x.read[string(f.Data)]
		if !ok {
			var found oprc.Diagnostics
			if docs, found = schema.Load([]oprc.File{f}, strict, pkg); found.Err() != nil {
				panic(fmt.Sprintf("%v:\n%s", found.Err(), f.Data))
			}
			x.read[string(f.Data)] = docs
			for _, d := range docs {
				if d.Package != nil {
					x.texts[oprc.Digest(*d.Package)] = string(f.Data)
				} else {
					x.texts[oprc.Digest(*d.Environment)] = string(f.Data)
				}
			}
		}
		out = append(out, docs...)
	}
	return out, nil
}

// files renders a demand.
func (x demand) files() (out []oprc.File) {
	for name, e := range x.envs {
		out = append(out, oprc.File{Path: name + ".env.yaml", Data: []byte(e.yaml(name))})
	}
	for name, p := range x.packages {
		out = append(out, oprc.File{Path: name + ".yaml", Data: []byte(p.yaml(name))})
	}
	slices.SortFunc(out, func(a, b oprc.File) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func (x demand) request() reconcile.Request {
	return reconcile.Request{Files: x.files(), Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: x.remove}}
}

// A writer carries a demand out: at once, or by a plan that was saved before anybody began.
type writer struct {
	demand
	saved  bool
	planID string // of the saved plan; "" where the demand was invalid then
}

// A gate stops writers at each call to the ledger.
type gate struct {
	mu      sync.Mutex
	waiting map[int][]chan struct{} // by writer
	busy    map[int]bool            // not done yet
	began   map[int]int             // at which step they made their first call
	clock   int                     // steps taken
}

func (g *gate) pass(id int) {
	turn := make(chan struct{})
	g.mu.Lock()
	g.waiting[id] = append(g.waiting[id], turn)
	g.mu.Unlock()
	<-turn
}

// gated is the ledger as one writer sees it.
type gated struct {
	*simLedger
	gate *gate
	id   int
	saw  *plan.Live // last
}

func (l gated) Live(ctx context.Context) (plan.Live, error) {
	l.gate.pass(l.id)
	live, err := l.simLedger.Live(ctx)
	*l.saw = live
	return live, err
}

func (l gated) Observe(ctx context.Context, version int64, seen map[string]*oprc.Observation, fence int64, place string) (int64, error) {
	l.gate.pass(l.id)
	return l.simLedger.Observe(ctx, version, seen, fence, place)
}

func (l gated) Gone(ctx context.Context, objects []string) (map[string]int64, error) {
	l.gate.pass(l.id)
	return l.simLedger.Gone(ctx, objects)
}

func (l gated) Commit(ctx context.Context, c reconcile.Commit) (int64, error) {
	l.gate.pass(l.id)
	l.covered(*l.saw, c)
	return l.simLedger.Commit(ctx, c)
}

// covered notes where a commit rests on what was seen of an environment, and the version
// that it names does not stand for that: whoever sees something else then moves no version.
func (l *simLedger) covered(saw plan.Live, c reconcile.Commit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.careless || c.Version != l.live.Version {
		return
	}
	for name, state := range saw.Environments {
		if recorded, known := l.live.Observed[name]; !known || !recorded.Equal(state.Observed()) {
			l.unread = append(l.unread, fmt.Sprintf("a commit rests on %v of %s, version %d on %v", state.Observed(), name, c.Version, recorded))
		}
	}
}

func (l gated) Dispatch(ctx context.Context, env string, cmds []oprc.Command, fence int64) error {
	l.gate.pass(l.id)
	return l.simLedger.Dispatch(ctx, env, cmds, fence)
}

// choose picks one of n writers that wait, at the step'th choice.
type choose func(step, n int) int

// interleave runs the writers on the ledger, one step at a time. It must run in a
// synctest bubble: a writer that pauses does not hold the others up.
func interleave(ctx context.Context, l *simLedger, texts *simTexts, writers []writer, next choose) []outcome {
	g := &gate{waiting: map[int][]chan struct{}{}, busy: map[int]bool{}, began: map[int]int{}}
	out := make([]outcome, len(writers))
	for i := range writers {
		g.busy[i] = true
	}
	for i, w := range writers {
		go func() {
			o := outcome{demand: w.demand, bound: w.saved}
			switch {
			case len(w.reports) > 0:
				g.pass(i)
				for env, a := range w.reports {
					l.report(env, a)
				}
			case w.saved && w.planID == "":
				o.err = oprc.ErrInvalid
			default:
				r := reconcile.Reconciler{Ledger: gated{l, g, i, new(plan.Live)}, Load: texts.load, Now: time.Now}
				_, o.err = r.Apply(ctx, w.request(), reconcile.Conditions{AnyRemovals: true, PlanID: w.planID}, reconcile.Actor{Name: fmt.Sprint("writer ", i)})
			}
			g.mu.Lock()
			o.accepted, o.began, o.done = o.err == nil, g.began[i], g.clock
			out[i] = o
			delete(g.busy, i)
			g.mu.Unlock()
		}()
	}
	for step := 0; ; {
		synctest.Wait()
		ready := g.ready()
		switch {
		case ready == nil:
			return out
		case len(ready) == 0: // somebody pauses
			time.Sleep(time.Second)
			continue
		}
		pick := ready[0]
		if len(ready) > 1 {
			pick = ready[next(step, len(ready))]
			step++
		}
		turn := g.waiting[pick][0]
		g.waiting[pick] = g.waiting[pick][1:]
		g.clock++
		if _, known := g.began[pick]; !known {
			g.began[pick] = g.clock
		}
		close(turn)
	}
}

// ready are the writers that wait for a turn; none while one pauses, nil once all are done.
func (g *gate) ready() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.busy) == 0 {
		return nil
	}
	ready := []int{}
	for id := range g.busy {
		if len(g.waiting[id]) == 0 {
			return []int{}
		}
		ready = append(ready, id)
	}
	slices.Sort(ready)
	return ready
}

// A scenario is a world, and what several writers ask of it at once.
type scenario struct {
	base    simWorld
	writers []writer
}

func (s scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "base:\n%s", demand{packages: s.base.packages, envs: s.base.envs})
	for i, w := range s.writers {
		fmt.Fprintf(&b, "writer %d (saved plan: %v):\n%s", i, w.saved, w.demand)
	}
	return b.String()
}

// prepare applies the base, by the program itself.
func (s scenario) prepare(ctx context.Context, texts *simTexts) (*simLedger, error) {
	l := newSimLedger()
	r := reconcile.Reconciler{Ledger: l, Load: texts.load, Now: time.Now}
	base := demand{packages: s.base.packages, envs: s.base.envs}
	if _, err := r.Apply(ctx, base.request(), reconcile.Conditions{}, reconcile.Actor{Name: "base"}); err != nil {
		return nil, err
	}
	if d := s.base.state().differs(l.state(texts)); d != "" {
		return nil, errors.New("the base itself: " + d)
	}
	for i, w := range s.writers {
		if p, err := r.Plan(ctx, w.request()); w.saved && err == nil {
			s.writers[i].planID = p.ID
		}
	}
	return l, nil
}

// judge says what is wrong with what became of a scenario.
func (s scenario) judge(l *simLedger, texts *simTexts, out []outcome) string {
	return s.verdict(out, l.state(texts)) + strings.Join(l.unread, "\n")
}

// verdict is what the oracle says of what became of a scenario; "" if nothing is wrong.
func (s scenario) verdict(out []outcome, got simState) string {
	why := explain(s.base, out, got)
	for i, o := range out {
		var unfinished *reconcile.UnfinishedError
		switch {
		case errors.As(o.err, &unfinished):
			why += fmt.Sprintf("\nwriter %d did not finish", i)
		case !o.bound && reconcile.Lost(o.err):
			why += fmt.Sprintf("\nwriter %d gave up", i)
		}
	}
	if why == "" {
		return ""
	}
	for i, o := range out {
		why += fmt.Sprintf("\nwriter %d: steps %d to %d, accepted %v, %v", i, o.began, o.done, o.accepted, o.err)
	}
	return why
}

// every explores every order of the writers' steps. It returns how many there were, and
// what was wrong with the first bad one.
func (s scenario) every(t *testing.T, texts *simTexts, most int, damage func(*simLedger)) (orders int, bad string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start, err := s.prepare(t.Context(), texts)
		if err != nil {
			bad = err.Error()
			return
		}
		if damage != nil {
			damage(start)
		}
		var choices, widths []int
		for orders < most {
			l := start.clone()
			widths = widths[:0]
			out := interleave(t.Context(), l, texts, s.writers, func(step, n int) int {
				widths = append(widths, n)
				if step < len(choices) {
					return choices[step]
				}
				choices = append(choices, 0)
				return 0
			})
			orders++
			if bad = s.judge(l, texts, out); bad != "" {
				bad = fmt.Sprintf("order %v: %s", choices, bad)
				return
			}
			choices = choices[:len(widths)]
			for len(choices) > 0 && choices[len(choices)-1]+1 == widths[len(choices)-1] {
				choices = choices[:len(choices)-1]
			}
			if len(choices) == 0 {
				return
			}
			choices[len(choices)-1]++
		}
	})
	return orders, bad
}

// some explores random orders.
func (s scenario) some(t *testing.T, texts *simTexts, rng *rand.Rand, orders int) (bad string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start, err := s.prepare(t.Context(), texts)
		if err != nil {
			bad = err.Error()
			return
		}
		for range orders {
			l := start.clone()
			out := interleave(t.Context(), l, texts, s.writers, func(_, n int) int { return rng.IntN(n) })
			if bad = s.judge(l, texts, out); bad != "" {
				return
			}
		}
	})
	return bad
}
