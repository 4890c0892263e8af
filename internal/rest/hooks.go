package rest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// A Hook is how a source hears that its repository may have changed.
type Hook struct {
	Secrets []string     // that the sender signs with, or shows; any of them will do
	Wake    func() error // looks at the source soon; it does not wait for that
	// Concerns reports whether a push of refs can matter to the source; head is the
	// repository's default branch where the sender says so. nil: always.
	Concerns func(refs []string, head string) bool
}

// maxHook is the most bytes of a webhook: GitHub sends no more.
const maxHook = 25 << 20

// postHook takes a webhook of a forge, or of anybody who can sign. What the body says
// can only make it be ignored: a good signature makes the source be looked at, where
// the configuration says that it is.
func (a *api) postHook(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("source")
	hook, ok := a.Hooks[name]
	if !ok || len(hook.Secrets) == 0 {
		return refuse(http.StatusNotFound, "there is no source %q that takes webhooks", name)
	}
	var body bytes.Buffer
	if _, err := io.Copy(&body, http.MaxBytesReader(w, r.Body, maxHook)); err != nil {
		return badBody(err)
	}
	if !genuine(r, hook.Secrets, body.Bytes()) {
		return refuse(http.StatusUnauthorized, "the signature is missing, or made with another secret")
	}
	if why := hook.irrelevant(r.Header, body.Bytes()); why != "" {
		return a.reply(w, r, http.StatusAccepted, map[string]string{"source": name, "ignored": why})
	}
	if err := hook.Wake(); err != nil {
		return err
	}
	return a.reply(w, r, http.StatusAccepted, map[string]string{"source": name})
}

// genuine reports whether what senders use proves that they know a secret. Every header
// that is there has to, each with any of the secrets. A password counts where there is
// nothing else: it may be meant for a proxy in between.
func genuine(r *http.Request, secrets []string, body []byte) bool {
	shown, good := 0, 0
	count := func(proves func(secret string) bool) {
		shown++
		for _, s := range secrets {
			if proves(s) {
				good++
				return
			}
		}
	}
	for _, s := range []struct{ header, prefix string }{
		{"X-Hub-Signature-256", "sha256="}, // GitHub, and Gitea too
		{"X-Gitea-Signature", ""},
		{"X-Forgejo-Signature", ""},
		{"X-Gogs-Signature", ""},
		{"X-Oprc-Signature", "sha256="},
	} {
		if value := r.Header.Get(s.header); value != "" {
			count(func(secret string) bool { return signed(value, s.prefix, secret, body) })
		}
	}
	// Bitbucket's; of others it is one with SHA-1, beside one of those above.
	if value := r.Header.Get("X-Hub-Signature"); strings.HasPrefix(value, "sha256=") {
		count(func(secret string) bool { return signed(value, "sha256=", secret, body) })
	}
	if token := r.Header.Get("X-Gitlab-Token"); token != "" {
		count(func(secret string) bool { return same(token, secret) })
	}
	if value := r.Header.Get("Webhook-Signature"); value != "" { // GitLab's signing token
		said := r.Header.Get("Webhook-Id") + "." + r.Header.Get("Webhook-Timestamp") + "." + string(body)
		count(func(secret string) bool { return standard(value, secret, said) })
	}
	if _, password, ok := r.BasicAuth(); ok && shown == 0 { // Azure DevOps
		count(func(secret string) bool { return same(password, secret) })
	}
	return shown > 0 && shown == good
}

// signed reports whether value is the HMAC-SHA-256 of body in hex, after a prefix.
func signed(value, prefix, secret string, body []byte) bool {
	text, prefixed := strings.CutPrefix(value, prefix)
	got, err := hex.DecodeString(text)
	return err == nil && prefixed && hmac.Equal(got, sum(secret, body))
}

func sum(key string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return mac.Sum(nil)
}

