package view

import (
	"cmp"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Blame prints which write set each field of an object.
func (o Output) Blame(kind oprc.Kind, key string, fields []reconcile.Blamed) error {
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string             `json:"formatVersion"`
			Kind          oprc.Kind          `json:"kind"`
			Key           string             `json:"key"`
			Fields        []reconcile.Blamed `json:"fields"`
		}{FormatVersion, kind, key, fields})
	}
	t := table{header: []string{"COMMIT", "AUTHOR", "WHEN", "WHERE", "FIELD", "VALUE"}}
	for _, f := range fields {
		where := oprc.Position{File: f.File, Line: f.Line}.String()
		if where == "" {
			where = f.Origin
		}
		field := clean(f.Path)
		if f.From != "" {
			field += "  " + faint("from "+clean(f.From))
		}
		commit := shortDigest(f.Commit)
		if f.Beyond {
			commit += " or before"
		}
		t.add(dash(cmp.Or(commit, "-")), dash(cut(f.Author, 24)), o.age(f.Time), dash(where), field, value(f.Value, 60))
	}
	return o.print(t.render(""))
}
