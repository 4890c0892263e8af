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
type signinForm struct {
	Next, Error string
	Provider    bool
}

// showSignin answers with the page on which one signs in, and with what went wrong before.
func (s *server) showSignin(v *visit, status int, next, why string) error {
	return v.render(status, "signin", "", "Sign in", signinForm{next, why, s.Provider != nil})
}

func (s *server) signinPage(v *visit) error {
	return s.showSignin(v, http.StatusOK, local(v.r.URL.Query().Get("next")), "")
}

// signin keeps a token for the browser's session, if the API knows it.
func (s *server) signin(v *visit) error {
	token, next := strings.TrimSpace(v.r.PostFormValue("token")), local(v.r.PostFormValue("next"))
	if token == "" || strings.ContainsAny(token, " \t\r\n;,\"\\") {
		return s.showSignin(v, http.StatusBadRequest, next, "Paste a token: it has no spaces.")
	}
	if !s.knows(v, token) {
		v.who = identity{}
		return s.showSignin(v, http.StatusUnauthorized, next, "The server does not know this token, or it has expired.")
	}
	remember(v.w, v.r, token)
	http.Redirect(v.w, v.r, next, http.StatusSeeOther)
	return nil
}

// knows reports whether the API accepts a token.
func (s *server) knows(v *visit, token string) bool {
	shown := v.r.Clone(v.r.Context())
	shown.Header.Del("Cookie")
	shown.AddCookie(&http.Cookie{Name: sessionCookie, Value: token})
	asked := &visit{server: s, w: v.w, r: shown, now: v.now}
	err := asked.get("/auth/whoami", nil, &asked.who)
	return err == nil && asked.who.Authenticated
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
