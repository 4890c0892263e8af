package dirsource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/oaas-platform/oprc/internal/ignore"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// patience bounds how long a steady stream of changes can put off a wake, in
// multiples of the debounce time.
const patience = 10

// Watch calls wake when what [Read] would return for paths may have changed, once
// for all changes that are closer together than debounce; and once as soon as it watches,
// for what changed between an earlier reading and then. It blocks until ctx
// ends, and then returns nil. Files and directories may be replaced, created and
// deleted meanwhile, the paths themselves and the directories above them included, and
// symbolic links may point elsewhere. wake must return soon.
func Watch(ctx context.Context, paths []string, debounce time.Duration, wake func()) error {
	fsw, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	defer func() { _ = fsw.Close() }()
	w := watcher{fsw: fsw, links: map[string]string{}}
	for _, p := range paths {
		if err := w.addPath(p); err != nil {
			return err
		}
	}
	return w.run(ctx, debounce, wake)
}

type watcher struct {
	fsw   *fsnotify.Watcher
	roots []string          // directories that are read as a whole
	files []string          // files named one by one
	links map[string]string // symbolic links to files, and what they lead to
}

func (w *watcher) addPath(name string) error {
	if name == "-" {
		return nil
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && isGlob(name):
		return w.addRoot(globRoot(name))
	case errors.Is(err, fs.ErrNotExist):
		return w.addRoot(name)
	case err != nil:
		return fmt.Errorf("watch %s: %w", name, err)
	case info.IsDir():
		return w.addRoot(name)
	}
	// Editors replace files: the directory is what lasts.
	w.files = append(w.files, absolute(name))
	if err := w.follow(absolute(name)); err != nil {
		return err
	}
	return w.watch(filepath.Dir(absolute(name)))
}

// follow watches what a file leads to, if it is a symbolic link.
func (w *watcher) follow(name string) error {
	real, err := filepath.EvalSymlinks(name)
	switch {
	case err != nil:
		w.links[name] = "" // it leads nowhere now
		return nil
	case real == name:
		delete(w.links, name)
		return nil
	}
	w.links[name] = real
	return w.watch(filepath.Dir(real))
}

// followAgain looks where every link leads now.
func (w *watcher) followAgain() {
	for name := range w.links {
		_ = w.follow(name) // what cannot be watched cannot be read either: Read will say so
	}
}

// leadsTo reports whether a link leads to name, or through it, as those of a mounted
// ConfigMap lead through ..data beside them.
func (w *watcher) leadsTo(name string) bool {
	for link, real := range w.links {
		if real == name || filepath.Base(name) == kubernetesData && filepath.Dir(link) == filepath.Dir(name) {
			return true
		}
	}
	return false
}

// above watches the directory that name is in, or while that is not there the nearest
// one above it.
func (w *watcher) above(name string) error {
	parent := filepath.Dir(name)
	for watched := ""; ; {
		dir := parent
		for !exists(dir) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
		}
		if dir == watched {
			return nil
		}
		if err := w.watch(dir); err != nil || dir == parent {
			return err
		}
		watched = dir // what is below may have been made before it was watched
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// addRoot watches a directory; where there is none, it may become one, or a file.
func (w *watcher) addRoot(name string) error {
	root := absolute(name)
	w.roots = append(w.roots, root)
	// What is above tells when the root itself is made, replaced or comes back.
	if err := w.above(root); err != nil {
		return err
	}
	return w.addTree(root)
}

// addTree watches dir and the directories below it. Each is watched before it is
// listed, so that nothing created meanwhile is missed.
func (w *watcher) addTree(dir string) error {
	if err := w.watch(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	for _, e := range entries {
		var err error
		switch name := filepath.Join(dir, e.Name()); {
		case e.IsDir() && !oprc.Hidden(e.Name()):
			err = w.addTree(name)
		case e.Type()&fs.ModeSymlink != 0 && oprc.IsPackageFile(e.Name()):
			err = w.follow(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// watch adds one directory; one that vanished meanwhile is no error.
func (w *watcher) watch(dir string) error {
	if err := w.fsw.Add(dir); err != nil && !gone(err) {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	return nil
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func (w *watcher) run(ctx context.Context, debounce time.Duration, wake func()) error {
	quiet, limit := stopped(), stopped() // since the last change, since the first one not yet told
	defer quiet.Stop()
	defer limit.Stop()
	pending := false
	touch := func() {
		quiet.Reset(debounce)
		if !pending {
			limit.Reset(patience * debounce)
		}
		pending = true
	}
	tell := func() {
		quiet.Stop()
		limit.Stop()
		pending = false
		wake()
	}
	tell()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			tell()
		case <-limit.C:
			tell()
		case e, ok := <-w.fsw.Events:
			if !ok {
				return nil
			}
			if w.matters(e) {
				touch()
			}
		case err, ok := <-w.fsw.Errors:
			if !ok {
				return nil
			}
			// Events were lost, most likely: look at everything again.
			if err := w.rescan(); err != nil {
				return err
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch files: %w", err)
			}
			touch()
		}
	}
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func (w *watcher) rescan() error {
	for _, root := range w.roots {
		if err := w.addTree(root); err != nil {
			return err
		}
	}
	return nil
}

// matters reports whether e can change what Read returns, and begins to watch
// directories that are new.
func (w *watcher) matters(e fsnotify.Event) bool {
	if !e.Has(fsnotify.Create | fsnotify.Write | fsnotify.Remove | fsnotify.Rename) {
		return false
	}
	name := filepath.Clean(e.Name)
	found := w.leadsTo(name) || w.comesBack(name)
	for _, f := range w.files {
		found = found || name == f
	}
	for _, root := range w.roots {
		found = found || inside(root, name) && w.mattersBelow(root, name, e)
	}
	if found {
		w.followAgain()
	}
	return found
}

// comesBack reports whether name is a directory above a path, which was made or deleted,
// and watches again what is there.
func (w *watcher) comesBack(name string) bool {
	found := false
	for _, f := range w.files {
		if name != f && inside(name, f) {
			found = true
			_ = w.above(f) // what cannot be watched cannot be read either: Read will say so
		}
	}
	for _, root := range w.roots {
		if name != root && inside(name, root) {
			found = true
			_ = errors.Join(w.above(root), w.addTree(root)) // as above
		}
	}
	return found
}

func (w *watcher) mattersBelow(root, name string, e fsnotify.Event) bool {
	base := filepath.Base(name)
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return false
	}
	if base == ignore.File {
		return true
	}
	if rel != "." && base != kubernetesData && oprc.Hidden(base) {
		return false
	}
	if e.Has(fsnotify.Create) {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			if base != kubernetesData {
				_ = w.addTree(name) // what cannot be watched cannot be read either: Read will say so
			}
			return true
		}
	}
	if info, err := os.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 && oprc.IsPackageFile(base) {
		_ = w.follow(name)
	}
	// Something without an extension that is gone may have been a directory.
	isGone := e.Has(fsnotify.Remove | fsnotify.Rename)
	return rel == "." || base == kubernetesData || oprc.IsPackageFile(filepath.ToSlash(rel)) ||
		isGone && filepath.Ext(base) == ""
}

// kubernetesData is the link that Kubernetes swaps when it updates the files of a
// mounted ConfigMap.
const kubernetesData = "..data"

// globRoot returns the directory below which everything that pattern matches is.
func globRoot(pattern string) string {
	dir := filepath.Dir(pattern[:strings.IndexAny(pattern, "*?[")] + "x")
	return filepath.Clean(dir)
}
