package schema

import (
	"reflect"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// decode fills out, a pointer to a type of the model, from canonical nodes. It
// passes over what does not fit: the checker has reported it.
func decode(n *yaml.Node, out any) { decodeInto(n, reflect.ValueOf(out).Elem()) }

func decodeInto(n *yaml.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !isNull(n) && fits(n, v.Type().Elem().Kind()) {
			v.Set(reflect.New(v.Type().Elem()))
			decodeInto(n, v.Elem())
		}
	case reflect.Struct:
		if env, ok := v.Addr().Interface().(*oprc.EnvValue); ok {
			decodeEnvValue(n, env)
			return
		}
		decodeStruct(n, v)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			decodeInto(item, v.Index(i))
		}
	case reflect.Map:
		decodeMap(n, v)
	case reflect.String:
		if isText(n) {
			v.SetString(n.Value)
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
		if x := plain(n); x != nil {
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

func decodeStruct(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		return
	}
	fields := fieldsOf(v.Type())
	for i := 0; i < len(n.Content); i += 2 {
		if index, ok := fields[n.Content[i].Value]; ok {
			decodeInto(n.Content[i+1], v.Field(index))
		}
	}
}

// decodeEnvValue reads a text or a reference to a secret.
func decodeEnvValue(n *yaml.Node, v *oprc.EnvValue) {
	if isText(n) {
		v.Text = n.Value
		return
	}
	var ref struct {
		Secret oprc.SecretKeyRef `json:"secretKeyRef"`
	}
	decodeStruct(n, reflect.ValueOf(&ref).Elem())
	v.Secret = ref.Secret
}

func decodeMap(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	for i := 0; i < len(n.Content); i += 2 {
		elem := reflect.New(v.Type().Elem()).Elem()
		decodeInto(n.Content[i+1], elem)
		v.SetMapIndex(reflect.ValueOf(n.Content[i].Value), elem)
	}
}

// plain returns a node as encoding/json would decode it into an any.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = plain(item)
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
	return n.Value
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
