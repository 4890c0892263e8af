// Package gitsource reads packages from a Git repository: which commit a branch,
// tag, range of versions or commit id means now, and the files of that commit.
//
//	Poll   one listing of the remote's refs -> commit; a fetch only if it moved
//	Files  commit -> tree -> blobs that are not known yet -> files
//
// A remote repository is kept as one bare mirror in the cache directory, and
// fetched from incrementally. A repository on this machine is read where it is.
package gitsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/oaas-platform/oprc/internal/ignore"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// Options say what to read, and how to get at it.
type Options struct {
	Name string // of the source
	URL  string // https, ssh (also user@host:path), file, or a path
	// Ref is a branch, a tag, a semver range over the tags, or a full commit id, and
	// looked up in this order; "" is the remote's HEAD. Names may be full: refs/tags/v1.
	Ref string
	// Path limits what is read: a directory, a file, or a pattern of path.Match per
	// segment, where ** stands for any number of them; "" is everything.
	Path string
	// Ignore holds gitignore patterns, relative to the root, of files not to read.
	Ignore []string
	// Verify holds the content of files with public keys, PGP's or SSH's. With any, a
	// commit counts only if it, or the annotated tag that leads to it, is signed by
	// one of them.
	Verify [][]byte
	// Last is the commit that an earlier process saw last, where known: a rewind is
	// judged against it.
	Last string
	// Moved means that another ref, or another repository, was followed when Last was seen:
	// then every commit that does not descend from it is a rewind, also one of a version
	// or that is named by its id.
	Moved bool

	CacheDir string        // holds the mirror; not needed for a repository on this machine
	Timeout  time.Duration // of a listing, and of a fetch ten times as much; 0: 30 s

	Username, Password string // https
	Token              string // https, instead of Password
	CABundle           []byte // PEM, besides the system's
	Proxy              string // URL; "": as the environment says

	SSHKeyFile, SSHPassphrase string   // "": the agent
	KnownHosts                []string // files; empty: the user's and the system's
}

// A Revision is a commit that a ref meant when it was polled.
type Revision struct {
	ID      string // commit
	Ref     string // full name of the ref that names it; "" for a commit id
	Author  string // NAME <EMAIL>
	Message string // first line
	When    time.Time
	// Rewind means that the commit does not descend from the one before: the branch was
	// rewound or force-pushed, another one became the default, or the tag moved. The
	// next version in a range is no rewind.
	Rewind bool
}

// A Source is one ref and path of one repository. Its methods may be called
// concurrently; they take turns.
type Source struct {
	o      Options
	path   pattern
	ignore ignore.Rules
	keys   keyring

	mu     sync.Mutex
	remote *remote
	last   Revision
	cache  cache
	notes  []string
	unread []string
}

// URL returns the repository's address as it may be shown: without credentials.
func (s *Source) URL() string { return s.remote.shown }

// Poll says which commit the ref means, as of since or later. It lists the remote's
// refs, unless somebody with the same [Hub] has done so since, and fetches only when
// that is a commit that the mirror does not hold. A missing ref,
// or an empty repository, is an [oprc.ErrNotFound]; a repository that cannot be
// reached is an [ErrUnavailable], a commit that nobody signed who may is an
// [oprc.ErrUnverified], and named by the revision.
func (s *Source) Poll(ctx context.Context, since time.Time) (Revision, error) {
	defer s.lock()()
	return healed(ctx, s.remote, func(ctx context.Context) (Revision, error) { return s.poll(ctx, since) })
}

// lock takes the source's turn, and its remote's.
func (s *Source) lock() (unlock func()) {
	s.mu.Lock()
	s.remote.mu.Lock()
	return func() {
		s.remote.mu.Unlock()
		s.mu.Unlock()
	}
}

func (s *Source) poll(ctx context.Context, since time.Time) (Revision, error) {
	if isCommitID(s.o.Ref) {
		return s.pollCommit(ctx)
	}
	refs, err := s.remote.list(ctx, since)
	if err != nil {
		return Revision{}, err
	}
	tip, err := pick(refs, s.o.Ref)
	if err != nil {
		return Revision{}, fmt.Errorf("%s: %w", s.remote.shown, err)
	}
	if s.last.ID != "" && s.last.ID == tip.commit.String() && s.last.Ref == tip.name.String() {
		return s.last, nil
	}
	c, err := s.remote.commit(ctx, tip)
	if err != nil {
		return Revision{}, err
	}
	if s.last.ID == c.Hash.String() && s.last.Ref == tip.name.String() {
		return s.last, nil
	}
	tip.commit = c.Hash
	return s.accept(c, tip)
}

// pollCommit answers for a commit id: that can only be missing, not move.
func (s *Source) pollCommit(ctx context.Context) (Revision, error) {
	if s.last.ID == s.o.Ref {
		return s.last, nil
	}
	c, err := s.remote.pinned(ctx, plumbing.NewHash(s.o.Ref))
	if err != nil {
		return Revision{}, err
	}
	return s.accept(c, tip{object: c.Hash, commit: c.Hash})
}

