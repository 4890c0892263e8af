package resolve

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A world is everything that is resolved together.
type world struct {
	packs       []*pack // builtin, then live, then documents; each sorted by name
	byName      map[string]*pack
	classes     map[string]*class
	functions   map[string]*function
	deployments map[string]*deployment

	found      oprc.Diagnostics
	near       suggestions
	conditions conditions
	quantities quantities
	ranges     ranges
}

// A pack is a package with what was found out about it.
type pack struct {
	name        string
	spec        *oprc.Package
	doc         *oprc.Document // nil for live packages and builtin
	classes     []*class
	functions   []*function
	deployments []*deployment
	required    []link
	reads       []string // packages that it depends on, with repeats
	inherited   int      // members that its classes inherit, all together
	unbounded   bool     // more than that is allowed was found, and reported
}

// A link is a `required` entry that was found.
type link struct {
	to    *pack
	index int
}

type class struct {
	key     string
	pack    *pack
	index   int
	spec    *oprc.Class
	parents []parent
	depth   int        // levels of classes that it inherits through
	out     oprc.Class // resolved
}

// A parent is a class that another inherits from, and where that is written.
type parent struct {
	class *class
	index int
}

type function struct {
	key     string
	pack    *pack
	index   int
	spec    *oprc.Function
	bound   bool // by some class
	needed  bool // a deployment targets a class that binds it
	imageOK bool
	out     oprc.Function // resolved
}

type deployment struct {
	pack  *pack
	index int
	spec  *oprc.Deployment
	class *class // nil if there is none
	out   oprc.Deployment
}

func newWorld(docs []oprc.Document, live map[string]oprc.Package) *world {
	w := &world{
		byName: map[string]*pack{}, classes: map[string]*class{},
		functions: map[string]*function{}, deployments: map[string]*deployment{},
	}
	w.add(&pack{name: oprc.BuiltinPackage, spec: Builtin()})
	named := w.sortDocuments(docs)
	for _, name := range slices.Sorted(maps.Keys(live)) {
		if _, replaced := named[name]; replaced || name == oprc.BuiltinPackage {
			continue
		}
		spec := live[name]
		w.add(&pack{name: name, spec: &spec})
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		doc := named[name]
		w.add(&pack{name: name, spec: doc.Package, doc: doc})
	}
	for _, p := range w.packs {
		w.index(p)
	}
	return w
}

func (w *world) add(p *pack) {
	w.packs = append(w.packs, p)
	w.byName[p.name] = p
}

// sortDocuments returns the documents of packages by name, and checks
// environments. Of two with one name the first by file and line counts.
func (w *world) sortDocuments(docs []oprc.Document) map[string]*oprc.Document {
	list := make([]*oprc.Document, 0, len(docs))
	for i := range docs {
		list = append(list, &docs[i])
	}
	slices.SortStableFunc(list, byPlace)
	packages, environments := make(map[string]*oprc.Document, len(docs)), map[string]*oprc.Document{}
	for _, doc := range list {
		name := doc.Name()
		switch first := packages[name]; {
		case name == "":
		case doc.Environment != nil:
			w.checkEnvironment(doc, environments)
		case name == oprc.BuiltinPackage:
			w.reportDoc(doc, oprc.CodeDuplicate, "/name", "choose another name", "package "+quote(name)+" is always present and cannot be declared")
		case first != nil:
			w.reportDoc(doc, oprc.CodeDuplicate, "/name", "rename or remove one of the two",
				"package "+quote(name)+" is declared twice"+firstAt(first, "/name"))
		default:
			packages[name] = doc
		}
	}
	return packages
}

// byPlace orders documents by file and line.
func byPlace(a, b *oprc.Document) int {
	if by := cmp.Compare(a.Path, b.Path); by != 0 || a == b {
		return by
	}
	by := cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name(), b.Name()))
	if by == 0 && a.Package != nil && b.Package != nil {
		by = cmp.Compare(oprc.Digest(a.Package), oprc.Digest(b.Package))
	}
	return by
}

