package resolve_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// Findings at the limits: where the next value would be another answer.
func TestFindingsAtTheLimits(t *testing.T) {
	quiet := `'name':'p','functions':[{'name':'f',` + task
	bound := `}],'classes':[{'name':'c','functions':[{'function':'.f'}]`
	classes := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("{'name':'c%02d'}", i))
		}
		return strings.Join(all, ",")
	}
	listed := ".c00, .c01, .c02, .c03, .c04, .c05, .c06, .c07, .c08"
	tests := map[string]struct {
		packages []string
		want     []string
	}{
		"an availability between 0 and 1": {[]string{`{` + quiet + bound + `,'requirements':{'availability':0.5}}]}`}, nil},
		"an availability below 0": {
			[]string{`{` + quiet + bound + `,'requirements':{'availability':-0.5}}]}`},
			[]string{"p E010 /classes/0/requirements/availability: availability is -0.5; it must be between 0 and 1, and neither of them (write a share of time such as 0.99)"},
		},
		"latency as high as hardLatency":  {[]string{`{` + quiet + `,'requirements':{'latency':100},'constraints':{'hardLatency':100}` + bound + `}]}`}, nil},
		"a latency, and no limit for it":  {[]string{`{` + quiet + `,'requirements':{'latency':100},'constraints':{'maxConcurrency':1}` + bound + `}]}`}, nil},
		"as many at least as at the most": {[]string{`{'name':'p','functions':[{'name':'f','type':'TASK','provision':{'knative':{'image':'i','minScale':2,'maxScale':2}}` + bound + `}]}`}, nil},
		"at least 1, at the most 0": {
			[]string{`{'name':'p','functions':[{'name':'f','type':'TASK','provision':{'knative':{'image':'i','minScale':1,'maxScale':0}}` + bound + `}]}`},
			[]string{"p E008 /functions/0/provision/knative/minScale: minScale 1 is above maxScale 0 (lower minScale or raise maxScale)"},
		},
		"one partition of a SINGLETON": {[]string{`{'name':'p','classes':[{'name':'one','stateType':'SINGLETON'}],'deployments':[{'_key':'.one','partitionCount':1}]}`}, nil},
		"ten classes are all named": {
			[]string{`{'name':'p','classes':[{'name':'other','parents':['.zzzzzz']},` + classes(9) + `]}`},
			[]string{"p E006 /classes/0/parents/0: class 'other' inherits from '.zzzzzz', and there is no such class (classes of package 'p': " + listed + ", .other)"},
		},
		"eleven are none": {
			[]string{`{'name':'p','classes':[{'name':'other','parents':['.zzzzzz']},` + classes(10) + `]}`},
			[]string{"p E006 /classes/0/parents/0: class 'other' inherits from '.zzzzzz', and there is no such class"},
		},
		"a name of a package that is not known": {
			[]string{`{'name':'p','classes':[{'name':'c','parents':['lib.cart']}]}`, `{'name':'libs','classes':[{'name':'cart'}]}`},
			[]string{"p E006 /classes/0/parents/0: class 'c' inherits from 'lib.cart', and there is no such class (did you mean 'libs.cart'?)"},
		},
		"both of two classes with one name are judged": {
			[]string{`{'name':'p','classes':[{'name':'c'},{'name':'c','functions':[{'name':'x','function':'q.x'}]}]}`},
			[]string{
				"p E004 /classes/1/name: class 'p.c' is declared twice; first in p.yaml:5985:1 (rename or remove one of the two)",
				"p E005 /classes/1/functions/0/function: binding 'x' of class 'c' names function 'q.x', and there is no such function",
			},
		},
		"of a macro that no class binds, its own object is not asked about": {
			[]string{`{'name':'p','functions':[{'name':'m','type':'MACRO','macro':{'steps':[{'target':'@','function':'run'}]}}]}`},
			[]string{"p W104 /functions/0/name: function 'm' is bound by no class (bind it in a class, or remove it)"},
		},
		"of a reference to a class that is not known, only that": {
			[]string{`{'name':'p','functions':[{'name':'m','type':'MACRO','macro':{'steps':[{'target':'@.next','function':'run'}]}}],
				'classes':[{'name':'c','refSpec':[{'name':'next','cls':'q.x'}],'functions':[{'function':'.m'}]}]}`},
			[]string{"p W103 /classes/0/refSpec/0/cls: reference 'next' is to class 'q.x', which is not known"},
		},
		"the alias of the step itself is not one so far": {
			[]string{`{'name':'p','functions':[{'name':'m','type':'MACRO','macro':{'steps':[{'target':'zzzzzz','function':'get','as':'mine'}]}}],
				'classes':[{'name':'c','parents':['builtin.base'],'functions':[{'function':'.m'}]}]}`},
			[]string{"p E007 /functions/0/macro/steps/0/target: steps[0]: target: there is no step with the alias 'zzzzzz' (aliases so far: @)"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, found := resolve.Packages(docs(t, test.packages...), nil)
			wantFindings(t, found, test.want...)
		})
	}
}

