package rest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rest"
)

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func TestWebhooks(t *testing.T) {
	const secret, body = "s3cret", `{"repository":{"clone_url":"https://evil.example/x.git"}}`
	var woken atomic.Int64
	w := newWorld(t, func(s *rest.Server) {
		s.Tokens = []string{strings.Repeat("0", 64)} // a webhook shows a signature in place of a token
		s.Hooks = map[string]rest.Hook{
			"main": {Secret: []byte(secret), Wake: func() error { woken.Add(1); return nil }},
			"open": {Wake: func() error { woken.Add(1); return nil }},
			"away": {Secret: []byte(secret), Wake: func() error { return rdb.ErrUnavailable }},
		}
	})
	good := sign(secret, body)
	tests := map[string]struct {
		path    string
		body    string
		headers []string
		want    int
	}{
		"github":              {"/hooks/main", body, []string{"X-Hub-Signature-256", "sha256=" + good}, 202},
		"gitlab":              {"/hooks/main", body, []string{"X-Gitlab-Token", secret}, 202},
		"gitea":               {"/api/hooks/main", body, []string{"X-Gitea-Signature", good, "X-Hub-Signature-256", "sha256=" + good}, 202},
		"generic":             {"/hooks/main", body, []string{"X-Oprc-Signature", "sha256=" + good}, 202},
		"empty body":          {"/hooks/main", "", []string{"X-Oprc-Signature", "sha256=" + sign(secret, "")}, 202},
		"unsigned":            {"/hooks/main", body, nil, 401},
		"another body":        {"/hooks/main", body + " ", []string{"X-Hub-Signature-256", "sha256=" + good}, 401},
		"another secret":      {"/hooks/main", body, []string{"X-Hub-Signature-256", "sha256=" + sign("other", body)}, 401},
		"sha1 is not enough":  {"/hooks/main", body, []string{"X-Hub-Signature", "sha1=" + good}, 401},
		"no prefix":           {"/hooks/main", body, []string{"X-Hub-Signature-256", good}, 401},
		"not hex":             {"/hooks/main", body, []string{"X-Gitea-Signature", "zz"}, 401},
		"cut short":           {"/hooks/main", body, []string{"X-Gitea-Signature", good[:32]}, 401},
		"wrong token":         {"/hooks/main", body, []string{"X-Gitlab-Token", "S3CRET"}, 401},
		"one of two is wrong": {"/hooks/main", body, []string{"X-Gitlab-Token", secret, "X-Gitea-Signature", sign("other", body)}, 401},
		"no such source":      {"/hooks/nobody", body, []string{"X-Gitlab-Token", secret}, 404},
		"takes none":          {"/hooks/open", body, []string{"X-Gitlab-Token", ""}, 404},
		"too large":           {"/hooks/main", strings.Repeat("x", 25<<20+1), []string{"X-Gitlab-Token", secret}, 413},
		"state away":          {"/hooks/away", body, []string{"X-Gitlab-Token", secret}, 503},
		"other paths need it": {"/packages", body, []string{"X-Gitlab-Token", secret}, 401},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := woken.Load()
			w.want(w.send("POST", test.path, test.body, test.headers...), test.want)
			if got := woken.Load() - before; got == 1 != (test.want == 202) {
				t.Errorf("woken %d times with %d", got, test.want)
			}
		})
	}
}
