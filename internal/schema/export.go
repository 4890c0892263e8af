package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/ast/astutil"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/encoding/jsonschema"
	"cuelang.org/go/encoding/openapi"

	"github.com/oaas-platform/oprc/internal/oprc"
	cuefiles "github.com/oaas-platform/oprc/schema"
)

// Formats lists what [Export] can write.
func Formats() []string { return []string{"cue", "jsonschema", "openapi"} }

// Export returns the schema of packages and environments for other programs. The
// JSON Schema describes one document of a file, in canonical spelling.
func Export(format string) ([]byte, error) {
	switch format {
	case "cue":
		return exportCUE()
	case "jsonschema":
		return exportJSONSchema()
	case "openapi":
		return exportOpenAPI()
	}
	return nil, fmt.Errorf("schema format %q, expected one of %s: %w", format, strings.Join(Formats(), ", "), oprc.ErrInvalid)
}

// exportCUE joins the files of the module into one.
func exportCUE() ([]byte, error) {
	var imports, definitions []ast.Decl
	var head []*ast.CommentGroup
	names, err := fs.Glob(cuefiles.FS, "*.cue")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		for _, decl := range fresh().files[name].Decls {
			switch decl := decl.(type) {
			case *ast.Package:
				head = append(head, ast.Comments(decl)...)
			case *ast.ImportDecl:
				imports = append(imports, decl)
			default:
				definitions = append(definitions, decl)
			}
		}
	}
	p := &ast.Package{Name: ast.NewIdent("oprc")}
	for _, c := range head {
		ast.AddComment(p, c)
	}
	return format.Node(&ast.File{Decls: slices.Concat([]ast.Decl{p}, imports, definitions)})
}

// fresh reads the definitions anew, for those who change their syntax trees.
func fresh() *definitions {
	d, err := readDefinitions(cuefiles.FS)
	if err != nil {
		panic(err) // the files are part of the program
	}
	return d
}

// flat builds the definitions without embedding: each struct lists all of its
// fields, which JSON Schema needs to close it.
func flat(leaveOut ...string) (cue.Value, error) {
	d := fresh()
	file := &ast.File{Filename: "schema.cue"}
	names := make([]string, 0, len(d.exprs))
	for name := range d.exprs {
		if !slices.Contains(leaveOut, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	embedded := map[string]bool{}
	for _, name := range names {
		f := d.exprs[name]
		if lit, _ := structOf(f.Value); lit != nil {
			d.inline(lit, embedded)
		}
		file.Decls = append(file.Decls, f)
	}
	file.Decls = slices.DeleteFunc(file.Decls, func(decl ast.Decl) bool {
		name := strings.TrimPrefix(labelOf(decl.(*ast.Field)), "#")
		return embedded[name] && strings.HasSuffix(name, "Fields")
	})
	if err := astutil.SanitizeFiles([]*ast.File{file}); err != nil {
		return cue.Value{}, err
	}
	v := cuecontext.New().BuildFile(file)
	return v, v.Err()
}

// inline replaces embedded definitions by their fields.
func (d *definitions) inline(lit *ast.StructLit, embedded map[string]bool) {
	var out []ast.Decl
	for _, decl := range lit.Elts {
		e, ok := decl.(*ast.EmbedDecl)
		if !ok {
			out = append(out, decl)
			continue
		}
		name := strings.TrimPrefix(e.Expr.(*ast.Ident).Name, "#")
		embedded[name] = true
		inner, _ := structOf(d.exprs[name].Value)
		d.inline(inner, embedded)
		out = append(out, inner.Elts...)
	}
	lit.Elts = out
}

func exportJSONSchema() ([]byte, error) {
	v, err := flat()
	if err != nil {
		return nil, err
	}
	expr, err := jsonschema.Generate(v.LookupPath(cue.ParsePath("#Document")), &jsonschema.GenerateConfig{Version: jsonschema.VersionDraft2020_12})
	if err != nil {
		return nil, fmt.Errorf("JSON Schema: %w", err)
	}
	return indented(cuecontext.New().BuildExpr(expr))
}

func exportOpenAPI() ([]byte, error) {
	v, err := flat()
	if err != nil {
		return nil, err
	}
	file, err := openapi.Generate(v, &openapi.Config{
		Version: "3.1.0",
		Info: ast.NewStruct(
			"title", ast.NewString("Packages and environments of oprc"),
			"version", ast.NewString("1.0"),
		),
	})
	if err != nil {
		return nil, fmt.Errorf("OpenAPI: %w", err)
	}
	return indented(cuecontext.New().BuildFile(file))
}

func indented(v cue.Value) ([]byte, error) {
	raw, err := v.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
