package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// made is a plan of an input on a ledger.
func made(l *ledger, in plan.Input) *plan.Plan {
	in.Live = l.live
	return plan.Make(in)
}

// deleting is a request to delete packages and environments.
func deleting(names ...string) plan.Input {
	return plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI, Delete: names}}
}

func TestSummaryCountsWhatIsCreatedDeletedAndLeft(t *testing.T) {
	l := newLedger(environment("edge", 0.99))
	edge := envDocument(l.live.Environments["edge"].Spec)
	in := files(base("log:1"), shop("pay:1"))
	in.Documents = append(in.Documents, edge)
	blast := plan.Blast{Packages: 2, Classes: 2, Functions: 2, Units: 1, Environments: []string{"edge"}}
	want := plan.Summary{Create: 7, Unchanged: 1, Commands: plan.CommandCounts{Deploy: 1}, Blast: blast}
	if diff := cmp.Diff(want, l.must(t, in).Summary); diff != "" {
		t.Errorf("create (-want +got):\n%s", diff)
	}
	p := made(l, in)
	if want := (plan.Summary{Unchanged: 8, Blast: plan.Blast{Environments: []string{}}}); !p.Empty() || !cmp.Equal(want, p.Summary) {
		t.Errorf("the same again (-want +got):\n%s", cmp.Diff(want, p.Summary))
	}
	blast.Functions = 2
	want = plan.Summary{Delete: 7, Commands: plan.CommandCounts{Undeploy: 1}, Blast: blast}
	if diff := cmp.Diff(want, made(l, deleting("base", "shop")).Summary); diff != "" {
		t.Errorf("delete (-want +got):\n%s", diff)
	}
}

