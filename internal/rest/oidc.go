package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Grant gives a role to those who have a value in their claims.
type Grant struct {
	Claim string // value in the roles claim; "*" for everybody whom the provider knows
	Role  Role
	Limits
}

// OIDC takes the ID and access tokens (JWT) of an OpenID Connect provider.
type OIDC struct {
	Issuer, Audience string
	NameClaim        string // "": email, else preferred_username, else sub
	RolesClaim       string // a string or a list of them; "": groups
	Grants           []Grant
	HTTP             *http.Client // nil: http.DefaultClient
	Now              func() time.Time
}

// Verifier returns what checks tokens. The provider is asked when the first one comes,
// and again while it does not answer.
func (o OIDC) Verifier() Verifier {
	provider := o.provider()
	return func(ctx context.Context, token string) (*Identity, error) {
		p, lasting, err := provider(ctx)
		if err != nil {
			return nil, err
		}
		t, err := p.VerifierContext(lasting, &oidc.Config{ClientID: o.Audience, Now: o.Now}).Verify(ctx, token)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", oprc.ErrDenied, err)
		}
		claims := map[string]any{}
		if err := t.Claims(&claims); err != nil {
			return nil, fmt.Errorf("%w: claims: %w", oprc.ErrDenied, err)
		}
		return o.identity(t.Subject, claims)
	}
}

// provider returns what finds the provider out, once it answers, with the context to ask
// it in later on.
func (o OIDC) provider() func(context.Context) (*oidc.Provider, context.Context, error) {
	var mu sync.Mutex
	var known *oidc.Provider
	var lasting context.Context
	return func(ctx context.Context) (*oidc.Provider, context.Context, error) {
		mu.Lock()
		defer mu.Unlock()
		if known != nil {
			return known, lasting, nil
		}
		kept := oidc.ClientContext(context.WithoutCancel(ctx), o.client())
		p, err := oidc.NewProvider(kept, o.Issuer)
		if err != nil {
			return nil, nil, err
		}
		known, lasting = p, kept
		return known, lasting, nil
	}
}

func (o OIDC) client() *http.Client {
	if o.HTTP != nil {
		return o.HTTP
	}
	return &http.Client{Timeout: 10 * time.Second}
}

// identity maps claims to the highest role that they give. Limits of several grants of
// that role add up.
func (o OIDC) identity(subject string, claims map[string]any) (*Identity, error) {
	who := &Identity{Name: subject, Authenticated: true, Method: "oidc"}
	names := []string{"email", "preferred_username"}
	if o.NameClaim != "" {
		names = []string{o.NameClaim}
	}
	for _, name := range names {
		if v, ok := claims[name].(string); ok && v != "" {
			who.Name = v
			break
		}
	}
	claim := o.RolesClaim
	if claim == "" {
		claim = "groups"
	}
	values := texts(claims[claim])
	var of []Grant
	for _, g := range o.Grants {
		if g.Claim != "*" && !slices.Contains(values, g.Claim) {
			continue
		}
		switch {
		case g.Role == who.Role:
			of = append(of, g)
		case g.Role.Includes(who.Role):
			who.Role, of = g.Role, []Grant{g}
		}
	}
	if len(of) == 0 {
		return nil, fmt.Errorf("%w: %w", oprc.ErrDenied, errors.New("no grant for "+who.Name+" in the claim "+claim))
	}
	who.Limits = union(of)
	return who, nil
}

// union is what any of the grants allows.
func union(of []Grant) Limits {
	l := of[0].Limits
	for _, g := range of[1:] {
		l.Packages = either(l.Packages, g.Packages)
		l.Environments = either(l.Environments, g.Environments)
		l.Origins = either(l.Origins, g.Origins)
	}
	return l
}

func either(a, b []string) []string {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	return slices.Concat(a, b)
}

func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
