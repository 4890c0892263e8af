package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/google/renameio/v2/maybe"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// mostValidated is how many runs of validate are remembered.
const mostValidated = 256

// A validated run is a set of files in which validate may have found nothing before.
// It is remembered as an empty file, named by a digest of all that the result depends
// on: this program, the flags, and each file's path and content.
type validated struct {
	dir, name string // dir "": nothing is remembered
}

func (o *validateOptions) validated(files []oprc.File) validated {
	dir := o.directory("XDG_CACHE_HOME", ".cache")
	program, err := os.Executable()
	if err != nil || dir == "" || o.noCache || o.live {
		return validated{}
	}
	info, err := os.Stat(program)
	if err != nil {
		return validated{}
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %d %d\n%t %q\n", version, commit, info.Size(), info.ModTime().UnixNano(), o.strict, o.pkg)
	for _, f := range files {
		fmt.Fprintf(h, "%q %s %t\n", f.Path, f.Blob, f.Found)
	}
	return validated{filepath.Join(dir, "validated"), hex.EncodeToString(h.Sum(nil))}
}

// packages returns how many packages the files have, if nothing was found in them.
func (v validated) packages() (n int, known bool) {
	if v.dir == "" {
		return 0, false
	}
	f, err := os.Open(filepath.Join(v.dir, v.name))
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 20))
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(string(text))
	return n, err == nil
}

// remember notes that nothing was found. It is no mistake if it cannot.
func (v validated) remember(packages int) {
	if v.dir == "" || os.MkdirAll(v.dir, 0o700) != nil {
		return
	}
	_ = maybe.WriteFile(filepath.Join(v.dir, v.name), []byte(strconv.Itoa(packages)), 0o600)
	known, err := os.ReadDir(v.dir)
	if err != nil || len(known) <= mostValidated {
		return
	}
	age := func(e os.DirEntry) int64 {
		info, err := e.Info()
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(known, func(a, b os.DirEntry) int { return cmp.Compare(age(a), age(b)) })
	for _, e := range known[:len(known)-mostValidated/2] {
		_ = os.Remove(filepath.Join(v.dir, e.Name()))
	}
}
