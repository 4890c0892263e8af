package rdb_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

var partHistories = flag.Int("part.histories", 12, "random histories in which plans on parts are compared with plans on everything")

// A plan on those parts of live state that it depends on is the plan on everything, byte for
// byte, in every state of random histories: with names that come to exist and go, keys that
// may belong to several packages, classes that others deploy, room that runs out, owners
// that change, units that are lost or left over; and the index that says which parts those
// are is always the one that is made anew.
func TestPlansOnPartsAreThoseOnEverything(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	parts, wholes := 0, 0
	for i := range *partHistories {
		h := newPartHistory(t, rand.New(rand.NewPCG(seed, uint64(i))))
		for range 12 {
			for range 3 {
				h.step()
			}
			for range 2 {
				if h.compare(h.request()) {
					parts++
				} else {
					wholes++
				}
			}
		}
		h.rebuilt()
	}
	t.Logf("%d plans on parts, %d on everything", parts, wholes)
	if parts < wholes {
		t.Error("most plans were on everything")
	}
}

// A partHistory is a ledger to which random things happen.
type partHistory struct {
	*testing.T
	*rand.Rand
	server *miniredis.Miniredis
	db     *rdb.DB
	r      *reconcile.Reconciler
	now    time.Time
}

func newPartHistory(t *testing.T, random *rand.Rand) *partHistory {
	server := miniredis.RunT(t)
	h := &partHistory{T: t, Rand: random, server: server, now: time.Now()}
	h.db = h.open()
	h.r = h.reconciler(h.db)
	var envs []oprc.Environment
	for i, most := range []int{3, 6, 100} {
		envs = append(envs, oprc.Environment{
			Kind: oprc.KindEnvironment, Name: fmt.Sprint("e", i), Availability: 0.9, Capacity: &oprc.Capacity{Units: &most}, Default: i == 2,
		})
	}
	h.apply(reconcile.Request{Files: h.files(nil, envs), Scope: plan.Scope{Origin: "cli"}})
	return h
}

// open connects as a process of its own.
func (h *partHistory) open() *rdb.DB {
	db, err := rdb.Open(h.Context(), rdb.Options{URL: "redis://" + h.server.Addr(), PartsFrom: 1})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = db.Close() })
	return db
}

// reconciler reads files as JSON that decodes into what they hold.
func (h *partHistory) reconciler(db *rdb.DB) *reconcile.Reconciler {
	return &reconcile.Reconciler{Ledger: db, Now: func() time.Time { return h.now }, Load: func(files []oprc.File, _ bool, _ string) (docs []oprc.Document, _ oprc.Diagnostics) {
		for _, f := range files {
			doc := oprc.Document{Path: f.Path}
			if strings.HasPrefix(f.Path, "env-") {
				doc.Environment = new(oprc.Environment)
				must(0, json.Unmarshal(f.Data, doc.Environment))(h.T)
			} else {
				doc.Package = new(oprc.Package)
				must(0, json.Unmarshal(f.Data, doc.Package))(h.T)
			}
			docs = append(docs, doc)
		}
		return docs, nil
	}}
}

func (h *partHistory) files(packages []oprc.Package, envs []oprc.Environment) []oprc.File {
	var out []oprc.File
	for _, p := range packages {
		out = append(out, oprc.File{Path: p.Name, Data: must(json.Marshal(p))(h.T)})
	}
	for _, e := range envs {
		out = append(out, oprc.File{Path: "env-" + e.Name, Data: must(json.Marshal(e))(h.T)})
	}
	return out
}

func (h *partHistory) apply(req reconcile.Request) {
	_, _ = h.r.Apply(h.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Name: "t"}) // what is refused changes nothing
}

// The names are such that keys may belong to several packages: class q.C of p, or C of p.q.
var partNames = []string{"p", "p.q", "p.q.C", "q", "r", "lib", "lib.x", "s"}

func one[T any](h *partHistory, of []T) T { return of[h.IntN(len(of))] }

// ref is a reference that may mean something, or not.
func (h *partHistory) ref(members ...string) string {
	switch h.IntN(6) {
	case 0, 1, 2:
		return "." + one(h, members)
	case 3:
		return one(h, members)
	}
	return one(h, partNames) + "." + one(h, members)
}

