package reconcile_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A desk is live state in memory. Like Redis's it is read in maps that are shared by
// readings between which nothing moved.
type desk struct {
	live    plan.Live
	records map[string]map[string]oprc.UnitRecord
	docs    int // records that were read
}

func (d *desk) Live(context.Context) (plan.Live, error) { return d.live, nil }

func (d *desk) ClassesOf(_ context.Context, keys []string) (map[string]oprc.Class, error) {
	out := map[string]oprc.Class{}
	for _, key := range keys {
		out[key] = oprc.Class{Name: key}
	}
	return out, nil
}

func (d *desk) FunctionsOf(_ context.Context, keys []string) (map[string]oprc.Function, error) {
	out := map[string]oprc.Function{}
	for _, key := range keys {
		out[key] = oprc.Function{Name: key, Type: oprc.Task}
	}
	return out, nil
}

func (d *desk) UnitRecordsOf(_ context.Context, env string, ids []string) (map[string]oprc.UnitRecord, error) {
	d.docs += len(ids)
	out := map[string]oprc.UnitRecord{}
	for _, id := range ids {
		if rec, ok := d.records[env][id]; ok {
			out[id] = rec
		}
	}
	return out, nil
}

func (d *desk) Runtimes(context.Context, string) ([]oprc.ClassRuntime, error) { return nil, nil }
func (d *desk) RuntimesOf(context.Context, string, []string) ([]oprc.ClassRuntime, error) {
	return nil, nil
}
func (d *desk) Sources(context.Context) (map[string]oprc.SourceStatus, error) { return nil, nil }

// step changes something, in maps of its own.
func (d *desk) step(r *rand.Rand) {
	env, n := fmt.Sprint("e", r.IntN(3)), r.IntN(6)
	pkg := fmt.Sprint("p", n/2)
	cls := fmt.Sprintf("%s.c%d", pkg, n)
	id := fmt.Sprintf("%s/%d/0@%s", cls, r.IntN(3), env)
	d.live.Reading++
	switch r.IntN(6) {
	case 0: // the catalogue
		d.live.Packages, d.live.Deployments, d.live.Digests = maps.Clone(d.live.Packages), maps.Clone(d.live.Deployments), maps.Clone(d.live.Digests)
		d.live.Packages[pkg] = oprc.PackageRecord{Spec: oprc.Package{Name: pkg}, Rev: int64(d.live.Reading)}
		d.live.Deployments[cls] = oprc.Deployment{Key: cls, Pkg: pkg}
		for _, object := range []string{"package/" + pkg, "deployment/" + cls, "class/" + cls, "function/" + pkg + ".f"} {
			d.live.Digests[object] = oprc.ObjectDigest{Rev: int64(d.live.Reading)}
		}
		if r.IntN(3) == 0 {
			delete(d.live.Deployments, cls)
			delete(d.live.Digests, "class/"+cls)
		}
	case 1: // an environment comes or goes down
		d.live.Environments = maps.Clone(d.live.Environments)
		d.live.Environments[env] = oprc.EnvironmentState{Health: []oprc.Health{oprc.Healthy, oprc.EnvDown}[r.IntN(2)]}
	case 2: // units are forgotten
		units := maps.Clone(d.live.Units[env])
		delete(units, id)
		d.set(env, units)
	case 3: // a report
		d.live.Statuses = maps.Clone(d.live.Statuses)
		statuses := maps.Clone(d.live.Statuses[env])
		if statuses == nil {
			statuses = map[string]oprc.Status{}
		}
		u := d.live.Units[env][id]
		statuses[id] = oprc.Status{
			Generation: u.Generation - int64(r.IntN(2)), SpecHash: u.SpecHash, ReportID: fmt.Sprint(d.live.Reading, "-1"),
			Condition: []oprc.Condition{oprc.Running, oprc.Down, oprc.Deleted}[r.IntN(3)], ErrorMsg: fmt.Sprint(d.live.Reading),
		}
		d.live.Statuses[env] = statuses
	default: // a command
		units := maps.Clone(d.live.Units[env])
		if units == nil {
			units = map[string]oprc.UnitDigest{}
		}
		rec := oprc.UnitRecord{Generation: units[id].Generation + 1, Op: oprc.Undeploy, Unit: oprc.DeploymentUnit{ID: id, ClsKey: cls, TargetEnv: env}}
		if r.IntN(4) > 0 {
			rec.Op, rec.SpecHash = oprc.Deploy, fmt.Sprint("h", r.IntN(9))
			rec.Unit.Functions = []oprc.UnitFunction{{Key: pkg + ".f"}, {Key: fmt.Sprint("p0.g", r.IntN(2))}}
		}
		units[id] = oprc.UnitDigest{Generation: rec.Generation, SpecHash: rec.SpecHash}
		if d.records[env] == nil {
			d.records[env] = map[string]oprc.UnitRecord{}
		}
		d.records[env][id] = rec
		d.set(env, units)
	}
}

