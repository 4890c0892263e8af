package plan

import (
	"bytes"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Reread returns a plan that was decoded with what a reader is shown derived again from
// the decision: the fields that differ from the documents before and after, the counts
// from the changes. The id covers the decision alone, so that in a file the rest may say
// anything. Lines of files, causes and findings' hints stay what the file says.
func (p *Plan) Reread() *Plan {
	out := *p
	out.Changes = slices.Clone(p.Changes)
	gone := map[string]bool{}
	for _, c := range p.Changes {
		if slices.Contains(c.Actions, Delete) {
			gone[subject(c.Kind, c.Key)] = true
		}
	}
	for i := range out.Changes {
		c := &out.Changes[i]
		c.Fields = c.reread(p.Scope.Origin)
		if !gone[subject(c.Kind, c.RenamedFrom)] {
			c.RenamedFrom = ""
		}
	}
	out.Summary = summarize(out.Changes, p.Summary.Unchanged)
	return &out
}

// reread is the fields of a change by its documents, each at the line that it was said to
// be set at, and the owner where it becomes another one.
func (c Change) reread(origin string) []Field {
	var fields []Field
	if c.Before != nil && c.After != nil {
		for _, e := range edits(c.Before, c.After) {
			f := Field{Path: e.path, Before: e.before, After: e.after}
			if i := slices.IndexFunc(c.Fields, func(f Field) bool { return f.Path == e.path }); i >= 0 {
				f.File, f.Line = c.Fields[i].File, c.Fields[i].Line
			}
			fields = append(fields, f)
		}
	}
	owner := slices.IndexFunc(c.Fields, func(f Field) bool { return f.Path == "/origin" })
	if owner >= 0 && c.Kind == oprc.KindPackage && bytes.Equal(c.Fields[owner].After, oprc.MustCanonical(origin)) {
		fields = append(fields, c.Fields[owner])
	}
	return fields
}
