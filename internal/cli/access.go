package cli

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"

	"github.com/oaas-platform/oprc/internal/rest"
)

// SecurityConfig says who may use the HTTP API.
type SecurityConfig struct {
	// Tokens are known by their SHA-256 sums, in hex; those of "oprc token create" are in
	// Redis.
	Tokens []TokenConfig `koanf:"tokens"`
	// Required closes the API although nothing else here does: to those with a token of
	// "oprc token create".
	Required  bool     `koanf:"required"`
	Anonymous string   `koanf:"anonymous"` // role of those who show nothing where the API is closed: "": viewer, or none
	Hosts     []string `koanf:"hosts"`     // names of the server besides localhost and IP addresses; "*" is any

	OIDC *OIDCConfig `koanf:"oidc"`
	TLS  *TLSConfig  `koanf:"tls"`
}

// GrantConfig is a role and its limits.
type GrantConfig struct {
	Role         string   `koanf:"role"`
	Packages     []string `koanf:"packages"`
	Environments []string `koanf:"environments"`
	Origins      []string `koanf:"origins"`
}

// TokenConfig is a bearer token. A plain text stands for one of an admin.
type TokenConfig struct {
	Name        string `koanf:"name"`
	SHA256      string `koanf:"sha256"`
	Expires     string `koanf:"expires"` // RFC 3339
	GrantConfig `koanf:",squash"`
}

// OIDCConfig is an OpenID Connect provider.
type OIDCConfig struct {
	Issuer     string        `koanf:"issuer"`
	Audience   string        `koanf:"audience"`
	NameClaim  string        `koanf:"nameClaim"`
	RolesClaim string        `koanf:"rolesClaim"`
	Grants     []ClaimConfig `koanf:"grants"`
	Login      *LoginConfig  `koanf:"login"`
}

// LoginConfig lets people sign in to the console on the provider's pages.
type LoginConfig struct {
	ClientSecretEnv string   `koanf:"clientSecretEnv"` // "": a public client
	Scopes          []string `koanf:"scopes"`          // besides openid; default email, profile
	Callback        string   `koanf:"callback"`        // URL of /ui/signin/callback; "": by the name under which the server was asked
}

// ClaimConfig gives a role to those who have a value in their claims.
type ClaimConfig struct {
	Claim       string `koanf:"claim"`
	GrantConfig `koanf:",squash"`
}

// TLSConfig is the server's certificate, and who may vouch for clients.
type TLSConfig struct {
	CertFile     string         `koanf:"certFile"`
	KeyFile      string         `koanf:"keyFile"`
	ClientCAFile string         `koanf:"clientCAFile"`
	Clients      []ClientConfig `koanf:"clients"`
}

// ClientConfig gives a role to those whose certificate has the name.
type ClientConfig struct {
	Name        string `koanf:"name"` // common name or DNS name, or a pattern
	GrantConfig `koanf:",squash"`
}

// LimitsConfig bounds what the HTTP API does at once; 0 is the default.
type LimitsConfig struct {
	Body     int64         `koanf:"body"`     // bytes of a body
	BigBody  int64         `koanf:"bigBody"`  // bytes of the body of a plan or apply of many files
	Plans    int           `koanf:"plans"`    // requests that plan, at once
	Time     time.Duration `koanf:"time"`     // for one request
	Rate     float64       `koanf:"rate"`     // requests a second of one caller; less than 0: any
	Burst    int           `koanf:"burst"`    // of one caller
	Watchers int           `koanf:"watchers"` // at once
}

// check refuses what no server could work with; 0 is the default.
func (c LimitsConfig) check() error {
	for name, ok := range map[string]bool{
		"body": c.Body >= 0, "bigBody": c.BigBody >= 0, "plans": c.Plans >= 0, "time": c.Time == 0 || c.Time >= time.Second,
		"burst": c.Burst >= 0, "watchers": c.Watchers >= 0,
	} {
		if !ok {
			return fmt.Errorf("limits.%s: too small", name)
		}
	}
	return nil
}

// plainToken reads a text among the tokens as the sum of an admin's.
func plainToken(from, to reflect.Type, data any) (any, error) {
	if to != reflect.TypeFor[TokenConfig]() || from.Kind() != reflect.String {
		return data, nil
	}
	return TokenConfig{SHA256: fmt.Sprint(data), GrantConfig: GrantConfig{Role: string(rest.Admin)}}, nil
}

var _ mapstructure.DecodeHookFuncType = plainToken

// closed reports whether the API knows its callers.
func (c SecurityConfig) closed() bool {
	return c.Required || len(c.Tokens) > 0 || c.OIDC != nil || c.TLS != nil && len(c.TLS.Clients) > 0
}

