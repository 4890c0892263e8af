package gitsource

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/oaas-platform/oprc/internal/ignore"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// A cache holds what the last revision was made of, by object id: what did not
// change is not read again.
type cache struct {
	blobs map[plumbing.Hash][]byte
	trees map[plumbing.Hash]*object.Tree
}

func newCache() cache {
	return cache{blobs: map[plumbing.Hash][]byte{}, trees: map[plumbing.Hash]*object.Tree{}}
}

// What one revision may hold at most. Trees name trees: a few kilobytes of a
// repository can unfold to more files than a machine has room for.
const (
	maxEntries = 1_000_000 // files and directories on the way to package files
	maxBytes   = 1 << 30   // of package files
)

// A walk collects the package files of one commit.
type walk struct {
	repo  storer.EncodedObjectStorer
	path  pattern
	old   cache
	fresh cache

	files   []oprc.File
	unread  []string // what is there, and passed over
	notes   []string
	more    int // notes that are only counted
	entries int
	bytes   int
}

// tree reads the directory dir. It does not enter what cannot hold a match, nor what
// rules or the directory's own .oprcignore name.
func (w *walk) tree(ctx context.Context, id plumbing.Hash, dir string, rules ignore.Rules) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t, known := w.old.trees[id]
	if !known {
		var err error
		if t, err = object.GetTree(w.repo, id); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	w.fresh.trees[id] = t
	if w.entries += len(t.Entries); w.entries > maxEntries {
		return fmt.Errorf("%s: %w: more than %d files and directories; set path to those with packages", dir, errTooMuch, maxEntries)
	}
	rules, err := w.rules(t, dir, rules)
	if err != nil {
		return err
	}
	for _, e := range t.Entries {
		if e.Name == "." || e.Name == ".." || strings.ContainsAny(e.Name, `/\`) {
			w.note(fmt.Sprintf("%q in /%s", e.Name, dir), "is a name that no file may have; it is not read")
			continue
		}
		name := path.Join(dir, e.Name)
		if oprc.Hidden(e.Name) {
			continue
		}
		if err := w.entry(ctx, e, name, rules); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(ctx context.Context, e object.TreeEntry, name string, rules ignore.Rules) error {
	segments := strings.Split(name, "/")
	isDir, isFile := e.Mode == filemode.Dir, e.Mode != filemode.Dir && e.Mode != filemode.Submodule && oprc.IsPackageFile(name)
	switch {
	case rules.Match(segments, isDir || e.Mode == filemode.Submodule):
		if isDir || isFile {
			w.unread = append(w.unread, name)
		}
	case isDir && w.path.mayHold(segments):
		return w.tree(ctx, e.Hash, name, rules)
	case e.Mode == filemode.Submodule && w.path.mayHold(segments):
		w.unread = append(w.unread, name)
		w.note(name, "is a submodule, which is not read")
	case isFile && w.path.matches(segments):
		return w.file(e, name)
	case e.Mode == filemode.Symlink && w.path.matches(segments):
		w.unread = append(w.unread, name)
		w.note(name, "is a symbolic link, which is not followed")
	}
	return nil
}

// rules adds those of the directory's own file, if it has one.
func (w *walk) rules(t *object.Tree, dir string, above ignore.Rules) (ignore.Rules, error) {
	i := slices.IndexFunc(t.Entries, func(e object.TreeEntry) bool {
		return e.Name == ignore.File && e.Mode.IsFile() && e.Mode != filemode.Symlink
	})
	if i < 0 {
		return above, nil
	}
	data, err := w.blob(t.Entries[i].Hash)
	if err != nil {
		return above, fmt.Errorf("%s: %w", path.Join(dir, ignore.File), err)
	}
	var segments []string
	if dir != "" {
		segments = strings.Split(dir, "/")
	}
	return above.With(data, segments), nil
}

func (w *walk) file(e object.TreeEntry, name string) error {
	data, err := w.blob(e.Hash)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch {
	case e.Mode == filemode.Symlink:
		w.unread = append(w.unread, name)
		w.note(name, fmt.Sprintf("is a symbolic link to %q, which is not followed", data[:min(len(data), 200)]))
		return nil
	case bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")):
		w.note(name, "is a Git LFS pointer; packages belong into the repository itself")
	case len(data) > oprc.MaxFileSize:
		w.note(name, "is too large to be read")
	}
	if w.bytes += len(data); w.bytes > maxBytes {
		return fmt.Errorf("%s: %w: more than %d MiB of package files", name, errTooMuch, maxBytes>>20)
	}
	w.files = append(w.files, oprc.File{Path: name, Data: data, Blob: e.Hash.String(), Found: true})
	return nil
}

var errTooMuch = fmt.Errorf("%w revision", oprc.ErrInvalid)

// note keeps what is odd about a file: a status that everybody reads holds so much.
func (w *walk) note(name, text string) {
	const most = 50
	if len(w.notes) == most {
		w.more++
		return
	}
	w.notes = append(w.notes, name+": "+text)
}

// blob returns the content of a blob. Of one that is too large only the size is
// true: its content is not even looked at.
func (w *walk) blob(id plumbing.Hash) ([]byte, error) {
	if data, ok := w.fresh.blobs[id]; ok {
		return data, nil
	}
	data, ok := w.old.blobs[id]
	if !ok {
		var err error
		if data, err = w.read(id); err != nil {
			return nil, err
		}
	}
	w.fresh.blobs[id] = data
	return data, nil
}

func (w *walk) read(id plumbing.Hash) ([]byte, error) {
	size, err := w.repo.EncodedObjectSize(id)
	if err != nil {
		return nil, err
	}
	if size > oprc.MaxFileSize {
		return tooLarge(), nil
	}
	o, err := w.repo.EncodedObject(plumbing.BlobObject, id)
	if err != nil {
		return nil, err
	}
	from, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	data := make([]byte, 0, size+bytes.MinRead)
	buf := bytes.NewBuffer(data)
	_, err = io.Copy(buf, io.LimitReader(from, oprc.MaxFileSize+1))
	return buf.Bytes(), err
}

// tooLarge stands for every file that is. Nobody writes to it.
var tooLarge = sync.OnceValue(func() []byte { return make([]byte, oprc.MaxFileSize+1) })
