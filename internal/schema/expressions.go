package schema

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"
)

// value reads an expression of the lean style that the definitions keep to.
func (d *definitions) value(e ast.Expr) (*value, error) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return d.value(e.X)
	case *ast.Ident:
		return d.ident(e.Name)
	case *ast.SelectorExpr: // time.Time
		return &value{shape: textShape}, nil
	case *ast.BasicLit:
		s, err := literal.Unquote(e.Value)
		return &value{shape: textShape, enum: []string{s}}, err
	case *ast.ListLit:
		elem, err := d.value(e.Elts[0].(*ast.Ellipsis).Type)
		return &value{shape: listShape, elem: elem}, err
	case *ast.StructLit:
		return d.mapping(e.Elts[0].(*ast.Field))
	case *ast.UnaryExpr:
		return comparison(e)
	case *ast.CallExpr:
		return lengthLimit(e)
	case *ast.BinaryExpr:
		return d.binary(e)
	}
	return nil, fmt.Errorf("an expression outside the style of the definitions: %T", e)
}

// mapping reads the one field of {[string]: …} or {[#Key]: …}.
func (d *definitions) mapping(f *ast.Field) (*value, error) {
	key, err := d.value(f.Label.(*ast.ListLit).Elts[0])
	if err != nil {
		return nil, err
	}
	if key.pattern == nil {
		key = nil
	}
	elem, err := d.value(f.Value)
	return &value{shape: mapShape, elem: elem, key: key}, err
}

func (d *definitions) ident(name string) (*value, error) {
	switch name {
	case "_":
		return &value{shape: anyShape}, nil
	case "string":
		return &value{shape: textShape}, nil
	case "int":
		return &value{shape: intShape}, nil
	case "number":
		return &value{shape: numberShape}, nil
	case "bool":
		return &value{shape: boolShape}, nil
	}
	return d.reference(strings.TrimPrefix(name, "#"))
}

func (d *definitions) binary(e *ast.BinaryExpr) (*value, error) {
	x, err := d.value(e.X)
	if err != nil {
		return nil, err
	}
	y, err := d.value(e.Y)
	if err != nil {
		return nil, err
	}
	switch {
	case e.Op == token.OR && x.enum != nil && y.enum != nil:
		x.enum = append(x.enum, y.enum...)
		return x, nil
	case e.Op == token.OR && x.shape == textShape && y.shape == structShape:
		x.def = y.def
		return x, nil
	case e.Op == token.OR: // of structs
		return &value{shape: anyShape}, nil
	case e.Op == token.AND:
		return x.and(y), nil
	}
	return nil, fmt.Errorf("operator %s is outside the style of the definitions", e.Op)
}

// and joins the constraints of both values; x gives the shape.
func (v *value) and(w *value) *value {
	out := *v
	if w.pattern != nil {
		out.pattern = w.pattern
	}
	if w.low != nil {
		out.low = w.low
	}
	if w.high != nil {
		out.high = w.high
	}
	out.maxRunes = max(v.maxRunes, w.maxRunes)
	out.minRunes = max(v.minRunes, w.minRunes)
	return &out
}

func comparison(e *ast.UnaryExpr) (*value, error) {
	if e.Op == token.MAT {
		s, err := literal.Unquote(e.X.(*ast.BasicLit).Value)
		if err != nil {
			return nil, err
		}
		re, err := regexp.Compile(s)
		return &value{shape: textShape, pattern: re}, err
	}
	limit, err := number(e.X)
	if err != nil {
		return nil, err
	}
	v := &value{shape: numberShape}
	switch e.Op {
	case token.GEQ, token.GTR:
		v.low = &bound{limit, e.Op == token.GTR}
	case token.LEQ, token.LSS:
		v.high = &bound{limit, e.Op == token.LSS}
	default:
		return nil, fmt.Errorf("operator %s is outside the style of the definitions", e.Op)
	}
	return v, nil
}

func number(e ast.Expr) (float64, error) {
	sign := 1.0
	if u, ok := e.(*ast.UnaryExpr); ok && u.Op == token.SUB {
		sign, e = -1, u.X
	}
	n, err := strconv.ParseFloat(e.(*ast.BasicLit).Value, 64)
	return sign * n, err
}

// lengthLimit reads strings.MinRunes(n) and strings.MaxRunes(n).
func lengthLimit(e *ast.CallExpr) (*value, error) {
	n, err := argument(e)
	if err != nil {
		return nil, err
	}
	switch name := e.Fun.(*ast.SelectorExpr).Sel.(*ast.Ident).Name; name {
	case "MinRunes":
		return &value{shape: textShape, minRunes: n}, nil
	case "MaxRunes":
		return &value{shape: textShape, maxRunes: n}, nil
	default:
		return nil, fmt.Errorf("%s is outside the style of the definitions", name)
	}
}

func argument(e *ast.CallExpr) (int, error) { return strconv.Atoi(e.Args[0].(*ast.BasicLit).Value) }
