package rest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
)

// A Hook is how a source hears that its repository may have changed.
type Hook struct {
	Secret []byte       // that the sender signs with, or shows
	Wake   func() error // looks at the source soon; it does not wait for that
}

// maxHook is the most bytes of a webhook: GitHub sends no more.
const maxHook = 25 << 20

// postHook takes a webhook of GitHub, GitLab, Gitea, or anybody who can sign. What
// the body says is not believed: a good signature only makes the source be looked
// at, where the configuration says that it is.
func (a *api) postHook(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("source")
	hook, ok := a.Hooks[name]
	if !ok || len(hook.Secret) == 0 {
		return refuse(http.StatusNotFound, "there is no source %q that takes webhooks", name)
	}
	mac := hmac.New(sha256.New, hook.Secret)
	if _, err := io.Copy(mac, http.MaxBytesReader(w, r.Body, maxHook)); err != nil {
		return badBody(err)
	}
	if !genuine(r.Header, hook.Secret, mac.Sum(nil)) {
		return refuse(http.StatusUnauthorized, "the signature is missing, or made with another secret")
	}
	if err := hook.Wake(); err != nil {
		return err
	}
	return a.reply(w, http.StatusAccepted, map[string]string{"source": name})
}

// genuine reports whether one of the headers that senders use proves that they
// know the secret. Every one that is there has to.
func genuine(h http.Header, secret, sum []byte) bool {
	shown, good := 0, 0
	count := func(ok bool) {
		shown++
		if ok {
			good++
		}
	}
	for _, s := range []struct{ header, prefix string }{
		{"X-Hub-Signature-256", "sha256="}, // GitHub, and Gitea too
		{"X-Gitea-Signature", ""},
		{"X-Oprc-Signature", "sha256="},
	} {
		if value := h.Get(s.header); value != "" {
			text, prefixed := strings.CutPrefix(value, s.prefix)
			got, err := hex.DecodeString(text)
			count(err == nil && prefixed && hmac.Equal(got, sum))
		}
	}
	if token := h.Get("X-Gitlab-Token"); token != "" {
		a, b := sha256.Sum256([]byte(token)), sha256.Sum256(secret) // of one length: nothing is told about the secret's
		count(subtle.ConstantTimeCompare(a[:], b[:]) == 1)
	}
	return shown > 0 && shown == good
}

// isHook reports whether a request is for postHook, which asks for a signature in
// place of a token.
func isHook(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(strings.TrimPrefix(r.URL.Path, "/api"), "/hooks/")
}
