package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Field documents one field of the model.
type Field struct {
	Path     string            `json:"path"`
	Type     string            `json:"type"`
	Required bool              `json:"required,omitempty"`
	Default  string            `json:"default,omitempty"`
	Values   []string          `json:"values,omitempty"`
	Limits   string            `json:"limits,omitempty"`
	Code     string            `json:"code,omitempty"`   // of the finding when it is wrong
	Extra    bool              `json:"extra,omitempty"`  // not with --strict
	System   bool              `json:"system,omitempty"` // ignored in files
	Older    []string          `json:"older,omitempty"`  // names that mean the same
	Was      map[string]string `json:"was,omitempty"`    // values that mean another one now
	Doc      string            `json:"doc"`
	Fields   []Field           `json:"fields"` // one level
}

// Field prints the documentation of a field.
func (o Output) Field(f Field) error {
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string `json:"formatVersion"`
			Field
		}{FormatVersion, f})
	}
	var b strings.Builder
	b.WriteString(bold(clean(f.Path)) + "  " + faint(clean(f.kind())) + "\n")
	if f.Doc != "" {
		b.WriteString("\n" + wrap(clean(f.Doc), 90) + "\n")
	}
	var facts table
	for _, fact := range [][2]string{
		{"Values", strings.Join(f.Values, ", ")},
		{"Limits", f.Limits},
		{"Default", f.Default},
		{"Older names", strings.Join(f.Older, ", ")},
		{"Older values", f.was()},
		{"When wrong", f.Code},
		{"Note", f.note()},
	} {
		if fact[1] != "" {
			facts.add(bold(fact[0]+":"), clean(fact[1]))
		}
	}
	if len(facts.rows) > 0 {
		b.WriteString("\n" + facts.render(""))
	}
	var t table
	for _, c := range f.Fields {
		t.add(clean(c.Path[strings.LastIndexAny(c.Path, "./")+1:]), faint(clean(c.kind())), cut(clean(firstSentence(c.Doc)), 80))
	}
	b.WriteString(section("Fields", t))
	return o.print(b.String())
}

// kind is the type, and whether the field must be there.
func (f Field) kind() string {
	if f.Required {
		return f.Type + ", required"
	}
	return f.Type
}

func (f Field) note() string {
	switch {
	case f.System:
		return "the system's own: ignored in files, with a warning"
	case f.Extra:
		return "beyond the specification: refused with --strict"
	}
	return ""
}

func (f Field) was() string {
	var parts []string
	for _, old := range slices.Sorted(maps.Keys(f.Was)) {
		parts = append(parts, fmt.Sprintf("%s is %s", old, f.Was[old]))
	}
	return strings.Join(parts, ", ")
}

func firstSentence(s string) string {
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1]
	}
	return s
}

// wrap breaks text at spaces so that lines hold at most width characters.
func wrap(s string, width int) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return strings.Join(append(lines, line), "\n")
}
