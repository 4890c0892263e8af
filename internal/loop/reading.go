package loop

import (
	"bytes"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A reading is what the files of a source said last, so that the next time only
// those that changed are read.
type reading struct {
	files map[string]fileReading
	docs  []oprc.Document
	found oprc.Diagnostics
	fresh int // files that had to be read
}

// A fileReading is what one file holds.
type fileReading struct {
	data  []byte
	docs  []oprc.Document
	found oprc.Diagnostics
}

// next reads files.
func (r *reading) next(files []oprc.File, load func([]oprc.File, bool, string) ([]oprc.Document, oprc.Diagnostics)) *reading {
	out := &reading{files: make(map[string]fileReading, len(files))}
	var fresh []oprc.File
	for _, f := range files {
		if was, ok := r.files[f.Path]; ok && bytes.Equal(was.data, f.Data) {
			out.files[f.Path] = was
			continue
		}
		fresh = append(fresh, f)
		out.files[f.Path] = fileReading{data: f.Data}
	}
	out.fresh = len(fresh)
	docs, found := load(fresh, false, "")
	for _, d := range docs {
		f := out.files[d.Path]
		f.docs = append(f.docs, d)
		out.files[d.Path] = f
	}
	for _, d := range found {
		f := out.files[d.File]
		f.found = append(f.found, d)
		out.files[d.File] = f
	}
	for _, f := range slices.SortedFunc(slices.Values(files), func(a, b oprc.File) int { return strings.Compare(a.Path, b.Path) }) {
		out.docs = append(out.docs, out.files[f.Path].docs...)
		out.found = append(out.found, out.files[f.Path].found...)
	}
	out.found = out.found.Sort()
	return out
}

// since names the documents of files that are new, gone or different since an earlier
// reading, before and after.
func (r *reading) since(before *reading) map[string]bool {
	changed := map[string]bool{}
	for path, f := range before.files {
		if now, ok := r.files[path]; !ok || !bytes.Equal(now.data, f.data) {
			f.name(changed)
		}
	}
	for path, f := range r.files {
		if was, ok := before.files[path]; !ok || !bytes.Equal(was.data, f.data) {
			f.name(changed)
		}
	}
	return changed
}

// passedOver says which files hold documents of other systems: "PATH: what".
func (r *reading) passedOver() []string {
	var out []string
	for _, d := range r.found {
		if d.Code == oprc.CodeForeign {
			out = append(out, d.File+": "+d.Message)
		}
	}
	return out
}

func (f fileReading) name(names map[string]bool) {
	for _, d := range f.docs {
		names[d.Name()] = true
	}
}

// settled names the packages that no file speaks of which changed since an earlier
// reading.
func (r *reading) settled(before *reading) map[string]bool {
	changed := r.since(before)
	out := make(map[string]bool, len(r.docs))
	for _, d := range r.docs {
		if d.Package != nil && !changed[d.Name()] {
			out[d.Name()] = true
		}
	}
	return out
}
