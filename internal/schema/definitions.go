package schema

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"

	"cuelang.org/go/cue/ast"
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
	key      *value      // what the keys of a map must be; nil: any text
	def      *definition // of a struct, or of what may stand in the place of a text
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

// isMap reports whether a struct literal is {[string]: …}, or one with limits to its keys.
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
