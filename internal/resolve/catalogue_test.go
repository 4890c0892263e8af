package resolve_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

func TestKeysAndReferencesAreAbsolute(t *testing.T) {
	c := resolved(t, `{'name':'shop','functions':[
			{'name':'cart.add',`+task+`,'outputCls':'.cart','immutable':true},
			{'name':'buy','type':'MACRO','macro':{'steps':[{'target':'@','targetCls':'.cart','function':'add','as':'x'}],'output':'x'}}],
		'classes':[{'name':'cart','parents':['base0'],'refSpec':[{'name':'owner','cls':'.cart'}],
			'functions':[{'function':'.cart.add'},{'name':'put','function':'shop.cart.add','outputCls':'Void','access':'INTERNAL'},{'function':'.buy'}]},{'name':'base0'}],
		'deployments':[{'_key':'cart','members':[{'id':1,'env':'e','disabledFn':['.cart.add'],'standbyFn':['buy']}]}]}`)
	add := oprc.Binding{Name: "add", Function: "shop.cart.add", Access: oprc.Public, Immutable: true, OutputCls: "shop.cart"}
	put := oprc.Binding{Name: "put", Function: "shop.cart.add", Access: oprc.Internal, Immutable: true, OutputCls: "Void"}
	buy := oprc.Binding{Name: "buy", Function: "shop.buy", Access: oprc.Public}
	owner := oprc.RefSpec{Name: "owner", Cls: "shop.cart"}
	want := oprc.Class{
		Key: "shop.cart", Name: "cart", Pkg: "shop", Parents: []string{"shop.base0"},
		Functions: []oprc.Binding{add, put, buy}, RefSpec: []oprc.RefSpec{owner},
		Resolved: &oprc.Resolved{
			Functions: map[string]oprc.Binding{"add": add, "put": put, "buy": buy},
			RefSpecs:  map[string]oprc.RefSpec{"owner": owner}, Ancestors: []string{"shop.base0"},
		},
	}
	if diff := cmp.Diff(want, c.Classes["shop.cart"]); diff != "" {
		t.Errorf("class (-want +got):\n%s", diff)
	}
	if f := c.Functions["shop.cart.add"]; f.Key != "shop.cart.add" || f.Pkg != "shop" || f.OutputCls != "shop.cart" || f.State != oprc.Enabled {
		t.Errorf("function: %+v", f)
	}
	if got := c.Functions["shop.buy"].Macro.Steps[0].TargetCls; got != "shop.cart" {
		t.Errorf("targetCls: got %q, want shop.cart", got)
	}
	wantDeployment := oprc.Deployment{
		Key: "shop.cart", Pkg: "shop",
		Members: []oprc.Member{{ID: 1, Env: "e", DisabledFn: []string{"add", "put"}, StandbyFn: []string{"buy"}}},
	}
	if diff := cmp.Diff(wantDeployment, c.Deployments["shop.cart"]); diff != "" {
		t.Errorf("deployment (-want +got):\n%s", diff)
	}
	if got := c.Packages["shop"].Classes[0].Parents[0]; got != "base0" {
		t.Errorf("the package is not as written: parent %q", got)
	}
}

func TestBuiltinIsAlwaysThere(t *testing.T) {
	c := resolved(t)
	for _, name := range []string{"new", "update", "get", "delete", "file", "copy", "project", "native-query"} {
		f, has := c.Functions["builtin."+name]
		if immutable := slices.Contains([]string{"copy", "get", "file", "project"}, name); !has || f.Type != oprc.Builtin || f.Immutable != immutable {
			t.Errorf("builtin.%s: %+v", name, f)
		}
	}
	base := c.Classes["builtin.base"].Resolved.Functions
	if len(base) != 3 || base["new"].Function != "builtin.new" || !base["get"].Immutable || base["file"].Access != oprc.Public {
		t.Errorf("builtin.base: %+v", base)
	}
	if len(c.Packages) != 0 || len(c.Order) != 0 {
		t.Errorf("builtin is listed among the packages: %v %v", c.Packages, c.Order)
	}
}

