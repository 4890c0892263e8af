package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
)

// writeJSON prints v indented, with empty lists where Go has nil ones.
func writeJSON(w io.Writer, v any) error {
	raw, err := marshal(v)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, raw, "", "  "); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	buf.WriteByte('\n')
	_, err = w.Write(buf.Bytes())
	return err
}

// writeYAML prints v's JSON as block YAML, members in the same order.
func writeYAML(w io.Writer, v any) error {
	raw, err := marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(raw, &node); err != nil { // JSON is YAML
		return fmt.Errorf("print YAML: %w", err)
	}
	block(&node)
	out, err := yaml.Dump(&node, yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		return fmt.Errorf("print YAML: %w", err)
	}
	_, err = w.Write(out)
	return err
}

// block drops the flow style and the quotes that came with JSON. The printer puts
// quotes back where a string would read as something else in YAML 1.2; what older
// readers take for a boolean keeps its own, and 1e+21, which they take for text, gets a
// fraction.
func block(n *yaml.Node) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str" && oldBool().MatchString(n.Value):
		n.Style = yaml.SingleQuotedStyle
	case n.Kind == yaml.ScalarNode && n.Tag == "!!float" && !strings.Contains(n.Value, "."):
		n.Value = strings.Replace(n.Value, "e", ".0e", 1)
	case n.Kind == yaml.ScalarNode, len(n.Content) > 0:
		n.Style = 0
	}
	for _, c := range n.Content {
		block(c)
	}
}

// oldBool are texts that YAML 1.1 reads as a boolean, a number to the base of 60, or
// the keys = and <<.
var oldBool = lazyregexp.New(`^((?i:y|n|yes|no|on|off)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|=|<<)$`)

// marshal is JSON without HTML escapes and without null lists.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(filled(reflect.ValueOf(&v).Elem()).Interface()); err != nil {
		return nil, fmt.Errorf("print JSON: %w", err)
	}
	// In a log a runner would carry out "##[command]"; to JSON the two spellings are one.
	return bytes.ReplaceAll(bytes.TrimSuffix(buf.Bytes(), []byte("\n")), []byte("##["), []byte(`##\u005b`)), nil
}

var marshalerType = reflect.TypeFor[json.Marshaler]()

// filled returns a copy of v in which every nil list and map that would print as
// null is an empty one.
func filled(v reflect.Value) reflect.Value {
	if v.Type().Implements(marshalerType) {
		return v
	}
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		p := reflect.New(v.Type().Elem())
		p.Elem().Set(filled(v.Elem()))
		return p
	case reflect.Interface:
		if !v.IsNil() {
			out.Set(filled(v.Elem()))
		}
	case reflect.Struct:
		out.Set(v)
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !omitted(f, v.Field(i)) {
				out.Field(i).Set(filled(v.Field(i)))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v
		}
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(filled(v.Index(i)))
		}
	case reflect.Map:
		out.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), filled(it.Value()))
		}
	default:
		return v
	}
	return out
}

// omitted reports whether encoding/json leaves the empty field out anyway.
func omitted(f reflect.StructField, v reflect.Value) bool {
	tag := f.Tag.Get("json")
	return tag == "-" || v.IsZero() && (strings.Contains(tag, ",omitempty") || strings.Contains(tag, ",omitzero"))
}
