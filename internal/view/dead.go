package view

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Dead prints dead letters. Text tells where they were and why they cannot be
// used; JSON and YAML also what was in them.
func (o Output) Dead(entries []oprc.DeadEntry) error {
	switch o.Format {
	case JSON, YAML:
		return o.deadDocument(entries)
	case Name:
		var b strings.Builder
		for _, e := range entries {
			b.WriteString(clean(e.Env) + " " + clean(e.ID) + "\n")
		}
		return o.print(b.String())
	}
	t := table{header: []string{"ENV", "ID", "AGE", "STREAM", "REASON"}}
	if o.Format == Wide {
		t.header = append(t.header, "ENTRY", "BY", "FIELDS")
	}
	for _, e := range entries {
		names := slices.Sorted(maps.Keys(e.Fields))
		row := []string{
			dash(e.Env), clean(e.ID), o.age(e.Time), dash(e.Stream), dash(cut(e.Reason, 100)),
			dash(e.Entry), dash(e.By), dash(cut(strings.Join(names, ","), 60)),
		}
		t.add(row[:len(t.header)]...)
	}
	return o.print(t.render(""))
}

func (o Output) deadDocument(entries []oprc.DeadEntry) error {
	items := make([]oprc.DeadEntry, len(entries))
	for i, e := range entries {
		e.Fields = maps.Clone(e.Fields)
		for name, value := range e.Fields {
			if strings.HasPrefix(value, "{") && json.Valid([]byte(value)) { // a unit, with its configuration
				e.Fields[name] = string(o.masked([]byte(value)))
			}
		}
		items[i] = e
	}
	return o.Document(struct {
		FormatVersion string           `json:"formatVersion"`
		Items         []oprc.DeadEntry `json:"items"`
	}{FormatVersion, items})
}
