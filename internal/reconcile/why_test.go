package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const cart = "shop.cart/0/0@edge"

// listing is what there is.
type listing []reconcile.Object

func (l listing) List(_ context.Context, kind oprc.Kind) ([]reconcile.Object, error) {
	var out []reconcile.Object
	for _, o := range l {
		if o.Kind == kind {
			out = append(out, o)
		}
	}
	return out, nil
}

// elsewhere is a deployment that names no environment, and is not in the default one.
func elsewhere(home oprc.Health, until time.Time) listing {
	pkg := &reconcile.PackageView{Name: "shop"}
	pkg.Spec = oprc.Package{Name: "shop", Deployments: []oprc.Deployment{{Key: ".cart"}}}
	dep := &reconcile.DeploymentView{Condition: oprc.Running, Units: 1, Running: 1}
	dep.Key, dep.Pkg, dep.TargetEnvs, dep.Members = "shop.cart", "shop", []string{"edge"}, []oprc.Member{{ID: 1, Env: "edge"}}
	env := &reconcile.EnvironmentView{Name: "home"}
	env.Health, env.RecoveringUntil, env.Spec.Default = home, until, true
	return listing{
		{Kind: oprc.KindPackage, Key: "shop", Doc: pkg}, {Kind: oprc.KindDeployment, Key: "shop.cart", Doc: dep}, {Kind: oprc.KindEnv, Key: "home", Doc: env},
	}
}

// demanding makes the class ask for an availability: then nothing goes to the default
// environment for want of another.
func demanding(l listing) listing {
	pkg := l[0].Doc.(*reconcile.PackageView)
	pkg.Spec.Classes = []oprc.Class{{Name: "cart", Requirements: &oprc.Requirements{Availability: 0.9}}}
	return l
}

// queued is a world that knows how far commands have come.
type queued struct {
	listing
	q oprc.CommandQueue
}

func (w queued) CommandQueue(context.Context, string) (oprc.CommandQueue, error) { return w.q, nil }

