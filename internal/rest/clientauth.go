package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/oaas-platform/oprc/internal/reconcile"
)

// WhoAmI says who the server takes the caller for.
func (c *Client) WhoAmI(ctx context.Context) (Identity, error) {
	var who Identity
	raw, err := c.do(ctx, http.MethodGet, "/auth/whoami", nil, "", nil)
	if err != nil {
		return who, err
	}
	return who, c.understood(json.Unmarshal(raw, &who))
}

// CanI says whether the caller may do something.
func (c *Client) CanI(ctx context.Context, verb, kind, name string) (Permission, error) {
	var p Permission
	raw, err := c.do(ctx, http.MethodGet, "/auth/can-i", url.Values{"verb": {verb}, "kind": {kind}, "name": {name}}, "", nil)
	if err != nil {
		return p, err
	}
	return p, c.understood(json.Unmarshal(raw, &p))
}

// MakeToken makes a token on the server. What it is, nobody can read again.
func (c *Client) MakeToken(ctx context.Context, t Token) (NewToken, error) {
	var made NewToken
	return made, c.post(ctx, "/auth/tokens", reconcile.Actor{}, t, &made)
}

// ListTokens lists the server's tokens, without what they are.
func (c *Client) ListTokens(ctx context.Context) ([]Token, error) {
	return collect[Token](ctx, c, "/auth/tokens", nil, 0)
}

// RevokeToken revokes a token, or fails with an oprc.ErrNotFound.
func (c *Client) RevokeToken(ctx context.Context, name string) error {
	_, err := c.do(ctx, http.MethodDelete, "/auth/tokens/"+url.PathEscape(name), nil, "", nil)
	return err
}
