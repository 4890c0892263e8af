package oprc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Masked stands where a secret is not shown.
const Masked = "***"

// Secrets says what is secret in documents of ours, and in lines of files: everything
// below a map that users fill whose key matches a pattern, at any depth, and passwords and
// tokens in URLs. Nothing is secret without patterns.
type Secrets struct {
	Patterns []string // of keys, as path.Match knows them; case does not matter
	// Instead returns what is put in a secret's place; nil: [Masked].
	Instead func(secret any) any
}

// userMaps are the members of the model whose keys the user chooses and whose
// values may be secret.
var userMaps = []string{"env", "custom", "options", "offloadingConfig", "config", "args", "defaultArgs", "override", "bodyTemplate"}

// Key reports whether the value of a user's key is secret. The model's own keys "key" and
// "_key" never are.
func (s Secrets) Key(key string) bool {
	return key != "key" && key != "_key" && slices.ContainsFunc(s.Patterns, func(pattern string) bool {
		ok, err := path.Match(strings.ToUpper(pattern), strings.ToUpper(key))
		return ok && err == nil
	})
}

// Hide returns a JSON value with something else in the place of its secrets; at is the
// path of the value in its document, nil where it is one. A text that holds none comes
// back as it is, another one in canonical form.
func (s Secrets) Hide(raw json.RawMessage, at ...string) json.RawMessage {
	if len(raw) == 0 || len(s.Patterns) == 0 {
		return raw
	}
	below := false
	for i, key := range at {
		if key == secretRef {
			return raw
		}
		if below && s.Key(key) && (i == len(at)-1 || at[i+1] != secretRef) && !isSecretRef(decoded(raw)) {
			return MustCanonical(s.instead(decoded(raw)))
		}
		below = below || slices.Contains(userMaps, key)
	}
	if !below && !mayHold(raw) {
		return raw
	}
	return MustCanonical(s.hide(decoded(raw), below))
}

// Holds reports whether [Masked] stands in the place of a secret: the document was read
// where secrets are not shown.
func (s Secrets) Holds(raw json.RawMessage) bool {
	found := false
	s.Instead = func(secret any) any { found = found || secret == Masked; return secret }
	s.Hide(raw)
	return found
}

// mayHold is quick: most documents hold nothing that could be secret.
func mayHold(raw []byte) bool {
	return bytes.Contains(raw, []byte("://")) || slices.ContainsFunc(userMaps, func(m string) bool {
		return bytes.Contains(raw, []byte(`"`+m+`"`))
	})
}

func (s Secrets) instead(secret any) any {
	if s.Instead == nil {
		return Masked
	}
	return s.Instead(secret)
}

// hide changes v; below says that v is below a user's map.
func (s Secrets) hide(v any, below bool) any {
	switch v := v.(type) {
	case map[string]any:
		if isSecretRef(v) {
			return v
		}
		for key, member := range v {
			if below && s.Key(key) && !isSecretRef(member) {
				v[key] = s.instead(member)
				continue
			}
			v[key] = s.hide(member, below || slices.Contains(userMaps, key))
		}
	case []any:
		for i, member := range v {
			v[i] = s.hide(member, below)
		}
	case string:
		return s.URLs(v)
	}
	return v
}

var (
	// inURL is the user's part of a URL: a password, or on the web a token alone.
	inURL = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)([^/?#\s"'@:]*)(?:(:)([^/?#\s"']*))?@`)
	// inQuery is a parameter that is secret by its name.
	inQuery = regexp.MustCompile(`(?i)([?&][^=&\s"']*(?:token|password|secret|key|signature)[^=&\s"']*=)([^&#\s"']*)`)
)

// URLs returns a text without the passwords and tokens of the URLs in it.
func (s Secrets) URLs(text string) string {
	if len(s.Patterns) == 0 || !strings.Contains(text, "://") {
		return text
	}
	text = inURL.ReplaceAllStringFunc(text, func(found string) string {
		m := inURL.FindStringSubmatch(found)
		scheme, user, colon, password := m[1], m[2], m[3], m[4]
		switch {
		case colon != "":
			return scheme + user + ":" + fmt.Sprint(s.instead(password)) + "@"
		case strings.HasPrefix(strings.ToLower(scheme), "http"): // a token, as forges take it
			return scheme + fmt.Sprint(s.instead(user)) + "@"
		}
		return found
	})
	return inQuery.ReplaceAllStringFunc(text, func(found string) string {
		m := inQuery.FindStringSubmatch(found)
		return m[1] + fmt.Sprint(s.instead(m[2]))
	})
}

// inLine is a key in a line of YAML or JSON, up to its value: after a quoted key the
// colon needs no space.
var inLine = regexp.MustCompile(`(?:"([^"\\]*)"\s*:\s*|'([^']*)'\s*:\s*|([A-Za-z0-9_.-]+)\s*:\s+)`)

// ownKeys are fields of packages, in either dialect, whose names say "key" and whose
// values are no secrets: a finding in one must show what it is about.
var ownKeys = []string{"keySpecs", "secretKeyRef", "key_specs", "key_type", "class_key", "function_key"}

// Line returns one line of a file without its secrets. It is not parsed, and what is above
// it is not known: any key that matches is taken for a user's, and "value" for that of a
// list of names and values, as other tools write variables.
func (s Secrets) Line(text string) string {
	if len(s.Patterns) == 0 {
		return text
	}
	var b strings.Builder
	for {
		m := inLine.FindStringSubmatchIndex(text)
		if m == nil {
			return s.URLs(b.String() + text)
		}
		key := text[max(m[2], m[4], m[6]):max(m[3], m[5], m[7])]
		b.WriteString(text[:m[1]])
		text = text[m[1]:]
		if key != "value" && !s.Key(key) || slices.Contains(ownKeys, key) {
			continue
		}
		end := valueEnd(text)
		if end > 0 {
			b.WriteString(fmt.Sprint(s.instead(text[:end])))
		}
		text = text[end:]
	}
}

// valueEnd is where the value that a text begins with ends: a quoted text, a flow list or
// mapping with all that is in it, or what comes before the next comma or bracket.
func valueEnd(text string) int {
	depth, quote := 0, byte(0)
	for i := range len(text) {
		switch c := text[i]; {
		case quote != 0:
			if c == quote && (quote == '\'' || text[i-1] != '\\') {
				quote = 0
				if depth == 0 {
					return i + 1
				}
			}
		case (c == '"' || c == '\'') && (i == 0 || depth > 0):
			quote = c
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth < 0 {
				return i
			}
			if depth == 0 {
				return i + 1
			}
		case c == ',' && depth == 0:
			return i
		}
	}
	return len(text)
}

// Findings returns findings whose words hold no secrets of the lines that they are about.
func (s Secrets) Findings(ds Diagnostics) Diagnostics {
	out := slices.Clone(ds)
	for i := range out {
		out[i].Message, out[i].Hint = s.Line(out[i].Message), s.Line(out[i].Hint)
	}
	return out
}

// secretRef is the member that says where a secret is.
const secretRef = "secretKeyRef"

// isSecretRef reports whether a value says where a secret is, and not what it is.
func isSecretRef(v any) bool {
	ref, _ := v.(map[string]any)
	_, named := ref[secretRef].(map[string]any)
	return named && len(ref) == 1
}

// decoded is a JSON text as values, numbers as they are written; nil if it is none.
func decoded(raw []byte) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}
