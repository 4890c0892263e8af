package rest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
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

// standard signs as the Standard Webhooks specification does.
func standard(key, said string) string {
	raw, _ := hex.DecodeString(sign(key, said)) // it is hex
	return base64.StdEncoding.EncodeToString(raw)
}

// What cannot matter to a source that follows main wakes nothing.
func TestWebhooksThatCannotMatter(t *testing.T) {
	const secret, form = "s3cret", "application/x-www-form-urlencoded"
	var woken atomic.Int64
	w := newWorld(t, func(s *rest.Server) {
		s.Hooks = map[string]rest.Hook{"main": {
			Secrets:  []string{secret},
			Wake:     func() error { woken.Add(1); return nil },
			Concerns: func(refs []string, _ string) bool { return slices.Contains(refs, "refs/heads/main") },
		}}
	})
	tests := map[string]struct {
		body    string
		event   []string
		matters bool
	}{
		"github push":             {`{"ref":"refs/heads/main"}`, []string{"X-GitHub-Event", "push"}, true},
		"github, another branch":  {`{"ref":"refs/heads/topic"}`, []string{"X-GitHub-Event", "push"}, false},
		"github ping":             {`{"zen":"x"}`, []string{"X-GitHub-Event", "ping"}, false},
		"github issue":            {`{"action":"opened"}`, []string{"X-GitHub-Event", "issues"}, false},
		"github default branch":   {`{"action":"edited"}`, []string{"X-GitHub-Event", "repository"}, true},
		"gitlab tag":              {`{"ref":"refs/tags/v1"}`, []string{"X-Gitlab-Event", "Tag Push Hook"}, false},
		"gitlab merge request":    {`{}`, []string{"X-Gitlab-Event", "Merge Request Hook"}, false},
		"bitbucket cloud":         {`{"push":{"changes":[{"new":{"type":"branch","name":"main"},"old":null}]}}`, []string{"X-Event-Key", "repo:push"}, true},
		"bitbucket cloud, other":  {`{"push":{"changes":[{"new":null,"old":{"type":"branch","name":"topic"}}]}}`, []string{"X-Event-Key", "repo:push"}, false},
		"bitbucket server":        {`{"changes":[{"ref":{"id":"refs/heads/topic"}},{"ref":{"id":"refs/heads/main"}}]}`, []string{"X-Event-Key", "repo:refs_changed"}, true},
		"bitbucket server, other": {`{"changes":[{"ref":{"id":"refs/heads/topic"}}]}`, []string{"X-Event-Key", "repo:refs_changed"}, false},
		"bitbucket server ping":   {`{"test":true}`, []string{"X-Event-Key", "diagnostics:ping"}, false},
		"azure":                   {`{"eventType":"git.push","resource":{"refUpdates":[{"name":"refs/heads/main"}]}}`, nil, true},
		"azure, other":            {`{"eventType":"git.push","resource":{"refUpdates":[{"name":"refs/heads/topic"}]}}`, nil, false},
		"azure work item":         {`{"eventType":"workitem.updated"}`, nil, false},
		"github form":             {"payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D", []string{"X-GitHub-Event", "push", "Content-Type", form}, true},
		"github form, other":      {"payload=%7B%22ref%22%3A%22refs%2Fheads%2Ftopic%22%7D", []string{"X-GitHub-Event", "push", "Content-Type", form}, false},
		"no forge":                {`whatever`, nil, true},
		"no ref":                  {`{}`, []string{"X-GitHub-Event", "push"}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := woken.Load()
			w.want(w.send("POST", "/hooks/main", test.body, append(test.event, "X-Oprc-Signature", "sha256="+sign(secret, test.body))...), 202)
			if got := woken.Load() - before; got == 1 != test.matters {
				t.Errorf("woken %d times, want %v", got, test.matters)
			}
		})
	}
}

