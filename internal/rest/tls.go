package rest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSFiles are the files of a server's certificate. What changes in them is taken over
// by connections that come later.
type TLSFiles struct {
	Cert, Key string
	ClientCA  string // who may vouch for clients; "": nobody is asked
	Now       func() time.Time
	Failed    func(error) // hears of files that cannot be read any more; the old ones stay
}

// reloadEvery is how often the files are looked at.
const reloadEvery = time.Second

// Config reads the files and returns a configuration that follows them.
func (f TLSFiles) Config() (*tls.Config, error) {
	now, err := f.load()
	if err != nil {
		return nil, err
	}
	r := &reloading{files: f, config: now, stamp: f.stamp(), looked: f.Now()}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: r.current}, nil
}

func (f TLSFiles) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if f.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("certificates of client authorities: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates of client authorities: %s: %w", f.ClientCA, errors.New("no PEM certificate in it"))
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	return c, nil
}

// stamp differs when one of the files was written anew.
func (f TLSFiles) stamp() string {
	out := ""
	for _, name := range []string{f.Cert, f.Key, f.ClientCA} {
		if info, err := os.Stat(name); err == nil {
			out += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), " ")
		}
	}
	return out
}

type reloading struct {
	files TLSFiles

	mu     sync.Mutex
	config *tls.Config
	stamp  string
	looked time.Time
}

func (r *reloading) current(*tls.ClientHelloInfo) (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.files.Now()
	if now.Sub(r.looked) < reloadEvery {
		return r.config, nil
	}
	r.looked = now
	stamp := r.files.stamp()
	if stamp == r.stamp {
		return r.config, nil
	}
	fresh, err := r.files.load()
	if err != nil { // half written, perhaps: the next connection looks again
		if r.files.Failed != nil {
			r.files.Failed(err)
		}
		return r.config, nil
	}
	r.config, r.stamp = fresh, stamp
	return fresh, nil
}
