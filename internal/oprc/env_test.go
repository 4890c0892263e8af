package oprc

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestEnvValueIsATextOrAReference(t *testing.T) {
	for raw, want := range map[string]EnvValue{
		`"plain"`: {Text: "plain"},
		`""`:      {},
		`{"secretKeyRef":{"name":"shop","key":"password"}}`: {Secret: SecretKeyRef{Name: "shop", Key: "password"}},
	} {
		var got EnvValue
		if err := json.Unmarshal([]byte(raw), &got); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", raw, got, err, want)
		}
		if back, err := json.Marshal(got); err != nil || string(back) != raw {
			t.Errorf("%s: written as %s, %v", raw, back, err)
		}
	}
	for _, raw := range []string{`{}`, `null`, `{"secretKeyRef":null}`, `{"secretKeyRef":{}}`} {
		if err := json.Unmarshal([]byte(raw), new(EnvValue)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", raw, err)
		}
	}
}