// firstAt says where the first of two things with one name is; nothing where it is
// live.
func firstAt(doc *oprc.Document, pointer string) string {
	if doc == nil {
		return ""
	}
	pos := place(doc, pointer)
	if pos.File == "" {
		return ""
	}
	return "; first in " + pos.String()
}

// index enters what a package declares under its keys.
func (w *world) index(p *pack) {
	p.classes = make([]*class, 0, len(p.spec.Classes))
	for i := range p.spec.Classes {
		spec := &p.spec.Classes[i]
		c := &class{key: oprc.Key(p.name, spec.Name), pack: p, index: i, spec: spec}
		p.classes = append(p.classes, c)
		if first := w.classes[c.key]; spec.Name == "" {
			continue
		} else if first != nil {
			w.duplicateKey(p, at("classes", i, "name"), "class", c.key, first.pack, at("classes", first.index, "name"))
			continue
		}
		w.classes[c.key] = c
	}
	p.functions = make([]*function, 0, len(p.spec.Functions))
	for i := range p.spec.Functions {
		spec := &p.spec.Functions[i]
		f := &function{key: oprc.Key(p.name, spec.Name), pack: p, index: i, spec: spec}
		p.functions = append(p.functions, f)
		if first := w.functions[f.key]; spec.Name == "" {
			continue
		} else if first != nil {
			w.duplicateKey(p, at("functions", i, "name"), "function", f.key, first.pack, at("functions", first.index, "name"))
			continue
		}
		w.functions[f.key] = f
	}
}

func (w *world) duplicateKey(p *pack, pointer, kind, key string, first *pack, there string) {
	message := kind + " " + quote(key) + " is declared twice"
	if first != p {
		message = kind + " " + quote(key) + " has the same key as one of package " + quote(first.name)
	}
	w.report(p, oprc.CodeDuplicate, pointer, "rename or remove one of the two", message+firstAt(first.doc, there))
}

// lookup finds what ref means in package p: with a leading dot a name of p; else
// first a name of p, then a key.
func lookup[T any](table map[string]*T, p *pack, ref string) *T {
	if ref == "" {
		return nil
	}
	if ref[0] == '.' {
		return table[p.name+ref]
	}
	if own := table[oprc.Key(p.name, ref)]; own != nil {
		return own
	}
	return table[ref]
}

// twoReadings is the finding about a reference without a leading dot that is a name of
// this package and a key of another one; it reports whether it made one.
func twoReadings[T any](w *world, table map[string]*T, p *pack, code oprc.Code, pointer, kind, ref string) bool {
	if ref == "" || ref[0] == '.' {
		return false
	}
	own := oprc.Key(p.name, ref)
	if here, there := table[own], table[ref]; here == nil || there == nil || here == there {
		return false
	}
	w.report(p, code, pointer, "write "+quote("."+ref)+" for the one of this package; to use the other, rename one of the two",
		kind+" "+quote(ref)+" could be "+quote(own)+" of this package, or "+quote(ref)+" of another")
	return true
}

// absolute is the key that ref stands for where it could not be found.
func absolute(p *pack, ref string) string { return oprc.Abs(p.name, ref) }

const oldBuiltin = oprc.BuiltinPackage + ".logical."

// modern maps the old spelling of builtin references, and says so.
func (w *world) modern(p *pack, ref, pointer string) string {
	name, old := strings.CutPrefix(ref, oldBuiltin)
	if !old {
		return ref
	}
	now := oprc.Key(oprc.BuiltinPackage, name)
	w.warn(p, oprc.CodeLegacy, pointer, "write "+now, quote(ref)+" is an old spelling of "+quote(now))
	return now
}

// classRef finds the class that ref names, and notes the dependency.
func (w *world) classRef(p *pack, ref string) *class {
	c := lookup(w.classes, p, ref)
	if c != nil {
		p.dependOn(c.pack)
	}
	return c
}

func (p *pack) dependOn(on *pack) {
	if on != p && on.name != oprc.BuiltinPackage && !slices.Contains(p.reads, on.name) {
		p.reads = append(p.reads, on.name)
	}
}

func (p *pack) dependsOn() []string {
	slices.Sort(p.reads)
	return p.reads
}
