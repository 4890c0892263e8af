package view

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"go.yaml.in/yaml/v4"
)

// EncodeYAML returns v's JSON as YAML, for settings files.
func EncodeYAML(v any) ([]byte, error) {
	var buf bytes.Buffer
	err := writeYAML(&buf, v)
	return buf.Bytes(), err
}

// Masked is what stands in the place of a hidden value.
const Masked = "***"

// File returns a document as the content of a YAML file, without its secrets.
func (o Output) File(doc any) ([]byte, error) {
	raw, err := marshal(doc)
	if err != nil {
		return nil, err
	}
	return EncodeYAML(json.RawMessage(o.masked(raw)))
}

// DecodeSettings reads a settings file: one YAML mapping, or nothing. Package
// files are not settings; they go through the schema.
func DecodeSettings(data []byte) (map[string]any, error) {
	out := map[string]any{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&out); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return out, nil
}
