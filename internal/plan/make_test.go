package plan_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// shop has a function and a class that is deployed once; base offers a parent.
func shop(image string) oprc.Package {
	return oprc.Package{
		Name:      "shop",
		Functions: []oprc.Function{task("pay", image)},
		Classes: []oprc.Class{{
			Name: "cart", StateType: oprc.StateNormal, Parents: []string{"base.root"},
			Functions: []oprc.Binding{{Name: "pay", Function: ".pay", Access: oprc.Public}},
		}},
		Deployments: []oprc.Deployment{{Key: ".cart", PartitionCount: 1, ReplicaCount: 1, TargetEnvs: []string{"edge"}}},
	}
}

func base(image string) oprc.Package {
	return oprc.Package{
		Name:      "base",
		Functions: []oprc.Function{task("log", image)},
		Classes: []oprc.Class{{
			Name: "root", StateType: oprc.StateNormal,
			Functions: []oprc.Binding{{Name: "log", Function: ".log", Access: oprc.Public}},
		}},
	}
}

const cartUnit = "shop.cart/0/0@edge"

// settled is a ledger with base (cli) and shop (of an origin) applied.
func settled(t *testing.T, origin string) *ledger {
	t.Helper()
	l := newLedger(environment("edge", 0.99), environment("cloud", 0.999))
	l.must(t, plan.Input{Documents: documents(base("log:1")), Scope: plan.Scope{Origin: oprc.OriginCLI}})
	l.must(t, plan.Input{Documents: documents(shop("pay:1")), Scope: plan.Scope{Origin: origin}})
	return l
}

func files(packages ...oprc.Package) plan.Input {
	return plan.Input{Documents: documents(packages...), Scope: plan.Scope{Origin: oprc.OriginCLI}}
}

func edited(p oprc.Package, edit func(*oprc.Package)) oprc.Package {
	p.Functions, p.Classes, p.Deployments = slices.Clone(p.Functions), slices.Clone(p.Classes), slices.Clone(p.Deployments)
	edit(&p)
	return p
}

func TestChangesAndReasons(t *testing.T) {
	tests := map[string]struct {
		prepare func(*ledger)
		in      plan.Input
		want    []string
	}{
		"nothing": {in: files(shop("pay:1"), base("log:1")), want: []string{}},
		"image": {
			in:   files(shop("pay:2")),
			want: []string{"package/shop update spec-changed", "function/shop.pay update spec-changed", "unit/" + cartUnit + " update spec-changed"},
		},
		"function of a parent": {
			in:   files(base("log:2")),
			want: []string{"package/base update spec-changed", "function/base.log update spec-changed", "unit/" + cartUnit + " update inherited"},
		},
		"binding of a parent": {
			in: files(edited(base("log:1"), func(p *oprc.Package) {
				p.Classes[0].Functions = []oprc.Binding{{Name: "log", Function: ".log", Access: oprc.Internal}}
			})),
			want: []string{
				"package/base update spec-changed", "class/base.root update spec-changed", "class/shop.cart update inherited",
				"unit/" + cartUnit + " update inherited",
			},
		},
		"function disabled": {
			in: files(edited(shop("pay:1"), func(p *oprc.Package) { p.Functions[0].State = oprc.Disabled })),
			want: []string{
				"package/shop update spec-changed", "function/shop.pay update spec-changed",
				"unit/" + cartUnit + " update disabled",
			},
		},
		"class disabled": {
			in: files(edited(shop("pay:1"), func(p *oprc.Package) { p.Classes[0].Disabled = true })),
			want: []string{
				"package/shop update spec-changed", "class/shop.cart update spec-changed",
				"deployment/shop.cart delete disabled", "unit/" + cartUnit + " delete disabled",
			},
		},
		"deployment removed": {
			in: files(edited(shop("pay:1"), func(p *oprc.Package) { p.Deployments = nil })),
			want: []string{
				"package/shop update spec-changed", "deployment/shop.cart delete removed", "unit/" + cartUnit + " delete removed",
			},
		},
		"more partitions": {
			in: files(edited(shop("pay:1"), func(p *oprc.Package) { p.Deployments[0].PartitionCount = 2 })),
			want: []string{
				"package/shop update spec-changed", "deployment/shop.cart update spec-changed",
				"unit/" + cartUnit + " update spec-changed", "unit/shop.cart/1/0@edge create new",
			},
		},
		"unit never dispatched": {
			prepare: func(l *ledger) { delete(l.live.Units["edge"], cartUnit) },
			in:      files(shop("pay:1")),
			want:    []string{"unit/" + cartUnit + " create no-report"},
		},
		"unit dispatched before the last change": {
			prepare: func(l *ledger) {
				l.live.Units["edge"][cartUnit] = oprc.UnitDigest{Generation: 4, SpecHash: "sha256:old"}
			},
			in:   files(shop("pay:1")),
			want: []string{"unit/" + cartUnit + " update no-report"},
		},
		"catalogue object lost": {
			prepare: func(l *ledger) { delete(l.live.Digests, "class/shop.cart") },
			in:      files(shop("pay:1")),
			want:    []string{"class/shop.cart create no-report"},
		},
		"package digest lost": {
			prepare: func(l *ledger) { delete(l.live.Digests, "package/shop") },
			in:      files(shop("pay:1")),
			want:    []string{"package/shop create no-report"},
		},
		"drift, not to be healed": {prepare: drift, in: files(shop("pay:1")), want: []string{}},
		"drift": {
			prepare: drift,
			in:      plan.Input{Documents: documents(shop("pay:1")), Scope: plan.Scope{Origin: oprc.OriginCLI}, Heal: true},
			want:    []string{"unit/" + cartUnit + " redeploy drift"},
		},
		"drift, of a package that is maintained": {
			prepare: drift, in: plan.Input{Scope: plan.Scope{Maintain: []string{oprc.OriginCLI}}, Heal: true},
			want: []string{"unit/" + cartUnit + " redeploy drift"},
		},
		"taken away by its CRM": {
			prepare: func(l *ledger) {
				drift(l)
				l.live.Statuses["edge"][cartUnit] = oprc.Status{
					Generation: 1, SpecHash: l.live.Units["edge"][cartUnit].SpecHash, Condition: oprc.Deleted,
				}
			},
			in:   plan.Input{Documents: documents(shop("pay:1")), Scope: plan.Scope{Origin: oprc.OriginCLI}, Heal: true},
			want: []string{"unit/" + cartUnit + " redeploy drift"},
		},
		"a report that is behind is no drift": {
			prepare: func(l *ledger) {
				drift(l)
				l.live.Units["edge"][cartUnit] = oprc.UnitDigest{Generation: 2, SpecHash: l.live.Units["edge"][cartUnit].SpecHash}
			},
			in:   plan.Input{Documents: documents(shop("pay:1")), Scope: plan.Scope{Origin: oprc.OriginCLI}, Heal: true},
			want: []string{},
		},
		"taken over as it is": {
			prepare: func(l *ledger) {
				rec := l.live.Packages["shop"]
				rec.Origin = "git:old"
				l.live.Packages["shop"] = rec
			},
			in:   plan.Input{Documents: documents(shop("pay:1")), Scope: plan.Scope{Origin: oprc.OriginCLI, TakeOwnership: true}},
			want: []string{"package/shop update ownership"},
		},
		"deleted": {
			in: plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"shop"}}},
			want: []string{
				"package/shop delete removed", "function/shop.pay delete removed", "class/shop.cart delete removed",
				"deployment/shop.cart delete removed", "unit/" + cartUnit + " delete removed",
			},
		},
		"deleted, and the units were left": {
			prepare: func(l *ledger) {
				delete(l.live.Packages, "shop")
				delete(l.live.Deployments, "shop.cart")
				for _, o := range []string{"package/shop", "function/shop.pay", "class/shop.cart", "deployment/shop.cart"} {
					delete(l.live.Digests, o)
				}
			},
			in:   plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"shop"}}},
			want: []string{"unit/" + cartUnit + " delete removed"},
		},
		"renamed": {
			in: plan.Input{
				Documents: documents(edited(shop("pay:1"), func(p *oprc.Package) { p.Name = "store" })),
				Scope:     plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"shop"}},
			},
			want: []string{
				"package/shop delete removed", "package/store create new (shop)",
				"function/shop.pay delete removed", "function/store.pay create new (shop.pay)",
				"class/shop.cart delete removed", "class/store.cart create new (shop.cart)",
				"deployment/shop.cart delete removed", "deployment/store.cart create new (shop.cart)",
				"unit/" + cartUnit + " delete removed", "unit/store.cart/0/0@edge create new (" + cartUnit + ")",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := settled(t, oprc.OriginCLI)
			if tt.prepare != nil {
				tt.prepare(l)
			}
			p := l.must(t, tt.in)
			if diff := cmp.Diff(described(p), tt.want); diff != "" {
				t.Errorf("changes (-got +want):\n%s", diff)
			}
			tt.in.Live = l.live
			if again := plan.Make(tt.in); name != "drift, not to be healed" && !again.Empty() {
				t.Errorf("planned again: %v", keysOf(again))
			}
		})
	}
}

