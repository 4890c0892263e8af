// Package dirsource reads packages from files and directories, and says when
// they change.
package dirsource

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/oaas-platform/oprc/internal/ignore"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// Stdin is the path that the content of standard input is given.
const Stdin = "<stdin>"

// A Reading is what was found. Files are sorted by path, each is there once.
type Reading struct {
	Files []oprc.File

	// Unread names the files and directories that were passed over: those that an
	// .oprcignore file names, and links that are not followed.
	Unread []string

	// Links says of each symbolic link that is not followed where it leads.
	Links []string
}

// Read returns the content of what paths name:
// files, pipes and devices as they are, directories with everything below them that
// [oprc.IsPackageFile], globs with the files and directories they match, and
// "-" for stdin.
//
// Below a directory, what an .oprcignore file names is not read. Hidden directories
// and symbolic links to directories are not
// entered; a symbolic link to a file is read if it stays in that directory. A path
// that names nothing, or a directory without a single such file, is an
// [oprc.ErrNotFound]. Of a file that is too large only the first
// [oprc.MaxFileSize] bytes and one more are returned.
func Read(paths []string, stdin io.Reader) (Reading, error) {
	r := reader{seen: map[string]bool{}}
	return r.read(paths, stdin, func(f *oprc.File, data []byte) { f.Data = data })
}

// ReadAll is Read, and one file of a directory that cannot be read does not stop the others:
// it comes without its content; [oprc.File.Read] says why.
func ReadAll(paths []string, stdin io.Reader) (Reading, error) {
	r := reader{seen: map[string]bool{}, lenient: true}
	return r.read(paths, stdin, func(f *oprc.File, data []byte) { f.Data = data })
}

// maxKept is how many bytes [Survey] keeps, of the first files.
const maxKept = 16 << 20

// Survey is Read for whoever looks at the files one after the other: they come
// without their content, which [oprc.File.Read] reads again, or has kept for the first
// call. Blob is its SHA-256; a file that changes meanwhile cannot be read again.
func Survey(paths []string, stdin io.Reader) (Reading, error) {
	r := reader{seen: map[string]bool{}}
	var kept atomic.Int64
	return r.read(paths, stdin, func(f *oprc.File, data []byte) {
		name, sum := f.Path, sha256.Sum256(data)
		f.Blob = "sha256:" + hex.EncodeToString(sum[:])
		if name == Stdin || !isRegular(name) { // it can be read once
			f.Data = data
			return
		}
		var first atomic.Pointer[[]byte]
		if kept.Add(int64(len(data))) <= maxKept {
			first.Store(&data)
		}
		f.Read = func() ([]byte, error) {
			if data := first.Swap(nil); data != nil {
				return *data, nil
			}
			data, err := content(name)
			if err == nil && sha256.Sum256(data) != sum {
				err = fmt.Errorf("read %s: it changed meanwhile", name)
			}
			return data, err
		}
	})
}

// read finds the files, and gives the content of each to take, several at a time.
func (r *reader) read(paths []string, stdin io.Reader, take func(*oprc.File, []byte)) (Reading, error) {
	for _, p := range paths {
		if err := r.add(p); err != nil {
			return Reading{Unread: r.unread, Links: r.links}, err
		}
	}
	files, errs := r.files, make([]error, len(r.files))
	slices.SortStableFunc(files, func(a, b oprc.File) int { return cmp.Compare(a.Path, b.Path) })
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(files); i = int(next.Add(1)) - 1 {
				var data []byte
				if files[i].Path == Stdin {
					data, errs[i] = all(Stdin, stdin, 0)
				} else {
					data, errs[i] = content(files[i].Path)
				}
				switch err := errs[i]; {
				case err == nil:
					take(&files[i], data)
				case r.lenient && files[i].Found:
					errs[i], files[i].Read = nil, func() ([]byte, error) { return nil, err }
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return Reading{}, err
		}
	}
	return Reading{Files: files, Unread: r.unread, Links: r.links}, nil
}

