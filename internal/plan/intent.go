package plan

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// An intent is the input, sorted out: which document speaks for what, what the
// scope covers, what it deletes, and what was given up because of errors.
type intent struct {
	Input
	docs     map[string]oprc.Document // packages, by name
	envDocs  map[string]oprc.Document
	same     map[string]bool // documents that equal the live package, owner included
	remove   map[string]bool // live packages to delete or prune
	envGone  map[string]bool // live environments to delete
	scope    map[string]bool // packages that the plan speaks for
	findings []finding
	conflict []string
	digests  oprc.Digester
	wants    map[string]string // digest of each document of a package, by name

	files filesRead        // what the documents' files came to
	early oprc.Diagnostics // errors of reading whose packages are held from the start

	held   map[string]bool // "package/x", "environment/x": stays at its live state
	broken map[string]bool // packages that are wrong as they are live: not touched at all
}

// A finding is a diagnostic and the object that has to give way because of it.
type finding struct {
	oprc.Diagnostic
	subject string // "package/x", "environment/x", or "" where nothing in particular is to blame
	read    bool   // found by reading, not by planning
}

func subject(kind oprc.Kind, name string) string { return string(kind) + "/" + name }

func (f finding) stops() bool { return f.Severity == oprc.SeverityError }

// read sorts the input out.
func read(in Input) *intent {
	it := &intent{
		Input: in, docs: map[string]oprc.Document{}, envDocs: map[string]oprc.Document{},
		same: map[string]bool{}, remove: map[string]bool{}, envGone: map[string]bool{}, scope: map[string]bool{},
		wants: map[string]string{}, held: map[string]bool{}, broken: map[string]bool{},
	}
	it.files = in.filesRead()
	it.index()
	it.attribute()
	it.delete()
	if in.Scope.Complete {
		it.prune()
	}
	it.own()
	it.maintain()
	for name, d := range it.docs {
		rec, live := in.Live.Packages[name]
		if in.Settled[name] {
			it.same[name], it.wants[name] = true, rec.Digest
			continue
		}
		it.wants[name] = it.digests.Digest(d.Package)
		it.same[name] = live && it.wants[name] == rec.Digest && rec.Origin == in.Scope.Origin && !it.moved(d, rec)
	}
	return it
}

// desired is the digest of the documents, wherever they were read, and of the options.
func (it *intent) desired() string {
	environments := map[string]oprc.Environment{}
	for name, d := range it.envDocs {
		environments[name] = *d.Environment
	}
	return it.digests.Digest(map[string]any{
		"packages": it.wants, "environments": environments, "scope": it.Scope, "keepGoing": it.KeepGoing, "heal": it.Heal,
	})
}

// index files the documents by name, in an order that does not depend on theirs.
func (it *intent) index() {
	docs := slices.Clone(it.Documents)
	slices.SortStableFunc(docs, func(a, b oprc.Document) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name(), b.Name()))
	})
	var aside []oprc.Document
	for _, d := range docs {
		if d.Name() == "" {
			continue
		}
		if it.KeepGoing && it.files.wrong[d.Path] {
			aside = append(aside, d)
			continue
		}
		kind, index := oprc.KindPackage, it.docs
		if d.Environment != nil {
			kind, index = oprc.KindEnv, it.envDocs
		}
		if first, twice := index[d.Name()]; twice {
			it.duplicate(kind, first, d)
			continue
		}
		index[d.Name()] = d
		if kind == oprc.KindPackage {
			it.scope[d.Name()] = true
		}
	}
	it.setAside(aside)
}

// setAside holds what documents of files with errors speak of, unless another file
// speaks of it, too: such a file changes nothing.
func (it *intent) setAside(docs []oprc.Document) {
	for _, d := range docs {
		kind, index := oprc.KindPackage, it.docs
		if d.Environment != nil {
			kind, index = oprc.KindEnv, it.envDocs
		}
		if _, elsewhere := index[d.Name()]; elsewhere {
			continue
		}
		it.held[subject(kind, d.Name())] = true
		if kind == oprc.KindPackage {
			it.scope[d.Name()] = true
		}
	}
}

func (it *intent) duplicate(kind oprc.Kind, first, second oprc.Document) {
	f := finding{
		Diagnostic: oprc.Diagnostic{
			Code: oprc.CodeDuplicate, Severity: oprc.SeverityError, Position: second.Where.At("/name"), Pointer: "/name",
			Message: fmt.Sprintf("%s %q is declared twice; the first is at %s", kind, second.Name(), first.Where.At("/name")),
			Hint:    "rename or remove one of the two",
		},
		subject: subject(kind, second.Name()), read: true,
	}
	if kind == oprc.KindPackage {
		f.Package = second.Name()
	}
	it.findings = append(it.findings, f)
}

// attribute says for what reading found whose it is. What belongs to no package
// stops the environments of its file.
func (it *intent) attribute() {
	for _, d := range it.Diagnostics {
		f := finding{Diagnostic: d, read: true}
		if doc, sound := it.docs[d.Package]; it.KeepGoing && f.stops() && sound && doc.Path != d.File {
			f.Package = "" // the name happens to be that of a package which another file declares
		}
		if f.Package != "" {
			f.subject = subject(oprc.KindPackage, d.Package)
			it.scope[d.Package] = true
			it.findings = append(it.findings, f)
			if f.stops() && it.held[f.subject] {
				it.early = append(it.early, d)
			}
			continue
		}
		it.findings = append(it.findings, f)
		if !f.stops() {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(it.envDocs)) {
			if it.envDocs[name].Path == d.File {
				it.findings = append(it.findings, finding{Diagnostic: d, subject: subject(oprc.KindEnv, name), read: true})
			}
		}
	}
}