func described(p *plan.Plan) []string {
	p = p.Explain()
	out := keysOf(p)
	for i, c := range p.Changes {
		if c.RenamedFrom != "" {
			out[i] += " (" + c.RenamedFrom + ")"
		}
	}
	return out
}

// drift makes a CRM report something else than it was told.
func drift(l *ledger) {
	l.live.Statuses["edge"] = map[string]oprc.Status{
		cartUnit: {Generation: l.live.Units["edge"][cartUnit].Generation, SpecHash: "sha256:other", Condition: oprc.Running},
	}
}

func TestFieldsSayWhereTheyWereSet(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	in := files(edited(shop("pay:2"), func(p *oprc.Package) {
		p.Deployments[0].Options = map[string]string{"a": "b"}
		p.Classes[0].Functions = append(slices.Clone(p.Classes[0].Functions), oprc.Binding{Name: "log2", Function: "base.log", Access: oprc.Public})
	}))
	in.Live = l.live
	got := map[string]string{}
	for _, c := range plan.Make(in).Explain().Changes {
		for _, f := range c.Fields {
			got[string(c.Kind)+" "+f.Path] = string(f.Before) + " -> " + string(f.After) + " " + f.File
		}
	}
	binding := `{"access":"PUBLIC","function":"base.log","name":"log2"}`
	want := map[string]string{
		"package /functions/pay/provision/docker/image": `"pay:1" -> "pay:2" shop.yaml#/functions/0/provision/docker/image`,
		"package /classes/cart/functions/log2":          ` -> ` + binding + ` shop.yaml#/classes/0/functions/1`,
		"package /deployments/.cart/options":            ` -> {"a":"b"} shop.yaml#/deployments/0/options`,
		"function /provision/docker/image":              `"pay:1" -> "pay:2" shop.yaml#/functions/0/provision/docker/image`,
		"class /functions/log2":                         ` -> ` + binding + ` shop.yaml#/classes/0/functions/1`,
		"class /resolved/functions/log2":                ` -> ` + binding + ` shop.yaml#/classes/0/functions/1`,
		"deployment /options":                           ` -> {"a":"b"} shop.yaml#/deployments/0/options`,
		"unit /bindings/log2":                           ` -> ` + binding + ` shop.yaml#/classes/0/functions/1`,
		"unit /functions/shop.pay/image":                `"pay:1" -> "pay:2" shop.yaml#/functions/0/provision/docker/image`,
		"unit /provision/shop.pay/docker/image":         `"pay:1" -> "pay:2" shop.yaml#/functions/0/provision/docker/image`,
		"unit /options":                                 ` -> {"a":"b"} shop.yaml#/deployments/0/options`,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("fields (-got +want):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	keep := func(in plan.Input) plan.Input { in.KeepGoing = true; return in }
	frozen := func(p *oprc.Package) { p.Functions[0].State = oprc.Frozen }
	tests := map[string]struct {
		first []oprc.Package // applied before
		in    plan.Input
		codes []oprc.Code
		says  string
		kept  []string
		does  []string // changes of packages
	}{
		"package of another origin": {
			in: plan.Input{Documents: documents(shop("pay:2")), Scope: plan.Scope{Origin: "git:b"}}, says: "package/shop: owned by cli",
		},
		"package of another origin, deleted": {
			in: plan.Input{Scope: plan.Scope{Origin: "git:b", Delete: []string{"shop"}}}, says: "package/shop: owned by cli",
		},
		"package of another origin, keep going": {
			in:   keep(plan.Input{Documents: documents(shop("pay:2"), oprc.Package{Name: "mine"}), Scope: plan.Scope{Origin: "git:b"}}),
			says: "package/shop: owned by cli", kept: []string{"shop"}, does: []string{"mine create"},
		},
		"deleted although needed": {
			in:    plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"base"}}},
			codes: []oprc.Code{oprc.CodeRequired}, says: "needed by shop",
		},
		"deleted although needed, keep going": {
			in:    keep(plan.Input{Documents: documents(shop("pay:2")), Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"base"}}}),
			codes: []oprc.Code{oprc.CodeRequired}, says: "needed by shop", kept: []string{"base"}, does: []string{"shop update"},
		},
		"deleted together": {
			in:   plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"base", "shop"}}},
			does: []string{"base delete", "shop delete"},
		},
		"required and deleted": {
			in: plan.Input{
				Documents: documents(oprc.Package{Name: "new", Required: []string{"lonely@>=1"}}),
				Scope:     plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"lonely"}},
			},
			first: []oprc.Package{{Name: "lonely", Version: "1.0.0"}},
			codes: []oprc.Code{oprc.CodeRequired}, says: "needed by new",
		},
		"frozen": {
			first: []oprc.Package{edited(shop("pay:1"), frozen)},
			in:    files(edited(shop("pay:2"), frozen)),
			codes: []oprc.Code{oprc.CodeFrozen}, says: "shop.yaml#/functions/0",
		},
		"frozen, and thawed by the same change": {
			first: []oprc.Package{edited(shop("pay:1"), frozen)},
			in:    files(shop("pay:2")),
			does:  []string{"shop update"},
		},
		"frozen, and removed": {
			first: []oprc.Package{edited(shop("pay:1"), frozen)},
			in:    files(edited(shop("pay:1"), func(p *oprc.Package) { p.Functions, p.Classes[0].Functions = nil, nil })),
			codes: []oprc.Code{oprc.CodeFrozen}, says: "may not be removed",
		},
		"frozen, and its package is deleted": {
			first: []oprc.Package{edited(shop("pay:1"), frozen)},
			in:    plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"shop"}}},
			codes: []oprc.Code{oprc.CodeFrozen}, says: "may not be removed",
		},
		"frozen, and its last binding goes": {
			first: []oprc.Package{edited(shop("pay:1"), frozen)},
			in:    files(edited(shop("pay:1"), func(p *oprc.Package) { frozen(p); p.Classes[0].Functions = nil })),
			codes: []oprc.Code{oprc.CodeFrozen}, says: "its last binding",
		},
		"frozen, and others change": {
			first: []oprc.Package{edited(shop("pay:1"), frozen)},
			in:    files(edited(shop("pay:1"), func(p *oprc.Package) { frozen(p); p.Version = "2" })),
			does:  []string{"shop update"},
		},
		"bad and good": {
			in:    files(edited(shop("pay:2"), func(p *oprc.Package) { p.Classes[0].Parents = []string{"nowhere.x"} }), oprc.Package{Name: "good"}),
			codes: []oprc.Code{oprc.CodeParent}, says: "nowhere.x",
		},
		"bad and good, keep going": {
			in:    keep(files(edited(shop("pay:2"), func(p *oprc.Package) { p.Classes[0].Parents = []string{"nowhere.x"} }), oprc.Package{Name: "good"})),
			codes: []oprc.Code{oprc.CodeParent}, says: "nowhere.x", kept: []string{"shop"}, does: []string{"good create"},
		},
		"a change that breaks a dependant is what waits": {
			in:    keep(files(edited(base("log:2"), func(p *oprc.Package) { p.Classes = nil }), oprc.Package{Name: "good"})),
			codes: []oprc.Code{oprc.CodeParent}, says: "base.root", kept: []string{"base"}, does: []string{"good create"},
		},
		"who depends on the changed part of a bad package waits with it": {
			in: keep(files(
				edited(base("log:2"), func(p *oprc.Package) {
					p.Functions = append(p.Functions, task("more", "more:1"))
					p.Classes[0].Parents = []string{"nowhere.x"}
				}),
				edited(shop("pay:2"), func(p *oprc.Package) { p.Classes[0].Functions[0].Function = "base.more" }),
				oprc.Package{Name: "good"},
			)),
			codes: []oprc.Code{oprc.CodeParent, oprc.CodeFunctionRef}, kept: []string{"base", "shop"}, does: []string{"good create"},
		},
		"who does not depend on the changed part goes on": {
			in:    keep(files(edited(base("log:2"), func(p *oprc.Package) { p.Classes[0].Parents = []string{"nowhere.x"} }), shop("pay:2"))),
			codes: []oprc.Code{oprc.CodeParent}, kept: []string{"base"}, does: []string{"shop update"},
		},
		"the same name twice": {
			in:    plan.Input{Documents: []oprc.Document{document(shop("pay:2")), document(shop("pay:3"))}, Scope: plan.Scope{Origin: oprc.OriginCLI}},
			codes: []oprc.Code{oprc.CodeDuplicate}, says: "declared twice",
		},
		"unplaceable": {
			in:    files(edited(shop("pay:2"), func(p *oprc.Package) { p.Deployments[0].TargetEnvs = []string{"mars"} })),
			codes: []oprc.Code{oprc.CodeEnvironment}, says: "shop.yaml#/deployments/0/targetEnvs",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := settled(t, oprc.OriginCLI)
			if tt.first != nil {
				l.must(t, files(tt.first...))
			}
			tt.in.Live = l.live
			p := plan.Make(tt.in)
			codes := []oprc.Code{}
			var said strings.Builder
			said.WriteString(strings.Join(p.Conflicts, "\n"))
			for _, d := range p.Diagnostics.Errors() {
				said.WriteString(d.String())
				if !slices.Contains(codes, d.Code) {
					codes = append(codes, d.Code)
				}
			}
			slices.Sort(codes)
			slices.Sort(tt.codes)
			if !slices.Equal(codes, tt.codes) || !strings.Contains(said.String(), tt.says) {
				t.Errorf("got %v %s, want %v %s", codes, said.String(), tt.codes, tt.says)
			}
			if diff := cmp.Diff(packagesOf(p), tt.does); diff != "" {
				t.Errorf("packages (-got +want):\n%s", diff)
			}
			if !slices.Equal(p.Kept, tt.kept) {
				t.Errorf("kept %v, want %v", p.Kept, tt.kept)
			}
			if refused := p.Err() != nil && !tt.in.KeepGoing; refused && !p.Empty() {
				t.Errorf("a refused plan has changes: %v", keysOf(p))
			}
			if err := l.apply(p); err != nil {
				t.Fatal(err)
			}
			tt.in.Live = l.live
			if again := plan.Make(tt.in); !again.Empty() {
				t.Errorf("planned again: %v", keysOf(again))
			}
		})
	}
}

