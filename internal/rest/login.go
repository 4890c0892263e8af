package rest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Login signs people in on the pages of an OpenID Connect provider: the authorization
// code flow (RFC 6749, section 4.1) with a proof key (RFC 7636) and a nonce.
type Login struct {
	OIDC
	ClientID     string
	ClientSecret string   // "" of a public client
	Scopes       []string // besides openid
	Callback     string   // where the provider sends people back; "": where they came from

	once  sync.Once
	found func(context.Context) (*oidc.Provider, context.Context, error)
}

func (l *Login) config(ctx context.Context, callback string) (*oidc.Provider, context.Context, *oauth2.Config, error) {
	l.once.Do(func() { l.found = l.provider() })
	p, lasting, err := l.found(ctx)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("the OpenID Connect provider does not answer: %w", err)
	}
	if l.Callback != "" {
		callback = l.Callback
	}
	return p, lasting, &oauth2.Config{
		ClientID: l.ClientID, ClientSecret: l.ClientSecret, Endpoint: p.Endpoint(), RedirectURL: callback,
		Scopes: append([]string{oidc.ScopeOpenID}, slices.DeleteFunc(slices.Clone(l.Scopes), func(s string) bool { return s == oidc.ScopeOpenID })...),
	}, nil
}

// Begin returns the provider's address to go to. It sends people back to callback with
// state and a code. secret is for Finish: at least 43 characters that nobody guesses, kept
// by the browser that begins.
func (l *Login) Begin(ctx context.Context, callback, state, secret string) (string, error) {
	_, _, config, err := l.config(ctx, callback)
	if err != nil {
		return "", err
	}
	return config.AuthCodeURL(state, oidc.Nonce(nonce(secret)), oauth2.S256ChallengeOption(secret)), nil
}

// Finish exchanges a code for an ID token. The error is an [oprc.ErrDenied] if the provider
// does not accept the code, or the token is for another browser.
func (l *Login) Finish(ctx context.Context, callback, code, secret string) (string, error) {
	p, lasting, config, err := l.config(ctx, callback)
	if err != nil {
		return "", err
	}
	answer, err := config.Exchange(oidc.ClientContext(ctx, l.client()), code, oauth2.VerifierOption(secret))
	if err != nil {
		return "", fmt.Errorf("%w: the provider does not accept the code: %w", oprc.ErrDenied, err)
	}
	raw, is := answer.Extra("id_token").(string)
	if !is {
		return "", errors.New("the provider sent no ID token")
	}
	token, err := p.VerifierContext(lasting, &oidc.Config{ClientID: l.ClientID, Now: l.Now}).Verify(ctx, raw)
	if err != nil {
		return "", fmt.Errorf("%w: %w", oprc.ErrDenied, err)
	}
	if token.Nonce != nonce(secret) {
		return "", fmt.Errorf("%w: the ID token belongs to another sign-in", oprc.ErrDenied)
	}
	return raw, nil
}

// nonce shows nothing of the secret that it is made from.
func nonce(secret string) string {
	sum := sha256.Sum256([]byte("nonce " + secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
