package cli

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// gitFiles is a Git repository as a source.
type gitFiles struct {
	hub     *gitsource.Hub
	options gitsource.Options

	mu   sync.Mutex
	git  *gitsource.Source
	last gitsource.Revision
}

func newGitFiles(hub *gitsource.Hub, o gitsource.Options) (*gitFiles, error) {
	git, err := hub.Open(o)
	if err != nil {
		return nil, err
	}
	return &gitFiles{hub: hub, options: o, git: git}, nil
}

// Resume takes up where another process left off: a rewind is judged against the
// revision that it saw last.
func (g *gitFiles) Resume(revision string, moved bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last.ID == revision {
		return nil
	}
	o := g.options
	o.Last, o.Moved = revision, moved
	git, err := g.hub.Open(o)
	if err != nil {
		return err
	}
	g.git, g.last = git, gitsource.Revision{}
	return nil
}

func (g *gitFiles) source() *gitsource.Source {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.git
}

func (g *gitFiles) Poll(ctx context.Context, since time.Time) (loop.Revision, error) {
	rev, err := g.source().Poll(ctx, since)
	if err != nil {
		return loop.Revision{ID: rev.ID, Author: rev.Author}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = rev
	return loop.Revision{ID: rev.ID, Author: rev.Author, Message: rev.Message, When: rev.When, Rewind: rev.Rewind}, nil
}

func (g *gitFiles) Files(ctx context.Context, rev loop.Revision) ([]oprc.File, error) {
	return g.source().Files(ctx, gitsource.Revision{ID: rev.ID})
}

// Notes says what was odd about the files that were read last.
func (g *gitFiles) Notes() []string { return g.source().Notes() }

// Unread names what was there and passed over.
func (g *gitFiles) Unread() []string { return g.source().Unread() }

// gitOptions are the options of a source, with the secrets that its variables
// hold and the certificates of its file.
func (e *env) gitOptions(sc SourceConfig, cache string) (gitsource.Options, error) {
	o := gitsource.Options{
		Name: sc.Name, URL: sc.URL, Ref: sc.Ref, Path: sc.Path, Ignore: sc.Ignore, CacheDir: cache,
		Username: sc.Username, SSHKeyFile: sc.SSHKeyFile, KnownHosts: sc.KnownHosts, Proxy: sc.Proxy,
	}
	for _, secret := range []struct {
		key, variable string
		to            *string
	}{
		{"passwordEnv", sc.PasswordEnv, &o.Password},
		{"tokenEnv", sc.TokenEnv, &o.Token},
		{"sshPassphraseEnv", sc.SSHPassphraseEnv, &o.SSHPassphrase},
	} {
		value, err := e.secret(secret.key, secret.variable)
		if err != nil {
			return o, err
		}
		*secret.to = value
	}
	if sc.Verify != nil {
		for i, name := range sc.Verify.Keys {
			key, err := os.ReadFile(name)
			if err != nil {
				return o, fmt.Errorf("verify.keys[%d]: %w", i, err)
			}
			o.Verify = append(o.Verify, key)
		}
	}
	if sc.CAFile != "" {
		bundle, err := os.ReadFile(sc.CAFile)
		if err != nil {
			return o, fmt.Errorf("caFile: %w", err)
		}
		o.CABundle = bundle
	}
	return o, nil
}

// secret returns what the variable holds that a key of the configuration names.
func (e *env) secret(key, variable string) (string, error) {
	if variable == "" {
		return "", nil
	}
	value := e.getenv(variable)
	if value == "" {
		return "", fmt.Errorf("%s: the environment variable %s is not set", key, variable)
	}
	return value, nil
}

// gitOnly returns a key of the source that a plain directory cannot honour, or "".
func (sc SourceConfig) gitOnly() string {
	for key, set := range map[string]bool{
		"ref": sc.Ref != "", "ignore": len(sc.Ignore) > 0, "username": sc.Username != "", "passwordEnv": sc.PasswordEnv != "",
		"tokenEnv": sc.TokenEnv != "", "sshKeyFile": sc.SSHKeyFile != "", "knownHosts": len(sc.KnownHosts) > 0,
		"caFile": sc.CAFile != "", "proxy": sc.Proxy != "", "verify": sc.Verify != nil, "track": !sc.Track,
	} {
		if set {
			return key
		}
	}
	return ""
}