func packagesOf(p *plan.Plan) []string {
	var out []string
	for _, c := range p.Changes {
		if c.Kind == oprc.KindPackage {
			out = append(out, c.Key+" "+string(c.Actions[0]))
		}
	}
	return out
}

func TestPruning(t *testing.T) {
	unattributed := oprc.Diagnostic{Code: oprc.CodeSyntax, Severity: oprc.SeverityError, Position: oprc.Position{File: "x.yaml"}, Message: "bad"}
	attributed := unattributed
	attributed.Package = "shop"
	tests := map[string]struct {
		in   plan.Input
		want []string
	}{
		"complete":            {plan.Input{Documents: documents(oprc.Package{Name: "new"})}, []string{"new create", "shop delete"}},
		"an empty source":     {plan.Input{}, []string{"shop delete"}}, // which guards hold
		"an unreadable file":  {plan.Input{Documents: documents(oprc.Package{Name: "new"}), Diagnostics: oprc.Diagnostics{unattributed}, KeepGoing: true}, []string{"new create"}},
		"an unreadable shop":  {plan.Input{Documents: documents(oprc.Package{Name: "new"}), Diagnostics: oprc.Diagnostics{attributed}, KeepGoing: true}, []string{"new create"}},
		"a warning elsewhere": {plan.Input{Documents: documents(oprc.Package{Name: "new"}), Diagnostics: oprc.Diagnostics{{Code: oprc.CodeLegacy, Severity: oprc.SeverityWarning}}}, []string{"new create", "shop delete"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.in.Live = settled(t, "git:a").live
			tt.in.Scope = plan.Scope{Origin: "git:a", Complete: true}
			if diff := cmp.Diff(packagesOf(plan.Make(tt.in)), tt.want); diff != "" {
				t.Errorf("packages (-got +want):\n%s", diff)
			}
		})
	}
}

