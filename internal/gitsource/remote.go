package gitsource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	gitcache "github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
)

const (
	// maxPacks is how many packs a mirror collects, one per fetch, before it is
	// fetched afresh.
	maxPacks = 50
	// objectCache and largeObject bound what reading objects keeps in memory.
	objectCache = 32 * gitcache.MiByte
	largeObject = 1 << 20
	// abandoned is the time since the last write after which nobody writes to an unfinished pack any more.
	abandoned = time.Hour
)

// A remote is one repository: on this machine, or elsewhere with a mirror here.
type remote struct {
	o       Options
	shown   string // the URL without credentials
	local   string // path of a repository on this machine, or ""
	dir     string // of the mirror
	auth    func() (transport.AuthMethod, error)
	isSSH   bool
	host    *host // nil for one on this machine
	observe func(op string, err error)
	now     func() time.Time

	mu      sync.Mutex      // held by the source whose turn it is
	repo    *git.Repository // nil until it was needed
	storage *filesystem.Storage
	listed  listed
	slow    bool // the last request made no progress
}

// listed is what the last listing found out.
type listed struct {
	at   time.Time // when it began
	refs []*plumbing.Reference
	err  error
}

func newRemote(o Options) (*remote, error) {
	ep, err := transport.NewEndpoint(o.URL)
	if err != nil || o.URL == "" {
		return nil, fmt.Errorf("%w repository URL %q", oprc.ErrInvalid, strip(o.URL))
	}
	r := &remote{o: o, shown: strip(o.URL)}
	switch ep.Protocol {
	case "file":
		r.local = filepath.FromSlash(ep.Path)
		return r, nil
	case "http", "https":
		r.auth = o.httpAuth
	case "ssh":
		r.auth, r.isSSH = func() (transport.AuthMethod, error) { return o.sshAuth(ep) }, true
	default:
		return nil, fmt.Errorf("%w repository URL %q: %s is not supported, use https, ssh or file", oprc.ErrInvalid, r.shown, ep.Protocol)
	}
	if o.CacheDir == "" {
		return nil, fmt.Errorf("%w options: no cache directory for %s", oprc.ErrInvalid, r.shown)
	}
	return r, nil
}

// mirrorDir is where the mirror is of what is shown, or of one source of that.
func mirrorDir(o Options, source, shown string) string {
	return filepath.Join(o.CacheDir, mirrorName(source, shown))
}

// hostOf is the host of a URL, as far as limits go.
func hostOf(shown string) string {
	if ep, err := transport.NewEndpoint(shown); err == nil {
		return ep.Host
	}
	return ""
}

var unsafe = lazyregexp.New(`[^A-Za-z0-9._-]+`)

// mirrorName is readable, and differs when the source or the URL does.
func mirrorName(source, shown string) string {
	sum := sha256.Sum256([]byte(source + "\n" + shown))
	readable := strings.Trim(unsafe().ReplaceAllString(strings.TrimSuffix(path.Base(shown), ".git"), "-"), ".-")
	return fmt.Sprintf("%s-%s.git", readable, hex.EncodeToString(sum[:6]))
}

// strip removes credentials from a URL; the user of an ssh URL is none.
func strip(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return raw
	}
	if u.Scheme == "ssh" {
		u.User = url.User(u.User.Username())
	} else {
		u.User = nil
	}
	return u.String()
}

// list returns the refs of the repository as they were at since or later. Sources
// that ask for the same share a listing, be it one that failed.
func (r *remote) list(ctx context.Context, since time.Time) ([]*plumbing.Reference, error) {
	if r.local != "" {
		return r.listLocal()
	}
	if !r.listed.at.IsZero() && !r.listed.at.Before(since) {
		return r.listed.refs, r.listed.err
	}
	var began time.Time
	if r.now != nil {
		began = r.now()
	}
	refs, err := r.ask(ctx)
	if ctx.Err() == nil {
		r.listed = listed{began, refs, err}
	}
	return refs, err
}

// request waits for the host's turn, and tells of what came of the request.
func request[T any](ctx context.Context, r *remote, op string, work func(context.Context) (T, error)) (T, error) {
	leave, err := r.host.enter(ctx, r.slow)
	if err != nil {
		var none T
		return none, err
	}
	defer leave()
	var idled atomic.Bool
	out, err := watched(ctx, !r.isSSH, func() { idled.Store(true); leave() }, work)
	r.slow = idled.Load()
	if r.observe != nil && ctx.Err() == nil {
		failed := err
		if errors.Is(err, transport.ErrEmptyRemoteRepository) || errors.Is(err, git.NoErrAlreadyUpToDate) {
			failed = nil
		}
		r.observe(op, failed)
	}
	return out, err
}

func (r *remote) ask(ctx context.Context) ([]*plumbing.Reference, error) {
	auth, err := r.auth()
	if err != nil {
		return nil, r.unavailable(ctx, err)
	}
	refs, err := request(ctx, r, "list", func(ctx context.Context) ([]*plumbing.Reference, error) {
		return within(ctx, r.o.Timeout, r.isSSH, func(ctx context.Context) ([]*plumbing.Reference, error) {
			return r.handle(nil).ListContext(ctx, &git.ListOptions{
				Auth: auth, CABundle: r.o.CABundle, ProxyOptions: transport.ProxyOptions{URL: r.o.Proxy}, PeelingOption: git.AppendPeeled,
			})
		})
	})
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return nil, nil
	}
	if err != nil {
		return nil, r.unavailable(ctx, err)
	}
	return refs, nil
}