func (h *partHistory) spec(name string) oprc.Package {
	p := oprc.Package{Name: name, Version: fmt.Sprintf("1.%d.0", h.IntN(2)), Disabled: h.IntN(12) == 0}
	for _, f := range []string{"f", "g", "C"}[:h.IntN(4)] {
		fn := oprc.Function{
			Name: f, Type: oprc.Task, State: oprc.Enabled,
			Provision: &oprc.Provision{Docker: &oprc.Docker{Image: fmt.Sprint("i:", h.IntN(3))}},
		}
		if h.IntN(6) == 0 {
			fn.OutputCls = h.ref("C", "D")
		}
		if h.IntN(40) == 0 {
			fn.State = oprc.Frozen
		}
		p.Functions = append(p.Functions, fn)
	}
	for _, c := range []string{"C", "D", "q.C"}[:h.IntN(4)] {
		cls := oprc.Class{Name: c, StateType: oprc.StateNormal, Disabled: h.IntN(12) == 0, MarkForRemoval: h.IntN(15) == 0}
		if h.IntN(3) == 0 {
			cls.Parents = []string{h.ref("C", "D")}
		}
		if h.IntN(2) == 0 {
			cls.Functions = []oprc.Binding{{Name: "b", Function: h.ref("f", "g"), Access: oprc.Public}}
		}
		if h.IntN(6) == 0 {
			cls.RefSpec = []oprc.RefSpec{{Name: "to", Cls: h.ref("C", "D")}}
		}
		p.Classes = append(p.Classes, cls)
		if h.IntN(2) == 0 {
			p.Deployments = append(p.Deployments, h.deploy("."+c))
		}
	}
	if h.IntN(5) == 0 {
		p.Deployments = append(p.Deployments, h.deploy(h.ref("C", "D")))
	}
	if h.IntN(4) == 0 {
		p.Required = []string{one(h, partNames) + one(h, []string{"", "@^1", "@>=1.1"})}
	}
	return p
}

func (h *partHistory) deploy(key string) oprc.Deployment {
	d := oprc.Deployment{Key: key, PartitionCount: 1 + h.IntN(3), ReplicaCount: 1}
	if h.IntN(2) == 0 {
		d.TargetEnvs = []string{one(h, []string{"e0", "e1", "e2", "e3"})}
	}
	return d
}

// request asks for one or two packages, or for some to go.
func (h *partHistory) request() reconcile.Request {
	req := reconcile.Request{Scope: plan.Scope{Origin: one(h, []string{"cli", "cli", "api"}), TakeOwnership: h.IntN(2) == 0}, Heal: h.IntN(3) == 0}
	var specs []oprc.Package
	for range 1 + h.IntN(2) {
		name := one(h, partNames)
		live := must(h.db.Live(h.Context()))(h.T)
		rec, there := live.Packages[name]
		switch n := h.IntN(6); {
		case n == 0:
			req.Scope.Delete = append(req.Scope.Delete, name)
		case n == 1 && there:
			specs = append(specs, rec.Spec)
		case n == 2 && there: // a part of it goes
			spec := rec.Spec
			spec.Classes = spec.Classes[:h.IntN(len(spec.Classes)+1)]
			specs = append(specs, spec)
		default:
			specs = append(specs, h.spec(name))
		}
	}
	req.Files = h.files(specs, nil)
	return req
}

// step lets one thing happen.
func (h *partHistory) step() {
	ctx := h.Context()
	switch h.IntN(12) {
	case 0: // a unit of which nobody knows why it is there, or one that is lost
		live := must(h.db.Live(ctx))(h.T)
		for env, units := range live.Units {
			for id := range units {
				h.server.HDel("oaas_pm:{env:"+env+"}:units", id)
				h.server.HDel("oaas_pm:{env:"+env+"}:digests", id)
				h.db.Afresh()
				return
			}
		}
	case 1:
		u := unit(one(h, partNames)+"."+one(h, []string{"C", "D"}), 7, 0, "e2")
		_ = h.db.Dispatch(ctx, "e2", []oprc.Command{command(u, oprc.Deploy, 1)}, 0)
	case 2:
		h.beat("e1", one(h, []float64{0, 0.5, 0.99}))
	case 3:
		most := h.IntN(8)
		h.apply(reconcile.Request{
			Files: h.files(nil, []oprc.Environment{{Kind: oprc.KindEnvironment, Name: one(h, []string{"e0", "e1", "e3"}), Capacity: &oprc.Capacity{Units: &most}}}),
			Scope: plan.Scope{Origin: "cli"},
		})
	case 4: // the index is lost, altered, or of a program that knows of none
		switch h.IntN(3) {
		case 0:
			h.server.Del("oaas_pm:{catalog}:refs")
		case 1:
			h.server.HDel("oaas_pm:{catalog}:index", "version")
		case 2:
			must(h.server.Incr("oaas_pm:{catalog}:version", 1))(h.T)
		}
		h.apply(h.request())
	default:
		h.apply(h.request())
	}
}

