package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
)

// reply answers with v as JSON, with secrets masked.
func (a *api) reply(w http.ResponseWriter, status int, v any) error {
	raw, err := a.encode(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // the client went away, if at all
	return nil
}

func (a *api) encode(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return mask(raw, a.Mask)
}

const masked = "***"

// userMaps are the members of the model whose keys the user chooses and whose
// values may be secret.
var userMaps = []string{"env", "custom", "options", "offloadingConfig", "config", "args", "defaultArgs"}

// mask replaces, anywhere in a JSON text, the values in such maps whose keys match
// a pattern (path.Match, upper case).
func mask(raw []byte, patterns []string) ([]byte, error) {
	if len(patterns) == 0 || !slices.ContainsFunc(userMaps, func(m string) bool {
		return bytes.Contains(raw, []byte(`"`+m+`":{`))
	}) {
		return raw, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("mask answer: %w", err)
	}
	return json.Marshal(maskValue(v, "", patterns))
}

func maskValue(v any, parent string, patterns []string) any {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if slices.Contains(userMaps, parent) && secret(key, patterns) {
				v[key] = masked
				continue
			}
			v[key] = maskValue(member, key, patterns)
		}
	case []any:
		for i, member := range v {
			v[i] = maskValue(member, "", patterns)
		}
	}
	return v
}

// holdsMask reports whether a document carries the mask where a secret belongs: it
// was read here, and would replace the secret by the mask.
func holdsMask(doc any, patterns []string) bool {
	raw, err := json.Marshal(doc)
	if err != nil {
		return false
	}
	var v any
	return json.Unmarshal(raw, &v) == nil && findMask(v, "", patterns)
}

func findMask(v any, parent string, patterns []string) bool {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if slices.Contains(userMaps, parent) && secret(key, patterns) && member == masked || findMask(member, key, patterns) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(member any) bool { return findMask(member, "", patterns) })
	}
	return false
}

func secret(key string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(strings.ToUpper(p), strings.ToUpper(key))
		return ok && err == nil
	})
}
