package console

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// leftCookie is what a browser keeps while its user is on the provider's pages: it begins
// and ends the sign-in, so that nobody can be signed in as somebody else by a link. It
// comes along when another site leads here, as the provider does.
const leftCookie = "oprc_signin"

type left struct{ State, Secret, Next string }

// mostCookie is how many bytes browsers keep in one cookie, at least (RFC 6265, 6.1).
const mostCookie = 4096

// leave sends the visitor to the provider's pages.
func (s *server) leave(v *visit) error {
	if s.Provider == nil {
		return &problem{Status: http.StatusNotFound, Detail: "There is no provider to sign in with."}
	}
	l := left{State: rand.Text() + rand.Text(), Secret: rand.Text() + rand.Text(), Next: local(v.r.URL.Query().Get("next"))}
	address, err := s.Provider.Begin(v.r.Context(), callback(v.r), l.State, l.Secret)
	if err != nil {
		return s.showSignin(v, http.StatusBadGateway, l.Next, err.Error())
	}
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	s.keepLeft(v, base64.RawURLEncoding.EncodeToString(raw), int((10 * time.Minute).Seconds()))
	http.Redirect(v.w, v.r, address, http.StatusSeeOther)
	return nil
}

func (s *server) keepLeft(v *visit, value string, seconds int) {
	http.SetCookie(v.w, &http.Cookie{
		Name: leftCookie, Value: value, Path: "/ui/signin", MaxAge: seconds, HttpOnly: true, Secure: v.r.TLS != nil, SameSite: http.SameSiteLaxMode,
	})
}

// comeBack signs in who comes back from the provider.
func (s *server) comeBack(v *visit) error {
	if s.Provider == nil {
		return &problem{Status: http.StatusNotFound, Detail: "There is no provider to sign in with."}
	}
	was, asked := leftBy(v.r), v.r.URL.Query()
	s.keepLeft(v, "", -1)
	refused := func(why string) error { return s.showSignin(v, http.StatusUnauthorized, was.Next, why) }
	if was.State == "" || subtle.ConstantTimeCompare([]byte(was.State), []byte(asked.Get("state"))) != 1 {
		return refused("This sign-in was not begun in this browser, or more than ten minutes ago. Sign in again.")
	}
	if why := asked.Get("error"); why != "" {
		return refused("The provider did not sign you in: " + why + " " + asked.Get("error_description"))
	}
	token, err := s.Provider.Finish(v.r.Context(), callback(v.r), asked.Get("code"), was.Secret)
	if err != nil {
		return refused("You are not signed in: " + err.Error())
	}
	if len(token) > mostCookie-100 {
		return refused("The ID token is longer than a browser keeps: have the provider put fewer groups into it.")
	}
	if !s.knows(v, token) {
		return refused("The provider knows you, and no grant here is for you. Ask who runs this server.")
	}
	remember(v.w, v.r, token)
	// A redirect would still come from the provider's site, and browsers would keep the
	// session's cookie from it. A page of our own leads on.
	v.w.Header().Set("Refresh", "0; url="+was.Next)
	return v.render(http.StatusOK, "signedin", "", "Signed in", was.Next)
}

func leftBy(r *http.Request) left {
	var l left
	c, err := r.Cookie(leftCookie)
	if err != nil {
		return l
	}
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || json.Unmarshal(raw, &l) != nil {
		return left{}
	}
	l.Next = local(l.Next)
	return l
}

// callback is the address of comeBack, as the visitor calls this server.
func callback(r *http.Request) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: "/ui/signin/callback"}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}
