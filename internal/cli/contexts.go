package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2/maybe"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/view"
)

// contexts is the file of named places where state is.
type contexts struct {
	Current  string           `json:"current,omitempty"`
	Contexts map[string]place `json:"contexts"`
}

// A place is where state is: exactly one of the two.
type place struct {
	Server string `json:"server,omitempty"` // REST
	Redis  string `json:"redis,omitempty"`
}

// contextsPath is the file, or "" where there is no home.
func (e *env) contextsPath() string {
	if dir := e.directory("XDG_CONFIG_HOME", ".config"); dir != "" {
		return filepath.Join(dir, "contexts.yaml")
	}
	return ""
}

// directory is oprc's own below an XDG base directory, which defaults to a
// directory in the user's home.
func (e *env) directory(variable, fallback string) string {
	base := e.getenv(variable)
	if !filepath.IsAbs(base) { // the XDG specification ignores relative paths
		home := e.getenv("HOME")
		if home == "" {
			home = e.getenv("USERPROFILE")
		}
		if home == "" {
			return ""
		}
		base = filepath.Join(home, filepath.FromSlash(fallback))
	}
	return filepath.Join(base, "oprc")
}

// readContexts returns the contexts; a file that is not there has none.
func (e *env) readContexts() (contexts, error) {
	all := contexts{Contexts: map[string]place{}}
	path := e.contextsPath()
	if path == "" {
		return all, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, fmt.Errorf("read contexts: %w", err)
	}
	tree, err := view.DecodeSettings(data)
	if err != nil {
		return all, fmt.Errorf("read contexts %s: %w", path, err)
	}
	raw, err := json.Marshal(tree)
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return all, fmt.Errorf("read contexts %s: %w", path, err)
	}
	if all.Contexts == nil {
		all.Contexts = map[string]place{}
	}
	return all, nil
}

// writeContexts replaces the file whole; it may hold passwords.
func (e *env) writeContexts(all contexts) error {
	path := e.contextsPath()
	if path == "" {
		return errors.New("write contexts: neither XDG_CONFIG_HOME nor HOME is set")
	}
	data, err := view.EncodeYAML(all)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	if err := maybe.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	return nil
}

// find returns one context.
func (c contexts) find(name string) (place, error) {
	p, ok := c.Contexts[name]
	if !ok {
		return place{}, stepError{
			fmt.Errorf("context %q: %w", name, oprc.ErrNotFound), "oprc context list shows those that exist; oprc context set makes one.",
		}
	}
	return p, nil
}

// listing is the contexts without passwords.
func (c contexts) listing() []view.Context {
	var out []view.Context
	for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
		p := c.Contexts[name]
		out = append(out, view.Context{Name: name, Current: name == c.Current, Server: redacted(p.Server), Redis: redacted(p.Redis)})
	}
	return out
}

var secretQuery = lazyregexp.New(`(?i)([?&][^=&]*(?:token|password|secret|key|signature)[^=&]*=)[^&#]*`)

// withoutSecrets is a URL without the values of parameters that are secret by name.
func withoutSecrets(s string) string { return secretQuery().ReplaceAllString(s, "${1}xxxxx") }

// redacted is a URL without its secrets: its password, or the token in its place, and
// parameters that are such by name. It is not parsed: several addresses
// with commas between them are no URL to the standard library.
func redacted(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	at := strings.LastIndex(rest, "@")
	if at < 0 {
		return withoutSecrets(s)
	}
	user, _, hasPassword := strings.Cut(rest[:at], ":")
	switch {
	case hasPassword:
		user += ":xxxxx"
	case scheme == "http" || scheme == "https": // a token, as forges take it
		user = "xxxxx"
	}
	rest = withoutSecrets(rest)
	at = strings.LastIndex(rest, "@")
	if !ok {
		return user + rest[at:]
	}
	return scheme + "://" + user + rest[at:]
}