func (h *partHistory) beat(env string, availability float64) {
	must(0, h.db.Heartbeat(h.Context(), env, []oprc.Heartbeat{{CRM: "crm", Time: h.now, Availability: availability}}))(h.T)
}

// compare plans a request on parts and on everything, and what would be sent after it. It
// reports whether parts were enough.
func (h *partHistory) compare(req reconcile.Request) bool {
	h.Helper()
	whole, parts := h.reconciler(h.db), h.reconciler(h.open())
	db, partly := parts.Ledger.(*rdb.DB), false
	parts.Part = func(ctx context.Context, part plan.Part) (plan.Live, bool, error) {
		live, read, err := db.LiveFor(ctx, part)
		partly = read
		if read && err == nil {
			h.unsent(part, live)
		}
		return live, read, err
	}
	want, wantErr := whole.Plan(h.Context(), req)
	got, err := parts.Plan(h.Context(), req)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		h.Errorf("got %v, want %v", err, wantErr)
	}
	if diff := cmp.Diff(encoded(h.T, want), encoded(h.T, got)); diff != "" {
		h.Fatalf("the plan of %s, -everything +parts:\n%s", requested(req), diff)
	}
	return partly
}

// unsent compares what is read back after commands were sent.
func (h *partHistory) unsent(part plan.Part, live plan.Live) {
	all := must(h.db.Live(h.Context()))(h.T)
	classes := map[string]bool{}
	for key, d := range all.Deployments {
		if slices.Contains(part.Names, d.Pkg) {
			classes[key] = true
		}
	}
	if diff := cmp.Diff(all.Unsent(classes), live.Unsent(classes)); diff != "" {
		h.Errorf("still to be sent about %v, -everything +parts:\n%s", slices.Sorted(maps.Keys(classes)), diff)
	}
}

// rebuilt compares the index with the one that is made anew.
func (h *partHistory) rebuilt() {
	h.Helper()
	if _, follows, err := h.open().LiveFor(h.Context(), plan.Part{}); err != nil || !follows {
		return
	}
	if key, err := h.open().IndexAltered(h.Context()); key != "" || err != nil {
		h.Errorf("an index that nobody altered: %q, %v", key, err)
	}
	was := h.index()
	h.server.HDel("oaas_pm:{catalog}:index", "version")
	h.apply(reconcile.Request{Files: h.files([]oprc.Package{{Name: "last"}}, nil), Scope: plan.Scope{Origin: "cli"}})
	h.apply(reconcile.Request{Scope: plan.Scope{Origin: "cli", Delete: []string{"last"}}})
	if diff := cmp.Diff(h.index(), was); diff != "" {
		h.Errorf("the index, -made anew +as kept:\n%s", diff)
	}
}

