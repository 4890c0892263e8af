package oprc

import (
	"encoding/json"
	"fmt"
)

// An Env is the environment variables of a function's container, by name.
type Env map[string]EnvValue

// An EnvValue is a text, or a reference to a secret that the CRM resolves: then the
// value is in no file, record or message of ours. In JSON it is a string, or
// {"secretKeyRef": {"name": …, "key": …}}.
type EnvValue struct {
	Text   string
	Secret SecretKeyRef // the zero value: no reference
}

// A SecretKeyRef names one key of a secret of the environment.
type SecretKeyRef struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// secretValue is how a reference is written.
type secretValue struct {
	Secret *SecretKeyRef `json:"secretKeyRef"`
}

// IsSecret reports whether the value is a reference.
func (v EnvValue) IsSecret() bool { return v.Secret != SecretKeyRef{} }

// MarshalJSON writes a string or an object with secretKeyRef.
func (v EnvValue) MarshalJSON() ([]byte, error) {
	if v.IsSecret() {
		return json.Marshal(secretValue{&v.Secret})
	}
	return json.Marshal(v.Text)
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (v *EnvValue) UnmarshalJSON(raw []byte) error {
	*v = EnvValue{}
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, &v.Text)
	}
	var ref secretValue
	if err := json.Unmarshal(raw, &ref); err != nil {
		return err
	}
	if ref.Secret == nil || *ref.Secret == (SecretKeyRef{}) {
		return fmt.Errorf("environment variable: %w: neither a text nor a secretKeyRef", ErrInvalid)
	}
	v.Secret = *ref.Secret
	return nil
}