// same compares without telling anything about the secret, its length included.
func same(shown, secret string) bool {
	a, b := sha256.Sum256([]byte(shown)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// standard checks a signature of the Standard Webhooks specification: "v1,BASE64",
// several with spaces between them. Its time is not looked at: who sends an old one
// again only has the source looked at again.
func standard(value, secret, said string) bool {
	key := secret
	if text, is := strings.CutPrefix(secret, "whsec_"); is {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return false
		}
		key = string(raw)
	}
	want := sum(key, []byte(said))
	for one := range strings.FieldsSeq(value) {
		text, v1 := strings.CutPrefix(one, "v1,")
		got, err := base64.StdEncoding.DecodeString(text)
		if v1 && err == nil && hmac.Equal(got, want) {
			return true
		}
	}
	return false
}

// A push is what the payloads of forges have in common, each in its own place.
type push struct {
	Ref        string // GitHub, GitLab, Gitea, Forgejo, Gogs
	Repository struct {
		DefaultBranch string `json:"default_branch"`
	}
	Project struct { // GitLab
		DefaultBranch string `json:"default_branch"`
	}
	Push struct { // Bitbucket Cloud; a change has nothing new where a branch is deleted
		Changes []struct{ New, Old *struct{ Type, Name string } }
	}
	Changes   []struct{ Ref struct{ ID string } } // Bitbucket Server
	EventType string                              // Azure DevOps
	Resource  struct {
		RefUpdates []struct{ Name string }
		Repository struct{ DefaultBranch string }
	}
}

// irrelevant says why a delivery cannot matter, or "". Where that is not certain it may.
func (h Hook) irrelevant(header http.Header, body []byte) string {
	var p push
	_ = json.Unmarshal(payload(header, body), &p) // whoever signs may send anything
	event := p.EventType
	for _, name := range []string{"X-GitHub-Event", "X-Gitea-Event", "X-Forgejo-Event", "X-Gogs-Event", "X-Gitlab-Event", "X-Event-Key"} {
		if v := header.Get(name); v != "" {
			event = v
		}
	}
	switch event {
	case "":
	case "push", "Push Hook", "Tag Push Hook", "repo:push", "repo:refs_changed", "git.push":
	case "create", "delete", "repository", "System Hook", "mirror:repo_synchronized":
		return "" // refs come and go without a full name, or the default branch changes
	default:
		return "event " + event
	}
	refs, head := p.refs()
	if len(refs) == 0 || h.Concerns == nil || h.Concerns(refs, head) {
		return ""
	}
	return "push of " + strings.Join(refs, ", ")
}

// payload is the JSON of a delivery: GitHub and Gitea send it in a form where that is asked
// for.
func payload(header http.Header, body []byte) []byte {
	if media, _, err := mime.ParseMediaType(header.Get("Content-Type")); err == nil && media == "application/x-www-form-urlencoded" {
		if form, err := url.ParseQuery(string(body)); err == nil && form.Has("payload") {
			return []byte(form.Get("payload"))
		}
	}
	return body
}

// refs are the full names of what was pushed, and the default branch if that is said.
func (p push) refs() (refs []string, head string) {
	add := func(name string) {
		if strings.HasPrefix(name, "refs/") {
			refs = append(refs, name)
		}
	}
	add(p.Ref)
	for _, c := range p.Push.Changes {
		for _, side := range []*struct{ Type, Name string }{c.New, c.Old} {
			if side != nil && side.Type == "tag" {
				add("refs/tags/" + side.Name)
			} else if side != nil {
				add("refs/heads/" + side.Name)
			}
		}
	}
	for _, c := range p.Changes {
		add(c.Ref.ID)
	}
	for _, u := range p.Resource.RefUpdates {
		add(u.Name)
	}
	for _, name := range []string{p.Repository.DefaultBranch, p.Project.DefaultBranch, strings.TrimPrefix(p.Resource.Repository.DefaultBranch, "refs/heads/")} {
		if name != "" {
			head = name
		}
	}
	return refs, head
}

// isHook reports whether a request is for postHook, which asks for a signature, or a
// password of its own, in place of a token.
func isHook(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(strings.TrimPrefix(r.URL.Path, "/api"), "/hooks/")
}
