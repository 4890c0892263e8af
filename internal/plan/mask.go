package plan

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

const masked = "***"

// userMaps are the members of the model whose keys the user chooses and whose
// values may be secret.
var userMaps = []string{"env", "custom", "options", "offloadingConfig", "config", "args", "defaultArgs"}

// Masked returns a copy to show: values of environment variables, and of other
// maps that users fill, are "***" where the key matches a pattern (path.Match,
// upper case). The copy keeps the id; Decode refuses it.
func (p *Plan) Masked(patterns []string) *Plan {
	m := masker{patterns, func(any) any { return masked }}
	out := *p.Explain()
	out.Changes = slices.Clone(out.Changes)
	for i := range out.Changes {
		c := &out.Changes[i]
		c.Before, c.After = m.document(c.Before, nil), m.document(c.After, nil)
		c.Fields = slices.Clone(c.Fields)
		for j := range c.Fields {
			f := &c.Fields[j]
			at := tokens(f.Path)
			f.Before, f.After = m.document(f.Before, at), m.document(f.After, at)
		}
	}
	return &out
}

// A masker puts something else in the place of secrets.
type masker struct {
	patterns []string
	instead  func(secret any) any
}

func (m masker) secret(key string) bool {
	return slices.ContainsFunc(m.patterns, func(pattern string) bool {
		ok, err := path.Match(strings.ToUpper(pattern), strings.ToUpper(key))
		return ok && err == nil
	})
}

// hides reports whether a path ends in a secret member of a user's map.
func (m masker) hides(at []string) bool {
	n := len(at)
	return n >= 2 && slices.Contains(userMaps, at[n-2]) && m.secret(at[n-1])
}

// document masks one JSON value that stands at a path.
func (m masker) document(raw json.RawMessage, at []string) json.RawMessage {
	if raw == nil {
		return nil
	}
	for n := range at {
		if m.hides(at[:n]) && at[n] != secretRef {
			return oprc.MustCanonical(m.instead(parse(raw)))
		}
	}
	return oprc.MustCanonical(m.value(parse(raw), at))
}

// secretRef is the member that says where a secret is.
const secretRef = "secretKeyRef"

// isSecretRef reports whether a value says where a secret is, and not what it is.
func isSecretRef(v any) bool {
	ref, _ := v.(map[string]any)
	_, named := ref[secretRef].(map[string]any)
	return named && len(ref) == 1
}

func (m masker) value(v any, at []string) any {
	if m.hides(at) && !isSecretRef(v) {
		return m.instead(v)
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, member := range v {
			out[key] = m.value(member, append(slices.Clip(at), key))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, member := range v {
			out[i] = m.value(member, append(slices.Clip(at), "-"))
		}
		return out
	}
	return v
}
