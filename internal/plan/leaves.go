package plan

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Leaf is a value of a document that has no members. Path addresses it as [Field] does:
// members of named lists by name.
type Leaf struct {
	Path  string
	Value json.RawMessage
	at    string // plain JSON pointer
}

// Leaves lists the leaves of a document, in an order that depends on the document alone.
func Leaves(doc any) []Leaf {
	raw, err := oprc.Canonical(doc)
	if err != nil {
		return nil
	}
	var out []Leaf
	var walk func(path, at string, v any)
	walk = func(path, at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				walk(path+"/"+escape(key), at+"/"+escape(key), v[key])
			}
		case []any:
			names, named := namesOf(v)
			for i, member := range v {
				step := strconv.Itoa(i)
				if named {
					walk(path+"/"+escape(names[i]), at+"/"+step, member)
				} else {
					walk(path+"/"+step, at+"/"+step, member)
				}
			}
		default:
			out = append(out, Leaf{path, render(v), at})
		}
	}
	walk("", "", parse(raw))
	return out
}

// Lines returns the line of the file that sets each leaf of a changed package, 0 where
// nobody knows; nil for what was not read from a file.
func (c Change) Lines() []int {
	if c.where == nil || c.doc == nil {
		return nil
	}
	leaves := Leaves(c.doc)
	lines := make([]int, len(leaves))
	for i, l := range leaves {
		lines[i] = c.where.At(l.at).Line
	}
	return lines
}