func TestWebhooks(t *testing.T) {
	const secret, signing, body = "s3cret", "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=", `{"repository":{"clone_url":"https://evil.example/x.git"}}`
	var woken atomic.Int64
	w := newWorld(t, func(s *rest.Server) {
		s.Access.Tokens = []rest.Token{{Name: "other", Role: rest.Admin, Hash: strings.Repeat("0", 64)}}
		s.Hooks = map[string]rest.Hook{
			"main": {Secrets: []string{secret, signing}, Wake: func() error { woken.Add(1); return nil }},
			"open": {Wake: func() error { woken.Add(1); return nil }},
			"away": {Secrets: []string{secret}, Wake: func() error { return rdb.ErrUnavailable }},
		}
	})
	good := sign(secret, body)
	tests := map[string]struct {
		path    string
		body    string
		headers []string
		want    int
	}{
		"github":                           {"/hooks/main", body, []string{"X-Hub-Signature-256", "sha256=" + good}, 202},
		"gitlab":                           {"/hooks/main", body, []string{"X-Gitlab-Token", secret}, 202},
		"gitea":                            {"/api/hooks/main", body, []string{"X-Gitea-Signature", good, "X-Hub-Signature-256", "sha256=" + good}, 202},
		"generic":                          {"/hooks/main", body, []string{"X-Oprc-Signature", "sha256=" + good}, 202},
		"empty body":                       {"/hooks/main", "", []string{"X-Oprc-Signature", "sha256=" + sign(secret, "")}, 202},
		"bitbucket":                        {"/hooks/main", body, []string{"X-Hub-Signature", "sha256=" + good, "X-Event-Key", "repo:push"}, 202},
		"gogs":                             {"/hooks/main", body, []string{"X-Gogs-Signature", good}, 202},
		"forgejo":                          {"/hooks/main", body, []string{"X-Forgejo-Signature", good, "X-Gitea-Signature", good, "X-Gogs-Signature", good, "X-Hub-Signature", "sha1=00", "X-Hub-Signature-256", "sha256=" + good}, 202},
		"gitlab signs":                     {"/hooks/main", body, []string{"Webhook-Id", "7", "Webhook-Timestamp", "1700000000", "Webhook-Signature", "v1,AAAA v1," + standard("testtesttesttesttesttesttesttest", "7.1700000000."+body)}, 202},
		"gitlab has both":                  {"/hooks/main", body, []string{"X-Gitlab-Token", secret, "Webhook-Id", "7", "Webhook-Timestamp", "1", "Webhook-Signature", "v1," + standard("testtesttesttesttesttesttesttest", "7.1."+body)}, 202},
		"another id":                       {"/hooks/main", body, []string{"Webhook-Id", "8", "Webhook-Timestamp", "1", "Webhook-Signature", "v1," + standard("testtesttesttesttesttesttesttest", "7.1."+body)}, 401},
		"azure devops":                     {"/hooks/main", body, []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("oprc:"+secret))}, 202},
		"another signing token":            {"/hooks/main", body, []string{"Webhook-Id", "7", "Webhook-Timestamp", "1", "Webhook-Signature", "v1," + standard("another", "7.1."+body)}, 401},
		"gogs, another secret":             {"/hooks/main", body, []string{"X-Gogs-Signature", sign("other", body)}, 401},
		"forgejo, another secret":          {"/hooks/main", body, []string{"X-Forgejo-Signature", sign("other", body)}, 401},
		"gitea, another secret":            {"/hooks/main", body, []string{"X-Gitea-Signature", sign("other", body)}, 401},
		"wrong password":                   {"/hooks/main", body, []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("oprc:guess"))}, 401},
		"the second secret":                {"/hooks/main", body, []string{"X-Hub-Signature-256", "sha256=" + sign(signing, body)}, 202},
		"bitbucket's is of another secret": {"/hooks/main", body, []string{"X-Hub-Signature", "sha256=" + sign("other", body)}, 401},
		"unsigned":                         {"/hooks/main", body, nil, 401},
		"another body":                     {"/hooks/main", body + " ", []string{"X-Hub-Signature-256", "sha256=" + good}, 401},
		"another secret":                   {"/hooks/main", body, []string{"X-Hub-Signature-256", "sha256=" + sign("other", body)}, 401},
		"sha1 is not enough":               {"/hooks/main", body, []string{"X-Hub-Signature", "sha1=" + good}, 401},
		"no prefix":                        {"/hooks/main", body, []string{"X-Hub-Signature-256", good}, 401},
		"not hex":                          {"/hooks/main", body, []string{"X-Gitea-Signature", "zz"}, 401},
		"cut short":                        {"/hooks/main", body, []string{"X-Gitea-Signature", good[:32]}, 401},
		"wrong token":                      {"/hooks/main", body, []string{"X-Gitlab-Token", "S3CRET"}, 401},
		"one of two is wrong":              {"/hooks/main", body, []string{"X-Gitlab-Token", secret, "X-Gitea-Signature", sign("other", body)}, 401},
		"no such source":                   {"/hooks/nobody", body, []string{"X-Gitlab-Token", secret}, 404},
		"takes none":                       {"/hooks/open", body, []string{"X-Gitlab-Token", ""}, 404},
		"too large":                        {"/hooks/main", strings.Repeat("x", 25<<20+1), []string{"X-Gitlab-Token", secret}, 413},
		"state away":                       {"/hooks/away", body, []string{"X-Gitlab-Token", secret}, 503},
		"other paths need it":              {"/packages", body, []string{"X-Gitlab-Token", secret}, 401},
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
