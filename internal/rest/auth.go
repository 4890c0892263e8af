package rest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Token is a bearer token as the server knows it: by its hash.
type Token struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Hash    string    `json:"hash,omitempty"` // SHA-256, hex
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	By      string    `json:"by,omitempty"`
	Limits
}

// A NewToken is a token with what it is, which nobody can read again.
type NewToken struct {
	Token
	Secret string `json:"secret"`
}

// A TokenStore keeps tokens by name, for all daemons.
type TokenStore interface {
	Tokens(ctx context.Context) (map[string][]byte, error)
	// PutToken fails with an oprc.ErrConflict if there is one of that name.
	PutToken(ctx context.Context, name string, doc []byte) error
	// DropToken fails with an oprc.ErrNotFound if there is none.
	DropToken(ctx context.Context, name string) error
}

// tokenPrefix makes a token that leaked easy to find.
const tokenPrefix = "oprc_"

// MakeToken returns a token for what t describes, and what to keep of it.
func MakeToken(t Token, now time.Time) (NewToken, error) {
	if !oprc.ValidName(t.Name) {
		return NewToken{}, fmt.Errorf("%w token: %q is not a name", oprc.ErrInvalid, t.Name)
	}
	if _, err := ParseRole(string(t.Role)); err != nil {
		return NewToken{}, err
	}
	if err := t.Check(); err != nil {
		return NewToken{}, err
	}
	if !t.Expires.IsZero() && !t.Expires.After(now) {
		return NewToken{}, fmt.Errorf("%w token: it would have expired at %s", oprc.ErrInvalid, t.Expires.UTC().Format(time.RFC3339))
	}
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return NewToken{}, fmt.Errorf("token: %w", err)
	}
	secret := tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
	t.Hash, t.Created = hashOf(secret), now.UTC()
	return NewToken{t, secret}, nil
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// ReadTokens decodes what a TokenStore keeps, sorted by name. What cannot be read is
// no token.
func ReadTokens(docs map[string][]byte) []Token {
	out := make([]Token, 0, len(docs))
	for name, doc := range docs {
		var t Token
		if json.Unmarshal(doc, &t) == nil && t.Name == name {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// A Verifier says whose a bearer token is that the server has not made. ok is false if
// it is none of its kind; an error is the verifier's own.
type Verifier func(ctx context.Context, token string) (who *Identity, err error)

// Access says who may use the server. The zero Access knows nobody: everybody may do
// everything.
type Access struct {
	// Tokens are the tokens of the configuration; Stored are others, which may change
	// while the server runs. Nil: there are none.
	Tokens []Token
	Stored TokenStore
	// Verify is asked about tokens that are none of these; nil: they are refused.
	Verify Verifier
	// Clients are the subjects of certificates, with patterns as path.Match knows them in
	// Name. The certificates themselves were checked when the connection was made.
	Clients []Token
	// Required closes the server to those that it does not know, although there may be
	// nobody whom it does. It is implied by Tokens, Verify and Clients.
	Required bool
	// Anonymous is the role of those who show nothing, where the server is closed.
	Anonymous Role
	// Hosts are the names by which the server is called, "*" for any. IP addresses and
	// localhost are always right.
	Hosts []string
	Now   func() time.Time
}

func (a *Access) closed() bool {
	return a.Required || len(a.Tokens) > 0 || a.Verify != nil || len(a.Clients) > 0
}

// storedTokens reads a TokenStore at most every other second.
type storedTokens struct {
	mu   sync.Mutex
	at   time.Time
	list []Token
}

const tokensEvery = 2 * time.Second

func (s *storedTokens) read(ctx context.Context, from TokenStore, now time.Time) ([]Token, error) {
	if from == nil {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := now.Sub(s.at); age >= 0 && age < tokensEvery && !s.at.IsZero() {
		return s.list, nil
	}
	docs, err := from.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	s.list, s.at = ReadTokens(docs), now
	return s.list, nil
}

// forget makes the next request read again.
func (s *storedTokens) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Time{}
}

type whoKey struct{}

// caller is who makes a request. It is set before any handler runs.
func caller(r *http.Request) *Identity {
	if who, ok := r.Context().Value(whoKey{}).(*Identity); ok {
		return who
	}
	return &Identity{Name: "nobody"}
}

// identify finds out who makes a request. Something shown that is wrong is a 401,
// however little the route needs.
func (a *api) identify(r *http.Request) (*Identity, error) {
	now := a.now()
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); r.Header.Get("Authorization") != "" && a.Access.closed() && !isHook(r) {
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, refuse(http.StatusUnauthorized, "the Authorization header holds no bearer token")
		}
		return a.bearer(r.Context(), strings.TrimSpace(token), now)
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		leaf := r.TLS.VerifiedChains[0][0]
		for _, name := range append([]string{leaf.Subject.CommonName}, leaf.DNSNames...) {
			for _, c := range a.Access.Clients {
				if ok, err := path.Match(c.Name, name); ok && err == nil && name != "" {
					return &Identity{Name: name, Role: c.Role, Authenticated: true, Method: "certificate", Limits: c.Limits}, nil
				}
			}
		}
	}
	if a.Access.closed() {
		return &Identity{Name: "anonymous", Role: a.Access.Anonymous, Method: "none"}, nil
	}
	return &Identity{Name: "anonymous", Role: Admin, Method: "none"}, nil
}

// bearer finds whose a token is, in a time that says nothing about it.
func (a *api) bearer(ctx context.Context, token string, now time.Time) (*Identity, error) {
	stored, err := a.tokens.read(ctx, a.Access.Stored, now)
	if err != nil {
		return nil, err
	}
	shown := []byte(hashOf(token))
	var found *Token
	for _, list := range [][]Token{a.Access.Tokens, stored} {
		for i := range list {
			if subtle.ConstantTimeCompare(shown, []byte(strings.ToLower(list[i].Hash))) == 1 {
				found = &list[i]
			}
		}
	}
	switch {
	case found != nil && !found.Expires.IsZero() && !now.Before(found.Expires):
		return nil, refuse(http.StatusUnauthorized, "the token %s expired at %s", found.Name, found.Expires.UTC().Format(time.RFC3339))
	case found != nil:
		return &Identity{
			Name: cmp.Or(found.Name, "a token without a name"), Role: found.Role, Authenticated: true, Method: "token", Limits: found.Limits, nameless: found.Name == "",
		}, nil
	case a.Access.Verify == nil || strings.HasPrefix(token, tokenPrefix):
		return nil, refuse(http.StatusUnauthorized, "the bearer token is not valid")
	}
	who, err := a.Access.Verify(ctx, token)
	if errors.Is(err, oprc.ErrDenied) {
		a.Log.Info("token refused", "error", err)
		return nil, refuse(http.StatusUnauthorized, "the bearer token is not valid")
	}
	if err != nil {
		return nil, fmt.Errorf("ask the OpenID Connect provider: %w", errors.Join(err, context.DeadlineExceeded))
	}
	return who, nil
}

// admit lets those through who may use a route, and remembers who they are.
func (a *api) admit(rt *route, r *http.Request) error {
	who := caller(r)
	if who.Role.Includes(rt.role) {
		// A browser can be made to call any server by a web site's name; it shows no token
		// then, and over TLS the certificate does not fit.
		if !who.Authenticated && rt.role != Anybody && r.TLS == nil {
			return a.named(r)
		}
		return nil
	}
	if !who.Authenticated {
		return refuse(http.StatusUnauthorized, "this needs the role %s: show a token with it", rt.role)
	}
	return refuse(http.StatusForbidden, "this needs the role %s, and %s has %s", rt.role, who.Name, orNone(who.Role))
}

// identified remembers who makes a request for everything that follows.
func (a *api) identified(next http.Handler) http.Handler {
	return a.plain(func(w http.ResponseWriter, r *http.Request) error {
		who, err := a.identify(r)
		if err != nil {
			return err
		}
		if err := a.rate(who, r); err != nil {
			return err
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), whoKey{}, who)))
		return nil
	})
}

