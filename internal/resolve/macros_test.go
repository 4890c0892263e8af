package resolve_test

import (
	"fmt"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// withMacro is a package with a class `c` that binds the macro as `chain`, a task
// as `go` (gives another c), as `stop` (gives nothing) and as `far` (gives a class
// that nobody knows), and refers to its own kind as `friend`.
func withMacro(macro string) string {
	return fmt.Sprintf(`{'name':'p','functions':[{'name':'f',%s},{'name':'chain','type':'MACRO','macro':%s}],
		'classes':[{'name':'c','parents':['builtin.base'],'refSpec':[{'name':'friend','cls':'.c'}],'functions':[
			{'name':'go','function':'.f','outputCls':'.c'},{'name':'stop','function':'.f','outputCls':'none'},
			{'name':'far','function':'.f','outputCls':'elsewhere.x'},{'name':'chain','function':'.chain'}]}]}`, task, macro)
}

func TestMacros(t *testing.T) {
	const far = "p W103 /classes/0/functions/2/outputCls: outputCls 'elsewhere.x' names no class that is known"
	tests := map[string]struct {
		macro string
		want  []string
	}{
		"well made": {
			`{'steps':[{'target':'@','function':'go','as':'a'},{'target':'a','function':'go','as':'b','args':{'x':'${a|output|$.n}-${@|output}'}},
				{'target':'b.friend','function':'stop','bodyTemplate':{'k':[{'deep':'${b|output}'}]}},{'target':'@.friend','function':'get'}],
				'output':'b','bodyTemplate':{'one':'${a|output}','two':'plain ${HOME} $x'}}`,
			nil,
		},
		"no steps": {
			`{'steps':[]}`,
			[]string{"p E007 /functions/1/macro: function 'chain' is a MACRO and has no steps (add macro: {steps: [...]})"},
		},
		"no target": {
			`{'steps':[{'target':'@','function':'go'},{'function':'go'}]}`,
			[]string{"p E007 /functions/1/macro/steps/1/target: steps[1]: the step has no target (add target: '@', or the alias of an earlier step)"},
		},
		"alias taken": {
			`{'steps':[{'target':'@','function':'go','as':'a'},{'target':'@','function':'go','as':'a'},{'target':'@','function':'go','as':'@'}]}`,
			[]string{
				"p E007 /functions/1/macro/steps/1/as: steps[1]: the alias 'a' is taken by steps[0] (choose another alias)",
				"p E007 /functions/1/macro/steps/2/as: steps[2]: the alias '@' always means the object that is called (choose another alias)",
			},
		},
		"alias is its own target": {
			`{'steps':[{'target':'a','function':'go','as':'a'}]}`,
			[]string{"p E007 /functions/1/macro/steps/0/as: steps[0]: the alias 'a' is also the target of the step (choose another alias)"},
		},
		"alias reused on itself": {
			`{'steps':[{'target':'@','function':'go','as':'a'},{'target':'a','function':'go','as':'a'}]}`,
			[]string{"p E007 /functions/1/macro/steps/1/as: steps[1]: the alias 'a' is taken by steps[0] (choose another alias)"},
		},
		"forward": {
			`{'steps':[{'target':'b','function':'go','as':'a'},{'target':'@','function':'go','as':'b'}]}`,
			[]string{"p E007 /functions/1/macro/steps/0/target: steps[0]: target: 'b' is the result of a later step, steps[1] (move that step up)"},
		},
		"its own result": {
			`{'steps':[{'target':'@','function':'go','as':'a','args':{'x':'${a|output}'}}]}`,
			[]string{"p E007 /functions/1/macro/steps/0/args/x: steps[0]: template: 'a' is what the step itself gives (use what an earlier step gives, or '@')"},
		},
		"unknown aliases": {
			`{'steps':[{'target':'@','function':'go','as':'first','args':{'x':'${later|output}'}},{'target':'frist','function':'go','as':'later'},
				{'target':'@','function':'go','bodyTemplate':{'a/b':['${nope|output|$.x}']}}],'output':'laster','bodyTemplate':{'r':'${gone|output}'}}`,
			[]string{
				"p E007 /functions/1/macro/steps/0/args/x: steps[0]: template: 'later' is the result of a later step, steps[1] (move that step up)",
				"p E007 /functions/1/macro/steps/1/target: steps[1]: target: there is no step with the alias 'frist' (did you mean 'first'?)",
				"p E007 /functions/1/macro/steps/2/bodyTemplate/a~1b/0: steps[2]: template: there is no step with the alias 'nope' (aliases so far: @, first, later)",
				"p E007 /functions/1/macro/output: output: there is no step with the alias 'laster' (did you mean 'later'?)",
				"p E007 /functions/1/macro/bodyTemplate/r: template: there is no step with the alias 'gone' (aliases so far: @, first, later)",
			},
		},
		"no such binding": {
			`{'steps':[{'target':'@','function':'goo','as':'a'},{'target':'a','function':'whatever'}]}`,
			[]string{"p E007 /functions/1/macro/steps/0/function: steps[0]: class 'p.c' has no binding 'goo' (did you mean 'go'?)"},
		},
		"no such binding on a result": {
			`{'steps':[{'target':'@','function':'go','as':'a'},{'target':'a.friend','function':'xyz'}]}`,
			[]string{"p E007 /functions/1/macro/steps/1/function: steps[1]: class 'p.c' has no binding 'xyz' (bindings of class 'p.c': chain, far, file, get, go, new, stop)"},
		},
		"class of the target unknown": {
			`{'steps':[{'target':'@','function':'stop','as':'a'},{'target':'a','function':'go','as':'b'},{'target':'b','function':'go'},
				{'target':'@.stranger','function':'go'},{'target':'@','function':'far','as':'z'},{'target':'z','function':'go'}]}`,
			[]string{
				"p W104 /functions/1/macro/steps/1/target: steps[1]: the class of target 'a' is not known, so binding 'go' is not checked (add targetCls: CLASS)",
				"p W104 /functions/1/macro/steps/3/target: steps[3]: the class of target '@.stranger' is not known, so binding 'go' is not checked (add targetCls: CLASS)",
			},
		},
		"targetCls": {
			`{'steps':[{'target':'@','function':'stop','as':'a'},{'target':'a','targetCls':'.c','function':'went'},{'target':'a','targetCls':'.d','function':'go'}]}`,
			[]string{
				"p E007 /functions/1/macro/steps/1/function: steps[1]: class 'p.c' has no binding 'went' (bindings of class 'p.c': chain, far, file, get, go, new, stop)",
				"p W104 /functions/1/macro/steps/2/targetCls: steps[2]: targetCls '.d' names no class that is known (classes of package 'p': .c)",
			},
		},
		"calls itself": {
			`{'steps':[{'target':'@','function':'go','as':'a'},{'target':'a','function':'chain'}]}`,
			[]string{"p E007 /functions/1/macro/steps/1/function: steps[1]: the macro calls itself: chain -> chain (call something else in one of these steps)"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, found := resolve.Packages(docs(t, withMacro(test.macro)), nil)
			wantFindings(t, found, append(test.want, far)...)
		})
	}
}

func TestMacroWithoutTheType(t *testing.T) {
	_, found := resolve.Packages(docs(t, `{'name':'p','functions':[{'name':'f',`+task+`,'macro':{'steps':[{'target':'@','function':'get'}]}},{'name':'m','type':'MACRO'}],
		'classes':[{'name':'c','parents':['builtin.base'],'functions':[{'function':'.f'},{'function':'.m'}]}]}`), nil)
	wantFindings(t, found,
		"p E007 /functions/0/macro: function 'f' has a macro, but its type is TASK (set type: MACRO, or remove the macro)",
		"p E007 /functions/1/macro: function 'm' is a MACRO and has no steps (add macro: {steps: [...]})",
	)
}

func TestMacrosThatCallEachOther(t *testing.T) {
	macro := func(name, calls string) string {
		return fmt.Sprintf(`{'name':'%s','type':'MACRO','macro':{'steps':[{'target':'@','function':'get'},{'target':'@','function':'%s'}]}}`, name, calls)
	}
	_, found := resolve.Packages(docs(t, fmt.Sprintf(`{'name':'p','functions':[%s,%s,%s],'classes':[
		{'name':'up','parents':['builtin.base'],'functions':[{'name':'one','function':'.m3'},{'name':'two','function':'.m1'},{'name':'three','function':'.m2'}]},
		{'name':'down','parents':['.up']}]}`, macro("m1", "three"), macro("m2", "one"), macro("m3", "two"))), nil)
	wantFindings(t, found,
		"p E007 /functions/0/macro/steps/1/function: steps[1]: the macro calls itself: m1 -> m2 -> m3 -> m1 (call something else in one of these steps)")
}

// A macro of that name on another class is not the same call: it ends there.
func TestMacroMayCallItsLikeOnAnotherClass(t *testing.T) {
	resolved(t, `{'name':'p','functions':[{'name':'m','type':'MACRO','macro':{'steps':[{'target':'@.next','function':'run'}]}},{'name':'f',`+task+`}],
		'classes':[{'name':'a','refSpec':[{'name':'next','cls':'.b'}],'functions':[{'name':'run','function':'.m'}]},
			{'name':'b','functions':[{'name':'run','function':'.f'}]}]}`)
}

func TestMacroOnManyClassesIsReportedOnce(t *testing.T) {
	_, found := resolve.Packages(docs(t, `{'name':'p','functions':[{'name':'m','type':'MACRO','macro':{'steps':[{'target':'@','function':'draw'}]}},{'name':'f',`+task+`}],
		'classes':[{'name':'base','functions':[{'function':'.m'}]},{'name':'a','parents':['.base']},
			{'name':'b','parents':['.base'],'functions':[{'name':'draw','function':'.f'}]}]}`), nil)
	wantFindings(t, found,
		"p E007 /functions/0/macro/steps/0/function: steps[0]: class 'p.a' has no binding 'draw' (the same on another class)")
}

func TestAccess(t *testing.T) {
	const shapes = `{'name':'shapes','functions':[{'name':'f',` + task + `},{'name':'own','type':'MACRO','macro':{'steps':[
			{'target':'@','function':'inside'},{'target':'@','function':'mine'},{'target':'@','targetCls':'.other','function':'hidden'}]}}],
		'classes':[{'name':'shape','functions':[{'name':'inside','function':'.f','access':'INTERNAL'},{'name':'mine','function':'.f','access':'PRIVATE'},{'name':'own','function':'.own'}]},
			{'name':'other','functions':[{'name':'hidden','function':'.f','access':'PRIVATE'}]}]}`
	_, found := resolve.Packages(docs(t, shapes, `{'name':'app','functions':[{'name':'m','type':'MACRO','macro':{'steps':[
			{'target':'@','function':'make','as':'s'},{'target':'s','function':'inside'},{'target':'s','function':'mine'},{'target':'@','function':'mine'}]}}],
		'classes':[{'name':'circle','parents':['shapes.shape'],'functions':[{'name':'make','function':'shapes.f','outputCls':'shapes.other2'}]},
			{'name':'user','functions':[{'name':'make','function':'shapes.f','outputCls':'shapes.shape'},{'name':'mine','function':'shapes.f','access':'PRIVATE'},{'name':'m','function':'.m'}]}]}`), nil)
	wantFindings(t, found,
		"shapes E013 /functions/1/macro/steps/2/function: steps[2]: binding 'hidden' of class 'shapes.other' is PRIVATE: only macros of its own class may call it (make the binding INTERNAL or PUBLIC, or call another)",
		"app E013 /functions/0/macro/steps/1/function: steps[1]: binding 'inside' of class 'shapes.shape' is INTERNAL: only macros of its own package may call it (make the binding PUBLIC, or call another)",
		"app E013 /functions/0/macro/steps/2/function: steps[2]: binding 'mine' of class 'shapes.shape' is PRIVATE: only macros of its own class may call it (make the binding INTERNAL or PUBLIC, or call another)",
		"app W103 /classes/0/functions/0/outputCls: outputCls 'shapes.other2' names no class that is known (did you mean 'shapes.other'?)",
	)
}

// A class that binds another package's macro is at fault if the macro cannot work
// on it.
func TestMacroOfAnotherPackage(t *testing.T) {
	lib := pkg(t, `{'name':'lib','functions':[{'name':'m','type':'MACRO','macro':{'steps':[{'target':'@','function':'draw'}]}}]}`)
	app := `{'name':'app','classes':[{'name':'a','functions':[{'name':'x','function':'lib.m'}]},{'name':'b','parents':['.a']}]}`
	want := "app E007 /classes/0/functions/0/function: macro 'lib.m', steps[0]: class 'app.a' has no binding 'draw' (the same on another class)"
	_, found := resolve.Packages(docs(t, app), map[string]oprc.Package{"lib": lib})
	wantFindings(t, found, want)
	_, found = resolve.Packages(append(docs(t, app), doc(lib)), nil)
	wantFindings(t, found, want)
}

// What a class keeps for itself stays within reach of its own macros where they
// are inherited.
func TestInheritedMacroReachesWhatIsPrivate(t *testing.T) {
	resolved(t, `{'name':'p','functions':[{'name':'f',`+task+`},{'name':'walk','type':'MACRO','macro':{'steps':[{'target':'@.up','function':'touch'}]}}],
		'classes':[{'name':'node','refSpec':[{'name':'up','cls':'.node'}],'functions':[{'name':'touch','function':'.f','access':'PRIVATE'},{'function':'.walk'}]},
			{'name':'leaf','parents':['.node']}]}`)
}

func TestMacroDependsOnWhatItCalls(t *testing.T) {
	c := resolved(t, `{'name':'b','functions':[{'name':'f',`+task+`}],'classes':[{'name':'c','functions':[{'function':'.f'}]}]}`,
		`{'name':'a','functions':[{'name':'g',`+task+`,'outputCls':'b.c'},{'name':'m','type':'MACRO','macro':{'steps':[{'target':'@','function':'g','as':'x'},{'target':'x','function':'f'}]}}],
			'classes':[{'name':'c','functions':[{'function':'.g'},{'function':'.m'}]}]}`)
	if got := c.Depends["a"]; len(got) != 1 || got[0] != "b" {
		t.Errorf("depends: got %v, want [b]", got)
	}
}

func TestNothingDisabledNeedsAnImage(t *testing.T) {
	for _, class := range []string{`'disabled':true`, `'markForRemoval':true`} {
		_, found := resolve.Packages(docs(t, `{'name':'p','functions':[{'name':'f'}],'classes':[{'name':'c',`+class+`,'functions':[{'function':'.f'}]}],'deployments':[{'_key':'.c'}]}`), nil)
		if len(found) != 2 || found.Err() != nil || found[0].Code != oprc.CodeImage || found[1].Code != oprc.CodeIdle {
			t.Errorf("%s: got %v", class, brief(found))
		}
	}
}
