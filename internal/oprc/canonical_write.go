package oprc

import (
	"cmp"
	"encoding"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A writer appends canonical JSON straight from a value, ten times faster than by way
// of encoding/json. Whatever it does not know how to write the one right way (escapes,
// large numbers, interfaces, types that write themselves or are none of the documents')
// it leaves to that.
type writer struct {
	buf   []byte
	depth int
}

// tooDeep is a nesting that no document has; a cycle has it.
const tooDeep = 100

// value appends one value; it reports false where it had to give up.
func (w *writer) value(v reflect.Value) bool {
	if !v.IsValid() || w.depth > tooDeep {
		return false
	}
	kind := v.Kind()
	if v.Type() == timeType {
		return w.time(v.Interface().(time.Time))
	}
	if v.Type() == envValueType {
		return w.envValue(v.Interface().(EnvValue))
	}
	layout, known := layouts[v.Type()]
	if !known || layout.own {
		return false
	}
	switch kind {
	case reflect.String:
		return w.text(v.String())
	case reflect.Bool:
		w.buf = strconv.AppendBool(w.buf, v.Bool())
		return true
	case reflect.Int, reflect.Int64:
		w.buf = strconv.AppendInt(w.buf, v.Int(), 10)
		return v.Int() < 1<<53 && v.Int() > -1<<53
	case reflect.Float64:
		return w.float(v.Float())
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if v.IsNil() {
			w.buf = append(w.buf, "null"...)
			return true
		}
	}
	w.depth++
	defer func() { w.depth-- }()
	switch kind {
	case reflect.Pointer:
		return w.value(v.Elem())
	case reflect.Slice:
		return w.list(v)
	case reflect.Map:
		return w.table(v)
	case reflect.Struct:
		return w.object(v, layout.members)
	}
	return false
}

// text appends a string that needs no escape.
func (w *writer) text(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			return false
		}
	}
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, s...)
	w.buf = append(w.buf, '"')
	return true
}

// time appends a time as its MarshalJSON does, which refuses some.
func (w *writer) time(t time.Time) bool {
	if _, offset := t.Zone(); offset != 0 || t.Year() < 0 || t.Year() > 9999 {
		return false
	}
	w.buf = append(w.buf, '"')
	w.buf = t.AppendFormat(w.buf, time.RFC3339Nano)
	w.buf = append(w.buf, '"')
	return true
}

// envValue appends an environment variable as its MarshalJSON does.
func (w *writer) envValue(v EnvValue) bool {
	if !v.IsSecret() {
		return w.text(v.Text)
	}
	w.buf = append(w.buf, `{"secretKeyRef":{"key":`...)
	ok := w.text(v.Secret.Key)
	w.buf = append(w.buf, `,"name":`...)
	ok = ok && w.text(v.Secret.Name)
	w.buf = append(w.buf, "}}"...)
	return ok
}

// float appends a number that ECMAScript writes without an exponent.
func (w *writer) float(f float64) bool {
	if size := math.Abs(f); f != 0 && (size < 1e-6 || size >= 1e15) || math.IsNaN(f) || math.Signbit(f) {
		return false
	}
	w.buf = strconv.AppendFloat(w.buf, f, 'f', -1, 64)
	return true
}

func (w *writer) list(v reflect.Value) bool {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return false
	}
	w.buf = append(w.buf, '[')
	for i := range v.Len() {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		if !w.value(v.Index(i)) {
			return false
		}
	}
	w.buf = append(w.buf, ']')
	return true
}

// table appends a map; its keys sort alike in bytes and in UTF-16, being ASCII.
func (w *writer) table(v reflect.Value) bool {
	if v.Type().Key().Kind() != reflect.String {
		return false
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	w.buf = append(w.buf, '{')
	for i, key := range keys {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		if !w.text(key.String()) {
			return false
		}
		w.buf = append(w.buf, ':')
		if !w.value(v.MapIndex(key)) {
			return false
		}
	}
	w.buf = append(w.buf, '}')
	return true
}

func (w *writer) object(v reflect.Value, members []member) bool {
	w.buf = append(w.buf, '{')
	first := true
	for _, m := range members {
		f := v.Field(m.index)
		if m.omitEmpty && empty(f) || m.omitZero && zero(f) {
			continue
		}
		if !first {
			w.buf = append(w.buf, ',')
		}
		first = false
		w.buf = append(w.buf, m.name...)
		if !w.value(f) {
			return false
		}
	}
	w.buf = append(w.buf, '}')
	return true
}

// empty is what omitempty leaves out.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String:
		return v.Len() == 0
	case reflect.Struct, reflect.Array:
		return false
	}
	return v.IsZero()
}

// zero is what omitzero leaves out.
func zero(v reflect.Value) bool {
	if v.Type() == timeType {
		return v.Interface().(time.Time).IsZero()
	}
	return v.IsZero()
}

// A layout is how values of a type are written.
type layout struct {
	own     bool     // some other way than by their kind
	members []member // of a struct, in the order of their names
}

// A member is a field of a struct, as encoding/json sees it.
type member struct {
	name                string // quoted, with the colon
	index               int
	omitEmpty, omitZero bool
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	envValueType = reflect.TypeFor[EnvValue]()
	numerals     = reflect.TypeFor[json.Number]()
	writeSelf    = []reflect.Type{
		reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[interface{ IsZero() bool }](),
	}
	layouts = layoutsOf(
		Package{}, PackageRecord{}, Class{}, Function{}, Deployment{}, Environment{}, EnvironmentRecord{},
		UnitRecord{}, Status{}, ClassRuntime{}, Heartbeat{}, HistoryEntry{}, Event{},
	)
)

// layoutsOf knows the types of documents and of all that is in them.
func layoutsOf(documents ...any) map[reflect.Type]layout {
	known := map[reflect.Type]layout{}
	var learn func(t reflect.Type)
	learn = func(t reflect.Type) {
		if _, done := known[t]; done {
			return
		}
		l := layoutOf(t)
		known[t] = l
		switch kind := t.Kind(); {
		case l.own:
		case kind == reflect.Map:
			learn(t.Elem())
		case kind == reflect.Pointer, kind == reflect.Slice:
			learn(t.Elem())
		case kind == reflect.Struct:
			for _, m := range l.members {
				learn(t.Field(m.index).Type)
			}
		}
	}
	for _, d := range documents {
		learn(reflect.PointerTo(reflect.TypeOf(d)))
	}
	return known
}

func layoutOf(t reflect.Type) layout {
	l := layout{own: t == numerals}
	for _, method := range writeSelf {
		l.own = l.own || t.Implements(method) || reflect.PointerTo(t).Implements(method)
	}
	if !l.own && t.Kind() == reflect.Struct {
		l.members, l.own = membersOf(t)
	}
	return l
}

// membersOf lists the fields of a struct; own is true where encoding/json's rules are
// more than names and omissions.
func membersOf(t reflect.Type) (members []member, own bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "" || name == "-" || strings.Contains(options, "string") {
			return nil, true
		}
		members = append(members, member{
			name: `"` + name + `":`, index: i,
			omitEmpty: strings.Contains(options, "omitempty"), omitZero: strings.Contains(options, "omitzero"),
		})
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	return members, false
}