// A source that has an environment no more deletes it, unless something runs there.
func TestPruningEnvironments(t *testing.T) {
	l := settled(t, "git:a")
	for name, origin := range map[string]string{"edge": "git:a", "cloud": "git:a", "mars": oprc.OriginCLI} {
		env := environment(name, 0.9)
		env.Rev, env.Origin = 1, origin
		l.live.Environments[name] = env
	}
	p := plan.Make(plan.Input{Documents: documents(shop("pay:1")), Live: l.live, KeepGoing: true, Scope: plan.Scope{Origin: "git:a", Complete: true}})
	var got []string
	for _, c := range p.Changes {
		got = append(got, string(c.Kind)+"/"+c.Key+" "+string(c.Actions[0]))
	}
	if diff := cmp.Diff(got, []string{"environment/cloud delete"}); diff != "" {
		t.Errorf("-got +want:\n%s", diff)
	}
	if diff := cmp.Diff(p.Kept, []string{"environment/edge"}); diff != "" {
		t.Errorf("kept (-got +want):\n%s", diff)
	}
}

func TestEnvironments(t *testing.T) {
	cli := plan.Scope{Origin: oprc.OriginCLI}
	onMars := edited(shop("pay:1"), func(p *oprc.Package) { p.Deployments[0].TargetEnvs = []string{"mars"} })
	mars := envDocument(oprc.Environment{Name: "mars", Availability: 0.9})
	tests := map[string]struct {
		in    plan.Input
		want  []string
		codes []oprc.Code
	}{
		"created and used by one plan": {
			in: plan.Input{Documents: []oprc.Document{document(onMars), mars}, Scope: cli},
			want: []string{
				"environment/mars create new", "package/shop update spec-changed", "deployment/shop.cart update spec-changed",
				"unit/" + cartUnit + " delete removed", "unit/shop.cart/0/0@mars create new",
			},
		},
		"updated": {
			in:   plan.Input{Documents: []oprc.Document{envDocument(oprc.Environment{Name: "edge", Availability: 0.5})}, Scope: cli},
			want: []string{"environment/edge update spec-changed"},
		},
		"how pods run where units do": {
			in: plan.Input{Documents: []oprc.Document{envDocument(oprc.Environment{
				Name: "edge", Availability: 0.99, Kubernetes: &oprc.Kubernetes{PullSecrets: []string{"registry"}},
			})}, Scope: cli},
			want: []string{"environment/edge update spec-changed", "unit/" + cartUnit + " update spec-changed"},
		},
		"how pods run where none do": {
			in: plan.Input{Documents: []oprc.Document{envDocument(oprc.Environment{
				Name: "cloud", Availability: 0.999, Kubernetes: &oprc.Kubernetes{ServiceAccount: "functions"},
			})}, Scope: cli},
			want: []string{"environment/cloud update spec-changed"},
		},
		"deleted": {
			in:   plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"environment/cloud"}}},
			want: []string{"environment/cloud delete removed"},
		},
		"deleted although used": {
			in:    plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"environment/edge"}}},
			want:  []string{},
			codes: []oprc.Code{oprc.CodeEnvironment},
		},
		"deleted, and what used it moves": {
			in: plan.Input{Documents: []oprc.Document{document(onMars), mars}, Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"environment/edge"}}},
			want: []string{
				"environment/edge delete removed", "environment/mars create new", "package/shop update spec-changed",
				"deployment/shop.cart update spec-changed", "unit/" + cartUnit + " delete removed", "unit/shop.cart/0/0@mars create new",
			},
		},
		"two defaults": {
			in: plan.Input{Documents: []oprc.Document{
				envDocument(oprc.Environment{Name: "mars", Default: true}), envDocument(oprc.Environment{Name: "moon", Default: true}),
			}, Scope: cli},
			want:  []string{},
			codes: []oprc.Code{oprc.CodeEnvironment, oprc.CodeEnvironment},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := settled(t, oprc.OriginCLI)
			tt.in.Live = l.live
			p := plan.Make(tt.in)
			if diff := cmp.Diff(plan.Check(tt.in), p.Diagnostics); diff != "" {
				t.Errorf("checked alone: -got +want\n%s", diff)
			}
			var codes []oprc.Code
			for _, d := range p.Diagnostics.Errors() {
				codes = append(codes, d.Code)
			}
			if diff := cmp.Diff(keysOf(p), tt.want); diff != "" || !slices.Equal(codes, tt.codes) {
				t.Errorf("got %v, want %v; changes (-got +want):\n%s", p.Diagnostics, tt.codes, diff)
			}
			if err := l.apply(p); err != nil {
				t.Fatal(err)
			}
			if off := p.Diverged(l.live); len(off) > 0 {
				t.Errorf("diverged: %v", off)
			}
			tt.in.Live, tt.in.Scope.Delete = l.live, nil
			if again := plan.Make(tt.in); len(p.Diagnostics.Errors()) == 0 && len(keysOf(again)) > 0 {
				t.Errorf("planned again: %v", keysOf(again))
			}
		})
	}
}

