package console

import (
	"net/http"
	"net/url"
	"strings"
)

// sessionCookie holds the visitor's token. Scripts cannot read it, and no request that
// another site causes carries it.
const sessionCookie = "oprc_session"

func tokenOf(r *http.Request) string {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	return c.Value
}

func remember(w http.ResponseWriter, r *http.Request, token string) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: token, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

func forget(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// A signinForm is the page on which one signs in.
type signinForm struct{ Next, Error string }

func (s *server) signinPage(v *visit) error {
	return v.render(http.StatusOK, "signin", "", "Sign in", signinForm{Next: local(v.r.URL.Query().Get("next"))})
}

// signin keeps a token for the browser's session, if the API knows it.
func (s *server) signin(v *visit) error {
	token, next := strings.TrimSpace(v.r.PostFormValue("token")), local(v.r.PostFormValue("next"))
	refused := func(status int, why string) error {
		return v.render(status, "signin", "", "Sign in", signinForm{next, why})
	}
	if token == "" || strings.ContainsAny(token, " \t\r\n;,\"\\") {
		return refused(http.StatusBadRequest, "Paste a token: it has no spaces.")
	}
	shown := v.r.Clone(v.r.Context())
	shown.Header.Del("Cookie")
	shown.AddCookie(&http.Cookie{Name: sessionCookie, Value: token})
	asked := &visit{server: s, w: v.w, r: shown, now: v.now}
	if err := asked.get("/auth/whoami", nil, &asked.who); err != nil || !asked.who.Authenticated {
		v.who = identity{}
		return refused(http.StatusUnauthorized, "The server does not know this token, or it has expired.")
	}
	remember(v.w, v.r, token)
	http.Redirect(v.w, v.r, next, http.StatusSeeOther)
	return nil
}

func (s *server) signout(v *visit) error {
	forget(v.w, v.r)
	http.Redirect(v.w, v.r, "/ui/signin", http.StatusSeeOther)
	return nil
}

// local is a path of this server, "/" for anything else.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.Contains(next, "\\") {
		return "/"
	}
	return next
}
