package resolve

import (
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// What a condition may be and cost. It is evaluated on every call, so one that
// walks lists within lists within lists is refused.
const (
	maxConditionRunes = 4096
	maxConditionDepth = 50
	maxConditionCost  = 10_000_000
	assumedSize       = 1000 // elements of a list, or bytes of a text, that is not known
)

// conditions checks CEL expressions; equal ones once. The zero value is ready.
type conditions struct {
	env     *cel.Env
	checked map[string]verdict
}

type verdict struct{ message, hint string }

// check returns what is wrong with a condition, or "".
func (c *conditions) check(text string) (message, hint string) {
	if v, known := c.checked[text]; known {
		return v.message, v.hint
	}
	if c.env == nil {
		env, err := cel.NewEnv(
			cel.Variable("object", cel.DynType), cel.Variable("request", cel.DynType), cel.Variable("env", cel.DynType),
			cel.ParserExpressionSizeLimit(maxConditionRunes), cel.ParserRecursionLimit(maxConditionDepth),
		)
		if err != nil {
			panic(err) // the declarations above are constant
		}
		c.env, c.checked = env, map[string]verdict{}
	}
	v := c.judge(text)
	c.checked[text] = v
	return v.message, v.hint
}

func (c *conditions) judge(text string) verdict {
	ast, issues := c.env.Compile(text)
	if issues != nil && issues.Err() != nil {
		return explain(issues)
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) {
		return verdict{
			"expected an expression that is true or false, got one " + kindOf(t),
			"compare the value with something, e.g. == true",
		}
	}
	estimate, err := c.env.EstimateCost(ast, sizes{})
	if err != nil || estimate.Max > maxConditionCost {
		return verdict{"it may take too long to evaluate", "do not walk lists within lists"}
	}
	return verdict{}
}

// kindOf names the type of an expression in a sentence.
func kindOf(t *cel.Type) string {
	if t.IsExactType(cel.DynType) {
		return "whose type is not known beforehand"
	}
	return "of type " + t.String()
}

// explain puts the first of CEL's issues into one sentence.
func explain(issues *cel.Issues) verdict {
	all := issues.Errors()
	if len(all) == 0 {
		return verdict{message: "it is not a CEL expression"}
	}
	first := all[0]
	message, _, _ := strings.Cut(first.Message, "\n")
	name, undeclared := strings.CutPrefix(message, "undeclared reference to '")
	if undeclared {
		name, _, _ = strings.Cut(name, "'")
		v := verdict{message: where(first) + "there is no " + quote(name)}
		v.hint = "a condition may use object, request and env"
		if near := oprc.Nearest(name, []string{"env", "object", "request"}); near != "" {
			v.hint = didYouMean(near)
		}
		return v
	}
	if operator, types, is := overload(message); is {
		return verdict{message: where(first) + operator + " does not work on " + types}
	}
	syntax, wrong := strings.CutPrefix(message, "Syntax error: ")
	if !wrong {
		return verdict{message: where(first) + message}
	}
	_, rest, quoted := strings.Cut(syntax, "'")
	input, _, _ := strings.Cut(rest, "'")
	switch input = strings.TrimSpace(input); {
	case input == "<EOF>":
		return verdict{where(first) + "the expression ends too early", "complete it, or close what is open"}
	case input == "=":
		return verdict{where(first) + "unexpected `=`", "equality is written =="}
	case strings.HasPrefix(syntax, "token recognition error"):
		return verdict{where(first) + "this cannot be read", "a text needs its closing quote"}
	case quoted:
		return verdict{message: where(first) + "unexpected `" + input + "`"}
	}
	return verdict{message: where(first) + syntax}
}

// where says at which place of the condition something is wrong.
func where(e *cel.Error) string {
	if e.Location.Line() > 1 {
		return fmt.Sprintf("line %d, column %d: ", e.Location.Line(), e.Location.Column()+1)
	}
	return fmt.Sprintf("column %d: ", e.Location.Column()+1)
}

var noOverload = regexp.MustCompile(`^found no matching overload for '(.*)' applied to '(.*)'$`)

// overload reads CEL's complaint about the types of operands. It names operators
// as `_==_`, and the receiver of a method as `T.(…)`.
func overload(message string) (operator, types string, is bool) {
	m := noOverload.FindStringSubmatch(message)
	if m == nil {
		return "", "", false
	}
	return "`" + strings.Trim(m[1], "_@") + "`", m[2], true
}

// sizes assumes how large the values are that a condition looks at.
type sizes struct{}

func (sizes) EstimateSize(cost.AstNode) *cost.SizeEstimate {
	return &cost.SizeEstimate{Min: 0, Max: assumedSize}
}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
