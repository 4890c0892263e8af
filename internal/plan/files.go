package plan

import "github.com/oaas-platform/oprc/internal/oprc"

// filesRead is what became of the files that the documents were read of, by path.
type filesRead struct {
	wrong  map[string]bool // has errors
	holds  map[string]bool // holds a package or an environment
	hollow map[string]bool // is there, and holds no package
	// doubt means that a wrong file may hold what is missing: no record came from it,
	// and it names no package that is known.
	doubt bool
}

func (in Input) filesRead() filesRead {
	r := filesRead{wrong: map[string]bool{}, holds: map[string]bool{}, hollow: map[string]bool{}}
	recorded := map[string]bool{}
	for _, rec := range in.Live.Packages {
		if rec.Origin == in.Scope.Origin && rec.Source != nil {
			recorded[rec.Source.Path] = true
		}
	}
	for _, d := range in.Diagnostics {
		switch {
		case d.Severity == oprc.SeverityError:
			r.wrong[d.File] = d.File != ""
			_, known := in.Live.Packages[d.Package]
			r.doubt = r.doubt || !recorded[d.File] && !known
		case d.Code == oprc.CodeForeign || d.Code == oprc.CodeNothing:
			r.hollow[d.File] = true
		}
	}
	for _, d := range in.Documents {
		r.holds[d.Path] = true
		if d.Environment != nil {
			r.hollow[d.Path] = true
		}
	}
	for _, d := range in.Documents {
		if d.Package != nil {
			delete(r.hollow, d.Path)
		}
	}
	return r
}
