package plan

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A digester is [oprc.Digest], ten times faster, for plans that compare tens of
// thousands of objects that have not changed. It writes canonical JSON straight
// from the value. Whatever it does not know how to write the one right way
// (escapes, large numbers, interfaces) it leaves to oprc.Digest.
//
// The zero digester is ready; it is not for concurrent use.
type digester struct {
	types map[reflect.Type][]member
	buf   []byte
}

// A member is a field of a struct, as encoding/json sees it.
type member struct {
	name                string // quoted, with the colon
	index               int
	omitEmpty, omitZero bool
}

func (d *digester) digest(v any) string {
	d.buf = d.buf[:0]
	if d.value(reflect.ValueOf(v)) {
		return oprc.DigestBytes(d.buf)
	}
	return oprc.Digest(v)
}

// value appends one value; it reports false where it had to give up.
func (d *digester) value(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		return d.text(v.String())
	case reflect.Bool:
		d.buf = strconv.AppendBool(d.buf, v.Bool())
		return true
	case reflect.Int, reflect.Int64:
		d.buf = strconv.AppendInt(d.buf, v.Int(), 10)
		return v.Int() < 1<<53 && v.Int() > -1<<53
	case reflect.Float64:
		return d.float(v.Float())
	case reflect.Pointer:
		if v.IsNil() {
			return d.null()
		}
		return d.value(v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			return d.null()
		}
		return d.list(v)
	case reflect.Map:
		if v.IsNil() {
			return d.null()
		}
		return d.table(v)
	case reflect.Struct:
		return d.object(v)
	}
	return false
}

func (d *digester) null() bool {
	d.buf = append(d.buf, "null"...)
	return true
}

// text appends a string that needs no escape.
func (d *digester) text(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			return false
		}
	}
	d.buf = append(d.buf, '"')
	d.buf = append(d.buf, s...)
	d.buf = append(d.buf, '"')
	return true
}

// float appends a number that ECMAScript writes without an exponent.
func (d *digester) float(f float64) bool {
	if size := math.Abs(f); f != 0 && (size < 1e-6 || size >= 1e15) || math.IsNaN(f) || math.Signbit(f) {
		return false
	}
	d.buf = strconv.AppendFloat(d.buf, f, 'f', -1, 64)
	return true
}

func (d *digester) list(v reflect.Value) bool {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return false
	}
	d.buf = append(d.buf, '[')
	for i := range v.Len() {
		if i > 0 {
			d.buf = append(d.buf, ',')
		}
		if !d.value(v.Index(i)) {
			return false
		}
	}
	d.buf = append(d.buf, ']')
	return true
}

// table appends a map; its keys sort alike in bytes and in UTF-16, being ASCII.
func (d *digester) table(v reflect.Value) bool {
	if v.Type().Key().Kind() != reflect.String {
		return false
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	d.buf = append(d.buf, '{')
	for i, key := range keys {
		if i > 0 {
			d.buf = append(d.buf, ',')
		}
		if !d.text(key.String()) {
			return false
		}
		d.buf = append(d.buf, ':')
		if !d.value(v.MapIndex(key)) {
			return false
		}
	}
	d.buf = append(d.buf, '}')
	return true
}

func (d *digester) object(v reflect.Value) bool {
	members, ok := d.members(v.Type())
	if !ok {
		return false
	}
	d.buf = append(d.buf, '{')
	first := true
	for _, m := range members {
		f := v.Field(m.index)
		if m.omitEmpty && empty(f) || m.omitZero && f.IsZero() {
			continue
		}
		if !first {
			d.buf = append(d.buf, ',')
		}
		first = false
		d.buf = append(d.buf, m.name...)
		if !d.value(f) {
			return false
		}
	}
	d.buf = append(d.buf, '}')
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

// members lists the fields of a struct in the order of their names; false for a
// type that says itself how it is written, or that embeds another.
func (d *digester) members(t reflect.Type) ([]member, bool) {
	if members, known := d.types[t]; known {
		return members, members != nil
	}
	if d.types == nil {
		d.types = map[reflect.Type][]member{}
	}
	members := []member{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "" || name == "-" || strings.Contains(options, "string") || marshals(f.Type) {
			members = nil
			break
		}
		members = append(members, member{
			name: `"` + name + `":`, index: i,
			omitEmpty: strings.Contains(options, "omitempty"), omitZero: strings.Contains(options, "omitzero"),
		})
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	d.types[t] = members
	return members, members != nil
}

// marshals reports whether a type has a method that JSON would use.
func marshals(t reflect.Type) bool {
	for _, name := range []string{"MarshalJSON", "MarshalText", "IsZero"} {
		if _, own := reflect.PointerTo(t).MethodByName(name); own {
			return true
		}
	}
	return false
}
