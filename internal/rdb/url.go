package rdb

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// parseURL turns o into the client's options. Its errors never quote the URL,
// which may hold a password.
func parseURL(o Options) (*redis.UniversalOptions, error) {
	u := baseOptions()
	scheme, rest, found := strings.Cut(o.URL, "://")
	if !found {
		scheme, rest = "redis", o.URL
	}
	rest, query, _ := strings.Cut(rest, "?")
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w: its query cannot be read", oprc.ErrInvalid)
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		if err := credentials(u, rest[:at]); err != nil {
			return nil, err
		}
		rest = rest[at+1:]
	}
	if err := place(u, scheme, rest, params); err != nil {
		return nil, err
	}
	if o.Username != "" {
		u.Username = o.Username
	}
	if o.Password != "" {
		u.Password = o.Password
	}
	return u, nil
}

// baseOptions fails fast and leaves retrying to the caller's next tick.
func baseOptions() *redis.UniversalOptions {
	return &redis.UniversalOptions{
		DialTimeout:           dialTimeout,
		DialerRetries:         1,
		ReadTimeout:           bulkTimeout, // each call sets a nearer deadline
		WriteTimeout:          bulkTimeout,
		ContextTimeoutEnabled: true,
		MaxRetries:            -1,
		PoolSize:              poolSize,
		MaxIdleConns:          poolSize / 8,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
}

func credentials(u *redis.UniversalOptions, userinfo string) error {
	user, password, _ := strings.Cut(userinfo, ":")
	var err error
	if u.Username, err = url.PathUnescape(user); err == nil {
		u.Password, err = url.PathUnescape(password)
	}
	if err != nil {
		return fmt.Errorf("redis URL: %w: user or password has a bad %%-escape", oprc.ErrInvalid)
	}
	return nil
}

// place fills in where Redis is. rest is addresses and, after a slash, a database.
func place(u *redis.UniversalOptions, scheme, rest string, params url.Values) error {
	if scheme == "unix" {
		u.Addrs = []string{rest}
		return database(u, params.Get("db"))
	}
	hosts, db, _ := strings.Cut(rest, "/")
	port := "6379"
	switch scheme {
	case "redis":
	case "rediss", "sentinels":
		var err error
		if u.TLSConfig, err = tlsConfig(params); err != nil {
			return fmt.Errorf("redis URL: %w", err)
		}
	case "sentinel":
	default:
		return fmt.Errorf("redis URL: %w: unknown scheme %q; use redis, rediss, unix, sentinel or sentinels", oprc.ErrInvalid, scheme)
	}
	if strings.HasPrefix(scheme, "sentinel") {
		port = "26379"
		if u.MasterName = params.Get("master"); u.MasterName == "" {
			return fmt.Errorf("redis URL: %w: %s needs ?master=NAME", oprc.ErrInvalid, scheme)
		}
		u.SentinelUsername, u.SentinelPassword = params.Get("sentinel_username"), params.Get("sentinel_password")
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := withPort(host, port)
		if err != nil {
			return err
		}
		u.Addrs = append(u.Addrs, addr)
	}
	u.IsClusterMode = u.MasterName == "" && (len(u.Addrs) > 1 || params.Get("cluster") == "true")
	if u.IsClusterMode && strings.Trim(db, "/0") != "" {
		return fmt.Errorf("redis URL: %w: a Cluster has only database 0", oprc.ErrInvalid)
	}
	return database(u, db)
}

// tlsConfig trusts the system's authorities, or those in ca_file alone, and shows
// the certificate in cert_file and key_file where a server asks for one.
func tlsConfig(params url.Values) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: params.Get("skip_verify") == "true"} //nolint:gosec // asked for by name
	if path := params.Get("ca_file"); path != "" {
		bundle, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("ca_file: %w: %s holds no certificate in PEM", oprc.ErrInvalid, path)
		}
	}
	if cert, key := params.Get("cert_file"), params.Get("key_file"); cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert_file, key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func database(u *redis.UniversalOptions, db string) error {
	if db == "" {
		return nil
	}
	n, err := strconv.Atoi(db)
	if err != nil || n < 0 {
		return fmt.Errorf("redis URL: %w: %q is no database number", oprc.ErrInvalid, db)
	}
	u.DB = n
	return nil
}

func withPort(host, port string) (string, error) {
	host = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(host), "redis://"), "rediss://")
	if h, p, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return "", fmt.Errorf("redis URL: %w: %q is no port", oprc.ErrInvalid, p)
		}
		if h == "" {
			h = "localhost"
		}
		return net.JoinHostPort(h, p), nil
	}
	host = strings.Trim(host, "[]")
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// display names where Redis is, in a message.
func display(u *redis.UniversalOptions) string {
	addrs := strings.Join(u.Addrs, ",")
	if u.MasterName != "" {
		return fmt.Sprintf("%s (sentinel, master %s)", addrs, u.MasterName)
	}
	return addrs
}
