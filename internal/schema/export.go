package schema

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"

	"github.com/oaas-platform/oprc/internal/oprc"
	cuefiles "github.com/oaas-platform/oprc/schema"
)

// Formats lists what [Export] can write.
func Formats() []string { return []string{"cue", "jsonschema", "openapi"} }

// Export returns the schema of packages and environments for other programs. The
// JSON Schema describes one document of a file, in canonical and in older spelling.
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
