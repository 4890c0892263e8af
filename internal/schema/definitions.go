package schema

import (
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/oaas-platform/oprc/internal/oprc"
	cuefiles "github.com/oaas-platform/oprc/schema"
)

// A shape is what kind of value the definitions allow.
type shape int

const (
	anyShape shape = iota
	textShape
	intShape
	numberShape
	boolShape
	listShape
	mapShape
	structShape
)

// A value is what the definitions say of one value.
type value struct {
	shape    shape
	name     string // the definition it refers to, without #
	enum     []string
	pattern  *regexp.Regexp
	maxRunes int // 0: no limit
	minRunes int
	low      *bound
	high     *bound
	elem     *value      // of a list or map
	def      *definition // of a struct
}

// A bound limits a number.
type bound struct {
	limit float64
	open  bool // the limit itself is outside
}

// A field is one field of a definition.
type field struct {
	name     string
	required bool
	extra    bool // not one of the specification's own
	system   bool // kept by the system
	doc      string
	fallback string // what holds where the field is absent, as documented
	code     oprc.Code
	legacy   []string          // older names, accepted silently
	mapped   []string          // older names, accepted with a warning
	was      map[string]string // older values and what they became
	value    *value
}

// A definition is one closed struct.
type definition struct {
	name      string
	doc       string
	fields    []*field
	byName    map[string]*field
	renamed   map[string]*field // by older name
	maxFields int               // 0: no limit
}

// A catalogue of all definitions, by name without #.
type definitions struct {
	structs map[string]*definition
	files   map[string]*ast.File
	exprs   map[string]*ast.Field
}

// model returns the definitions of the embedded CUE files.
var model = sync.OnceValue(func() *definitions {
	d, err := readDefinitions(cuefiles.FS)
	if err != nil {
		panic(err) // the files are part of the program
	}
	return d
})

// readDefinitions reads every definition of the module in fsys.
func readDefinitions(fsys fs.FS) (*definitions, error) {
	d := &definitions{structs: map[string]*definition{}, files: map[string]*ast.File{}, exprs: map[string]*ast.Field{}}
	names, err := fs.Glob(fsys, "*.cue")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(name, data, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		d.files[name] = file
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.Field); ok {
				d.exprs[strings.TrimPrefix(labelOf(f), "#")] = f
			}
		}
	}
	for name := range d.exprs {
		if _, err := d.reference(name); err != nil {
			return nil, err
		}
	}
	d.markExtras()
	return d, nil
}

// markExtras finds the fields that a compatible definition has and the
// specification's own has not.
func (d *definitions) markExtras() {
	for name, def := range d.structs {
		base, is := strings.CutPrefix(name, compatible)
		for _, f := range def.fields {
			f.extra = is && d.structs[base].byName[f.name] == nil
		}
	}
}

// compatible is the prefix of the definitions that hold more than the
// specification's own fields.
const compatible = "Compatible"

// reference returns the value that the definition of that name describes.
func (d *definitions) reference(name string) (*value, error) {
	if def, ok := d.structs[name]; ok {
		return &value{shape: structShape, name: name, def: def}, nil
	}
	f, ok := d.exprs[name]
	if !ok {
		return nil, fmt.Errorf("no definition #%s", name)
	}
	if lit, limits := structOf(f.Value); lit != nil && !isMap(lit) {
		def := &definition{name: name, doc: docOf(f), byName: map[string]*field{}, renamed: map[string]*field{}}
		d.structs[name] = def
		if limits != nil {
			n, err := argument(limits)
			if err != nil {
				return nil, err
			}
			def.maxFields = n
		}
		return &value{shape: structShape, name: name, def: def}, d.fill(def, lit)
	}
	v, err := d.value(f.Value)
	if err != nil {
		return nil, fmt.Errorf("#%s: %w", name, err)
	}
	v.name = name
	if v.shape == structShape { // an alias, such as #OClassRuntime
		d.structs[name] = v.def
	}
	return v, nil
}

