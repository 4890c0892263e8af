package resolve_test

import (
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// task is a function with an image.
const task = `'type':'TASK','provision':{'knative':{'image':'registry.example/fn'}}`

func TestFindings(t *testing.T) {
	tests := map[string]struct {
		packages []string
		want     []string
	}{
		"a clean package": {
			[]string{`{'name':'p','functions':[{'name':'record.f',` + task + `}],
				'classes':[{'name':'c','parents':['builtin.base'],'functions':[{'function':'.record.f','outputCls':'.c'}]}]}`},
			nil,
		},
		"E004 class, function, binding, key, reference": {
			[]string{`{'name':'p','functions':[{'name':'f',` + task + `},{'name':'f',` + task + `}],
				'classes':[{'name':'c','functions':[{'function':'.f'},{'function':'.f'},{'name':'g','function':'.f'},{'name':'g','function':'builtin.new'}],
				'stateSpec':{'keySpecs':[{'name':'k'},{'name':'k'}]},'refSpec':[{'name':'r','cls':'.c'},{'name':'r','cls':'.c'}]},{'name':'c'}]}`},
			[]string{
				"p E004 /functions/1/name: function 'p.f' is declared twice; first in p.yaml:9392:1 (rename or remove one of the two)",
				"p E004 /classes/0/functions/1: class 'c' has two bindings named 'f': functions/0 and functions/1 (give one of them a `name` of its own)",
				"p E004 /classes/0/functions/3/name: class 'c' has two bindings named 'g': functions/2 and functions/3 (give one of them a `name` of its own)",
				"p E004 /classes/0/stateSpec/keySpecs/1/name: class 'c' has two keys named 'k' (rename or remove one of the two)",
				"p E004 /classes/0/refSpec/1/name: class 'c' has two references named 'r' (rename or remove one of the two)",
				"p E004 /classes/1/name: class 'p.c' is declared twice; first in p.yaml:5985:1 (rename or remove one of the two)",
			},
		},
		"E004 two packages whose names make one key": {
			[]string{`{'name':'a','classes':[{'name':'b.c'}]}`, `{'name':'a.b','classes':[{'name':'c'}]}`},
			[]string{"a.b E004 /classes/0/name: class 'a.b.c' has the same key as one of package 'a'; first in a.yaml:5985:1 (rename or remove one of the two)"},
		},
		"E004 builtin cannot be declared": {
			[]string{`{'name':'builtin'}`},
			[]string{"builtin E004 /name: package 'builtin' is always present and cannot be declared (choose another name)"},
		},
		"E005 with the nearest name": {
			[]string{`{'name':'p','functions':[{'name':'resize',` + task + `}],'classes':[{'name':'c','functions':[
				{'function':'.resize'},{'name':'a','function':'.rezise'},{'name':'b','function':'builtin.updat'},{'name':'d','function':'.c'},{'name':'e','function':'q.x'}]}]}`},
			[]string{
				"p E005 /classes/0/functions/1/function: binding 'a' of class 'c' names function '.rezise', and there is no such function (did you mean '.resize'?)",
				"p E005 /classes/0/functions/2/function: binding 'b' of class 'c' names function 'builtin.updat', and there is no such function (did you mean 'builtin.update'?)",
				"p E005 /classes/0/functions/3/function: binding 'd' of class 'c' names function '.c', and there is no such function ('.c' is a class)",
				"p E005 /classes/0/functions/4/function: binding 'e' of class 'c' names function 'q.x', and there is no such function",
			},
		},
		"E005 and E006 references that could mean two things": {
			[]string{
				`{'name':'q','functions':[{'name':'f',` + task + `}],'classes':[{'name':'c','functions':[{'function':'.f'}]}]}`,
				`{'name':'p','functions':[{'name':'q.f',` + task + `}],'classes':[{'name':'q.c'},{'name':'d','parents':['q.c'],'functions':[
				{'name':'a','function':'q.f'},{'name':'b','function':'.q.f'},{'name':'c','function':'p.q.f'}]}]}`,
			},
			[]string{
				"p E005 /classes/1/functions/0/function: function 'q.f' could be 'p.q.f' of this package, or 'q.f' of another (write '.q.f' for the one of this package; to use the other, rename one of the two)",
				"p E006 /classes/1/parents/0: class 'q.c' could be 'p.q.c' of this package, or 'q.c' of another (write '.q.c' for the one of this package; to use the other, rename one of the two)",
			},
		},
		"E006 unknown parent": {
			[]string{`{'name':'p','classes':[{'name':'c','parents':['builtin.bas','.d']}]}`},
			[]string{
				"p E006 /classes/0/parents/0: class 'c' inherits from 'builtin.bas', and there is no such class (did you mean 'builtin.base'?)",
				"p E006 /classes/0/parents/1: class 'c' inherits from '.d', and there is no such class (classes of package 'p': .c)",
			},
		},
		"E006 cycle, names without a dot": {
			[]string{`{'name':'test','classes':[{'name':'c2','parents':['c1']},{'name':'c3','parents':['c2']},{'name':'c1','parents':['c3']}]}`},
			[]string{"test E006 /classes/2/parents/0: class 'c1' inherits from itself: c1 -> c3 -> c2 -> c1 (remove one of these parents)"},
		},
		"E006 cycle across packages is said in each": {
			[]string{`{'name':'b','classes':[{'name':'x','parents':['a.y']}]}`, `{'name':'a','classes':[{'name':'y','parents':['b.x']}]}`},
			[]string{
				"a E006 /classes/0/parents/0: class 'y' inherits from itself: a.y -> b.x -> a.y (remove one of these parents)",
				"b E006 /classes/0/parents/0: class 'x' inherits from itself: a.y -> b.x -> a.y (remove one of these parents)",
			},
		},
		"E006 its own parent": {
			[]string{`{'name':'p','classes':[{'name':'c','parents':['.c']}]}`},
			[]string{"p E006 /classes/0/parents/0: class 'c' inherits from itself: c -> c (remove one of these parents)"},
		},
		"E012 missing, range, version": {
			[]string{
				`{'name':'p','required':['bse','base@^2.0','base@nonsense','old@1','odd@1','base@^1.2']}`,
				`{'name':'base','version':'1.4.0'}`, `{'name':'old'}`, `{'name':'odd','version':'today'}`,
			},
			[]string{
				"p E012 /required/0: required package 'bse' is neither in this change nor live (did you mean 'base'?)",
				"p E012 /required/1: package 'base' has version 1.4.0; '^2.0' is required (ask for base@^1.4.0, or apply a version in the range)",
				"p E012 /required/2: 'nonsense' is not a range of semantic versions (write a range such as base@^1.2)",
				"p E012 /required/3: package 'old' has no version; '1' is required (give package 'old' a version, or require it without a range)",
				"p E012 /required/4: version 'today' of package 'odd' is not a semantic version; '1' is required (versions look like 1.2.3)",
			},
		},
		"E012 cycle": {
			[]string{`{'name':'c','required':['a']}`, `{'name':'a','required':['b']}`, `{'name':'b','required':['c']}`},
			[]string{
				"a E012 /required/0: packages require each other: a -> b -> c -> a (remove one of these requirements)",
				"b E012 /required/0: packages require each other: a -> b -> c -> a (remove one of these requirements)",
				"c E012 /required/0: packages require each other: a -> b -> c -> a (remove one of these requirements)",
			},
		},
		"E013 two default routes": {
			[]string{`{'name':'p','classes':[{'name':'c','functions':[{'function':'builtin.get','defaultRoute':true},{'function':'builtin.new','defaultRoute':true}]}]}`},
			[]string{"p E013 /classes/0/functions/1/defaultRoute: class 'c' has two default routes: 'get' and 'new' (keep one of them)"},
		},
		"E023 conditions": {
			[]string{`{'name':'p','classes':[{'name':'c','functions':[
				{'name':'ok','function':'builtin.get','condition':'object.size > 3 && request.user in env.admins'},
				{'name':'syntax','function':'builtin.get','condition':'object.size >'},
				{'name':'equals','function':'builtin.get','condition':'object.size = 3'},
				{'name':'name','function':'builtin.get','condition':'objct.size > 3'},
				{'name':'type','function':'builtin.get','condition':'1 + 2'},
				{'name':'dyn','function':'builtin.get','condition':'object.open'},
				{'name':'cost','function':'builtin.get','condition':'object.a.all(x, object.b.all(y, object.c.all(z, x == y && y == z)))'}]}]}`},
			[]string{
				"p E023 /classes/0/functions/1/condition: condition of binding 'syntax': column 14: the expression ends too early (complete it, or close what is open)",
				"p E023 /classes/0/functions/2/condition: condition of binding 'equals': column 13: unexpected `=` (equality is written ==)",
				"p E023 /classes/0/functions/3/condition: condition of binding 'name': column 1: there is no 'objct' (did you mean 'object'?)",
				"p E023 /classes/0/functions/4/condition: condition of binding 'type': expected an expression that is true or false, got one of type int (compare the value with something, e.g. == true)",
				"p E023 /classes/0/functions/5/condition: condition of binding 'dyn': expected an expression that is true or false, got one whose type is not known beforehand (compare the value with something, e.g. == true)",
				"p E023 /classes/0/functions/6/condition: condition of binding 'cost': it may take too long to evaluate (do not walk lists within lists)",
			},
		},
		"E008 provision and type": {
			[]string{`{'name':'p','functions':[
				{'name':'b','type':'BUILTIN','provision':{'docker':{'image':'i'}}},
				{'name':'l','type':'LOGICAL','provision':{'docker':{'image':'i'}}},
				{'name':'e',` + `'type':'TASK','config':{'staticUrl':'http://x'},'provision':{}},
				{'name':'m','type':'TASK','provision':{'knative':{'image':'i','requestsCpu':'2','limitsCpu':'1500m','requestsMemory':'1Gi','limitsMemory':'1024Mi','minScale':3,'maxScale':2,'cpu':'ten'}}},
				{'name':'k','type':'TASK','provision':{'deployment':{'image':'i','requestsMemory':'2Gi','limitsMemory':'1Gi','minScale':3,'maxScale':-1}}}],
				'classes':[{'name':'c','functions':[{'function':'.b'},{'function':'.l'},{'function':'.e'},{'function':'.m'},{'function':'.k'}]}]}`},
			[]string{
				"p E008 /functions/0/provision: function 'b' has a provision, but its type is BUILTIN (remove the provision, or set type: TASK)",
				"p E008 /functions/1/provision: function 'l' has a provision, but its type is LOGICAL (remove the provision, or set type: TASK)",
				"p E008 /functions/2/provision: the provision of function 'e' names no engine (add knative, docker or deployment, or remove the provision)",
				"p E008 /functions/3/provision/knative/requestsCpu: requestsCpu 2 is above limitsCpu 1500m (lower requestsCpu or raise limitsCpu)",
				"p E008 /functions/3/provision/knative/minScale: minScale 3 is above maxScale 2 (lower minScale or raise maxScale)",
				"p E008 /functions/3/provision/knative/cpu: cpu 'ten' is not an amount (write an amount such as 250m, 0.5, 128Mi or 1Gi)",
				"p E008 /functions/4/provision/deployment/requestsMemory: requestsMemory 2Gi is above limitsMemory 1Gi (lower requestsMemory or raise limitsMemory)",
			},
		},
		"E023 in words of ours, with the line": {
			[]string{`{'name':'p','classes':[{'name':'c','functions':[
				{'name':'types','function':'builtin.get','condition':'1 == true'},
				{'name':'open','function':'builtin.get','condition':'object.x == \u0022a'},
				{'name':'lines','function':'builtin.get','condition':'object.x > 3 &&\noject.y < 2'}]}]}`},
			[]string{
				"p E023 /classes/0/functions/0/condition: condition of binding 'types': column 3: `==` does not work on (int, bool)",
				"p E023 /classes/0/functions/1/condition: condition of binding 'open': column 13: this cannot be read (a text needs its closing quote)",
				"p E023 /classes/0/functions/2/condition: condition of binding 'lines': line 2, column 1: there is no 'oject' (did you mean 'object'?)",
			},
		},
		"E008 no engine, and nothing about its image": {
			[]string{`{'name':'p','functions':[{'name':'f','provision':{}}],'classes':[{'name':'c','functions':[{'function':'.f'}]}]}`},
			[]string{"p E008 /functions/0/provision: the provision of function 'f' names no engine (add knative, docker or deployment, or remove the provision)"},
		},
		"E012 a pre-release, and no name": {
			[]string{`{'name':'p','required':['base@^1.2','@1']}`, `{'name':'base','version':'1.4.0-rc1'}`},
			[]string{
				"p E012 /required/0: package 'base' has version 1.4.0-rc1; '^1.2' is required (a pre-release is in a range that names one only, such as base@^1.4.0-rc1)",
				"p E012 /required/1: required package '@1' has no name (write NAME@RANGE)",
			},
		},
		"E005 lists the functions where none is near": {
			[]string{`{'name':'p','classes':[{'name':'c','functions':[{'function':'lib.zzz'}]}]}`, `{'name':'lib','functions':[{'name':'add','type':'LOGICAL'}]}`},
			[]string{
				"p E005 /classes/0/functions/0/function: binding '' of class 'c' names function 'lib.zzz', and there is no such function (functions of package 'lib': lib.add)",
				"lib W104 /functions/0/name: function 'add' is bound by no class (bind it in a class, or remove it)",
			},
		},
		"E010 and E016": {
			[]string{`{'name':'p','functions':[{'name':'f',` + task + `,'requirements':{'latency':200,'throughput':-1},'constraints':{'hardLatency':100,'maxConcurrency':-2}}],
				'classes':[{'name':'c','functions':[{'function':'.f'}],'requirements':{'availability':1}}]}`},
			[]string{
				"p E016 /functions/0/requirements/throughput: throughput is -1; it must be 0 or more",
				"p E016 /functions/0/constraints/maxConcurrency: maxConcurrency is -2; it must be 0 or more",
				"p E016 /functions/0/requirements/latency: latency 200 is above hardLatency 100 (lower latency or raise hardLatency)",
				"p E010 /classes/0/requirements/availability: availability is 1; it must be between 0 and 1, and neither of them (write a share of time such as 0.99)",
			},
		},
		"E018 an error where it is deployed, a warning elsewhere": {
			[]string{`{'name':'p','functions':[{'name':'f'},{'name':'g'},{'name':'off','state':'DISABLED'}],
				'classes':[{'name':'c','functions':[{'function':'.f'},{'function':'.off'}]},{'name':'d','functions':[{'function':'.g'}]}],'deployments':[{'_key':'.c'}]}`},
			[]string{
				"p E018 /functions/0/provision: function 'f' has no image, and it is to be deployed (add provision: {knative: {image: ...}}, or config: {staticUrl: ...} where it runs already)",
				"p E018 /functions/1/provision: function 'g' has no image (add provision: {knative: {image: ...}}, or config: {staticUrl: ...} where it runs already)",
				"p E018 /functions/2/provision: function 'off' has no image (add provision: {knative: {image: ...}}, or config: {staticUrl: ...} where it runs already)",
			},
		},
		"E011 and E015 and E004 in deployments": {
			[]string{`{'name':'p','classes':[{'name':'one','stateType':'SINGLETON'},{'name':'c'}],
				'deployments':[{'_key':'p.one','partitionCount':2},{'_key':'.oen'},{'_key':'c','members':[{'id':1,'env':'a'},{'id':1,'env':'b'}]},{'_key':'.c'}]}`},
			[]string{
				"p E011 /deployments/0/partitionCount: class 'p.one' is a SINGLETON: partitionCount must be 1, not 2 (set it to 1, or leave it out)",
				"p E015 /deployments/1/_key: there is no class '.oen' to deploy (did you mean '.one'?)",
				"p E004 /deployments/2/members/1/id: member id 1 is used twice (give each member an id of its own)",
				"p E004 /deployments/3/_key: class 'p.c' is deployed twice; first in p.yaml:8912:1 (keep one of the deployments)",
			},
		},
		"W108": {
			[]string{`{'name':'p','classes':[{'name':'off','disabled':true},{'name':'going','markForRemoval':true},{'name':'on'}],
				'deployments':[{'_key':'.off'},{'_key':'.going'},{'_key':'.on'}]}`, `{'name':'q','disabled':true,'classes':[{'name':'c'}],'deployments':[{'_key':'.c'}]}`},
			[]string{
				"p W108 /deployments/0/_key: class 'p.off' is disabled or about to be removed: this deploys nothing (enable the class, or remove the deployment)",
				"p W108 /deployments/1/_key: class 'p.going' is disabled or about to be removed: this deploys nothing (enable the class, or remove the deployment)",
			},
		},
		"E017": {
			[]string{`{'name':'p','functions':[{'name':'f',` + task + `}],'classes':[{'name':'c','parents':['builtin.base'],'functions':[{'name':'one','function':'.f'},{'name':'two','function':'.f'}]}],
				'deployments':[{'_key':'.c','members':[{'id':1,'env':'a','disabledFn':['one','gte'],'standbyFn':['.f','get']}]}]}`},
			[]string{
				"p E017 /deployments/0/members/0/disabledFn/1: disabledFn names 'gte', which is no binding of class 'p.c' (did you mean 'get'?)",
				"p E017 /deployments/0/members/0/standbyFn/0: binding 'one' is in disabledFn and in standbyFn of member 1 (keep it in one of the two)",
			},
		},
		"W101 old builtin": {
			[]string{`{'name':'p','classes':[{'name':'c','parents':['builtin.logical.base'],'functions':[{'function':'builtin.logical.update'}]}]}`},
			[]string{
				"p W101 /classes/0/parents/0: 'builtin.logical.base' is an old spelling of 'builtin.base' (write builtin.base)",
				"p W101 /classes/0/functions/0/function: 'builtin.logical.update' is an old spelling of 'builtin.update' (write builtin.update)",
			},
		},
		"W103": {
			[]string{`{'name':'p','functions':[{'name':'f',` + task + `,'outputCls':'.nope'}],'classes':[{'name':'c','functions':[{'function':'.f'},{'name':'g','function':'.f','outputCls':'.cc'},{'name':'h','function':'.f','outputCls':'VOID'}]}]}`},
			[]string{
				"p W103 /functions/0/outputCls: outputCls '.nope' names no class that is known (classes of package 'p': .c)",
				"p W103 /classes/0/functions/1/outputCls: outputCls '.cc' names no class that is known (did you mean '.c'?)",
			},
		},
		"W104 bound by no class": {
			[]string{`{'name':'p','functions':[{'name':'record.f',` + task + `},{'name':'b','type':'BUILTIN'}]}`},
			[]string{"p W104 /functions/0/name: function 'record.f' is bound by no class (bind it in a class, or remove it)"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, found := resolve.Packages(docs(t, test.packages...), nil)
			wantFindings(t, found, test.want...)
		})
	}
}

func TestEnvironments(t *testing.T) {
	env := func(file string, e oprc.Environment) oprc.Document {
		return oprc.Document{Environment: &e, Path: file, Where: func(p string) oprc.Position {
			return oprc.Position{File: file, Line: lineOf(p), Column: 1}
		}}
	}
	_, found := resolve.Packages([]oprc.Document{
		env("b.yaml", oprc.Environment{Name: "edge"}),
		env("a.yaml", oprc.Environment{Name: "edge"}),
		env("c.yaml", oprc.Environment{Name: "cloud", Availability: 1.5, Capacity: &oprc.Capacity{CPU: "many", Memory: "64Gi", Units: new(-1)}}),
	}, nil)
	wantFindings(t, found,
		" E004 /name: environment 'edge' is declared twice; first in a.yaml:"+itoa(lineOf("/name"))+":1 (rename or remove one of the two)",
		" E010 /availability: availability is 1.5; it must be between 0 and 1, and neither of them (write a share of time such as 0.99)",
		" E009 /capacity/cpu: cpu 'many' is not an amount (write an amount such as 16, 250m or 64Gi)",
		" E009 /capacity/units: units is -1; it must be 0 or more",
	)
	if found[0].File != "b.yaml" {
		t.Errorf("the second of two environments is at fault, got %s", found[0].File)
	}
}

func TestPackageDeclaredTwice(t *testing.T) {
	first, second := doc(pkg(t, `{'name':'p','version':'1'}`)), doc(pkg(t, `{'name':'p','version':'2'}`))
	first.Path, second.Path = "a.yaml", "b.yaml"
	first.Where, second.Where = nil, nil
	for _, order := range [][]oprc.Document{{first, second}, {second, first}} {
		c, found := resolve.Packages(order, nil)
		wantFindings(t, found, "p E004 /name: package 'p' is declared twice; first in a.yaml (rename or remove one of the two)")
		if found[0].File != "b.yaml" || c.Packages["p"].Version != "1" {
			t.Errorf("the first by path counts: got %q, error in %s", c.Packages["p"].Version, found[0].File)
		}
	}
}
