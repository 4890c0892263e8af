package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// sources opens what a configuration names, with mirrors in a directory of the cache;
// nothing is read yet.
func (e *env) sources(hub *gitsource.Hub, mirrors string, configs []SourceConfig) ([]loop.SourceConfig, error) {
	cache := filepath.Join(e.directory("XDG_CACHE_HOME", ".cache"), mirrors)
	var out []loop.SourceConfig
	for _, sc := range configs {
		src, err := e.openSource(hub, sc, cache)
		if err == nil {
			_, err = e.secret("webhookSecretEnv", sc.WebhookSecretEnv)
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", sc.Name, err)
		}
		dir := ""
		if _, is := src.(*dirFiles); is {
			if dir, err = filepath.Abs(sc.URL); err != nil {
				return nil, fmt.Errorf("source %s: %w", sc.Name, err)
			}
		}
		out = append(out, loop.SourceConfig{
			Name: sc.Name, URL: redacted(sc.URL), Ref: sc.Ref, Path: sc.Path, Dir: dir, Source: src, Interval: sc.Interval,
			Ignore: sc.Ignore, NoPrune: !sc.Prune, NoHeal: !sc.Heal, NoTrack: !sc.Track, Suspend: sc.Suspend, Take: sc.TakeOwnership,
			Guard: plan.Guard{MaxDelete: sc.MaxDelete, MaxDeletePercent: sc.MaxDeletePercent, MaxBlastUnits: sc.MaxBlast, Stops: true},
		})
	}
	return out, nil
}

func (e *env) openSource(hub *gitsource.Hub, sc SourceConfig, cache string) (loop.Source, error) {
	if !isGitURL(sc.URL) && !isRepository(sc.URL) {
		key := sc.gitOnly()
		if _, err := os.Stat(sc.URL); key != "" && err == nil {
			return nil, fmt.Errorf("%s: only a Git repository takes it, and %s is none", key, sc.URL)
		}
		if key == "" {
			return &dirFiles{root: sc.URL, paths: []string{filepath.Join(sc.URL, sc.Path)}}, nil
		}
	}
	options, err := e.gitOptions(sc, cache)
	if err != nil {
		return nil, err
	}
	return newGitFiles(hub, options)
}

// isRepository reports whether dir holds a working tree of Git.
func isRepository(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, ".git"))
	return err == nil && info.IsDir()
}

// dirFiles is a directory (or files) as a source. Its revision is the digest of
// what it holds. It may be missing, and come later.
type dirFiles struct {
	root  string // where no repository may be, because it would be followed as one
	paths []string

	mu    sync.Mutex
	read  dirsource.Reading
	empty error // there is a directory, and no file of packages in it
}

func (d *dirFiles) Poll(context.Context, time.Time) (loop.Revision, error) {
	if d.root != "" && isRepository(d.root) {
		return loop.Revision{}, fmt.Errorf("%s has become a Git repository, which was none when oprc serve was started. Start oprc serve again to follow it: %w", d.root, oprc.ErrInvalid)
	}
	read, err := dirsource.ReadAll(d.paths, strings.NewReader(""))
	empty := err
	if err != nil && (!errors.Is(err, oprc.ErrNotFound) || !d.exist()) {
		return loop.Revision{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.read, d.empty = read, empty
	sums := map[string]string{}
	for _, f := range read.Files {
		sums[f.Path] = oprc.DigestBytes(f.Data)
	}
	for _, name := range read.Unread { // one that is deleted keeps its package no longer
		sums[name] = "passed over"
	}
	return loop.Revision{ID: shortRevision(oprc.Digest(sums)), Author: "dev"}, nil
}

func (d *dirFiles) Files(context.Context, loop.Revision) ([]oprc.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.read.Files, d.empty
}

// exist reports whether all paths lead somewhere: a directory that is not mounted is no
// wish to delete what was in it.
func (d *dirFiles) exist() bool {
	return !slices.ContainsFunc(d.paths, func(p string) bool { _, err := os.Stat(p); return err != nil })
}

// Unread names what was there and passed over.
func (d *dirFiles) Unread() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.read.Unread
}

// Notes names the links that are not followed.
func (d *dirFiles) Notes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, link := range d.read.Links {
		out = append(out, link+" is not followed")
	}
	return out
}

// shortRevision is the first 12 digits of a digest, as people compare them.
func shortRevision(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return hex[:min(12, len(hex))]
}

// declared makes every environment that the packages of a source name exist, so
// that dev needs nothing set up. What the files declare themselves is left alone.
type declared struct {
	loop.Source
	load func([]oprc.File, bool, string) ([]oprc.Document, oprc.Diagnostics)
}

func (d declared) Files(ctx context.Context, rev loop.Revision) ([]oprc.File, error) {
	files, err := d.Source.Files(ctx, rev)
	if err != nil {
		return nil, err
	}
	docs, _ := d.load(files, false, "")
	missing := map[string]bool{}
	for _, doc := range docs {
		if doc.Package == nil {
			continue
		}
		for _, dep := range doc.Package.Deployments {
			for _, env := range dep.TargetEnvs {
				missing[env] = true
			}
			for _, m := range dep.Members {
				missing[m.Env] = true
			}
		}
	}
	delete(missing, "local")
	for _, doc := range docs {
		if doc.Environment != nil {
			delete(missing, doc.Name())
		}
	}
	for _, env := range slices.Sorted(maps.Keys(missing)) {
		if oprc.ValidName(env) {
			files = append(files, oprc.File{
				Path: "environment " + env + " (declared by dev)",
				Data: fmt.Appendf(nil, "kind: Environment\nname: %s\navailability: 0.99\n", env),
			})
		}
	}
	return files, nil
}

// Notes, Unread and Resume are those of the source inside, if it has them.
func (d declared) Notes() []string {
	if n, ok := d.Source.(loop.Noter); ok {
		return n.Notes()
	}
	return nil
}

func (d declared) Unread() []string {
	if p, ok := d.Source.(loop.Passer); ok {
		return p.Unread()
	}
	return nil
}

func (d declared) Resume(revision string, moved bool) error {
	if r, ok := d.Source.(loop.Resumer); ok {
		return r.Resume(revision, moved)
	}
	return nil
}

// isGitURL reports whether a dev argument names a repository rather than a path.
func isGitURL(arg string) bool {
	return strings.Contains(arg, "://") || strings.HasPrefix(arg, "git@") || strings.HasSuffix(arg, ".git")
}
