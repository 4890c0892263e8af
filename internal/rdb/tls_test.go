package rdb_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oaas-platform/oprc/internal/rdb"
	"github.com/oaas-platform/oprc/internal/rdb/rdbtest"
)

func TestTLS(t *testing.T) {
	cert, key := certificate(t)
	_, port, _ := net.SplitHostPort(closedPort(t))
	plain := rdbtest.Server(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	secure := "rediss://127.0.0.1:" + port
	_, strictPort, _ := net.SplitHostPort(closedPort(t))
	rdbtest.Server(t, "--tls-port", strictPort, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	strict := "rediss://127.0.0.1:" + strictPort
	tests := map[string]struct {
		o     rdb.Options
		cause string // "" when it works
	}{
		"trusted":           {rdb.Options{URL: secure + "?ca_file=" + cert}, ""},
		"not known to it":   {rdb.Options{URL: strict + "?ca_file=" + cert}, "certificate required"},
		"known to it":       {rdb.Options{URL: strict + "?ca_file=" + cert + "&cert_file=" + cert + "&key_file=" + key}, ""},
		"not verified":      {rdb.Options{URL: secure + "?skip_verify=true"}, ""},
		"not trusted":       {rdb.Options{URL: secure}, "certificate"},
		"TLS to plain":      {rdb.Options{URL: strings.Replace(plain, "redis:", "rediss:", 1)}, "no answer in time"},
		"TLS to a stranger": {rdb.Options{URL: "rediss://" + stranger(t)}, "does not speak TLS"},
		"plain to TLS only": {rdb.Options{URL: "redis://127.0.0.1:" + port}, "connection"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			db, err := rdb.Open(t.Context(), tt.o)
			switch {
			case tt.cause == "" && err != nil:
				t.Fatal(err)
			case tt.cause == "":
				_ = db.Close()
			case !errors.Is(err, rdb.ErrUnavailable) || !strings.Contains(err.Error(), tt.cause):
				t.Errorf("got %v, want unavailable: %s", err, tt.cause)
			}
		})
	}
}

// certificate makes a self-signed certificate for 127.0.0.1.
func certificate(t testing.TB) (certFile, keyFile string) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	write := func(name, kind string, data []byte) string {
		t.Helper()
		path := t.TempDir() + "/" + name
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key))(t))
}

// stranger greets in a language of its own.
func stranger(t testing.TB) string {
	t.Helper()
	l := listen(t)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 mail.example ESMTP\r\n"))
			defer func() { _ = c.Close() }()
		}
	}()
	return l.Addr().String()
}