// What an environment's trouble makes impossible stays as it was placed; only
// what asks for something new is refused.
func TestEnvironmentTroubleDoesNotStopOthers(t *testing.T) {
	l := newLedger(environment("edge", 0.99), environment("cloud", 0.9))
	p := shop("pay:1")
	p.Classes[0].Parents = nil
	p.Classes[0].Requirements = &oprc.Requirements{Availability: 0.99}
	p.Deployments[0] = oprc.Deployment{Key: ".cart", PartitionCount: 1}
	l.must(t, files(p))
	for name, state := range l.live.Environments {
		state.Health = oprc.EnvDown
		l.live.Environments[name] = state
	}
	next := edited(p, func(p *oprc.Package) { p.Functions[0] = task("pay", "pay:2") })
	made := l.must(t, files(next))
	want := []string{
		"package/shop update spec-changed", "function/shop.pay update spec-changed",
		"unit/shop.cart/0/0@cloud update spec-changed", "unit/shop.cart/0/1@edge update spec-changed",
	}
	if diff := cmp.Diff(keysOf(made), want); diff != "" {
		t.Errorf("changes (-got +want):\n%s", diff)
	}
	if len(made.Diagnostics) == 0 || !strings.Contains(made.Diagnostics[0].Message, "stays as it was placed") {
		t.Errorf("got %v, want a warning that it stays", made.Diagnostics)
	}
}

