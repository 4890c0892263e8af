package console_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/oaas-platform/oprc/internal/rest"
)

// People sign in on the pages of an OpenID Connect provider, with what came back bound to
// the browser that began.
func TestSignInAtAProvider(t *testing.T) {
	t.Parallel()
	provider, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Shutdown() })
	o := rest.OIDC{Issuer: provider.Issuer(), Audience: provider.ClientID, Now: time.Now, Grants: []rest.Grant{{Claim: "ops", Role: rest.Approver}}}
	w := newWorld(t, func(s *rest.Server) { s.Access = rest.Access{Required: true, Verify: o.Verifier(), Now: time.Now} })
	c := *w.console
	c.Provider = &rest.Login{OIDC: o, ClientID: provider.ClientID, ClientSecret: provider.ClientSecret, Scopes: []string{"email", "groups"}}
	srv := httptest.NewServer(c.Handler())
	t.Cleanup(srv.Close)
	w.url = srv.URL

	// there goes to the provider and returns the address that it leads back to.
	there := func(b *browser, groups ...string) string {
		t.Helper()
		provider.QueueUser(&mockoidc.MockUser{Subject: "42", Email: "ada@example.org", Groups: groups})
		p := b.get("/ui/signin/provider?next=/ui/packages")
		if p.status != http.StatusSeeOther || !strings.HasPrefix(p.header.Get("Location"), provider.AuthorizationEndpoint()) {
			t.Fatalf("got %d %s %s", p.status, p.header.Get("Location"), p.body)
		}
		res, err := b.c.Get(p.header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		back, found := strings.CutPrefix(res.Header.Get("Location"), w.url)
		if !found || !strings.HasPrefix(back, "/ui/signin/callback?") {
			t.Fatalf("the provider leads to %q", res.Header.Get("Location"))
		}
		return back
	}

	ada := w.browser()
	ada.shows("/ui/signin", "Sign in with the OpenID Connect provider", "Paste a token")
	back := there(ada, "ops")
	if p := w.browser().get(back); p.status != http.StatusUnauthorized || !strings.Contains(p.body, "not begun in this browser") {
		t.Errorf("in another browser: %d %s", p.status, p.body)
	}
	if p := ada.get(back); p.status != http.StatusOK || p.header.Get("Refresh") != "0; url=/ui/packages" {
		t.Fatalf("got %d %q %s", p.status, p.header.Get("Refresh"), p.body)
	}
	ada.shows("/ui/packages", "ada@example.org")
	if p := ada.get(back); p.status != http.StatusUnauthorized {
		t.Errorf("the second time: %d", p.status)
	}

	eve := w.browser()
	if p := eve.get(there(eve)); p.status != http.StatusUnauthorized || !strings.Contains(p.body, "no grant here is for you") {
		t.Errorf("without a grant: %d %s", p.status, p.body)
	}
	other, err := url.Parse(there(eve, "ops"))
	if err != nil {
		t.Fatal(err)
	}
	changed := other.Query()
	changed.Set("code", "guessed")
	if p := eve.get(other.Path + "?" + changed.Encode()); p.status != http.StatusUnauthorized || !strings.Contains(p.body, "does not accept the code") {
		t.Errorf("a code that was guessed: %d %s", p.status, p.body)
	}
	if p := eve.get("/ui/signin/callback?error=access_denied&state=x"); p.status != http.StatusUnauthorized {
		t.Errorf("an error that nobody asked for: %d", p.status)
	}
	if p := eve.get("/ui/packages"); p.status != http.StatusSeeOther {
		t.Errorf("who was refused sees packages: %d", p.status)
	}
}
