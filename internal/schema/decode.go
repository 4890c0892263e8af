package schema

import (
	"hash/maphash"
	"reflect"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A decoder makes values of the model from nodes. It keeps some of the words that it
// met, since the same ones occur in every file.
type decoder struct {
	seed  maphash.Seed
	words [1 << 12]string
}

// word returns s, as an earlier value has it where that is known: of a thousand
// packages, each holds TASK and PUBLIC some times.
func (d *decoder) word(s string) string {
	if len(s) > 32 {
		return s
	}
	if d.seed == (maphash.Seed{}) {
		d.seed = maphash.MakeSeed()
	}
	kept := &d.words[maphash.String(d.seed, s)%uint64(len(d.words))]
	if *kept != s {
		*kept = s
	}
	return *kept
}

// decode fills out, a pointer to a type of the model, from canonical nodes. It
// passes over what does not fit: the checker has reported it.
func (d *decoder) decode(n *yaml.Node, out any) { d.into(n, reflect.ValueOf(out).Elem()) }

func (d *decoder) into(n *yaml.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !isNull(n) && fits(n, v.Type().Elem().Kind()) {
			v.Set(reflect.New(v.Type().Elem()))
			d.into(n, v.Elem())
		}
	case reflect.Struct:
		if env, ok := v.Addr().Interface().(*oprc.EnvValue); ok {
			d.envValue(n, env)
			return
		}
		d.structure(n, v)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			d.into(item, v.Index(i))
		}
	case reflect.Map:
		d.mapping(n, v)
	case reflect.String:
		if isText(n) {
			v.SetString(d.word(n.Value))
		}
	case reflect.Int:
		if i, ok := integer(n); ok {
			v.SetInt(int64(i))
		}
	case reflect.Float64:
		if f, ok := float(n); ok {
			v.SetFloat(f)
		}
	case reflect.Bool:
		b, _ := boolean(n)
		v.SetBool(b)
	case reflect.Interface:
		if x := d.plain(n); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	}
}

// fits reports whether a node can fill a value of that kind: a pointer to
// something that does not fit stays nil.
func fits(n *yaml.Node, k reflect.Kind) bool {
	switch k {
	case reflect.Struct:
		return n.Kind == yaml.MappingNode
	case reflect.Int:
		_, ok := integer(n)
		return ok
	}
	return true
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		return
	}
	fields := fieldsOf(v.Type())
	for i := 0; i < len(n.Content); i += 2 {
		if index, ok := fields[n.Content[i].Value]; ok {
			d.into(n.Content[i+1], v.Field(index))
		}
	}
}

// envValue reads a text or a reference to a secret.
func (d *decoder) envValue(n *yaml.Node, v *oprc.EnvValue) {
	if isText(n) {
		v.Text = n.Value
		return
	}
	var ref struct {
		Secret oprc.SecretKeyRef `json:"secretKeyRef"`
	}
	d.structure(n, reflect.ValueOf(&ref).Elem())
	v.Secret = ref.Secret
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	for i := 0; i < len(n.Content); i += 2 {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.into(n.Content[i+1], elem)
		v.SetMapIndex(reflect.ValueOf(d.word(n.Content[i].Value)), elem)
	}
}

// plain returns a node as encoding/json would decode it into an any.
func (d *decoder) plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			m[d.word(n.Content[i].Value)] = d.plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = d.plain(item)
		}
		return list
	}
	if b, ok := boolean(n); ok {
		return b
	}
	if f, ok := float(n); ok {
		return f
	}
	if isNull(n) {
		return nil
	}
	return d.word(n.Value)
}

var structFields sync.Map // reflect.Type -> map[string]int

// fieldsOf maps the JSON names of a struct's fields to their indices.
func fieldsOf(t reflect.Type) map[string]int {
	if m, ok := structFields.Load(t); ok {
		return m.(map[string]int)
	}
	m := map[string]int{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		m[name] = i
	}
	structFields.Store(t, m)
	return m
}