// accept takes a commit for the newest revision, if it is signed as it has to be.
func (s *Source) accept(c *object.Commit, t tip) (Revision, error) {
	if len(s.o.Verify) > 0 {
		what := fmt.Sprintf("%s: commit %s by %s", s.remote.shown, short(c.Hash.String()), c.Author.String())
		if err := s.keys.verify(s.remote.repo.Storer, t, what); err != nil {
			return Revision{ID: c.Hash.String(), Author: c.Author.String()}, err
		}
	}
	rev, err := s.revision(c, t.name)
	if err == nil {
		s.last = rev
	}
	return rev, err
}

// revision describes c, and judges it against the commit that was seen before.
func (s *Source) revision(c *object.Commit, name plumbing.ReferenceName) (Revision, error) {
	first, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	rev := Revision{
		ID: c.Hash.String(), Ref: name.String(), Author: c.Author.String(), Message: first, When: c.Committer.When.UTC(),
	}
	before := s.o.Last
	if s.last.ID != "" {
		before = s.last.ID
	}
	// A higher version of a range is a move, not a rewind.
	higher := name.IsTag() && name.Short() != s.o.Ref && rev.Ref != s.o.Ref && rev.Ref != s.last.Ref
	moved := s.o.Moved && s.last.ID == ""
	if before == "" || before == rev.ID || (rev.Ref == "" || higher) && !moved {
		return rev, nil
	}
	descends, err := s.remote.descends(c, plumbing.NewHash(before))
	rev.Rewind = !descends
	return rev, err
}

// Files returns the packages and environments of a commit, sorted by path. A path
// that the commit does not have, or without a single package file, is an
// [oprc.ErrNotFound]: a source never looks empty by accident.
//
// Symbolic links and Git LFS pointers are returned as they stand in the commit,
// for the validator to refuse; a file over [oprc.MaxFileSize] as that many bytes
// and one more, without its content. [Source.Notes] says so in words.
func (s *Source) Files(ctx context.Context, rev Revision) ([]oprc.File, error) {
	defer s.lock()()
	return healed(ctx, s.remote, func(ctx context.Context) ([]oprc.File, error) { return s.files(ctx, rev) })
}

func (s *Source) files(ctx context.Context, rev Revision) ([]oprc.File, error) {
	c, err := s.remote.pinned(ctx, plumbing.NewHash(rev.ID))
	if err != nil {
		return nil, err
	}
	w := walk{repo: s.remote.repo.Storer, path: s.path, old: s.cache, fresh: newCache()}
	if err := w.tree(ctx, c.TreeHash, "", s.ignore); err != nil {
		return nil, fmt.Errorf("%s: read commit %s: %w", s.remote.shown, short(rev.ID), err)
	}
	if len(w.files) == 0 {
		return nil, fmt.Errorf("%s: commit %s has no package file in %q: %w", s.remote.shown, short(rev.ID), cmp.Or(s.o.Path, "/"), oprc.ErrNotFound)
	}
	s.cache, s.notes, s.unread = w.fresh, w.notes, w.unread
	if w.more > 0 {
		s.notes = append(s.notes, fmt.Sprintf("and %d more files are odd", w.more))
	}
	slices.SortFunc(w.files, func(a, b oprc.File) int { return cmp.Compare(a.Path, b.Path) })
	return w.files, nil
}

// Notes says what was odd about the files that Files returned last: "PATH: what".
func (s *Source) Notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notes)
}

// Unread names the files and directories that Files passed over last: what
// .oprcignore or the option Ignore names, submodules, symbolic links to directories.
func (s *Source) Unread() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unread)
}

func short(commit string) string { return commit[:min(12, len(commit))] }

// A pattern is a parsed [Options.Path], one element per segment.
type pattern []string

func newPattern(p string) (pattern, error) {
	if path.IsAbs(p) || strings.Contains(p, `\`) {
		return nil, fmt.Errorf("%w path %q: write it relative to the repository's root, with slashes", oprc.ErrInvalid, p)
	}
	clean := path.Clean(p)
	if clean == "." {
		return nil, nil
	}
	segments := strings.Split(clean, "/")
	for _, s := range segments {
		if _, err := path.Match(s, ""); err != nil {
			return nil, fmt.Errorf("%w path %q: %w", oprc.ErrInvalid, p, err)
		}
	}
	if segments[0] == ".." {
		return nil, fmt.Errorf("%w path %q: it leaves the repository", oprc.ErrInvalid, p)
	}
	return segments, nil
}

// matches reports whether name, or a directory above it, is what p names.
func (p pattern) matches(name []string) bool {
	switch {
	case len(p) == 0:
		return true
	case p[0] == "**":
		return p[1:].matches(name) || len(name) > 0 && p.matches(name[1:])
	case len(name) == 0:
		return false
	}
	ok, _ := path.Match(p[0], name[0])
	return ok && p[1:].matches(name[1:])
}

// mayHold reports whether something below the directory dir could match.
func (p pattern) mayHold(dir []string) bool {
	if len(p) == 0 || len(dir) == 0 || p[0] == "**" {
		return true
	}
	ok, _ := path.Match(p[0], dir[0])
	return ok && p[1:].mayHold(dir[1:])
}

// ErrUnavailable means that a repository cannot be reached, or refuses us. The
// error that wraps it says which, and why.
var ErrUnavailable = errors.New("git repository is unavailable")