type reader struct {
	files   []oprc.File
	unread  []string
	links   []string
	seen    map[string]bool // by real path
	lenient bool            // one file that cannot be read does not stop the others
}

func (r *reader) add(name string) error {
	if name == "-" {
		r.take(oprc.File{Path: Stdin}, name)
		return nil
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return r.directory(name)
	case err == nil && !info.Mode().IsRegular(): // a pipe or a device, such as /dev/stdin
		r.take(oprc.File{Path: name}, name)
		return nil
	case err == nil:
		return r.file(name, false)
	case errors.Is(err, fs.ErrNotExist) && isGlob(name):
		return r.glob(name)
	case errors.Is(err, fs.ErrNotExist):
		if to, err := os.Readlink(name); err == nil {
			return notFound(name, fmt.Sprintf("it is a symbolic link to %s, which does not exist", to))
		}
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
		case err != nil: // a dangling link, or gone meanwhile
			if oprc.IsPackageFile(filepath.Base(m)) {
				r.passLink(m)
			}
			continue
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
		why := "the directory holds no *.yaml, *.yml or *.json file"
		if n := len(r.unread); n > 0 {
			why += fmt.Sprintf(" that is read; passed over for .oprcignore or as links: %d, the first is %s", n, r.unread[0])
		}
		return notFound(root, why)
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

// walk takes the package files below root. Regular files come first, so that a
// link to one of them is the repeat and not the other way round.
func (r *reader) walk(root string) error {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return fmt.Errorf("read %s: %w", root, err)
	}
	real = absolute(real)
	var links []string
	rules := map[string]ignore.Rules{} // by directory, those above it included
	// A trailing separator makes WalkDir enter a root that is a link itself.
	err = filepath.WalkDir(root+string(filepath.Separator), func(name string, d fs.DirEntry, err error) error {
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
		case d.Type()&fs.ModeSymlink != 0:
			name := filepath.Join(root, rel)
			if oprc.IsPackageFile(rel) || !oprc.Hidden(d.Name()) && isDirectory(name) && !above.Match(strings.Split(rel, "/"), true) {
				links = append(links, name)
			}
		case !oprc.IsPackageFile(rel):
		case d.Type().IsRegular():
			r.take(oprc.File{Path: filepath.Join(root, rel), Found: true}, filepath.Join(real, rel))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", root, err)
	}
	for _, name := range links {
		if !staysInside(root, name) {
			r.unread = append(r.unread, name)
			r.passLink(name)
		} else if err := r.file(name, true); err != nil {
			return err
		}
	}
	return nil
}

// passLink keeps where a link leads that is not followed.
func (r *reader) passLink(name string) {
	to, err := os.Readlink(name)
	if err != nil {
		return // gone meanwhile
	}
	what := "which leads out of the directory"
	switch info, err := os.Stat(name); {
	case errors.Is(err, fs.ErrNotExist):
		what = "which does not exist"
	case err != nil:
		what = "which cannot be read"
	case info.IsDir():
		what = "which is a directory"
	}
	r.links = append(r.links, fmt.Sprintf("%s (a link to %s, %s)", name, to, what))
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

// file takes name, unless it was taken already. found means that it was not named itself.
func (r *reader) file(name string, found bool) error {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	r.take(oprc.File{Path: name, Found: found}, absolute(real))
	return nil
}

func (r *reader) take(f oprc.File, real string) {
	if !r.seen[real] {
		r.seen[real] = true
		r.files = append(r.files, f)
	}
}

func isDirectory(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func isRegular(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func content(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	size := int64(0)
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return all(name, f, size)
}

// all reads what is there, size bytes at a guess.
func all(name string, from io.Reader, size int64) ([]byte, error) {
	if from == nil {
		return nil, notFound(name, "there is no standard input")
	}
	var b bytes.Buffer
	b.Grow(int(min(size, oprc.MaxFileSize)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(from, oprc.MaxFileSize+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b.Bytes(), nil
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