// listLocal opens the repository anew: others may have repacked it meanwhile.
func (r *remote) listLocal() ([]*plumbing.Reference, error) {
	repo, err := git.PlainOpenWithOptions(r.local, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return nil, r.fault(err)
	}
	r.repo = repo
	iter, err := repo.References()
	if err != nil {
		return nil, r.fault(err)
	}
	var refs []*plumbing.Reference
	err = iter.ForEach(func(ref *plumbing.Reference) error {
		if ref.Name() != plumbing.HEAD || ref.Type() == plumbing.HashReference {
			refs = append(refs, ref)
			return nil
		}
		// A HEAD whose branch is not born yet leads nowhere.
		if _, err := repo.Reference(ref.Target(), true); err == nil {
			refs = append(refs, ref)
		}
		return nil
	})
	return refs, err
}

// handle is go-git's view of the remote, with a storage to fetch into.
func (r *remote) handle(s *filesystem.Storage) *git.Remote {
	return git.NewRemote(s, &config.RemoteConfig{Name: "origin", URLs: []string{r.o.URL}})
}

// commit returns the commit that t leads to, and fetches it if need be.
func (r *remote) commit(ctx context.Context, t tip) (*object.Commit, error) {
	if c, err := r.held(t); err == nil {
		return c, nil
	}
	if r.local == "" {
		if err := r.fetch(ctx, spec(t.name)); err != nil {
			return nil, err
		}
	}
	c, err := r.held(t)
	switch {
	case errors.Is(err, plumbing.ErrObjectNotFound) && !r.mirrored(t):
		return nil, &Fault{URL: r.shown, Cause: fmt.Sprintf("%s moved while it was read", t.name)}
	case err != nil:
		return nil, fmt.Errorf("%s: %s: %w", r.shown, t.name, err)
	}
	return c, nil
}

// spec fetches one ref, wherever it points, into the mirror's own namespace.
func spec(name plumbing.ReferenceName) config.RefSpec {
	return config.RefSpec("+" + name + ":" + mirrored(name))
}

func mirrored(name plumbing.ReferenceName) plumbing.ReferenceName {
	return "refs/oprc/" + plumbing.ReferenceName(strings.TrimPrefix(name.String(), "refs/"))
}

// mirrored reports whether the mirror's ref is at t: if it holds no such object
// then, it is damaged.
func (r *remote) mirrored(t tip) bool {
	ref, err := r.repo.Reference(mirrored(t.name), true)
	return err == nil && ref.Hash() == t.object
}

// held looks t's commit up in the repository at hand.
func (r *remote) held(t tip) (*object.Commit, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	if c, err := r.repo.CommitObject(t.commit); err == nil {
		return c, nil
	}
	tag, err := r.repo.TagObject(t.object)
	if err == nil {
		return tag.Commit()
	}
	if _, is := r.repo.Storer.EncodedObject(plumbing.AnyObject, t.object); is == nil {
		return nil, object.ErrUnsupportedObject // a tag of a file, say
	}
	return nil, err
}

// pinned returns the commit of an id. Not every server hands out a commit by its
// id, so all branches and tags are fetched first.
func (r *remote) pinned(ctx context.Context, id plumbing.Hash) (*object.Commit, error) {
	if r.local != "" && r.repo == nil {
		if _, err := r.listLocal(); err != nil {
			return nil, err
		}
	}
	t := tip{object: id, commit: id}
	if c, err := r.held(t); err == nil {
		return c, nil
	}
	if r.local == "" {
		if err := r.fetch(ctx, "+refs/heads/*:refs/oprc/heads/*", "+refs/tags/*:refs/oprc/tags/*"); err != nil {
			return nil, err
		}
		if c, err := r.held(t); err == nil {
			return c, nil
		}
		err := r.fetch(ctx, config.RefSpec(id.String()+":refs/oprc/commits/"+id.String()))
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	c, err := r.held(t)
	if err != nil {
		return nil, fmt.Errorf("%s: commit %s: %w", r.shown, id, oprc.ErrNotFound)
	}
	return c, nil
}

// descends reports whether c has the commit before among its ancestors. A commit
// that is not held cannot be one: c came with its whole history.
func (r *remote) descends(c *object.Commit, before plumbing.Hash) (bool, error) {
	old, err := r.repo.CommitObject(before)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: commit %s: %w", r.shown, before, err)
	}
	return old.IsAncestor(c)
}

// open opens the mirror, and begins a new one where it is missing or broken.
func (r *remote) open() error {
	if r.repo != nil {
		return nil
	}
	if r.local != "" {
		_, err := r.listLocal()
		return err
	}
	repo, storage, err := openMirror(r.dir)
	if err != nil {
		if err := os.RemoveAll(r.dir); err != nil {
			return fmt.Errorf("git mirror: %w", err)
		}
		if repo, storage, err = openMirror(r.dir); err != nil {
			return fmt.Errorf("git mirror: %w", err)
		}
	}
	r.repo, r.storage = repo, storage
	return nil
}