// Nobody read it, somebody has it, and it was acknowledged without a report are three
// different things.
func TestWhySaysHowFarACommandHasCome(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	u := &reconcile.UnitView{Condition: oprc.Pending}
	u.Unit = oprc.DeploymentUnit{ID: cart, ClsKey: "shop.cart", TargetEnv: "edge"}
	u.Op, u.Generation, u.DispatchedAt = oprc.Deploy, 4, now.Add(-20*time.Second)
	env := &reconcile.EnvironmentView{Name: "edge"}
	env.Health = oprc.Healthy
	world := listing{{Kind: oprc.KindUnit, Key: cart, Doc: u}, {Kind: oprc.KindEnv, Key: "edge", Doc: env}}
	const sent = "generation 4 was sent 20s ago, and no report has answered it"
	for name, tt := range map[string]struct {
		q    oprc.CommandQueue
		want string
	}{
		"nobody read it":     {oprc.CommandQueue{Waiting: map[string]int64{cart: 4}}, sent + "; no CRM has read it"},
		"an older one waits": {oprc.CommandQueue{Waiting: map[string]int64{cart: 3}}, sent + "; a CRM has acknowledged it without a report, and it will be sent again"},
		"somebody has it": {
			oprc.CommandQueue{Held: map[string]oprc.HeldCommand{cart: {Generation: 4, CRM: "a", Idle: 3 * time.Second}}},
			sent + "; CRM a has read it and not answered, and touched it last 3s ago",
		},
		"too many to know": {oprc.CommandQueue{Partial: true}, sent},
		"another group": {
			oprc.CommandQueue{Waiting: map[string]int64{cart: 4}, Groups: []string{"mine"}},
			sent + "; no CRM has read it; the commands are also read by group mine: CRMs share the group crm, and another group gets every command once more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := reconcile.Why(t.Context(), queued{world, tt.q}, oprc.KindUnit, cart, now)
			if err != nil || got.Causes[0].Reason != tt.want {
				t.Errorf("got %+v, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

// Where no CRM sends heartbeats, a consumer may have acknowledged the command all the same:
// then nothing waits. What was answered before does not wait either.
func TestWhyWithoutHeartbeatsSaysHowFarACommandHasCome(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const nobody = "no CRM serves environment edge"
	for name, tt := range map[string]struct {
		settled bool
		q       oprc.CommandQueue
		want    string
	}{
		"waits":        {false, oprc.CommandQueue{Waiting: map[string]int64{cart: 4}}, nobody + "; no CRM has read it"},
		"acknowledged": {false, oprc.CommandQueue{}, nobody + "; a CRM has acknowledged it without a report, and it is sent again once a CRM sends heartbeats"},
		"answered":     {true, oprc.CommandQueue{}, nobody},
	} {
		t.Run(name, func(t *testing.T) {
			u := &reconcile.UnitView{Condition: oprc.Down, Settled: tt.settled}
			u.Unit = oprc.DeploymentUnit{ID: cart, ClsKey: "shop.cart", TargetEnv: "edge"}
			u.Op, u.Generation, u.DispatchedAt = oprc.Deploy, 4, now.Add(-20*time.Second)
			got, err := reconcile.Why(t.Context(), queued{listing{{Kind: oprc.KindUnit, Key: cart, Doc: u}}, tt.q}, oprc.KindUnit, cart, now)
			if err != nil || got.Causes[0].Reason != tt.want {
				t.Errorf("got %+v, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

// What was decided, and is not in the stream of its environment, is no good state: neither
// a unit that is not recorded, nor one that is recorded as it was before. Over a server,
// which hides secrets, hashes say nothing.
func TestWhySaysWhatWasNotSent(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		recorded string // the hash; "": nothing is
		read     time.Time
		good     bool
	}{
		"nothing recorded":    {"", now, false},
		"recorded as before":  {"sha256:before", now, false},
		"another one, by far": {"sha256:before", time.Time{}, true},
		"nothing, by far":     {"", time.Time{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			pkg := &reconcile.PackageView{Name: "shop"}
			pkg.Spec = oprc.Package{Name: "shop", Classes: []oprc.Class{{Name: "cart"}}, Deployments: []oprc.Deployment{{Key: ".cart", TargetEnvs: []string{"edge"}}}}
			dep := &reconcile.DeploymentView{Condition: oprc.Running, Units: 1, Running: 1}
			dep.Key, dep.Pkg, dep.TargetEnvs, dep.Members = "shop.cart", "shop", []string{"edge"}, []oprc.Member{{ID: 1, Env: "edge"}}
			dep.Assignments = []oprc.Assignment{{Primary: 1, Owners: []int{1}, ShardIDs: []int{1}}}
			env := &reconcile.EnvironmentView{Name: "edge"}
			env.Health, env.Read = oprc.Healthy, tt.read
			world := listing{{Kind: oprc.KindPackage, Key: "shop", Doc: pkg}, {Kind: oprc.KindDeployment, Key: "shop.cart", Doc: dep}, {Kind: oprc.KindEnv, Key: "edge", Doc: env}}
			if tt.recorded != "" {
				u := &reconcile.UnitView{Condition: oprc.Running, Settled: true}
				u.Unit = oprc.DeploymentUnit{ID: cart, ClsKey: "shop.cart", TargetEnv: "edge"}
				u.Op, u.Generation, u.SpecHash = oprc.Deploy, 1, tt.recorded
				world = append(world, reconcile.Object{Kind: oprc.KindUnit, Key: cart, Doc: u})
			}
			got, err := reconcile.Why(t.Context(), world, "", "shop", now)
			if err != nil || got.Good != tt.good {
				t.Fatalf("got %+v, %v", got, err)
			}
			last := got.Causes[len(got.Causes)-1]
			if sent := last.Kind != oprc.KindEnv || !strings.Contains(last.Reason, "are not in its stream: 1;"); sent != tt.good {
				t.Errorf("got %+v", last)
			}
		})
	}
}

// leftBehind is a unit of shop.cart that has to go.
func leftBehind(env string) reconcile.Object {
	v := &reconcile.UnitView{Condition: oprc.Pending}
	v.Unit, v.Op = oprc.DeploymentUnit{ID: "shop.cart/0/0@" + env, ClsKey: "shop.cart", TargetEnv: env}, oprc.Undeploy
	return reconcile.Object{Kind: oprc.KindUnit, Key: v.Unit.ID, Doc: v}
}

func TestWhy(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	environment := func(h oprc.Health, beats ...oprc.Heartbeat) reconcile.Object {
		v := &reconcile.EnvironmentView{Name: "edge"}
		v.Health, v.Beats = h, beats
		return reconcile.Object{Kind: oprc.KindEnv, Key: "edge", Doc: v}
	}
	unit := func(c oprc.Condition, settled bool, st *oprc.Status) reconcile.Object {
		v := &reconcile.UnitView{Condition: c, Settled: settled, Status: st}
		v.Unit = oprc.DeploymentUnit{ID: cart, ClsKey: "shop.cart", TargetEnv: "edge"}
		v.Op, v.Generation, v.DispatchedAt = oprc.Deploy, 4, now.Add(-20*time.Second)
		return reconcile.Object{Kind: oprc.KindUnit, Key: cart, Doc: v}
	}
	source := func(change func(*oprc.SourceStatus)) reconcile.Object {
		s := &oprc.SourceStatus{Name: "main", Revision: "abc", Applied: "abc"}
		change(s)
		return reconcile.Object{Kind: oprc.KindSource, Key: "main", Doc: s}
	}
	pkg := &reconcile.PackageView{Name: "shop", PackageRecord: oprc.PackageRecord{Rev: 3, Origin: "git:main", AppliedBy: "Ann"}}
	dep := &reconcile.DeploymentView{Condition: oprc.Down, Units: 1}
	dep.Key, dep.Pkg = "shop.cart", "shop"
	shop := listing{{Kind: oprc.KindPackage, Key: "shop", Doc: pkg}, {Kind: oprc.KindDeployment, Key: "shop.cart", Doc: dep}}
	status := func(msg string) *oprc.Status {
		return &oprc.Status{Generation: 3, Condition: oprc.Down, CRM: "crm-1", ErrorMsg: msg}
	}
	finding := oprc.Diagnostic{
		Code: "E005", Severity: oprc.SeverityError, Package: "shop", Message: "no such function", Position: oprc.Position{File: "shop.yaml", Line: 7},
	}
	tests := map[string]struct {
		world listing
		kind  oprc.Kind
		key   string
		want  []string // parts of the links, in order
		next  string
	}{
		"no CRM ever": {
			append(shop, unit(oprc.Pending, false, nil), environment(oprc.HealthUnknown), source(func(*oprc.SourceStatus) {})), "", "shop",
			[]string{"package shop revision 3 by Ann", "deployment shop.cart", "unit " + cart + " PENDING", "environment edge unknown no CRM has ever reported"},
			"crm run --env edge",
		},
		"CRM died": {
			append(shop, unit(oprc.Down, true, nil), environment(oprc.EnvDown, oprc.Heartbeat{CRM: "crm-1", Time: now.Add(-time.Minute)})), oprc.KindUnit, cart,
			[]string{"unit " + cart + " DOWN", "environment edge down CRM crm-1 was heard last 1m0s ago"},
			"crm run --env edge",
		},
		"not answered yet": {
			listing{unit(oprc.Pending, false, status("")), environment(oprc.Healthy)},
			"", cart,
			[]string{"PENDING generation 4 was sent 20s ago, and no report has answered it; the last one was about generation 3"},
			"get crms",
		},
		"reported down": {
			listing{unit(oprc.Down, true, status("image not found")), environment(oprc.Healthy)},
			"", cart,
			[]string{"DOWN image not found"},
			"describe unit " + cart,
		},
		"suspended": {
			append(shop, source(func(s *oprc.SourceStatus) {
				s.Suspended = &oprc.Suspension{Author: "bob", Reason: "freeze", Until: now}
			})), "", "shop", []string{"package shop", "source main suspended by bob until 2026-03-01T12:00:00Z freeze"}, "source resume main",
		},
		"held": {
			listing{source(func(s *oprc.SourceStatus) {
				s.PlanID = "sha256:1234"
				s.Conditions = []oprc.SourceCondition{{Type: "Ready", Reason: "ApprovalNeeded", Message: "it deletes 12 of 20"}}
			})}, oprc.KindSource, "main", []string{"source main held at revision abc it deletes 12 of 20"}, "source approve sha256:1234",
		},
		"kept because of a finding": {
			append(shop, source(func(s *oprc.SourceStatus) {
				s.Kept, s.Findings = []string{"shop"}, oprc.Diagnostics{finding}
			})), "", "shop", []string{"package shop", "source main at revision abc package shop is kept at its last good state: shop.yaml:7: E005: no such function"}, "describe source main",
		},
		"never applied because of a finding": {
			listing{source(func(s *oprc.SourceStatus) { s.Findings = oprc.Diagnostics{finding} })},
			"", "shop",
			[]string{"package shop not applied", "source main at revision abc package shop is kept at its last good state: shop.yaml:7: E005"},
			"describe source main",
		},
		"claimed by another source": {
			append(shop, unit(oprc.Running, true, nil), source(func(s *oprc.SourceStatus) { s.Name, s.Kept = "second", []string{"shop"} })), "", "shop",
			[]string{"package shop revision 3 by Ann", "source second at revision abc its files hold package shop as well, which is owned by git:main", "deployment shop.cart"},
			"adopt shop --by second",
		},
		"undone": {
			append(shop, source(func(s *oprc.SourceStatus) { s.Quarantined = []string{"shop"} })), "", "shop",
			[]string{"package shop", "source main at revision abc package shop is quarantined by undo"},
			"history shop",
		},
		"unreachable": {
			listing{source(func(s *oprc.SourceStatus) {
				s.Conditions = []oprc.SourceCondition{{Type: "Ready", Reason: "Unreachable", Message: "poll: no route", Since: now}}
			})}, "", "main", []string{"source main Unreachable since 2026-03-01T12:00:00Z poll: no route"}, "source reconcile main",
		},
		"moved away from the default": {
			elsewhere(oprc.EnvDown, time.Time{}), oprc.KindDeployment, "shop.cart",
			[]string{"deployment shop.cart RUNNING", "environment home DOWN deployment shop.cart names no environment: while this one is not usable it runs in edge, and returns when this one has sent heartbeats for 1m0s without a gap"},
			"",
		},
		"not back yet": {
			elsewhere(oprc.Healthy, now), oprc.KindDeployment, "shop.cart",
			[]string{"deployment shop.cart RUNNING", "environment home HEALTHY, recovered recently deployment shop.cart names no environment: while this one is not usable it runs in edge, and returns at 2026-03-01T12:00:00Z"},
			"",
		},
		"chosen for an availability, not moved": {
			demanding(elsewhere(oprc.EnvDown, time.Time{})), oprc.KindDeployment, "shop.cart",
			[]string{"deployment shop.cart RUNNING"},
			"",
		},
		"left something behind": {
			append(demanding(elsewhere(oprc.Healthy, time.Time{})), leftBehind("gone")), oprc.KindDeployment, "shop.cart",
			[]string{"deployment shop.cart RUNNING", "environment gone UNKNOWN units of shop.cart that wait to be undeployed: 1; this happens when a CRM reconnects: it is not registered"},
			"",
		},
		"degraded": {
			listing{environment(oprc.Degraded, oprc.Heartbeat{CRM: "a", Time: now}, oprc.Heartbeat{CRM: "b", Time: now.Add(-time.Minute)})},
			"", "edge",
			[]string{"environment edge DEGRADED of its 2 CRMs these are silent for more than 17.5s: b; the others carry on"},
			"get crms",
		},
		"recovering": {
			elsewhere(oprc.Healthy, now), oprc.KindEnv, "home",
			[]string{"environment home HEALTHY it was DOWN: computed placements return at 2026-03-01T12:00:00Z"},
			"",
		},
		"all is well": {listing{source(func(*oprc.SourceStatus) {})}, "", "main", []string{"source main applied abc"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := reconcile.Why(t.Context(), tt.world, tt.kind, tt.key, now)
			if err != nil {
				t.Fatal(err)
			}
			next := ""
			if len(got.Causes) != len(tt.want) {
				t.Fatalf("got %+v, want %d links", got.Causes, len(tt.want))
			}
			for i, c := range got.Causes {
				if line := string(c.Kind) + " " + c.Key + " " + c.State + " " + c.Reason; !strings.Contains(line, tt.want[i]) {
					t.Errorf("link %d: got %q, want %q", i, line, tt.want[i])
				}
				if len(c.Next) > 0 {
					next = strings.Join(c.Next, " ")
				}
			}
			if next != tt.next || got.Good != (tt.next == "" && got.Causes[len(got.Causes)-1].Reason == "") {
				t.Errorf("next: got %q (good %v), want %q", next, got.Good, tt.next)
			}
		})
	}
	if _, err := reconcile.Why(t.Context(), shop, "", "nothing", now); !errors.Is(err, oprc.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
}
