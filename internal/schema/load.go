package schema

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Loader reads files of packages and environments.
type Loader struct {
	Strict  bool   // accept the specification's own fields alone
	Package string // the name of a package that has none
}

// Load reads files with the settings of a [Loader].
func Load(files []oprc.File, strict bool, pkg string) ([]oprc.Document, oprc.Diagnostics) {
	return Loader{Strict: strict, Package: pkg}.Load(files)
}

// Load reads every document of every file. All findings of all files are
// returned, sorted by file and position; documents are sorted by path, then by
// position.
//
// A file that comes without its content is read while it is decided, and again for
// positions: see [oprc.File].
//
// A document with errors is returned too, with what could be read of it, unless
// nothing could: then its findings are all there is.
func (l Loader) Load(files []oprc.File) ([]oprc.Document, oprc.Diagnostics) {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b oprc.File) int { return strings.Compare(a.Path, b.Path) })

	recent := &recentTrees{loader: l}
	results := make([]result, len(files))
	var next atomic.Int64
	work := func() {
		d := &decoder{}
		for i := int(next.Add(1)) - 1; i < len(files); i = int(next.Add(1)) - 1 {
			results[i] = l.file(files[i], d, recent)
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		wg.Go(work)
	}
	wg.Wait()

	var docs []oprc.Document
	var found oprc.Diagnostics
	for _, r := range results {
		docs = append(docs, r.docs...)
		found = append(found, r.found...)
	}
	return docs, found.Sort()
}

// A result is what one file holds.
type result struct {
	docs  []oprc.Document
	found oprc.Diagnostics
}

// file reads one file. What has to be read anew is let go with the result: its
// documents hold no part of it.
func (l Loader) file(f oprc.File, d *decoder, recent *recentTrees) result {
	read := f
	var err error
	if read.Data, err = f.Content(); err != nil {
		return result{found: oprc.Diagnostics{finding(oprc.CodeSyntax, oprc.Position{File: f.Path, Line: 1, Column: 1}, err.Error())}}
	}
	roots, found := parse(read)
	r := result{found: found}
	if len(roots) == 0 && len(found) == 0 {
		r.found = append(r.found, nothing(f))
	}
	if len(roots) == 0 {
		return r
	}
	parts, part := sections(read.Data), 0
	for _, root := range roots {
		line := root.Line
		for part+1 < len(parts) && parts[part+1].line < line {
			part++
		}
		c := &checker{model: model(), file: f.Path, strict: l.Strict, passOver: f.Found}
		doc, ok := l.document(c, root, d)
		r.found = append(r.found, c.found...)
		if !ok {
			continue
		}
		doc.Path, doc.Blob, doc.Line = f.Path, f.Blob, line
		doc.Where = recent.locator(f, parts[part], line)
		r.docs = append(r.docs, doc)
	}
	return r
}

// nothing says that a file is empty, or holds comments alone.
func nothing(f oprc.File) oprc.Diagnostic {
	d := finding(oprc.CodeNothing, oprc.Position{File: f.Path, Line: 1, Column: 1}, "the file holds no package and no environment")
	d.Severity = oprc.SeverityInfo
	return d
}

// document checks and decodes one document; ok is false where it is neither a
// package nor an environment.
func (l Loader) document(c *checker, root *yaml.Node, d *decoder) (doc oprc.Document, ok bool) {
	switch what := l.normalise(c, root); what {
	case packageDocument:
		p := &oprc.Package{}
		d.decode(root, p)
		applyDefaults(p)
		return oprc.Document{Package: p}, true
	case environmentDocument:
		e := &oprc.Environment{}
		d.decode(root, e)
		return oprc.Document{Environment: e}, true
	}
	return oprc.Document{}, false
}

// documentKind says what a document is.
type documentKind int

const (
	noDocument documentKind = iota
	packageDocument
	environmentDocument
)

// normalise checks a document, reports what is wrong with it, and brings its
// nodes into canonical spelling.
func (l Loader) normalise(c *checker, root *yaml.Node) documentKind {
	if root.Kind != yaml.MappingNode {
		hint := "separate documents by a line ---"
		if isText(root) && textHint(root.Value) != "" {
			hint = textHint(root.Value)
		}
		c.report(oprc.CodeType, root, nil, hint, "expected a package or an environment, got %s", got(root))
		return noDocument
	}
	if what := c.foreign(root); what != nil {
		c.passedOver(root, what)
		return noDocument
	}
	if kind, isEnv := c.kind(root); kind != nil {
		if isEnv {
			c.structure(c.model.structs["Environment"], root, nil, spot{})
			return environmentDocument
		}
		return noDocument
	}
	_, name := lookup(root, "name")
	defer func(first int) { // the name is known once it is coerced
		for i := range c.found[first:] {
			if name != nil && isText(name) {
				c.found[first+i].Package = name.Value
			}
		}
	}(len(c.found))
	if mark, at := dialectMark(root); mark != nil {
		c.dialect(mark, at)
		return noDocument
	}
	if name == nil && l.Package != "" {
		key := scalarAt("name", root)
		name = scalarAt(l.Package, root)
		root.Content = append([]*yaml.Node{key, name}, root.Content...)
	}
	def := c.model.structs[compatible+"Package"]
	if l.Strict {
		def = c.model.structs["Package"]
	}
	c.structure(def, root, nil, spot{})
	c.derived(root, name)
	return packageDocument
}

// kind returns the document's `kind` where it decides what the document is. A
// word near Environment is a mistake; any other is an unknown field of a package.
func (c *checker) kind(root *yaml.Node) (kind *yaml.Node, isEnv bool) {
	key, kind := lookup(root, "kind")
	switch {
	case kind == nil:
		return nil, false
	case kind.Value == oprc.KindEnvironment:
		return kind, true
	case kind.Kind == yaml.ScalarNode && nearest(kind.Value, []string{oprc.KindEnvironment}) != "":
		c.report(oprc.CodeEnum, kind, (*path)(nil).field("kind", key), fmt.Sprintf("did you mean `%s`?", oprc.KindEnvironment),
			"`kind`: expected %s, got %s", oprc.KindEnvironment, got(kind))
		return kind, false
	}
	return nil, false
}

// derived checks the fields that follow from names, where they are written, and
// removes them.
func (c *checker) derived(root, name *yaml.Node) {
	if name == nil || !isText(name) {
		name = nil
	}
	for _, list := range []string{"classes", "functions"} {
		key, items := lookup(root, list)
		if items == nil || items.Kind != yaml.SequenceNode {
			continue
		}
		for i, item := range items.Content {
			at := (*path)(nil).field(list, key).item(i)
			_, own := lookup(item, "name")
			for _, field := range []string{"pkg", "_key"} {
				k, v := lookup(item, field)
				if k == nil {
					continue
				}
				remove(item, k)
				if name == nil || !isText(v) || field == "_key" && own == nil {
					continue
				}
				want := name.Value
				if field == "_key" {
					want = oprc.Key(name.Value, own.Value)
				}
				if oprc.Abs(name.Value, v.Value) != want {
					c.report(oprc.CodeName, v, at.field(field, k), "remove it: it is derived", "`%s`: expected %q, got %q", field, want, shorten(v.Value))
				}
			}
		}
	}
}
