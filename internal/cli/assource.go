package cli

import (
	"context"
	"fmt"
	"path"
	"path/filepath"

	"github.com/oaas-platform/oprc/internal/dirsource"
	"github.com/oaas-platform/oprc/internal/gitsource"
	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// checkAsSource refuses flags that mean nothing beside --as-source.
func (o *planOptions) checkAsSource(given func(flag string) bool) error {
	if o.asSource == "" {
		return nil
	}
	for _, flag := range []string{"source", "pkg", "strict", "take-ownership", "out"} {
		if given(flag) {
			return usagef("--as-source and --%s exclude each other", flag)
		}
	}
	return nil
}

// plannedAs plans files as the next revision of a source, and ends as its tick would.
func (o *planOptions) plannedAs(ctx context.Context, repo repository) error {
	read, err := dirsource.ReadAll(o.files, o.in)
	if err != nil {
		return err
	}
	o.passed(read.Links)
	files := read.Files
	return o.on(ctx, func(s *state) error {
		named, err := s.namedBy(ctx, o.asSource, repo)
		if err != nil {
			return err
		}
		next := loop.Proposal{Files: files, Author: o.actor().Name}
		for i := range files {
			files[i].Path, files[i].Found = named(files[i].Path), true
		}
		for _, path := range read.Unread {
			next.Unread = append(next.Unread, named(path))
		}
		if s.reconciler != nil {
			s.reconciler.Judge = o.policy.judge
		}
		var pre loop.Preview
		err = o.during("planning "+counted(len(files), "file"), func(*step) (err error) {
			pre, err = s.PlanAs(ctx, o.asSource, next)
			return err
		})
		if pre.Plan == nil {
			return err
		}
		if err == nil {
			err = o.foretold(ctx, pre)
		}
		if by := pre.Suspended; by != nil {
			o.hint(fmt.Sprintf("The source is suspended by %s: %s.", by.Author, by.Reason))
		}
		return o.conclude(pre.Plan, pre.Files, err, "")
	})
}

// namedBy returns the name that a source has for a file here: the path from the root of the
// repository or, of what is in a directory that the daemon follows, the one by which that
// comes to it.
func (s *state) namedBy(ctx context.Context, source string, repo repository) (func(file string) string, error) {
	status, err := s.source(ctx, source)
	if err != nil || status == nil || status.Rules == nil || status.Rules.Dir == "" {
		return repo.path, err
	}
	dir := repository{root: status.Rules.Dir}
	return func(file string) string {
		if abs, err := filepath.Abs(file); err == nil && file != dirsource.Stdin {
			if rel := dir.path(abs); rel != filepath.ToSlash(abs) {
				return path.Join(filepath.ToSlash(status.URL), rel)
			}
		}
		return repo.path(file)
	}, nil
}

// source is what is known of a source; nil if nothing is.
func (s *state) source(ctx context.Context, name string) (*oprc.SourceStatus, error) {
	if of, is := s.control.(snapshotState); is {
		status := of.snapshot.Sources[name]
		return &status, nil
	}
	list, err := s.List(ctx, oprc.KindSource)
	for _, obj := range list {
		if status, is := obj.Doc.(*oprc.SourceStatus); is && status.Name == name {
			return status, err
		}
	}
	return nil, err
}

// PlanAs plans files as the next revision of a source that a daemon follows.
func (d direct) PlanAs(ctx context.Context, source string, next loop.Proposal) (loop.Preview, error) {
	return planAs(ctx, d.Reconciler, d.db, source, next)
}

// planAs plans those of the files that the source reads.
func planAs(ctx context.Context, r *reconcile.Reconciler, store loop.PreviewStore, source string, next loop.Proposal) (loop.Preview, error) {
	known, err := store.Sources(ctx)
	if err != nil {
		return loop.Preview{}, fmt.Errorf("read what is stored about the source: %w", err)
	}
	status := known[source]
	var ignored []string
	if status.Rules != nil {
		ignored = status.Rules.Ignore
	}
	reads, err := gitsource.Reads(status.Path, ignored)
	if err != nil {
		return loop.Preview{}, err
	}
	all := next.Files
	next.Files = nil
	for _, f := range all {
		switch read, passed := reads(f.Path); {
		case read:
			next.Files = append(next.Files, f)
		case passed:
			next.Unread = append(next.Unread, f.Path)
		}
	}
	return loop.PlanAs(ctx, r, store, source, next)
}

// snapshotStore is what a snapshot knows of sources.
type snapshotStore struct{ state snapshotState }

func (s snapshotStore) Sources(context.Context) (map[string]oprc.SourceStatus, error) {
	return s.state.snapshot.Sources, nil
}

func (s snapshotStore) Requests(context.Context) (oprc.Requests, error) {
	return s.state.snapshot.Asked, nil
}

func (s snapshotState) PlanAs(ctx context.Context, source string, next loop.Proposal) (loop.Preview, error) {
	return planAs(ctx, s.reconciler.Against(s.snapshot), snapshotStore{s}, source, next)
}