// access is what the server is told. Every error names its key.
func (c SecurityConfig) access(now func() time.Time) (rest.Access, error) {
	a := rest.Access{Required: c.closed(), Hosts: c.Hosts, Now: now}
	var errs []error
	bad := func(at string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("security.%s: %w", at, err))
		}
	}
	switch c.Anonymous {
	case "", string(rest.Viewer):
		a.Anonymous = rest.Viewer
	case "none":
	default:
		bad("anonymous", errors.New("viewer or none is needed"))
	}
	for i, t := range c.Tokens {
		at := fmt.Sprintf("tokens[%d]", i)
		raw, err := hex.DecodeString(t.SHA256)
		if err != nil || len(raw) != sha256.Size {
			bad(at, errors.New("not the SHA-256 sum of a token in hex"))
		}
		grant, err := t.grant()
		bad(at, err)
		token := rest.Token{Name: t.Name, Role: grant.Role, Hash: strings.ToLower(t.SHA256), Limits: grant.Limits}
		if t.Expires != "" {
			token.Expires, err = time.Parse(time.RFC3339, t.Expires)
			bad(at+".expires", err)
		}
		a.Tokens = append(a.Tokens, token)
	}
	if c.OIDC != nil {
		o, err := c.OIDC.provider(now)
		bad("oidc", err)
		a.Verify = o.Verifier()
		_, err = c.login(now)
		errs = append(errs, err)
	}
	if c.TLS != nil {
		for i, client := range c.TLS.Clients {
			grant, err := client.grant()
			bad(fmt.Sprintf("tls.clients[%d]", i), err)
			a.Clients = append(a.Clients, rest.Token{Name: client.Name, Role: grant.Role, Limits: grant.Limits})
		}
		if c.TLS.CertFile == "" || c.TLS.KeyFile == "" {
			bad("tls", errors.New("certFile and keyFile are needed"))
		}
		if len(c.TLS.Clients) > 0 && c.TLS.ClientCAFile == "" {
			bad("tls.clientCAFile", errors.New("missing: it says which certificates of clients are genuine"))
		}
	}
	return a, errors.Join(errs...)
}

func (g GrantConfig) grant() (rest.Grant, error) {
	role, err := rest.ParseRole(g.Role)
	l := rest.Limits{Packages: g.Packages, Environments: g.Environments, Origins: g.Origins}
	return rest.Grant{Role: role, Limits: l}, errors.Join(err, l.Check())
}

func (c OIDCConfig) provider(now func() time.Time) (rest.OIDC, error) {
	o := rest.OIDC{Issuer: c.Issuer, Audience: c.Audience, NameClaim: c.NameClaim, RolesClaim: c.RolesClaim, Now: now}
	if c.Issuer == "" || c.Audience == "" || len(c.Grants) == 0 {
		return o, errors.New("issuer, audience and grants are needed")
	}
	for i, g := range c.Grants {
		grant, err := g.grant()
		if err == nil && g.Claim == "" {
			err = errors.New("claim is missing")
		}
		if err != nil {
			return o, fmt.Errorf("grants[%d]: %w", i, err)
		}
		grant.Claim = g.Claim
		o.Grants = append(o.Grants, grant)
	}
	return o, nil
}

// login is what signs people in to the console, without the client's secret, or nil.
func (c SecurityConfig) login(now func() time.Time) (*rest.Login, error) {
	if c.OIDC == nil || c.OIDC.Login == nil {
		return nil, nil
	}
	o, err := c.OIDC.provider(now)
	l := &rest.Login{OIDC: o, ClientID: o.Audience, Scopes: c.OIDC.Login.Scopes, Callback: c.OIDC.Login.Callback}
	if l.Scopes == nil {
		l.Scopes = []string{"email", "profile"}
	}
	if u, bad := url.Parse(l.Callback); l.Callback != "" && (bad != nil || u.Host == "" || u.Path != "/ui/signin/callback") {
		err = errors.Join(err, errors.New("security.oidc.login.callback: the URL of /ui/signin/callback is needed"))
	}
	return l, err
}

// secure is the configuration of TLS, or nil without one.
func (c *TLSConfig) secure(now func() time.Time, log *slog.Logger) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	return rest.TLSFiles{
		Cert: c.CertFile, Key: c.KeyFile, ClientCA: c.ClientCAFile, Now: now,
		Failed: func(err error) { log.Error("the new certificate is not used", "error", err) },
	}.Config()
}

// address is where serve listens: on all addresses where it knows its callers, else on
// loopback. Another address than that is refused unless insecure says that it is meant.
func (c Config) address(insecure bool) (string, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	switch {
	case c.Listen == "" && (c.Security.closed() || insecure):
		return fmt.Sprintf(":%d", c.Port), nil
	case c.Listen == "":
		return fmt.Sprintf("127.0.0.1:%d", c.Port), nil
	case err != nil:
		host, port = strings.Trim(c.Listen, "[]"), fmt.Sprint(c.Port)
	}
	if !c.Security.closed() && !insecure && !loopback(host) {
		return "", stepError{
			usagef("serve would answer everybody on %s without knowing them", net.JoinHostPort(host, port)),
			"Configure security in oprc.yaml, or security.required with tokens of oprc token create; --insecure serves everybody all the same.",
		}
	}
	return net.JoinHostPort(host, port), nil
}

// hosts are the names under which this machine may be called without configuration.
func ownHosts(more []string) []string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return append([]string{name}, more...)
	}
	return more
}
