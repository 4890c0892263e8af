package plan

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// An edit is one difference. path addresses members of named lists by name; at
// is the plain JSON pointer into the new value: of the node, or of the nearest
// one where the node is gone.
type edit struct {
	path, at      string
	before, after json.RawMessage
}

// edits lists how two JSON documents differ, in path order.
func edits(before, after []byte) []edit {
	var w walker
	w.value("", "", parse(before), parse(after))
	return w.edits
}

func parse(raw []byte) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

// absent stands for a node that one side does not have.
type absent struct{}

type walker struct{ edits []edit }

func (w *walker) value(path, at string, before, after any) {
	switch b := before.(type) {
	case map[string]any:
		if a, ok := after.(map[string]any); ok {
			w.object(path, at, b, a)
			return
		}
	case []any:
		if a, ok := after.([]any); ok {
			w.list(path, at, b, a)
			return
		}
	}
	if !reflect.DeepEqual(before, after) {
		w.edits = append(w.edits, edit{path: path, at: at, before: render(before), after: render(after)})
	}
}

func (w *walker) object(path, at string, before, after map[string]any) {
	for _, key := range union(before, after) {
		b, was := before[key]
		a, is := after[key]
		here := at + "/" + escape(key)
		switch {
		case !was:
			b = absent{}
		case !is:
			a, here = absent{}, at
		}
		w.value(path+"/"+escape(key), here, b, a)
	}
}

func (w *walker) list(path, at string, before, after []any) {
	oldNames, named := namesOf(before)
	newNames, alsoNamed := namesOf(after)
	switch {
	case named && alsoNamed:
		w.named(path, at, before, after, oldNames, newNames)
	case len(before) == len(after) && hasObjects(after):
		for i := range after {
			step := "/" + strconv.Itoa(i)
			w.value(path+step, at+step, before[i], after[i])
		}
	case !reflect.DeepEqual(before, after):
		w.edits = append(w.edits, edit{path: path, at: at, before: render(before), after: render(after)})
	}
}

// named compares two lists whose members have names. A mere change of order is
// shown as one edit of the names.
func (w *walker) named(path, at string, before, after []any, oldNames, newNames []string) {
	was, is := indexOf(oldNames), indexOf(newNames)
	for _, name := range union(was, is) {
		i, old := was[name]
		j, present := is[name]
		here := at + "/" + strconv.Itoa(j)
		var b, a any = absent{}, absent{}
		if old {
			b = before[i]
		}
		if present {
			a = after[j]
		} else {
			here = at
		}
		w.value(path+"/"+escape(name), here, b, a)
	}
	stayed := func(names []string, other map[string]int) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { _, ok := other[n]; return !ok })
	}
	if !slices.Equal(stayed(oldNames, is), stayed(newNames, was)) {
		w.edits = append(w.edits, edit{path: path, at: at, before: oprc.MustCanonical(oldNames), after: oprc.MustCanonical(newNames)})
	}
}

// namesOf returns the members' names, if all of them are objects with names that
// differ.
func namesOf(list []any) ([]string, bool) {
	names := make([]string, 0, len(list))
	for _, v := range list {
		obj, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		name := ""
		for _, key := range []string{"name", "_key", "key", "id"} {
			switch id := obj[key].(type) {
			case string:
				name = id
			case json.Number:
				name = id.String()
			}
			if name != "" {
				break
			}
		}
		if name == "" || slices.Contains(names, name) {
			return nil, false
		}
		names = append(names, name)
	}
	return names, true
}

func hasObjects(list []any) bool {
	return slices.ContainsFunc(list, func(v any) bool { _, ok := v.(map[string]any); return ok })
}

func indexOf(names []string) map[string]int {
	index := make(map[string]int, len(names))
	for i, n := range names {
		index[n] = i
	}
	return index
}

// union returns the keys of both maps, sorted.
func union[V any](a, b map[string]V) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

func render(v any) json.RawMessage {
	if v == (absent{}) {
		return nil
	}
	return oprc.MustCanonical(v)
}

var pointerEscape, pointerUnescape = strings.NewReplacer("~", "~0", "/", "~1"), strings.NewReplacer("~1", "/", "~0", "~")

func escape(token string) string { return pointerEscape.Replace(token) }

// tokens splits a JSON pointer.
func tokens(pointer string) []string {
	if pointer == "" {
		return nil
	}
	parts := strings.Split(pointer[1:], "/")
	for i, p := range parts {
		parts[i] = pointerUnescape.Replace(p)
	}
	return parts
}

// pointer joins what tokens split.
func pointer(parts []string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + escape(p))
	}
	return b.String()
}