// What a plan removes needs consent: but not units that are moved.
func TestRemovals(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	for name, test := range map[string]struct {
		in   plan.Input
		want []string
	}{
		"an update":    {files(shop("pay:2")), nil},
		"a deletion":   {deleting("shop"), []string{"class/shop.cart", "deployment/shop.cart", "function/shop.pay", "package/shop", "unit/" + cartUnit}},
		"switched off": {files(edited(shop("pay:1"), func(p *oprc.Package) { p.Disabled = true })), []string{"deployment/shop.cart", "unit/" + cartUnit}},
		"not deployed": {files(edited(shop("pay:1"), func(p *oprc.Package) { p.Deployments = nil })), []string{"deployment/shop.cart", "unit/" + cartUnit}},
	} {
		if got := made(l, test.in).Removals(); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	floating := edited(shop("pay:1"), func(p *oprc.Package) {
		p.Deployments[0] = oprc.Deployment{Key: ".cart", PartitionCount: 1}
		p.Classes[0].Requirements = &oprc.Requirements{Availability: .9}
	})
	l = newLedger(environment("edge", 0.999), environment("cloud", 0.99))
	l.must(t, files(base("log:1"), floating))
	edge := l.live.Environments["edge"]
	edge.Health = oprc.EnvDown
	l.live.Environments["edge"] = edge
	p := made(l, files(floating))
	if len(p.Changes) != 3 || len(p.Removals()) > 0 {
		t.Errorf("it moves: got %v, removed %v", keysOf(p), p.Removals())
	}
	if got, want := p.Classes(), map[string]bool{"shop.cart": true}; !cmp.Equal(got, want) {
		t.Errorf("classes: got %v, want %v", got, want)
	}
}

// All in which a plan is another than one of the same request is named.
func TestDifferencesOfPlans(t *testing.T) {
	warning := oprc.Diagnostic{Code: oprc.CodeReplicas, Severity: oprc.SeverityWarning, Package: "shop", Pointer: "/replicaCount", Message: "m"}
	const unchanged = "request: it asks for something else than what was planned"
	found := func(change func(*oprc.Diagnostic)) func(*plan.Plan) {
		return func(p *plan.Plan) { p.Diagnostics = slices.Clone(p.Diagnostics); change(&p.Diagnostics[0]) }
	}
	both := func(line string) []string {
		return []string{"found now: " + line, "not found any more: warning W105: m"}
	}
	was := plan.Plan{
		Changes: []plan.Change{{Kind: oprc.KindPackage, Key: "shop", Package: "shop", Actions: []plan.Action{plan.Update}, Reason: plan.ReasonSpec, Was: "a", Will: "b"}},
		Kept:    []string{"kept"}, Conflicts: []string{"package/x: owned by y"}, Diagnostics: oprc.Diagnostics{warning}, Scope: plan.Scope{Origin: "cli"},
	}
	change := func(edit func(*plan.Change)) func(*plan.Plan) {
		return func(p *plan.Plan) { p.Changes = slices.Clone(p.Changes); edit(&p.Changes[0]) }
	}
	for name, test := range map[string]struct {
		edit func(*plan.Plan)
		want []string
	}{
		"nothing":            {func(*plan.Plan) {}, []string{unchanged}},
		"another action":     {change(func(c *plan.Change) { c.Actions = []plan.Action{plan.Create} }), []string{"package/shop: was to update, now to create (spec-changed)"}},
		"another before":     {change(func(c *plan.Change) { c.Was = "x" }), []string{"package/shop: recorded otherwise now"}},
		"another after":      {change(func(c *plan.Change) { c.Will = "x" }), []string{"package/shop: will be another now"}},
		"another reason":     {change(func(c *plan.Change) { c.Reason = plan.ReasonOwner }), []string{"package/shop: was to update because of spec-changed, now of ownership"}},
		"another package":    {change(func(c *plan.Change) { c.Package = "y" }), []string{"package/shop: was to update because of spec-changed, now of spec-changed"}},
		"another object":     {change(func(c *plan.Change) { c.Key = "y" }), []string{"package/shop: not to update any more", "package/y: to update now (spec-changed)"}},
		"no finding":         {func(p *plan.Plan) { p.Diagnostics = nil }, []string{"not found any more: warning W105: m"}},
		"another code":       {found(func(d *oprc.Diagnostic) { d.Code = oprc.CodeIdle }), both("warning W108: m")},
		"another severity":   {found(func(d *oprc.Diagnostic) { d.Severity = oprc.SeverityInfo }), both("info W105: m")},
		"another message":    {found(func(d *oprc.Diagnostic) { d.Message = "n" }), both("warning W105: n")},
		"of another package": {found(func(d *oprc.Diagnostic) { d.Package = "y" }), both("warning W105: m")},
		"at another place":   {found(func(d *oprc.Diagnostic) { d.Pointer = "/y" }), both("warning W105: m")},
		"on another line":    {found(func(d *oprc.Diagnostic) { d.Line = 7 }), []string{unchanged}},
		"kept":               {func(p *plan.Plan) { p.Kept = []string{"y"} }, []string{"kept as it is now: y", "not kept as it is any more: kept"}},
		"conflicts":          {func(p *plan.Plan) { p.Conflicts = []string{"y"} }, []string{"in conflict now: y", "not in conflict any more: package/x: owned by y"}},
		"scope":              {func(p *plan.Plan) { p.Scope.Complete = true }, []string{`scope: it was {"origin":"cli"}, now {"complete":true,"origin":"cli"}`}},
	} {
		now := was
		test.edit(&now)
		if got := was.Differences(&now); !slices.Equal(got, test.want) {
			t.Errorf("%s:\ngot  %v\nwant %v", name, got, test.want)
		}
	}
}

// A document of an environment that was only heard of creates it; one that says what is
// recorded changes nothing.
func TestDeclaringWhatWasHeardOf(t *testing.T) {
	l := newLedger(environment("edge", 0.99))
	l.live.Environments["mars"] = oprc.EnvironmentState{Health: oprc.Healthy, EnvironmentRecord: oprc.EnvironmentRecord{Spec: oprc.Environment{Name: "mars"}}}
	mars := plan.Input{Documents: []oprc.Document{envDocument(oprc.Environment{Name: "mars"})}, Scope: plan.Scope{Origin: oprc.OriginCLI}}
	if got, want := keysOf(made(l, mars)), []string{"environment/mars create new"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if p := made(l, deleting("environment/mars")); !p.Empty() {
		t.Errorf("what is not declared is deleted: %v", keysOf(p))
	}
	complete := files()
	complete.Scope.Origin, complete.Scope.Complete = "", true
	if p := made(l, complete); slices.ContainsFunc(keysOf(p), func(k string) bool { return strings.Contains(k, "mars") }) {
		t.Errorf("what is not declared is pruned: %v", keysOf(p))
	}
	same := plan.Input{Documents: []oprc.Document{envDocument(l.live.Environments["edge"].Spec)}, Scope: plan.Scope{Origin: oprc.OriginCLI}}
	if p := made(l, same); !p.Empty() || p.Summary.Unchanged != 1 {
		t.Errorf("got %v, %d unchanged", keysOf(p), p.Summary.Unchanged)
	}
}

// What CRMs report counts for more than what is declared.
func TestReportedAvailabilityOutlivesTheDeclaration(t *testing.T) {
	for reported, fails := range map[float64]bool{0.99: false, 0: true} {
		l := newLedger(environment("edge", 0.99))
		edge := l.live.Environments["edge"]
		edge.Beats = []oprc.Heartbeat{{CRM: "a", Availability: reported}}
		l.live.Environments["edge"] = edge
		in := files(edited(shop("pay:1"), func(p *oprc.Package) {
			p.Classes[0].Parents = nil
			p.Classes[0].Requirements = &oprc.Requirements{Availability: .95}
			p.Deployments[0].ReplicaCount = 0
		}))
		in.Documents = append(in.Documents, envDocument(oprc.Environment{Name: "edge", Availability: 0.5}))
		if p := made(l, in); (p.Err() != nil) != fails {
			t.Errorf("reported %g: got %v", reported, p.Err())
		}
	}
}

// floats is a package that runs wherever its availability is reached.
func floats() oprc.Package {
	return edited(shop("pay:1"), func(p *oprc.Package) {
		p.Classes[0].Parents = nil
		p.Classes[0].Requirements = &oprc.Requirements{Availability: .9}
		p.Deployments[0] = oprc.Deployment{Key: ".cart", PartitionCount: 1}
	})
}

// What may run anywhere is placed again by a plan that changes an environment, and by no
// plan of another package.
func TestWhoIsPlacedAgain(t *testing.T) {
	l := newLedger(environment("edge", 0.99))
	l.must(t, files(floats()))
	l.live.Environments["mars"] = oprc.EnvironmentState{Health: oprc.Healthy, EnvironmentRecord: oprc.EnvironmentRecord{Spec: oprc.Environment{Name: "mars"}}}
	edge := l.live.Environments["edge"]
	edge.Health = oprc.EnvDown
	l.live.Environments["edge"] = edge
	if got, want := keysOf(made(l, files(oprc.Package{Name: "other"}))), []string{"package/other create new"}; !slices.Equal(got, want) {
		t.Errorf("of another package: got %v, want %v", got, want)
	}
	mars := plan.Input{Documents: []oprc.Document{envDocument(oprc.Environment{Name: "mars", Availability: .95})}, Scope: plan.Scope{Origin: oprc.OriginCLI}}
	want := []string{"environment/mars create new", "deployment/shop.cart update placement", "unit/shop.cart/0/0@edge delete placement", "unit/shop.cart/0/0@mars create new"}
	got := keysOf(made(l, mars))
	for i := range got {
		got[i] = strings.Replace(got[i], "@mars create placement", "@mars create new", 1)
	}
	if !slices.Equal(got, want) {
		t.Errorf("of an environment that can be used now: got %v, want %v", got, want)
	}
}

// Units of which nothing in the catalogue knows go with a plan that speaks for all, and
// with no other.
func TestWhoClearsAway(t *testing.T) {
	for name, test := range map[string]struct {
		scope plan.Scope
		want  []string
	}{
		"files":              {plan.Scope{Origin: oprc.OriginCLI}, []string{}},
		"a whole origin":     {plan.Scope{Origin: "git:a", Complete: true}, []string{"unit/ghost.c/0/0@edge delete removed"}},
		"all that is live":   {plan.Scope{Maintain: []string{"git:a"}}, []string{"unit/ghost.c/0/0@edge delete removed"}},
		"who deletes it":     {plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"ghost"}}, []string{"unit/ghost.c/0/0@edge delete removed"}},
		"who deletes others": {plan.Scope{Origin: oprc.OriginCLI, Delete: []string{"host"}}, []string{}},
	} {
		l := newLedger(environment("edge", 0.99))
		l.live.Units["edge"] = map[string]oprc.UnitDigest{"ghost.c/0/0@edge": {Generation: 1, SpecHash: "sha256:x"}}
		if got := keysOf(made(l, plan.Input{Scope: test.scope})); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// Reasons of guards name three, and count the rest.
func TestGuardsSayWhy(t *testing.T) {
	deletes := func(n, of int) *plan.Plan {
		p := &plan.Plan{Size: plan.Size{Packages: of}}
		for i := range n {
			p.Changes = append(p.Changes, plan.Change{Kind: oprc.KindPackage, Key: fmt.Sprintf("p%d", i), Package: fmt.Sprintf("p%d", i), Actions: []plan.Action{plan.Delete}})
		}
		return p
	}
	percent := plan.Guard{MaxDelete: 1, MaxDeletePercent: 20}
	for want, got := range map[string]func() (string, bool){
		"it deletes 3 of 10 packages (p0, p1, p2); more than 1 and more than 20 % need approval":            func() (string, bool) { return deletes(3, 10).Held(percent) },
		"it deletes 5 of 10 packages (p0, p1, p2 and 2 more); more than 1 and more than 20 % need approval": func() (string, bool) { return deletes(5, 10).Held(percent) },
		"it deletes 3 of 10 packages (p0, p1, p2); more than 2 need approval":                               func() (string, bool) { return deletes(3, 10).Held(plan.Guard{MaxDelete: 2}) },
	} {
		if reason, held := got(); !held || reason != want {
			t.Errorf("got %t, %q\nwant %q", held, reason, want)
		}
	}
	p := deletes(2, 2)
	p.Changes[1].Package = ""
	if got, want := p.Stopped().Owners, map[string]bool{"p0": true}; !cmp.Equal(got, want) {
		t.Errorf("owners: got %v, want %v", got, want)
	}
}

// Refusals say who is in the way, and what to do.
func TestRefusalsSayWhatToDo(t *testing.T) {
	l := newLedger(environment("edge", 0.99))
	all := []oprc.Package{base("log:1")}
	for i := range 12 {
		all = append(all, oprc.Package{Name: fmt.Sprintf("u%02d", i), Required: []string{"base"}})
	}
	l.must(t, files(all...))
	text := func(in plan.Input) string { return fmt.Sprint(made(l, in).Diagnostics.Errors()) }
	ten := "u00, u01, u02, u03, u04, u05, u06, u07, u08, u09"
	if got := text(deleting("base")); !strings.Contains(got, "it is needed by "+ten+" and 2 more") {
		t.Errorf("got %s", got)
	}
	if got := text(deleting("base", "u10", "u11")); !strings.Contains(got, "it is needed by "+ten+" (") {
		t.Errorf("got %s", got)
	}
	two := plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI}, Documents: []oprc.Document{
		envDocument(oprc.Environment{Name: "mars", Default: true}), envDocument(oprc.Environment{Name: "moon", Default: true}),
	}}
	if got := text(two); !strings.Contains(got, "environment mars cannot be the default: moon is one already") ||
		!strings.Contains(got, "environment moon cannot be the default: mars is one already") {
		t.Errorf("got %s", got)
	}
	frozen := func(p *oprc.Package) { p.Functions[0].State = oprc.Frozen }
	l.must(t, files(edited(shop("pay:1"), frozen)))
	for want, p := range map[string]oprc.Package{
		"set state to ENABLED first, and remove it in another change": edited(shop("pay:1"), func(p *oprc.Package) { p.Functions, p.Classes[0].Functions = nil, nil }),
		"set state to ENABLED in the same change":                     edited(shop("pay:2"), frozen),
	} {
		if got := text(files(p)); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	twice := []oprc.Document{envDocument(oprc.Environment{Name: "mars"}), envDocument(oprc.Environment{Name: "mars"})}
	p := made(l, plan.Input{Documents: twice, Scope: plan.Scope{Origin: oprc.OriginCLI}})
	if errs := p.Diagnostics.Errors(); len(errs) != 1 || errs[0].Package != "" {
		t.Errorf("an environment declared twice: got %+v", errs)
	}
	p = made(l, plan.Input{Documents: documents(oprc.Package{Name: "x"}, oprc.Package{Name: "x"}), Scope: plan.Scope{Origin: oprc.OriginCLI}})
	if errs := p.Diagnostics.Errors(); len(errs) != 1 || errs[0].Package != "x" {
		t.Errorf("a package declared twice: got %+v", errs)
	}
}

// Who is to blame for an error is found across packages that did not change; what was wrong
// before a change is no reason to keep it back.
func TestWhoIsToBlame(t *testing.T) {
	cart := func(p *oprc.Package) { p.Deployments = nil }
	middle := oprc.Package{Name: "middle", Classes: []oprc.Class{{Name: "m", StateType: oprc.StateNormal, Parents: []string{"base.root"}}}}
	top := macro("top", "middle.m", "log")
	top.Classes = []oprc.Class{{Name: "t", StateType: oprc.StateNormal, Functions: []oprc.Binding{{Name: "run", Function: ".m", Access: oprc.Public}}}}
	l := newLedger(environment("edge", 0.99))
	l.must(t, files(edited(base("log:1"), cart), middle, top))
	in := files(edited(base("log:1"), func(p *oprc.Package) { p.Classes[0].Functions = nil }), oprc.Package{Name: "good"})
	in.KeepGoing = true
	p := made(l, in)
	if got, want := keysOf(p), []string{"package/good create new"}; !slices.Equal(got, want) || !slices.Equal(p.Kept, []string{"base"}) {
		t.Errorf("got %v, kept %v, want %v, kept base", got, p.Kept, want)
	}

	rec := l.live.Packages["middle"]
	rec.Spec.Classes = []oprc.Class{{Name: "m", StateType: oprc.StateNormal, Parents: []string{"base.gone"}}}
	l.live.Packages["middle"] = rec
	in = files(edited(base("log:2"), cart), oprc.Package{Name: "good"})
	in.KeepGoing = true
	if got := keysOf(made(l, in)); !slices.Contains(got, "package/good create new") {
		t.Errorf("what was wrong before keeps others: got %v, kept %v", got, made(l, in).Kept)
	}
}

// One mistake is one finding: of what only follows from another nothing is said.
func TestOneMistakeIsOneFinding(t *testing.T) {
	wrong := func(pointer string) oprc.Diagnostic {
		return oprc.Diagnostic{Code: oprc.CodeEnum, Severity: oprc.SeverityError, Package: "shop", Pointer: pointer, Message: "wrong", Position: oprc.Position{File: "shop.yaml"}}
	}
	nowhere := func(p *oprc.Package) { p.Classes[0].Parents, p.Classes[0].Functions[0].Function = nil, ".pey" }
	for name, test := range map[string]struct {
		found oprc.Diagnostic
		want  string // what else is found
	}{
		"at the same place":           {wrong("/classes/0/functions/0/function"), ""},
		"around it":                   {wrong("/classes/0/functions/0"), ""},
		"inside it":                   {wrong("/classes/0/functions/0/function/x"), ""},
		"beside it":                   {wrong("/classes/0/functions/0/access"), "E005"},
		"with a name that begins so":  {wrong("/classes/0/functions/0/func"), "E005"},
		"a function has no name":      {wrong("/functions/0/name"), ""},
		"a function is none":          {wrong("/functions/0"), ""},
		"a class has no name":         {wrong("/classes/0/name"), ""},
		"a function has another slip": {wrong("/functions/0/type"), "E005"},
		"a deployment has no name":    {wrong("/deployments/0"), "E005"},
		"of another package": {func() oprc.Diagnostic {
			d := wrong("/classes/0/functions/0")
			d.Package, d.File = "other", "other.yaml"
			return d
		}(), "E005"},
	} {
		l := newLedger(environment("edge", 0.99))
		p := edited(shop("pay:1"), nowhere)
		p.Deployments = nil
		in := files(p)
		in.Diagnostics = oprc.Diagnostics{test.found}
		var got []string
		for _, d := range made(l, in).Diagnostics {
			if d.Message != "wrong" {
				got = append(got, string(d.Code))
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %v, want %q", name, got, test.want)
		}
	}
}

// Fields of what a class has from its own keys, references and parents are found in the file.
func TestFieldsOfMembersSayWhereTheyWereSet(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	l.must(t, files(edited(shop("pay:1"), func(p *oprc.Package) {
		p.Classes[0].StateSpec = &oprc.StateSpec{KeySpecs: []oprc.KeySpec{{Name: "a"}}}
		p.Classes[0].RefSpec = []oprc.RefSpec{{Name: "q", Cls: ".cart"}}
	})))
	in := files(
		edited(shop("pay:1"), func(p *oprc.Package) {
			p.Classes[0].StateSpec = &oprc.StateSpec{KeySpecs: []oprc.KeySpec{{Name: "a"}, {Name: "b"}}}
			p.Classes[0].RefSpec = []oprc.RefSpec{{Name: "q", Cls: ".cart"}, {Name: "r", Cls: ".cart"}}
			p.Classes[0].Functions = append(slices.Clone(p.Classes[0].Functions), oprc.Binding{Function: "base.log", Access: oprc.Internal})
		}),
		edited(base("log:1"), func(p *oprc.Package) {
			p.Classes[0].Functions = append(slices.Clone(p.Classes[0].Functions), oprc.Binding{Name: "up", Function: ".log", Access: oprc.Public})
		}),
	)
	got := map[string]string{}
	for _, c := range made(l, in).Explain().Changes {
		for _, f := range c.Fields {
			if c.Key == "shop.cart" && strings.HasPrefix(f.Path, "/resolved/") {
				got[f.Path] = f.File
			}
		}
	}
	want := map[string]string{
		"/resolved/keySpecs/b":           "shop.yaml#/classes/0/stateSpec/keySpecs/1",
		"/resolved/refSpecs/r":           "shop.yaml#/classes/0/refSpec/1",
		"/resolved/functions/up":         "base.yaml#/classes/0/functions/1",
		"/resolved/functions/log/access": "shop.yaml#/classes/0/functions/1/access",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// The lines of a change are those of its leaves; there are none of what no file says.
func TestLinesOfAChange(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	for _, c := range made(l, files(shop("pay:2"))).Changes {
		if lines := c.Lines(); c.Kind == oprc.KindPackage && len(lines) != len(plan.Leaves(shop("pay:2"))) || c.Kind == oprc.KindUnit && lines != nil {
			t.Errorf("%s %s: got lines %v", c.Kind, c.Key, lines)
		}
	}
	for _, c := range made(l, deleting("shop")).Changes {
		if lines := c.Lines(); lines != nil {
			t.Errorf("%s %s goes: got lines %v", c.Kind, c.Key, lines)
		}
	}
	if got := plan.Leaves(func() {}); got != nil {
		t.Errorf("what is no document: got %v", got)
	}
}

// Plan files of creations, updates and deletions are read back as they were.
func TestPlanFilesAreReadBack(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	for name, in := range map[string]plan.Input{"create": files(oprc.Package{Name: "new"}), "update": files(shop("pay:2")), "delete": deleting("shop")} {
		p := made(l, in)
		back, err := plan.Decode(encode(t, p))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if back.ID != p.ID || len(back.Changes) != len(p.Changes) || len(back.Differences(p)) != 1 {
			t.Errorf("%s: got %v, want %v", name, keysOf(back), keysOf(p))
		}
	}
}

// The units of a deployment whose assignments are of members that are not there, or have too
// few shards, are those that can be.
func TestUnitsOfWhatIsRecorded(t *testing.T) {
	d := oprc.Deployment{
		Key: "shop.cart", Members: []oprc.Member{{ID: 1, Env: "a"}, {ID: 2, Env: "b"}},
		Assignments: []oprc.Assignment{{Primary: 1, Owners: []int{1, 3, 2}, ShardIDs: []int{0, 1}}, {Primary: 2, Owners: []int{2, 1}, ShardIDs: []int{2, 3}}},
	}
	class := oprc.Class{Key: "shop.cart", Resolved: &oprc.Resolved{}, StateSpec: &oprc.StateSpec{DefaultProvider: "s3"}}
	got := map[string][]oprc.UnitPeer{}
	for _, u := range plan.Units(d, class, nil, nil) {
		got[u.ID] = u.Peers
		if u.StateSpec == nil || u.StateSpec.DefaultProvider != "s3" {
			t.Errorf("%s: state %+v", u.ID, u.StateSpec)
		}
	}
	want := map[string][]oprc.UnitPeer{
		"shop.cart/0/0@a": nil,
		"shop.cart/1/0@b": {{MemberID: 1, Env: "a", ReplicaID: 1, ShardID: 3}},
		"shop.cart/1/1@a": {{MemberID: 2, Env: "b", ReplicaID: 0, ShardID: 2, Primary: true}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	for name, class := range map[string]oprc.Class{
		"keys": {Resolved: &oprc.Resolved{KeySpecs: map[string]oprc.KeySpec{"k": {Name: "k"}}}}, "nothing": {},
	} {
		if u := plan.Units(d, class, nil, nil)[0]; (u.StateSpec == nil) != (name == "nothing") {
			t.Errorf("%s: state %+v", name, u.StateSpec)
		}
	}
}

// The availability that a class asks for is its own, else the highest of its functions.
func TestWhatAvailabilityIsAsked(t *testing.T) {
	for name, test := range map[string]struct {
		class, function float64
		replicas        int
	}{"of the class": {.9, .999, 1}, "of the function": {0, .999, 2}, "of none": {0, 0, 1}} {
		l := newLedger(environment("edge", 0.99), environment("cloud", 0.99))
		p := floats()
		p.Classes[0].Requirements = &oprc.Requirements{Availability: test.class, Throughput: 1}
		p.Functions[0].Requirements = &oprc.Requirements{Availability: test.function}
		p.Deployments[0].TargetEnvs = []string{"edge", "cloud"}
		l.must(t, files(p))
		if got := l.live.Deployments["shop.cart"].ReplicaCount; got != test.replicas {
			t.Errorf("%s: got %d replicas, want %d", name, got, test.replicas)
		}
	}
}

// Where there is room for one, who is there stays, and what goes makes room.
func TestRoomIsForWhoIsThere(t *testing.T) {
	l := newLedger(environment("edge", 0.99))
	named := func(name string) oprc.Package {
		p := edited(shop("pay:1"), func(p *oprc.Package) { p.Name, p.Classes[0].Parents = name, nil })
		return p
	}
	l.must(t, files(named("z")))
	edge := l.live.Environments["edge"]
	edge.Spec.Capacity, edge.Units = &oprc.Capacity{Units: new(1)}, 1
	l.live.Environments["edge"] = edge
	in := files(named("a"), named("z"))
	in.KeepGoing = true
	if p := made(l, in); !p.Empty() || !slices.Equal(p.Kept, []string{"a"}) {
		t.Errorf("got %v, kept %v, want a kept", keysOf(p), p.Kept)
	}
	in = files(named("a"))
	in.Scope.Delete = []string{"z"}
	if p := made(l, in); p.Err() != nil || len(p.Commands()["edge"]) != 2 {
		t.Errorf("one comes, one goes: got %v, %v", keysOf(p), p.Err())
	}
}

// A plan rests on what was observed of environments where it changes one, a placement or a
// unit; else on packages alone.
func TestWhatABaseHolds(t *testing.T) {
	seen := map[string]oprc.Observation{"edge": {Health: oprc.Healthy}, "cloud": {Health: oprc.Healthy}}
	l := settled(t, oprc.OriginCLI)
	lost := l.clone()
	delete(lost.live.Deployments, "shop.cart")
	delete(lost.live.Digests, "deployment/shop.cart")
	drifted := settled(t, oprc.OriginCLI)
	drift(drifted)
	heal := files(shop("pay:1"))
	heal.Heal = true
	for name, test := range map[string]struct {
		l    *ledger
		in   plan.Input
		want map[string]oprc.Observation
	}{
		"a package":      {l, files(oprc.Package{Name: "new"}), nil},
		"an environment": {l, plan.Input{Documents: []oprc.Document{envDocument(oprc.Environment{Name: "mars"})}, Scope: plan.Scope{Origin: oprc.OriginCLI}}, seen},
		"a placement":    {lost, files(shop("pay:1")), seen},
		"a unit":         {drifted, heal, seen},
	} {
		p := made(test.l, test.in)
		if p.Empty() || !cmp.Equal(p.Base.Observed, test.want) {
			t.Errorf("%s: %v rests on %v, want %v", name, keysOf(p), p.Base.Observed, test.want)
		}
	}
}

// What was asked of sources, and what CRMs said of units, is in a snapshot. Where they said
// that the spec is the one that was sent, they say so of the one without secrets.
func TestSnapshotHoldsWhatWasSaid(t *testing.T) {
	l := settled(t, oprc.OriginCLI)
	unit := l.live.Units["edge"][cartUnit]
	l.live.Statuses["edge"] = map[string]oprc.Status{
		cartUnit: {Generation: 1, SpecHash: unit.SpecHash, Condition: oprc.Running}, "shop.other/0/0@edge": {SpecHash: "sha256:other"},
	}
	l.live.Units["edge"]["shop.other/0/0@edge"] = oprc.UnitDigest{Generation: 1, SpecHash: "sha256:x"}
	s, err := plan.NewSnapshot(l.live, redaction, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	s.Asked = oprc.Requests{Tickets: map[string]int64{"main": 3}}
	raw, err := s.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := plan.DecodeSnapshot(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	if back.Asked.Tickets["main"] != 3 {
		t.Errorf("asked: got %+v", back.Asked)
	}
	said, is := back.Live.Statuses["edge"], back.Live.Units["edge"]
	if said[cartUnit].SpecHash != is[cartUnit].SpecHash || is[cartUnit].SpecHash == unit.SpecHash {
		t.Errorf("said %s of %s, before %s", said[cartUnit].SpecHash, is[cartUnit].SpecHash, unit.SpecHash)
	}
	if said["shop.other/0/0@edge"].SpecHash != "sha256:other" {
		t.Errorf("of a unit that runs another spec: got %+v", said["shop.other/0/0@edge"])
	}
}

// A plan of one package moves no other, though it could run elsewhere.
func TestOthersAreNotPlacedAgain(t *testing.T) {
	l := newLedger(environment("edge", 0.999), environment("cloud", 0.99))
	l.must(t, files(floats()))
	edge := l.live.Environments["edge"]
	edge.Health = oprc.EnvDown
	l.live.Environments["edge"] = edge
	if got, want := keysOf(made(l, files(oprc.Package{Name: "other"}))), []string{"package/other create new"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Of two environments that change, what becomes of a deployment is said of the one in which
// it runs.
func TestEffectsAreSaidWhereItRuns(t *testing.T) {
	l := newLedger(environment("edge", 0.999), environment("cloud", 0.99))
	l.must(t, files(floats()))
	in := plan.Input{Scope: plan.Scope{Origin: oprc.OriginCLI}, Documents: []oprc.Document{
		envDocument(oprc.Environment{Name: "cloud", Availability: 0.5}), envDocument(oprc.Environment{Name: "edge", Availability: 0.5}),
	}}
	found := made(l, in).Diagnostics
	if want := in.Documents[1].Where.At("/availability"); len(found) != 1 || found[0].Position != want {
		t.Errorf("got %v, want one at %v", found, want)
	}
}

// What is wrong as it is live keeps nothing else back.
func TestWhatWasWrongBefore(t *testing.T) {
	l := newLedger(environment("edge", 0.99))
	middle := oprc.Package{Name: "middle", Classes: []oprc.Class{{Name: "m", StateType: oprc.StateNormal}}}
	l.must(t, files(middle))
	middle.Classes = []oprc.Class{{Name: "m", StateType: oprc.StateNormal, Parents: []string{"base.gone"}}}
	rec := l.live.Packages["middle"]
	rec.Spec, rec.Digest = middle, oprc.Digest(middle)
	l.live.Packages["middle"] = rec
	in := files(middle, oprc.Package{Name: "good"})
	in.KeepGoing = true
	p := made(l, in)
	if got, want := keysOf(p), []string{"package/good create new"}; !slices.Equal(got, want) {
		t.Errorf("got %v, kept %v, want %v", got, p.Kept, want)
	}
}

// A package that changes hands says so, its members do not.
func TestOwnerIsAFieldOfPackages(t *testing.T) {
	l := settled(t, "git:b")
	in := files(shop("pay:2"))
	in.Scope.TakeOwnership = true
	var got []string
	for _, c := range made(l, in).Explain().Changes {
		for _, f := range c.Fields {
			if f.Path == "/origin" {
				got = append(got, fmt.Sprintf("%s/%s from %s to %s", c.Kind, c.Key, f.Before, f.After))
			}
		}
	}
	if want := []string{`package/shop from "git:b" to "cli"`}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Whose it is that stays because its file holds nothing any more: of a package, not of an
// environment.
func TestWhoseItIsThatStays(t *testing.T) {
	l := settled(t, "git:a")
	rec := l.live.Packages["shop"]
	rec.Source = &oprc.SourceRef{Name: "a", Path: "x.yaml"}
	l.live.Packages["shop"] = rec
	cloud := l.live.Environments["cloud"]
	cloud.Origin, cloud.Source = "git:a", rec.Source
	l.live.Environments["cloud"] = cloud
	in := plan.Input{
		Scope: plan.Scope{Origin: "git:a", Complete: true}, KeepGoing: true, Unread: []string{"x.yaml"},
	}
	got := map[string]string{}
	for _, d := range made(l, in).Diagnostics {
		got[d.Message] = d.Package
	}
	want := map[string]string{
		"the file is not read any more: package shop stays as it is": "shop", "the file is not read any more: environment cloud stays as it is": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages of findings (-want +got):\n%s", diff)
	}
}