func (d *desk) set(env string, units map[string]oprc.UnitDigest) {
	d.live.Units = maps.Clone(d.live.Units)
	if d.live.Units[env] = units; len(units) == 0 {
		delete(d.live.Units, env)
	}
}

func newDesk() *desk {
	return &desk{records: map[string]map[string]oprc.UnitRecord{}, live: plan.Live{
		Packages: map[string]oprc.PackageRecord{}, Deployments: map[string]oprc.Deployment{}, Digests: map[string]oprc.ObjectDigest{},
		Environments: map[string]oprc.EnvironmentState{}, Units: map[string]map[string]oprc.UnitDigest{}, Statuses: map[string]map[string]oprc.Status{},
	}}
}

// What an inspector shows that keeps an index from reading to reading is what one shows
// that never saw live state before, after histories of every kind of change.
func TestAnIndexThatIsRenewedIsTheOneMadeAnew(t *testing.T) {
	kinds := []oprc.Kind{oprc.KindPackage, oprc.KindDeployment, oprc.KindClass, oprc.KindFunction, oprc.KindUnit, oprc.KindEnv}
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := newDesk()
		kept := &reconcile.Inspector{Ledger: d, Reader: d}
		for range 25 {
			for range 1 + r.IntN(3) {
				d.step(r)
			}
			fresh := &reconcile.Inspector{Ledger: d, Reader: d}
			for _, kind := range kinds {
				if r.IntN(3) == 0 {
					continue // not everything is asked for after each change
				}
				want, err := fresh.List(t.Context(), kind)
				if err != nil {
					t.Fatal(err)
				}
				got, err := kept.List(t.Context(), kind)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("seed %d: %ss: -anew +renewed\n%s", seed, kind, diff)
				}
				for _, o := range want {
					if one, err := kept.Find(t.Context(), kind, o.Key); err != nil || !cmp.Equal(one, o) {
						t.Fatalf("seed %d: find %s %s: %v\n%s", seed, kind, o.Key, err, cmp.Diff(o, one))
					}
				}
			}
			if want, got := states(t, fresh), states(t, kept); !maps.Equal(want, got) {
				t.Fatalf("seed %d: units by state: %v, want %v", seed, got, want)
			}
		}
	}
}

func states(t *testing.T, i *reconcile.Inspector) map[reconcile.UnitState]int {
	t.Helper()
	in, err := i.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := maps.Clone(in.UnitStates())
	maps.DeleteFunc(out, func(_ reconcile.UnitState, n int) bool { return n == 0 })
	if out == nil {
		out = map[reconcile.UnitState]int{}
	}
	return out
}

// A slow ledger counts readings.
type slowLedger struct {
	*desk
	mu       sync.Mutex
	readings int
	start    chan struct{}
}

func (s *slowLedger) Live(context.Context) (plan.Live, error) {
	s.mu.Lock()
	s.readings++
	s.mu.Unlock()
	<-s.start
	return s.live, nil
}

// However many ask at once, one reading is under way and one waits for its turn.
func TestReadingsAreSharedByThoseWhoWait(t *testing.T) {
	s := &slowLedger{desk: newDesk(), start: make(chan struct{})}
	i := &reconcile.Inspector{Ledger: s, Reader: s}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := i.Inspect(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	time.Sleep(50 * time.Millisecond) // most of them ask by now; whoever comes later costs one reading more
	if _, err := i.Inspect(gone); err == nil {
		t.Error("whose client has gone waits all the same")
	}
	close(s.start)
	wg.Wait()
	if s.readings > 10 {
		t.Errorf("%d readings for 50 callers", s.readings)
	}
}

// A page costs the documents on it.
func TestOneUnitCostsOneDocument(t *testing.T) {
	d := newDesk()
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		d.step(r)
	}
	i := &reconcile.Inspector{Ledger: d, Reader: d}
	in, err := i.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ids, err := in.Keys(oprc.KindUnit)
	if err != nil || len(ids) < 10 {
		t.Fatalf("%d units, %v", len(ids), err)
	}
	if _, err := i.Find(t.Context(), oprc.KindUnit, ids[3]); err != nil || d.docs != 1 {
		t.Errorf("%d documents for one unit, %v", d.docs, err)
	}
	if _, err := i.List(t.Context(), oprc.KindDeployment); err != nil || d.docs != 1 {
		t.Errorf("%d documents of units for a list of deployments, %v", d.docs-1, err)
	}
	if got, err := in.Objects(t.Context(), oprc.KindUnit, slices.Concat(ids[:2], []string{"none"})); err != nil || len(got) != 2 || d.docs != 3 {
		t.Errorf("%d objects of 2, %d documents, %v", len(got), d.docs-1, err)
	}
}