// delete takes up what the scope deletes by name.
func (it *intent) delete() {
	for _, name := range it.Scope.Delete {
		if env, ok := strings.CutPrefix(name, string(oprc.KindEnv)+"/"); ok {
			if it.Live.Environments[env].Rev > 0 {
				it.envGone[env] = true
			}
			delete(it.envDocs, env)
			continue
		}
		it.scope[name] = true
		delete(it.docs, name)
		if _, live := it.Live.Packages[name]; live {
			it.remove[name] = true
		}
	}
}

// prune takes up the origin's live packages and environments that no document names.
// What was read of a file that is wrong, hollow or not read any more stays as it is.
// Nothing is pruned while a file is wrong that may hold what is missing.
func (it *intent) prune() {
	for _, name := range slices.Sorted(maps.Keys(it.Live.Packages)) {
		rec := it.Live.Packages[name]
		if rec.Origin != it.Scope.Origin {
			continue
		}
		if !it.scope[name] && !it.Yield[name] && !it.stays(oprc.KindPackage, name, rec.Source) {
			it.remove[name] = true
		}
		it.scope[name] = true
	}
	for name, env := range it.Live.Environments {
		_, named := it.envDocs[name]
		ours := env.Rev > 0 && env.Origin == it.Scope.Origin && !it.held[subject(oprc.KindEnv, name)]
		if ours && !named && !it.stays(oprc.KindEnv, name, env.Source) {
			it.envGone[name] = true
		}
	}
}

// stays reports whether an object that no document names has to stay, because of what
// became of the file that it came from.
func (it *intent) stays(kind oprc.Kind, name string, from *oprc.SourceRef) bool {
	path := ""
	if from != nil {
		path = from.Path
	}
	why := ""
	switch {
	case path == "":
	case it.files.wrong[path]:
		it.held[subject(kind, name)] = true
		return true
	case kind == oprc.KindPackage && it.files.hollow[path], it.files.hollow[path] && !it.files.holds[path]:
		why = "holds no " + string(kind) + " any more"
	case it.unread(path):
		why = "is not read any more"
	}
	if why == "" {
		return it.files.doubt
	}
	it.held[subject(kind, name)] = true
	f := finding{read: true, subject: subject(kind, name), Diagnostic: oprc.Diagnostic{
		Code: oprc.CodeNothing, Severity: oprc.SeverityWarning, Position: oprc.Position{File: path, Line: 1, Column: 1},
		Message: fmt.Sprintf("the file %s: %s %s stays as it is", why, kind, name),
		Hint:    "delete the file to delete it",
	}}
	if kind == oprc.KindPackage {
		f.Package = name
	}
	it.findings = append(it.findings, f)
	return true
}

// unread reports whether a file is, or is below, what was passed over.
func (it *intent) unread(path string) bool {
	return slices.ContainsFunc(it.Unread, func(p string) bool { return p == path || strings.HasPrefix(path, p+"/") })
}

// own finds objects of another origin. The plan has no say in them.
func (it *intent) own() {
	if it.Scope.TakeOwnership {
		return
	}
	foreign := func(origin string) bool { return origin != "" && origin != it.Scope.Origin }
	clash := func(kind oprc.Kind, name, owner string) {
		it.conflict = append(it.conflict, fmt.Sprintf("%s: owned by %s", subject(kind, name), owner))
		it.held[subject(kind, name)] = true
	}
	for name := range it.scope {
		if rec, live := it.Live.Packages[name]; live && foreign(rec.Origin) && !it.Free[subject(oprc.KindPackage, name)] {
			clash(oprc.KindPackage, name, rec.Origin)
			delete(it.scope, name)
		}
	}
	for name, d := range it.envDocs {
		if env, live := it.Live.Environments[name]; live && foreign(env.Origin) && !it.Free[subject(oprc.KindEnv, name)] && !sameEnvironment(*d.Environment, env.Spec) {
			clash(oprc.KindEnv, name, env.Origin)
		}
	}
	for name := range it.envGone {
		if env := it.Live.Environments[name]; foreign(env.Origin) && !it.Free[subject(oprc.KindEnv, name)] {
			clash(oprc.KindEnv, name, env.Origin)
		}
	}
	slices.Sort(it.conflict)
}

// maintain adds the live packages of origins that are only looked after, and of
// deployments that are restarted.
func (it *intent) maintain() {
	for _, key := range it.Scope.Restart {
		if d, placed := it.Live.Deployments[key]; placed {
			it.scope[d.Pkg] = true
		}
	}
	for name, rec := range it.Live.Packages {
		if slices.Contains(it.Scope.Maintain, rec.Origin) {
			it.scope[name] = true
		}
	}
}

// moved reports whether a source has the package in another file than before: records
// keep that, for the day when the file is wrong.
func (it *intent) moved(d oprc.Document, rec oprc.PackageRecord) bool {
	return it.Scope.Complete && d.Path != "" && rec.Source != nil && rec.Source.Path != d.Path
}

func sameEnvironment(a, b oprc.Environment) bool {
	a.Kind, b.Kind = "", ""
	return reflect.DeepEqual(a, b) || oprc.Digest(a) == oprc.Digest(b)
}