func TestInheritance(t *testing.T) {
	fn := func(names ...string) string {
		out := ""
		for i, n := range names {
			if i > 0 {
				out += ","
			}
			out += fmt.Sprintf(`{'name':'%s','function':'lib.%s','outputCls':'none'}`, n[:1], n)
		}
		return out
	}
	c := resolved(t,
		`{'name':'lib','disabled':true,'functions':[{'name':'a0',`+task+`},{'name':'a1',`+task+`},{'name':'a2',`+task+`},{'name':'b1',`+task+`},{'name':'b2',`+task+`},{'name':'c3',`+task+`}],
			'classes':[{'name':'root','disabled':true,'functions':[`+fn("a0")+`],'stateSpec':{'keySpecs':[{'name':'k','type':'STRING'}]}},
				{'name':'left','parents':['.root'],'functions':[`+fn("a1", "b1")+`]},
				{'name':'right','parents':['.root'],'functions':[`+fn("b2")+`]}]}`,
		`{'name':'app','classes':[
			{'name':'leftFirst','parents':['lib.left','lib.right']},
			{'name':'rightFirst','parents':['lib.right','lib.left']},
			{'name':'own','parents':['lib.left','lib.right'],'functions':[`+fn("a2", "c3")+`],'stateSpec':{'keySpecs':[{'name':'k','type':'DOUBLE'}]}}]}`)
	tests := map[string]map[string]string{
		// right's a is root's: a later parent overrides with all it has, inherited or not.
		"app.leftFirst":  {"a": "lib.a0", "b": "lib.b2"},
		"app.rightFirst": {"a": "lib.a1", "b": "lib.b1"},
		"app.own":        {"a": "lib.a2", "b": "lib.b2", "c": "lib.c3"},
	}
	for key, want := range tests {
		got := map[string]string{}
		for name, b := range c.Classes[key].Resolved.Functions {
			got[name] = b.Function
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	if got := c.Classes["app.own"].Resolved.KeySpecs["k"].Type; got != "DOUBLE" {
		t.Errorf("own key: got %s, want DOUBLE", got)
	}
	if got := c.Classes["app.leftFirst"].Resolved.KeySpecs["k"].Type; got != "STRING" {
		t.Errorf("inherited key: got %s, want STRING", got)
	}
	if diff := cmp.Diff([]string{"lib.left", "lib.right", "lib.root"}, c.Classes["app.own"].Resolved.Ancestors); diff != "" {
		t.Errorf("ancestors (-want +got):\n%s", diff)
	}
}

func TestOneDefaultRouteIsInherited(t *testing.T) {
	c := resolved(t, `{'name':'p','classes':[{'name':'up','functions':[{'function':'builtin.get','defaultRoute':true}]},
		{'name':'up2','functions':[{'function':'builtin.file','defaultRoute':true}]},{'name':'both','parents':['.up','.up2']},
		{'name':'down','parents':['.up'],'functions':[{'function':'builtin.new','defaultRoute':true}]}]}`)
	if both := c.Classes["p.both"].Resolved.Functions; both["get"].DefaultRoute || !both["file"].DefaultRoute {
		t.Errorf("the later parent's default route counts: %+v", both)
	}
	got := c.Classes["p.down"].Resolved.Functions
	if got["get"].DefaultRoute || !got["new"].DefaultRoute || !c.Classes["p.up"].Resolved.Functions["get"].DefaultRoute {
		t.Errorf("default routes: %+v", got)
	}
}

func TestDocumentsReplaceLiveOnes(t *testing.T) {
	live := map[string]oprc.Package{
		"lib":  pkg(t, `{'name':'lib','version':'1.0.0','functions':[{'name':'f'}],'classes':[{'name':'x'}]}`),
		"user": pkg(t, `{'name':'user','required':['lib@^1'],'functions':[{'name':'idle'}],'classes':[{'name':'c','parents':['lib.x','builtin.logical.base'],'functions':[{'function':'lib.f','condition':'('}]}]}`),
	}
	if _, found := resolve.Packages(nil, live); len(found) > 0 {
		t.Errorf("what is live was accepted before, yet: %v", brief(found))
	}
	_, found := resolve.Packages(docs(t, `{'name':'lib','version':'2.0.0'}`), live)
	wantFindings(t, found,
		"user E012 /required/0: package 'lib' has version 2.0.0; '^1' is required (ask for lib@^2.0.0, or apply a version in the range)",
		"user E006 /classes/0/parents/0: class 'c' inherits from 'lib.x', and there is no such class",
		"user E005 /classes/0/functions/0/function: binding '' of class 'c' names function 'lib.f', and there is no such function",
	)
	for _, d := range found {
		if d.Position != (oprc.Position{}) {
			t.Errorf("a finding about a live package has the position %v", d.Position)
		}
	}
}

func TestOrderAndDepends(t *testing.T) {
	c := resolved(t,
		`{'name':'a','classes':[{'name':'x','parents':['z.x']}]}`,
		`{'name':'b','required':['m'],'functions':[{'name':'f',`+task+`}],'classes':[{'name':'x','functions':[{'function':'.f'},{'name':'g','function':'y.f'}]}]}`,
		`{'name':'m','classes':[{'name':'x','parents':['builtin.base','n.y']}]}`,
		`{'name':'n','required':['m'],'classes':[{'name':'y'}]}`,
		`{'name':'y','functions':[{'name':'f',`+task+`}]}`,
		`{'name':'z','classes':[{'name':'x'}]}`,
	)
	if diff := cmp.Diff([]string{"m", "n", "y", "b", "z", "a"}, c.Order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	want := map[string][]string{"a": {"z"}, "b": {"m", "y"}, "m": {"n"}, "n": {"m"}, "y": nil, "z": nil}
	if diff := cmp.Diff(want, c.Depends); diff != "" {
		t.Errorf("depends (-want +got):\n%s", diff)
	}
}

// world draws packages that refer to each other, rightly and wrongly.
func world(t *rapid.T) []oprc.Package {
	n := rapid.IntRange(1, 5).Draw(t, "packages")
	name := func(i int) string { return fmt.Sprintf("p%d", i) }
	ref := func(label, kind string) string {
		i := rapid.IntRange(-1, n).Draw(t, label) // -1: relative; n: unknown
		item := fmt.Sprintf("%s%d", kind, rapid.IntRange(0, 3).Draw(t, label+" item"))
		if i < 0 {
			return "." + item
		}
		return name(i) + "." + item
	}
	var out []oprc.Package
	for i := range n {
		p := oprc.Package{Name: name(i), Version: "1.0.0"}
		for range rapid.IntRange(0, 2).Draw(t, "required") {
			p.Required = append(p.Required, name(rapid.IntRange(0, n).Draw(t, "requires")))
		}
		for j := range rapid.IntRange(0, 3).Draw(t, "functions") {
			f := oprc.Function{Name: fmt.Sprintf("f%d", j), Type: oprc.Task, Immutable: rapid.Bool().Draw(t, "immutable")}
			if rapid.IntRange(0, 3).Draw(t, "macro") == 0 {
				f.Type = oprc.MacroFn
				f.Macro = &oprc.Macro{Steps: []oprc.Step{
					{Target: "@", Function: fmt.Sprintf("f%d", rapid.IntRange(0, 3).Draw(t, "calls")), As: "a"},
					{Target: "a", Function: "f1"},
				}}
			}
			p.Functions = append(p.Functions, f)
		}
		for j := range rapid.IntRange(0, 3).Draw(t, "classes") {
			c := oprc.Class{Name: fmt.Sprintf("c%d", j)}
			for range rapid.IntRange(0, 2).Draw(t, "parents") {
				c.Parents = append(c.Parents, ref("parent", "c"))
			}
			for range rapid.IntRange(0, 2).Draw(t, "bindings") {
				c.Functions = append(c.Functions, oprc.Binding{Function: ref("binds", "f"), OutputCls: ref("output", "c"), Access: oprc.Internal})
			}
			p.Classes = append(p.Classes, c)
		}
		if rapid.Bool().Draw(t, "deploys") {
			p.Deployments = append(p.Deployments, oprc.Deployment{Key: ref("deploy", "c"), Members: []oprc.Member{{ID: 1, Env: "e", DisabledFn: []string{"f0"}}}})
		}
		out = append(out, p)
	}
	return out
}

func TestOrderOfDocumentsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		packages := world(t)
		before, err := json.Marshal(packages)
		if err != nil {
			t.Fatal(err)
		}
		var in []oprc.Document
		for _, p := range packages {
			in = append(in, doc(p))
		}
		c, found := resolve.Packages(in, nil)
		shuffled := rapid.Permutation(in).Draw(t, "order")
		again, foundAgain := resolve.Packages(shuffled, nil)
		if diff := cmp.Diff(c, again); diff != "" {
			t.Fatalf("catalogue differs:\n%s", diff)
		}
		if diff := cmp.Diff(found, foundAgain); diff != "" {
			t.Fatalf("findings differ:\n%s", diff)
		}
		if after, err := json.Marshal(packages); err != nil || string(after) != string(before) {
			t.Fatalf("the input was changed:\n%s\n%s", before, after)
		}
		checkOrder(t, c)
	})
}