func TestEnvironmentsAtTheLimits(t *testing.T) {
	for name, test := range map[string]struct {
		env  oprc.Environment
		want oprc.Code // "" for none
	}{
		"available half of the time":  {oprc.Environment{Availability: .5}, ""},
		"available all of the time":   {oprc.Environment{Availability: 1}, oprc.CodeAvailability},
		"available less than never":   {oprc.Environment{Availability: -.1}, oprc.CodeAvailability},
		"nothing to give":             {oprc.Environment{Capacity: &oprc.Capacity{CPU: "0", Memory: "0", Units: new(0)}}, ""},
		"less than nothing":           {oprc.Environment{Capacity: &oprc.Capacity{Memory: "-1"}}, oprc.CodeEnvironment},
		"room for less than no units": {oprc.Environment{Capacity: &oprc.Capacity{Units: new(-1)}}, oprc.CodeEnvironment},
	} {
		test.env.Name = "edge"
		_, found := resolve.Packages([]oprc.Document{{Environment: &test.env, Path: "edge.yaml"}}, nil)
		var got oprc.Code
		for _, d := range found {
			got += d.Code
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// What a macro calls and is not there is an error; what cannot be known is a warning.
func TestSeverityOfWhatMacrosDo(t *testing.T) {
	for steps, want := range map[string]oprc.Severity{
		`{'target':'@','function':'nothing'}`:           oprc.SeverityError,
		`{'target':'@.somewhere','function':'nothing'}`: oprc.SeverityWarning,
	} {
		_, found := resolve.Packages(docs(t, `{'name':'p','functions':[{'name':'m','type':'MACRO','macro':{'steps':[`+steps+`]}}],
			'classes':[{'name':'c','parents':['builtin.base'],'functions':[{'function':'.m'}]}]}`), nil)
		if len(found) != 1 || found[0].Severity != want {
			t.Errorf("%s: got %v, want one %s", steps, found, want)
		}
	}
}

// Names far away are searched for a few wrong references, not for thousands.
func TestSearchesForNamesEnd(t *testing.T) {
	var parents []string
	for range 30 {
		parents = append(parents, "'lib.cart'")
	}
	_, found := resolve.Packages(docs(t,
		`{'name':'p','classes':[{'name':'c','parents':[`+strings.Join(parents, ",")+`]}]}`, `{'name':'libs','classes':[{'name':'cart'}]}`), nil)
	hints := 0
	for _, d := range found {
		if strings.Contains(d.Hint, "libs.cart") {
			hints++
		}
	}
	if len(found) != 30 || hints != 20 {
		t.Errorf("%d of %d references have a hint, want 20 of 30", hints, len(found))
	}
}

// Parents are resolved before those that inherit from them, in whatever order they are
// written, and however many inherit from one.
func TestParentsComeFirst(t *testing.T) {
	c := resolved(t, `{'name':'p','functions':[{'name':'f',`+task+`}],'classes':[
		{'name':'a','parents':['.d']},{'name':'b','parents':['.a']},{'name':'c','parents':['.d']},{'name':'d','functions':[{'function':'.f'}]}]}`)
	for _, name := range []string{"a", "b", "c", "d"} {
		if _, has := c.Classes["p."+name].Resolved.Functions["f"]; !has {
			t.Errorf("class %s has not what d binds: %+v", name, c.Classes["p."+name].Resolved)
		}
	}
	if got, want := c.Classes["p.b"].Resolved.Ancestors, []string{"p.a", "p.d"}; !slices.Equal(got, want) {
		t.Errorf("ancestors of b: got %v, want %v", got, want)
	}
}

// A deployment may name a class of its package with and without the dot.
func TestKeyOfADeployment(t *testing.T) {
	p := oprc.Package{Name: "shop", Classes: []oprc.Class{{Name: "cart"}, {Name: "base.cart"}}}
	for ref, want := range map[string]string{
		"cart": "shop.cart", ".cart": "shop.cart", "base.cart": "shop.base.cart", "base.other": "base.other", "shop.cart": "shop.cart",
	} {
		if got := resolve.DeploymentKey(p, ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
}