// A plan of an environment says what it does to the classes that run there, in the
// environment's document, whether it is placement that fails or a promise.
func TestPlanOfAnEnvironmentSaysWhatItBreaks(t *testing.T) {
	asks := func(d oprc.Deployment) oprc.Package {
		p := shop("pay:1")
		p.Classes[0].Parents = nil
		p.Classes[0].Requirements = &oprc.Requirements{Availability: 0.98}
		p.Deployments[0] = d
		return p
	}
	pinned := asks(oprc.Deployment{Key: ".cart", PartitionCount: 1, ReplicaCount: 1, TargetEnvs: []string{"edge"}})
	computed := asks(oprc.Deployment{Key: ".cart", PartitionCount: 1, TargetEnvs: []string{"edge"}})
	anywhere := asks(oprc.Deployment{Key: ".cart", PartitionCount: 1})
	cloud := oprc.Environment{Name: "cloud", Availability: 0.5, Default: true}
	for name, tt := range map[string]struct {
		p    oprc.Package
		env  oprc.Environment
		want []string
	}{
		"the replicas reach less": {
			pinned,
			oprc.Environment{Name: "edge", Availability: 0.9},
			[]string{"W105 /availability env-edge.yaml: shop.cart: 1 replica reaches availability 0.9, below the target 0.98"},
		},
		"the target cannot be reached any more": {
			computed,
			oprc.Environment{Name: "edge", Availability: 0.9},
			[]string{"E010 /availability env-edge.yaml: shop.cart: availability 0.98 cannot be reached over 1 environment: the best is 0.9 with 1 replica; it stays as it was placed"},
		},
		"the availability is not declared any more": {
			pinned,
			oprc.Environment{Name: "edge"},
			[]string{"W105 /availability env-edge.yaml: shop.cart: availability 0.98 is asked, but that of environment \"edge\" is not known"},
		},
		"still enough":                {pinned, oprc.Environment{Name: "edge", Availability: 0.985}, nil},
		"another environment":         {pinned, oprc.Environment{Name: "cloud", Availability: 0.1}, nil},
		"it takes nothing new":        {pinned, oprc.Environment{Name: "edge", Availability: 0.99, Capacity: &oprc.Capacity{Units: new(0)}}, nil},
		"the default moves":           {pinned, cloud, nil},
		"one of many that are chosen": {anywhere, oprc.Environment{Name: "edge", Availability: 0.985}, nil},
		"broken as before": {
			asks(oprc.Deployment{Key: ".cart", PartitionCount: 1, ReplicaCount: 1, TargetEnvs: []string{"cloud"}}),
			oprc.Environment{Name: "cloud", Availability: 0.5, Labels: map[string]string{"zone": "eu"}},
			nil,
		},
		"labels are not read": {pinned, oprc.Environment{Name: "edge", Availability: 0.99, Labels: map[string]string{"zone": "eu"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(environment("edge", 0.99), environment("cloud", 0.5))
			l.must(t, files(tt.p))
			doc := envDocument(tt.env)
			p := plan.Make(plan.Input{Documents: []oprc.Document{doc}, Scope: plan.Scope{Origin: oprc.OriginCLI}, Live: l.live})
			var got []string
			for _, d := range p.Diagnostics {
				if d.Severity != oprc.SeverityWarning {
					t.Errorf("it refuses the plan: %s", d)
				}
				if at := doc.Where.At(d.Pointer); d.Position != at {
					t.Errorf("%s is at %s, want %s", d.Pointer, d.Position, at)
				}
				got = append(got, fmt.Sprintf("%s %s %s: %s", d.Code, d.Pointer, doc.Path, d.Message))
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
			if want := []string{"environment/" + tt.env.Name + " update spec-changed"}; !slices.Equal(keysOf(p), want) {
				t.Errorf("got changes %v, want %v", keysOf(p), want)
			}
		})
	}
}

// A class that is marked for removal is undeployed at once; its record goes when
// every CRM has said that it is gone.
func TestMarkedForRemoval(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	marked := files(edited(shop("pay:1"), func(p *oprc.Package) { p.Classes[0].MarkForRemoval = true }))
	steps := []struct {
		report oprc.Status
		want   []string
	}{
		{oprc.Status{}, []string{
			"package/shop update spec-changed", "class/shop.cart update spec-changed",
			"deployment/shop.cart delete disabled", "unit/" + cartUnit + " delete disabled",
		}},
		{oprc.Status{Generation: 1, Condition: oprc.Deleted}, []string{}},
		{oprc.Status{Generation: 2, Condition: oprc.Running}, []string{}},
		{oprc.Status{Generation: 2, Condition: oprc.Deleted}, []string{"class/shop.cart delete removed"}},
		{oprc.Status{Generation: 2, Condition: oprc.Deleted}, []string{}},
	}
	for i, s := range steps {
		l.live.Statuses["edge"] = map[string]oprc.Status{cartUnit: s.report}
		if diff := cmp.Diff(keysOf(l.must(t, marked)), s.want); diff != "" {
			t.Fatalf("step %d (-got +want):\n%s", i, diff)
		}
	}
}

func TestBaseAndSummary(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	in := files(shop("pay:2"))
	in.Live = l.live
	p := plan.Make(in)
	wantBase := plan.Base{Packages: map[string]int64{"shop": 1, "base": 1}, Environments: map[string]int64{"edge": 1, "cloud": 1}}
	wantBase.Observed = map[string]oprc.Observation{"edge": {Health: oprc.Healthy}, "cloud": {Health: oprc.Healthy}}
	if diff := cmp.Diff(p.Base, wantBase); diff != "" {
		t.Errorf("base (-got +want):\n%s", diff)
	}
	wantSummary := plan.Summary{
		Update: 2, Unchanged: 2, Commands: plan.CommandCounts{Deploy: 1},
		Blast: plan.Blast{Packages: 1, Classes: 1, Functions: 2, Units: 1, Environments: []string{"edge"}},
	}
	if diff := cmp.Diff(p.Summary, wantSummary); diff != "" {
		t.Errorf("summary (-got +want):\n%s", diff)
	}
	cmds := p.Commands()["edge"]
	if len(cmds) != 1 || cmds[0].Generation != 2 || cmds[0].Type != oprc.Deploy || cmds[0].SpecHash != p.Changes[len(p.Changes)-1].Will {
		t.Errorf("commands: %+v", cmds)
	}
}

// Two terminals: a saved plan, another apply, and the saved plan is refused with
// the name of what moved. Planned again it goes through.
func TestSavedPlanOnMovedBase(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	in := files(shop("pay:2"))
	in.Live = l.live
	saved := encode(t, plan.Make(in))
	l.must(t, files(base("log:9")))
	p, err := plan.Decode(saved)
	if err != nil {
		t.Fatal(err)
	}
	var conflict *oprc.ConflictError
	if err := l.apply(p); !errors.As(err, &conflict) || !slices.Equal(conflict.Objects, []string{"package/base: revision 1, now 2"}) {
		t.Fatalf("got %v, want a conflict about package/base", err)
	}
	l.must(t, files(shop("pay:2")))
}

func TestDecodeRefusesEditedFiles(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	in := files(shop("pay:2"))
	in.Live = l.live
	p, bare := plan.Make(in).Explain(), cmpopts.IgnoreUnexported(plan.Plan{}, plan.Change{})
	raw := encode(t, p)
	back, err := plan.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(back, p, bare); diff != "" {
		t.Errorf("round trip (-got +want):\n%s", diff)
	}
	var indented strings.Builder
	enc := json.NewEncoder(&indented)
	enc.SetIndent("", "  ")
	if err := enc.Encode(json.RawMessage(raw)); err != nil {
		t.Fatal(err)
	}
	if again, err := plan.Decode([]byte(indented.String())); err != nil || !cmp.Equal(again, p, bare) {
		t.Errorf("an indented file: %v\n%s", err, cmp.Diff(again, p, bare))
	}
	for what, edit := range map[string][2]string{
		"another image":   {"pay:2", "pay:3"},
		"another origin":  {`"origin":"cli"`, `"origin":"api"`},
		"another field":   {`{"base":`, `{"sudo":true,"base":`},
		"a command less":  {`"kind":"unit"`, `"kind":"none"`},
		"more after it":   {"}\n", "}\n{}"},
		"another version": {`"formatVersion":"1.0"`, `"formatVersion":"2.0"`},
		"cut":             {`"summary"`, ""},
	} {
		changed := strings.Replace(string(raw), edit[0], edit[1], 1)
		if changed == string(raw) {
			t.Fatalf("%s: %q is not in the file", what, edit[0])
		}
		if _, err := plan.Decode([]byte(changed)); !errors.Is(err, oprc.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", what, err)
		}
	}
}

// The id covers the decision. What a forger writes into the rest of a file is not shown.
func TestRereadShowsTheDecision(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	in := files(shop("pay:2"))
	in.Live = l.live
	honest, bare := plan.Make(in).Explain(), cmpopts.IgnoreUnexported(plan.Plan{}, plan.Change{})
	forged, err := plan.Decode(encode(t, honest))
	if err != nil {
		t.Fatal(err)
	}
	for i := range forged.Changes {
		c := &forged.Changes[i]
		c.RenamedFrom = "nothing"
		for j := range c.Fields {
			c.Fields[j].After = json.RawMessage(`"pay:1.0.1"`)
		}
		c.Fields = append(c.Fields, plan.Field{Path: "/origin", After: json.RawMessage(`"git:main"`)})
	}
	forged.Summary = plan.Summary{Unchanged: honest.Summary.Unchanged, Update: 1}
	raw := encode(t, forged)
	read, err := plan.Decode(raw)
	if err != nil {
		t.Fatal("the id covers what a reader is shown: this test is about nothing: ", err)
	}
	if diff := cmp.Diff(honest, read.Reread(), bare); diff != "" {
		t.Errorf("shown (-decided +got):\n%s", diff)
	}
}

func TestMaskedHidesSecrets(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	in := files(edited(shop("pay:2"), func(p *oprc.Package) {
		p.Functions[0].Provision.Docker.Env = oprc.Env{
			"DB_PASSWORD": {Text: "hunter2"}, "PLAIN": {Text: "seen"}, "API_PASSWORD": {Secret: oprc.SecretKeyRef{Name: "shop", Key: "api"}},
		}
		p.Classes[0].Config = map[string]any{"api_token": map[string]any{"value": "nested-secret"}}
	}), oprc.Package{Name: "more", Functions: []oprc.Function{task("f", "i:1")}})
	in.Live = l.live
	p := plan.Make(in)
	masked := p.Masked([]string{"*PASSWORD*", "*TOKEN*"})
	raw := string(encode(t, masked))
	if !strings.Contains(raw, `{"secretKeyRef":{"key":"api","name":"shop"}}`) {
		t.Error("a reference to a secret is hidden, though it is none")
	}
	for _, secret := range []string{"hunter2", "s3cret", "nested-secret"} {
		if !strings.Contains(string(encode(t, p)), secret) || strings.Contains(raw, secret) {
			t.Errorf("%s: in the masked plan is %v, want in the plan alone", secret, strings.Contains(raw, secret))
		}
	}
	if !strings.Contains(raw, "seen") || masked.ID != p.ID {
		t.Errorf("masking hides too much, or changes the id %s", masked.ID)
	}
	if _, err := plan.Decode([]byte(raw)); !errors.Is(err, oprc.ErrInvalid) {
		t.Errorf("a masked plan can be applied: %v", err)
	}
}

func TestHeld(t *testing.T) {
	deleting := func(deletes, scope, blast, units int) *plan.Plan {
		p := &plan.Plan{Size: plan.Size{Packages: scope, Units: units}}
		p.Summary.Blast.Units = blast
		for range deletes {
			p.Changes = append(p.Changes, plan.Change{Kind: oprc.KindPackage, Actions: []plan.Action{plan.Delete}})
		}
		return p
	}
	packages := plan.Guard{MaxDelete: 10, MaxDeletePercent: 20}
	stops := func(kind oprc.Kind, n, all int, more ...plan.Change) *plan.Plan {
		p := &plan.Plan{Size: plan.Size{Packages: 1000, Classes: all, Units: all}, Changes: more}
		for i := range n {
			p.Changes = append(p.Changes, plan.Change{Kind: kind, Key: fmt.Sprintf("shop.c%d/0/0@edge", i), Actions: []plan.Action{plan.Delete}})
		}
		return p
	}
	moved := plan.Change{Kind: oprc.KindUnit, Key: "shop.c0/0/0@cloud", Actions: []plan.Action{plan.Create}}
	created := deleting(2, 2, 0, 0)
	created.Changes = append(created.Changes, plan.Change{Kind: oprc.KindPackage, Actions: []plan.Action{plan.Create}})
	tests := map[string]struct {
		p     *plan.Plan
		guard plan.Guard
		held  bool
	}{
		"all classes":            {stops(oprc.KindClass, 11, 11), plan.DefaultGuard(), true},
		"all units":              {stops(oprc.KindUnit, 30, 30), plan.DefaultGuard(), true},
		"a tenth of the units":   {stops(oprc.KindUnit, 30, 300), plan.DefaultGuard(), false},
		"units that move":        {stops(oprc.KindUnit, 11, 11, moved), plan.DefaultGuard(), false},
		"units of a hand's plan": {stops(oprc.KindUnit, 30, 30), packages, false},
		"the last package":       {deleting(1, 1, 0, 0), plan.DefaultGuard(), true},
		"the last two":           {deleting(2, 2, 0, 0), plan.DefaultGuard(), true},
		"renamed":                {created, plan.DefaultGuard(), false},
		"10 of 10":               {deleting(10, 10, 0, 0), packages, false},
		"10 of 11":               {deleting(10, 11, 0, 0), plan.DefaultGuard(), false},
		"11 of 11":               {deleting(11, 11, 0, 0), plan.DefaultGuard(), true},
		"11 of 55 is 20 %":       {deleting(11, 55, 0, 0), plan.DefaultGuard(), false},
		"11 of 54":               {deleting(11, 54, 0, 0), plan.DefaultGuard(), true},
		"zero guard, one":        {deleting(1, 1000, 0, 0), plan.Guard{}, true},
		"zero guard, none":       {deleting(0, 1000, 500, 1000), plan.Guard{}, false},
		"blast within":           {deleting(0, 1, 10, 100), plan.Guard{MaxBlastUnits: 10}, false},
		"blast beyond":           {deleting(0, 1, 11, 100), plan.Guard{MaxBlastUnits: 10}, true},
		"blast where none runs":  {deleting(0, 1, 11, 0), plan.Guard{MaxBlastUnits: 10}, false},
		"max-delete without a %": {deleting(3, 1000, 0, 0), plan.Guard{MaxDelete: 2}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if reason, held := tt.p.Held(tt.guard); held != tt.held || held == (reason == "") {
				t.Errorf("got %v %q, want %v", held, reason, tt.held)
			}
		})
	}
}

// A deployment may name a class of its own package by its bare name.
func TestBareDeploymentKey(t *testing.T) {
	l := newLedger(environment("edge", 0.99))
	bare := edited(base("log:1"), func(p *oprc.Package) {
		p.Deployments = []oprc.Deployment{{Key: "root", PartitionCount: 1, ReplicaCount: 1, TargetEnvs: []string{"edge"}}}
	})
	p := l.must(t, files(bare))
	want := plan.CommandCounts{Deploy: 1}
	if p.Summary.Commands != want {
		t.Errorf("commands: got %+v, want %+v", p.Summary.Commands, want)
	}
	if p := plan.Make(plan.Input{Documents: documents(bare), Scope: plan.Scope{Origin: oprc.OriginCLI}, Live: l.live}); !p.Empty() {
		t.Errorf("planned again: %d changes, want none", len(p.Changes))
	}
}

// A restart gives the units of one deployment another spec, whoever owns its package;
// what is planned later keeps it.
func TestRestart(t *testing.T) {
	l := settled(t, "git:main")
	restart := plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Restart: []string{"shop.cart"}}}
	hashes := map[string]bool{l.live.Units["edge"][cartUnit].SpecHash: true}
	for n := 1; n <= 2; n++ {
		p := l.must(t, restart)
		var got []string
		for _, c := range p.Changes {
			got = append(got, fmt.Sprintf("%s/%s %s %s", c.Kind, c.Key, c.Actions, c.Reason))
		}
		want := []string{"deployment/shop.cart [update] restart", "unit/" + cartUnit + " [update] restart"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("restart %d (-want +got):\n%s", n, diff)
		}
		if owner := l.live.Packages["shop"].Origin; owner != "git:main" {
			t.Errorf("owner is %s", owner)
		}
		if hash := l.live.Units["edge"][cartUnit].SpecHash; hashes[hash] {
			t.Errorf("restart %d: the unit has a specHash that it had before", n)
		} else {
			hashes[hash] = true
		}
		same := plan.Input{Documents: documents(shop("pay:1")), Scope: plan.Scope{Origin: "git:main", Complete: true}}
		if p := l.must(t, same); !p.Empty() {
			t.Errorf("the next plan of the owner is not empty: %v", p.Changes)
		}
	}
}