// checkOrder judges the order by what it is for: nobody stands before a package
// that it requires, unless they require each other.
func checkOrder(t *rapid.T, c *resolve.Catalogue) {
	place := map[string]int{}
	for i, name := range c.Order {
		place[name] = i
	}
	if len(place) != len(c.Packages) {
		t.Fatalf("order lists %v of %d packages", c.Order, len(c.Packages))
	}
	for name, p := range c.Packages {
		for _, on := range c.Depends[name] {
			if place[on] > place[name] && !reaches(c.Depends, on, name) {
				t.Fatalf("%s stands before %s, on which it depends: %v", name, on, c.Order)
			}
		}
		for _, on := range p.Required {
			required := map[string][]string{}
			for n, q := range c.Packages {
				required[n] = q.Required
			}
			if _, known := c.Packages[on]; known && place[on] > place[name] && !reaches(required, on, name) {
				t.Fatalf("%s stands before %s, which it requires: %v", name, on, c.Order)
			}
		}
	}
}

func reaches(edges map[string][]string, from, to string) bool {
	seen := map[string]bool{}
	var walk func(string) bool
	walk = func(n string) bool {
		if n == to {
			return true
		}
		if seen[n] {
			return false
		}
		seen[n] = true
		return slices.ContainsFunc(edges[n], walk)
	}
	return walk(from)
}

// FuzzPackages feeds anything that has the shape of packages: the resolver must
// answer, and answer the same for another order.
func FuzzPackages(f *testing.F) {
	f.Add([]byte(`[{"name":"p","classes":[{"name":"c","parents":[".c","","."]}],"functions":[{"name":"f","type":"MACRO","macro":{"steps":[{"function":"x","target":".","as":"."}]}}]}]`))
	f.Add([]byte(`[{"name":"a","required":["@","a@","b@^1"],"deployments":[{"_key":"."},{"_key":"a."}]},{"name":"b","version":"x"},{"name":"b"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var packages []oprc.Package
		if json.Unmarshal(data, &packages) != nil {
			return
		}
		var in []oprc.Document
		for _, p := range packages {
			in = append(in, doc(p))
		}
		_, found := resolve.Packages(in, nil)
		slices.Reverse(in)
		if _, again := resolve.Packages(in, nil); !cmp.Equal(found, again) {
			t.Errorf("findings depend on the order:\n%s", cmp.Diff(found, again))
		}
	})
}