// An index whose lengths agree and whose words do not is believed by plans on parts, until
// somebody compares it with the records: then it is made anew.
func TestAnAlteredIndexIsFoundAndMadeAnew(t *testing.T) {
	const index, refs = "oaas_pm:{catalog}:index", "oaas_pm:{catalog}:refs"
	now := time.Now()
	for name, alter := range map[string]func(*partHistory){
		"another name in a reference": func(h *partHistory) {
			must(h.server.ZRem(refs, "r lib p"))(h.T)
			must(h.server.ZAdd(refs, 0, "r other p"))(h.T)
		},
		"another number of units":    func(h *partHistory) { h.server.HSet(index, "units/e0", "77") },
		"another size of an origin":  func(h *partHistory) { h.server.HSet(index, "origin/cli/classes", "77") },
		"another entry of a package": func(h *partHistory) { h.server.HSet(index, "package/p", "=api\n1") },
	} {
		t.Run(name, func(t *testing.T) {
			h := newPartHistory(t, rand.New(rand.NewPCG(1, 1)))
			lib := oprc.Package{Name: "lib", Classes: []oprc.Class{{Name: "C", StateType: oprc.StateNormal}}}
			p := oprc.Package{
				Name: "p", Classes: []oprc.Class{{Name: "C", StateType: oprc.StateNormal, Parents: []string{"lib.C"}}},
				Deployments: []oprc.Deployment{{Key: ".C", PartitionCount: 1, ReplicaCount: 1, TargetEnvs: []string{"e0"}}},
			}
			for _, spec := range []oprc.Package{lib, p} { // the second commit follows the index that the first one left
				h.apply(reconcile.Request{Files: h.files([]oprc.Package{spec}, nil), Scope: plan.Scope{Origin: "cli"}})
			}
			sound := h.index()
			if altered, err := h.open().MendIndex(t.Context(), now); altered || err != nil {
				t.Fatalf("a sound index: altered %v, %v", altered, err)
			}
			alter(h)
			if key, err := h.open().IndexAltered(t.Context()); key != index || err != nil {
				t.Errorf("found %q, %v; want %s", key, err, index)
			}
			daemon := h.open()
			if altered, err := daemon.MendIndex(t.Context(), now); !altered || err != nil {
				t.Errorf("altered %v, %v; want it found", altered, err)
			}
			if diff := cmp.Diff(sound, h.index()); diff != "" {
				t.Errorf("the index, -as it was +mended:\n%s", diff)
			}
			if _, follows, err := h.open().LiveFor(t.Context(), plan.Part{Names: []string{"p"}}); !follows || err != nil {
				t.Errorf("followed %v, %v after it was mended", follows, err)
			}
			alter(h)
			if altered, _ := daemon.MendIndex(t.Context(), now.Add(time.Second)); altered {
				t.Error("compared again after a second")
			}
			if altered, _ := daemon.MendIndex(t.Context(), now.Add(2*time.Minute)); !altered {
				t.Error("not compared again after two minutes")
			}
		})
	}
}

// What somebody wrote into the index does not stop a commit half-way.
func TestNothingInTheIndexStopsACommit(t *testing.T) {
	const index = "oaas_pm:{catalog}:index"
	for field, value := range map[string]string{
		"package/p": "", "deployment/p.C": "p\nmany e0", "units/e0": "many", "placed/p": "1.5", "origin/cli/units": "9223372036854775807",
	} {
		t.Run(field, func(t *testing.T) {
			h := newPartHistory(t, rand.New(rand.NewPCG(1, 1)))
			p := oprc.Package{Name: "p", Classes: []oprc.Class{{Name: "C", StateType: oprc.StateNormal}}}
			write := func(partitions int) {
				p.Deployments = []oprc.Deployment{{Key: ".C", PartitionCount: partitions, ReplicaCount: 1, TargetEnvs: []string{"e0"}}}
				req := reconcile.Request{Files: h.files([]oprc.Package{p}, nil), Scope: plan.Scope{Origin: "cli"}}
				if _, err := h.r.Apply(t.Context(), req, reconcile.Conditions{AnyRemovals: true}, reconcile.Actor{Name: "t"}); err != nil {
					t.Fatal(err)
				}
			}
			write(1)
			write(2)
			h.server.HSet(index, field, value)
			write(3)
			if history := must(h.db.History(t.Context(), "p", 10))(t); len(history) != 3 {
				t.Errorf("%d entries in the history, want 3", len(history))
			}
			if altered, err := h.open().MendIndex(t.Context(), time.Now()); err != nil {
				t.Errorf("mend: altered %v, %v", altered, err)
			}
			h.rebuilt()
		})
	}
}

func (h *partHistory) index() map[string]string {
	out := map[string]string{}
	fields, _ := h.server.HKeys("oaas_pm:{catalog}:index") // none where there is no index
	for _, f := range fields {
		if f != "version" {
			out[f] = h.server.HGet("oaas_pm:{catalog}:index", f)
		}
	}
	members, _ := h.server.ZMembers("oaas_pm:{catalog}:refs")
	for _, m := range members {
		out[m] = "ref"
	}
	return out
}

func encoded(t *testing.T, p *plan.Plan) string {
	if p == nil {
		return ""
	}
	return string(must(plan.Encode(p))(t))
}

func requested(req reconcile.Request) string {
	var b strings.Builder
	for _, f := range req.Files {
		fmt.Fprintf(&b, "%s\n", f.Data)
	}
	return fmt.Sprintf("%s delete %v", b.String(), req.Scope.Delete)
}
