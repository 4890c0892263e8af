// Package dirsource reads packages from files and directories, and says when
// they change.
package dirsource

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/ignore"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// Stdin is the path that the content of standard input is given.
const Stdin = "<stdin>"

// Read returns the content of what paths name, sorted by path, each file once:
// files as they are, directories with everything below them that
// [oprc.IsPackageFile], globs with the files and directories they match, and
// "-" for stdin.
//
// Below a directory, what an .oprcignore file names is not read. Hidden directories
// and symbolic links to directories are not
// entered; a symbolic link to a file is read if it stays in that directory. A path
// that names nothing, or a directory without a single such file, is an
// [oprc.ErrNotFound]. Of a file that is too large only the first
// [oprc.MaxFileSize] bytes and one more are returned.
func Read(paths []string, stdin io.Reader) ([]oprc.File, error) {
	files, _, err := ReadAll(paths, stdin)
	return files, err
}

// ReadAll is Read, and names the files and directories that were passed over because an
// .oprcignore file names them.
func ReadAll(paths []string, stdin io.Reader) (files []oprc.File, unread []string, err error) {
	r := reader{seen: map[string]bool{}}
	for _, p := range paths {
		if err := r.add(p, stdin); err != nil {
			return nil, nil, err
		}
	}
	slices.SortStableFunc(r.files, func(a, b oprc.File) int { return cmp.Compare(a.Path, b.Path) })
	return r.files, r.unread, nil
}

type reader struct {
	files  []oprc.File
	unread []string
	seen   map[string]bool // by real path
}

func (r *reader) add(name string, stdin io.Reader) error {
	if name == "-" {
		if r.seen[name] {
			return nil
		}
		r.seen[name] = true
		return r.take(Stdin, stdin, false)
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return r.directory(name)
	case err == nil:
		return r.file(name, false)
	case errors.Is(err, fs.ErrNotExist) && isGlob(name):
		return r.glob(name)
	case errors.Is(err, fs.ErrNotExist):
		return notFound(name, "no such file or directory")
	}
	return fmt.Errorf("read %s: %w", name, err)
}

func (r *reader) glob(pattern string) error {
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", oprc.ErrInvalid, pattern, err)
	}
	before := len(r.seen)
	for _, m := range matches {
		info, err := os.Stat(m)
		switch {
		case err != nil:
			continue // a dangling link, or gone meanwhile
		case oprc.Hidden(filepath.Base(m)) && !oprc.Hidden(filepath.Base(pattern)):
			continue
		case info.IsDir():
			err = r.walk(m)
		case oprc.IsPackageFile(filepath.Base(m)):
			err = r.file(m, true)
		}
		if err != nil {
			return err
		}
	}
	if len(r.seen) == before && !r.anySeen(matches) {
		return notFound(pattern, "the pattern matches no *.yaml, *.yml or *.json file")
	}
	return nil
}

// anySeen reports whether one of names was read for an earlier path.
func (r *reader) anySeen(names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		real, err := filepath.EvalSymlinks(n)
		return err == nil && r.seen[absolute(real)]
	})
}

func (r *reader) directory(root string) error {
	before := len(r.seen)
	if err := r.walk(root); err != nil {
		return err
	}
	if len(r.seen) == before && !r.holdsSeen(root) {
		return notFound(root, "the directory holds no *.yaml, *.yml or *.json file")
	}
	return nil
}

// holdsSeen reports whether a file below root was read for an earlier path.
func (r *reader) holdsSeen(root string) bool {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return false
	}
	for name := range r.seen {
		if inside(absolute(real), name) {
			return true
		}
	}
	return false
}

// walk reads the package files below root. Regular files come first, so that a
// link to one of them is the repeat and not the other way round.
func (r *reader) walk(root string) error {
	var regular, links []string
	rules := map[string]ignore.Rules{} // by directory, those above it included
	// A trailing separator makes WalkDir enter a root that is a link itself.
	err := filepath.WalkDir(root+string(filepath.Separator), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		above := rules[path.Dir(rel)]
		switch {
		case d.IsDir() && rel != "." && oprc.Hidden(d.Name()):
			return filepath.SkipDir
		case rel != "." && (d.IsDir() || oprc.IsPackageFile(rel)) && above.Match(strings.Split(rel, "/"), d.IsDir()):
			r.unread = append(r.unread, filepath.Join(root, rel))
			if d.IsDir() {
				return filepath.SkipDir
			}
		case d.IsDir():
			rules[rel], err = ownRules(root, rel, above)
			return err
		case !oprc.IsPackageFile(rel):
		case d.Type()&fs.ModeSymlink != 0:
			links = append(links, filepath.Join(root, rel))
		case d.Type().IsRegular():
			regular = append(regular, filepath.Join(root, rel))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", root, err)
	}
	for _, name := range regular {
		if err := r.file(name, true); err != nil {
			return err
		}
	}
	for _, name := range links {
		if staysInside(root, name) {
			if err := r.file(name, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// ownRules adds the rules of a directory's own file, if it has one.
func ownRules(root, rel string, above ignore.Rules) (ignore.Rules, error) {
	data, err := os.ReadFile(filepath.Join(root, rel, ignore.File))
	if errors.Is(err, fs.ErrNotExist) {
		return above, nil
	}
	var segments []string
	if rel != "." {
		segments = strings.Split(rel, "/")
	}
	return above.With(data, segments), err
}

// file reads name unless it was read already. found means that it was not named itself.
func (r *reader) file(name string, found bool) error {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	real = absolute(real)
	if r.seen[real] {
		return nil
	}
	r.seen[real] = true
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return r.take(name, f, found)
}

func (r *reader) take(name string, from io.Reader, found bool) error {
	if from == nil {
		return notFound(name, "there is no standard input")
	}
	data, err := io.ReadAll(io.LimitReader(from, oprc.MaxFileSize+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	r.files = append(r.files, oprc.File{Path: name, Data: data, Found: found})
	return nil
}

// staysInside reports whether the link name leads to a regular file below root.
func staysInside(root, name string) bool {
	realRoot, err := filepath.EvalSymlinks(root)
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return false
	}
	info, err := os.Stat(real)
	return err == nil && info.Mode().IsRegular() && inside(absolute(realRoot), absolute(real))
}

// inside reports whether name is below root; both are absolute and real.
func inside(root, name string) bool {
	rel, err := filepath.Rel(root, name)
	return err == nil && filepath.IsLocal(rel)
}

func absolute(name string) string {
	abs, err := filepath.Abs(name)
	if err != nil {
		return filepath.Clean(name)
	}
	return abs
}

func isGlob(name string) bool { return strings.ContainsAny(name, "*?[") }

func notFound(name, why string) error {
	return fmt.Errorf("%s: %w: %s", name, oprc.ErrNotFound, why)
}