func openMirror(dir string) (*git.Repository, *filesystem.Storage, error) {
	s := filesystem.NewStorageWithOptions(osfs.New(dir), gitcache.NewObjectLRU(objectCache), filesystem.Options{
		KeepDescriptors: true, LargeObjectThreshold: largeObject,
	})
	for _, name := range unfinished(s) {
		// A process that was killed cannot clean up; one that runs may be writing to a younger one.
		if f, err := os.Stat(name); err == nil && time.Since(f.ModTime()) > abandoned {
			_ = os.Remove(name)
		}
	}
	repo, err := git.Open(s, nil)
	if errors.Is(err, git.ErrRepositoryNotExists) {
		repo, err = git.Init(s, nil)
	}
	return repo, s, err
}

// healed does work, and once more with a new mirror if the old one is damaged.
func healed[T any](ctx context.Context, r *remote, work func(context.Context) (T, error)) (T, error) {
	out, err := work(ctx)
	if err == nil || r.local != "" || ctx.Err() != nil || !damaged(err) {
		return out, r.explained(err)
	}
	if r.storage != nil {
		_ = r.storage.Close() // it is thrown away
	}
	r.repo, r.storage = nil, nil
	if err := os.RemoveAll(r.dir); err != nil {
		return out, fmt.Errorf("git mirror: %w", err)
	}
	out, err = work(ctx)
	return out, r.explained(err)
}

// fetch brings refs and all their history into the mirror, and nothing that it
// holds already. A mirror of too many packs is replaced by a fresh one.
func (r *remote) fetch(ctx context.Context, specs ...config.RefSpec) error {
	if err := r.open(); err != nil {
		return err
	}
	packs, err := filepath.Glob(filepath.Join(r.dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) < maxPacks {
		return r.fetchInto(ctx, r.storage, specs)
	}
	fresh := r.dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("git mirror: %w", err)
	}
	_, s, err := openMirror(fresh)
	if err != nil {
		return fmt.Errorf("git mirror: %w", err)
	}
	err = r.fetchInto(ctx, s, specs)
	if err := errors.Join(err, s.Close()); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	err = errors.Join(r.storage.Close(), os.RemoveAll(r.dir), os.Rename(fresh, r.dir))
	r.repo, r.storage = nil, nil
	if err != nil {
		return fmt.Errorf("git mirror: %w", err)
	}
	return r.open()
}

func (r *remote) fetchInto(ctx context.Context, s *filesystem.Storage, specs []config.RefSpec) error {
	auth, err := r.auth()
	if err != nil {
		return r.unavailable(ctx, err)
	}
	const moreThanAListing = 10
	before := unfinished(s)
	_, err = request(ctx, r, "fetch", func(ctx context.Context) (struct{}, error) {
		return within(ctx, moreThanAListing*r.o.Timeout, r.isSSH, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.handle(s).FetchContext(ctx, &git.FetchOptions{
				RefSpecs: specs, Auth: auth, CABundle: r.o.CABundle, ProxyOptions: transport.ProxyOptions{URL: r.o.Proxy},
				Tags: git.NoTags, Force: true,
			})
		})
	})
	switch {
	case err == nil, errors.Is(err, git.NoErrAlreadyUpToDate):
		return nil
	}
	// go-git leaves a pack that did not arrive whole: a full disk would stay full, and
	// a line that breaks often would fill one.
	for _, name := range unfinished(s) {
		if !slices.Contains(before, name) {
			_ = os.Remove(name) // the error at hand matters more
		}
	}
	if damaged(err) {
		return fmt.Errorf("git mirror of %s: %w", r.shown, err)
	}
	return r.unavailable(ctx, err)
}

// unfinished names the packs of a mirror that have not arrived whole.
func unfinished(s *filesystem.Storage) []string {
	names, err := filepath.Glob(filepath.Join(s.Filesystem().Root(), "objects", "pack", "tmp_pack_*"))
	if err != nil {
		return nil // the pattern is right
	}
	return names
}

// within gives work a deadline. go-git's SSH does not heed a context while it
// connects, so there deaf work is left behind when the time is up, and what it
// returns is not looked at; it ends with its connection.
func within[T any](ctx context.Context, limit time.Duration, deaf bool, work func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if !deaf {
		return work(ctx)
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := work(ctx)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// unavailable says that the repository cannot be reached, and why, without
// anything that is secret.
func (r *remote) unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", r.shown, ctx.Err())
	}
	return r.fault(err)
}

func (r *remote) scrub(text string) string {
	secrets := []string{r.o.Password, r.o.Token, r.o.SSHPassphrase}
	for _, raw := range []string{r.o.URL, r.o.Proxy} {
		if u, err := url.Parse(raw); err == nil && u.User != nil {
			password, _ := u.User.Password()
			secrets = append(secrets, password)
			text = strings.ReplaceAll(text, raw, strip(raw))
		}
	}
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}
