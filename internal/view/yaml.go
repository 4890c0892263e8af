package view

import (
	"bytes"
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