// calledRight refuses requests to a name that is not the server's: a web site whose name
// was made to point here could read everything otherwise. Where callers are known and no
// name is configured, [api.admit] asks those alone who show nothing.
func (a *api) calledRight(next http.Handler) http.Handler {
	return a.plain(func(w http.ResponseWriter, r *http.Request) error {
		if len(a.Access.Hosts) > 0 || !a.Access.closed() {
			if err := a.named(r); err != nil {
				return err
			}
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// named refuses a name that is neither an address, nor localhost, nor configured.
func (a *api) named(r *http.Request) error {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	_, err := netip.ParseAddr(host)
	if err == nil || host == "localhost" || slices.ContainsFunc(a.Access.Hosts, func(h string) bool { return h == "*" || strings.EqualFold(h, host) }) {
		return nil
	}
	return refuse(http.StatusMisdirectedRequest, "this server is not called %q: add the name to security.hosts", clip(host))
}

func (a *api) whoami(w http.ResponseWriter, r *http.Request) error {
	return a.say(w, r, http.StatusOK, caller(r))
}

func (a *api) canI(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := caller(r).may(q.Get("verb"), q.Get("kind"), q.Get("name"))
	if err != nil {
		return err
	}
	return a.say(w, r, http.StatusOK, p)
}

func (a *api) listTokens(w http.ResponseWriter, r *http.Request) error {
	if err := caller(r).mayKeepTokens(); err != nil {
		return err
	}
	win, err := newWindow(r.URL.Query(), []string{"name"})
	if err != nil {
		return err
	}
	var stored []Token
	if a.Access.Stored != nil {
		docs, err := a.Access.Stored.Tokens(r.Context())
		if err != nil {
			return err
		}
		stored = ReadTokens(docs)
	}
	all := slices.Concat(a.Access.Tokens, stored)
	for i := range all {
		all[i].Hash = ""
	}
	slices.SortStableFunc(all, func(x, y Token) int { return strings.Compare(x.Name, y.Name) })
	return a.reply(w, r, http.StatusOK, paged(win, all))
}

func (a *api) createToken(w http.ResponseWriter, r *http.Request) error {
	if err := caller(r).mayKeepTokens(); err != nil {
		return err
	}
	if a.Access.Stored == nil {
		return refuse(http.StatusNotFound, "this server keeps no tokens")
	}
	var t Token
	if err := readOptions(w, r, &t); err != nil {
		return err
	}
	if t.Hash != "" || !t.Created.IsZero() {
		return refuse(http.StatusBadRequest, "hash and created are the server's to say")
	}
	made, err := MakeToken(t, a.now())
	if err != nil {
		return err
	}
	made.By = caller(r).Name
	doc, err := json.Marshal(made.Token)
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	if err := a.Access.Stored.PutToken(r.Context(), made.Name, doc); err != nil {
		return err
	}
	a.tokens.forget()
	made.Hash = ""
	w.Header().Set("Cache-Control", "no-store")
	return a.reply(w, r, http.StatusCreated, made)
}

func (a *api) revokeToken(w http.ResponseWriter, r *http.Request) error {
	if err := caller(r).mayKeepTokens(); err != nil {
		return err
	}
	if a.Access.Stored == nil {
		return refuse(http.StatusNotFound, "this server keeps no tokens")
	}
	if err := a.Access.Stored.DropToken(r.Context(), r.PathValue("key")); err != nil {
		return err
	}
	a.tokens.forget()
	return a.reply(w, r, http.StatusOK, handled{Done: 1})
}