// fill adds the fields of a struct literal, those of embedded definitions first.
func (d *definitions) fill(def *definition, lit *ast.StructLit) error {
	for _, decl := range lit.Elts {
		switch decl := decl.(type) {
		case *ast.EmbedDecl:
			v, err := d.reference(strings.TrimPrefix(decl.Expr.(*ast.Ident).Name, "#"))
			if err != nil {
				return err
			}
			for _, f := range v.def.fields {
				embedded := *f
				def.add(&embedded)
			}
		case *ast.Field:
			v, err := d.value(decl.Value)
			if err != nil {
				return fmt.Errorf("#%s.%s: %w", def.name, labelOf(decl), err)
			}
			f := &field{name: labelOf(decl), required: decl.Constraint == token.NOT, value: v, code: oprc.CodeType}
			f.doc, f.fallback = splitDefault(docOf(decl))
			if err := f.attributes(decl.Attrs); err != nil {
				return fmt.Errorf("#%s.%s: %w", def.name, f.name, err)
			}
			def.add(f)
		}
	}
	return nil
}

func (def *definition) add(f *field) {
	def.fields = append(def.fields, f)
	def.byName[f.name] = f
	for _, old := range f.legacy {
		def.renamed[old] = f
	}
	for _, old := range f.mapped {
		def.renamed[old] = f
	}
}

// attributes reads @code, @legacy, @mapped, @was and @system.
func (f *field) attributes(attrs []*ast.Attribute) error {
	for _, a := range attrs {
		key, body := a.Split()
		args := strings.Split(body, ",")
		switch key {
		case "code":
			f.code = oprc.Code(body)
		case "legacy":
			f.legacy = args
		case "mapped":
			f.mapped = args
		case "system":
			f.system = true
		case "was":
			f.was = map[string]string{}
			for _, arg := range args {
				old, now, _ := strings.Cut(arg, "=")
				f.was[old] = now
			}
		default:
			return fmt.Errorf("unknown attribute @%s", key)
		}
	}
	return nil
}

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
		elem, err := d.value(e.Elts[0].(*ast.Field).Value)
		return &value{shape: mapShape, elem: elem}, err
	case *ast.UnaryExpr:
		return comparison(e)
	case *ast.CallExpr:
		return lengthLimit(e)
	case *ast.BinaryExpr:
		return d.binary(e)
	}
	return nil, fmt.Errorf("an expression outside the style of the definitions: %T", e)
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

// structOf returns the struct literal of {…} or of {…} & struct.MaxFields(n).
func structOf(e ast.Expr) (*ast.StructLit, *ast.CallExpr) {
	switch e := e.(type) {
	case *ast.StructLit:
		return e, nil
	case *ast.BinaryExpr:
		lit, ok := e.X.(*ast.StructLit)
		call, isCall := e.Y.(*ast.CallExpr)
		if ok && isCall {
			return lit, call
		}
	}
	return nil, nil
}

// isMap reports whether a struct literal is {[string]: …}.
func isMap(lit *ast.StructLit) bool {
	if len(lit.Elts) != 1 {
		return false
	}
	f, ok := lit.Elts[0].(*ast.Field)
	if !ok {
		return false
	}
	_, pattern := f.Label.(*ast.ListLit)
	return pattern
}

func labelOf(f *ast.Field) string {
	name, _, err := ast.LabelName(f.Label)
	if err != nil {
		return ""
	}
	return name
}

func docOf(f *ast.Field) string {
	var b strings.Builder
	for _, group := range ast.Comments(f) {
		if group.Doc {
			b.WriteString(group.Text())
		}
	}
	return strings.TrimSpace(b.String())
}

// splitDefault takes "… Default: X" apart.
func splitDefault(doc string) (text, fallback string) {
	text, fallback, _ = strings.Cut(doc, "Default: ")
	return strings.TrimSpace(text), strings.TrimSpace(fallback)
}
