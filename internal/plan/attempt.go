package plan

import (
	"cmp"
	"maps"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// An attempt is the world as it would be, without what the intent gave up.
type attempt struct {
	*intent
	packages     map[string]oprc.Package
	environments []oprc.EnvironmentState // sorted by name, deleted ones still among them
	changed      map[string]bool         // packages whose record is created, changed or deleted
	changedEnvs  map[string]bool
	graph        *graph
	affected     map[string]bool // changed packages and those that depend on them
	planned      map[string]bool // packages whose objects this plan may touch
	catalogue    *resolve.Catalogue
	placed       map[string]oprc.Deployment // that run, by class key; of planned packages
	before       *resolve.Catalogue         // affected packages as they are live; see wasAsked
	found        []finding
	bad          map[string]bool // packages with an error in this attempt
}

func (it *intent) attempt() *attempt {
	a := &attempt{
		intent: it, packages: make(map[string]oprc.Package, len(it.Live.Packages)+len(it.docs)),
		changed: map[string]bool{}, changedEnvs: map[string]bool{},
		placed: map[string]oprc.Deployment{}, bad: map[string]bool{},
	}
	for _, f := range it.findings {
		if !f.stops() || !it.held[f.subject] {
			a.add(f)
		}
	}
	a.overlayEnvironments()
	a.overlayPackages()
	a.reach()
	a.resolve()
	a.checkFrozen()
	a.place()
	a.checkEnvironmentUse()
	return a
}

func (a *attempt) add(f finding) {
	a.found = append(a.found, f)
	if f.stops() && f.Package != "" {
		a.bad[f.Package] = true
	}
}

// overlayPackages lays the documents over the live packages and takes away what
// is to be deleted, unless something that remains needs it.
func (a *attempt) overlayPackages() {
	for name, rec := range a.Live.Packages {
		a.packages[name] = rec.Spec
	}
	for name, d := range a.docs {
		if !a.held[subject(oprc.KindPackage, name)] {
			a.packages[name] = *d.Package
			if !a.same[name] {
				a.changed[name] = true
			}
		}
	}
	removing := map[string]bool{}
	for name := range a.remove {
		if !a.held[subject(oprc.KindPackage, name)] {
			removing[name] = true
		}
	}
	for name := range a.blocked(removing) {
		delete(removing, name)
	}
	for name := range removing {
		delete(a.packages, name)
		a.changed[name] = true
	}
}

// overlayEnvironments does the same for environments. A new one has no CRM yet.
func (a *attempt) overlayEnvironments() {
	states := maps.Clone(a.Live.Environments)
	if states == nil {
		states = map[string]oprc.EnvironmentState{}
	}
	for name, d := range a.envDocs {
		state, heard := states[name]
		if a.held[subject(oprc.KindEnv, name)] || state.Rev > 0 && sameEnvironment(*d.Environment, state.Spec) {
			continue
		}
		a.changedEnvs[name] = true
		if !heard {
			state.Health = oprc.HealthUnknown
		}
		reported := slices.ContainsFunc(state.Beats, func(b oprc.Heartbeat) bool { return b.Availability > 0 })
		if !reported {
			state.Availability = d.Environment.Availability
		}
		state.Spec = *d.Environment
		states[name] = state
	}
	for name := range a.envGone {
		if !a.held[subject(oprc.KindEnv, name)] {
			a.changedEnvs[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		state := states[name]
		state.Spec.Name = name
		a.environments = append(a.environments, state)
	}
	a.checkDefault()
}

// leaving reports whether this attempt deletes the environment.
func (a *attempt) leaving(env string) bool {
	return a.envGone[env] && !a.held[subject(oprc.KindEnv, env)]
}

// reach finds out what the plan may touch.
func (a *attempt) reach() {
	before := make(map[string]oprc.Package, len(a.changed))
	for name := range a.changed {
		if rec, live := a.Live.Packages[name]; live {
			before[name] = rec.Spec
		}
	}
	a.graph = newGraph(a.packages, before)
	a.affected = closure(a.changed, a.graph.readBy)
	a.planned = maps.Clone(a.affected)
	for name := range a.scope {
		if !a.Settled[name] {
			a.planned[name] = true
		}
	}
	if len(a.changedEnvs) > 0 {
		a.reachEnvironments()
	}
	for name := range a.broken {
		delete(a.planned, name)
	}
}

// reachEnvironments adds the packages whose placement reads a changed environment.
func (a *attempt) reachEnvironments() {
	reads := func(d oprc.Deployment) bool {
		if len(d.Members) == 0 && len(d.TargetEnvs) == 0 {
			return true
		}
		return slices.ContainsFunc(d.TargetEnvs, func(e string) bool { return a.changedEnvs[e] }) ||
			slices.ContainsFunc(d.Members, func(m oprc.Member) bool { return a.changedEnvs[m.Env] })
	}
	for name, p := range a.packages {
		if slices.ContainsFunc(p.Deployments, reads) {
			a.planned[name] = true
		}
	}
	for _, d := range a.Live.Deployments {
		if reads(d) && d.Pkg != "" {
			a.planned[d.Pkg] = true
		}
	}
}

// resolve resolves the planned packages and all that they need.
func (a *attempt) resolve() {
	needed := closure(a.planned, a.graph.reads, a.graph.near)
	var docs []oprc.Document
	live := map[string]oprc.Package{}
	for name := range needed {
		p, present := a.packages[name]
		switch d, named := a.docs[name]; {
		case !present:
		case named && !a.held[subject(oprc.KindPackage, name)]:
			docs = append(docs, d)
		default:
			live[name] = p
		}
	}
	slices.SortFunc(docs, func(x, y oprc.Document) int { return cmp.Compare(x.Name(), y.Name()) })
	catalogue, diagnostics := resolve.Packages(docs, live)
	a.catalogue = catalogue
	causes := a.causes(diagnostics)
	for _, d := range diagnostics {
		if a.concerns(d) && !follows(d, causes) {
			a.add(finding{Diagnostic: d, subject: subject(oprc.KindPackage, d.Package)})
		}
	}
}

// causes are the errors from which others may follow: all of reading, and references
// to functions that are not there.
func (a *attempt) causes(resolved oprc.Diagnostics) []oprc.Diagnostic {
	var out []oprc.Diagnostic
	for _, f := range a.findings {
		if f.read && f.stops() && f.Package != "" {
			out = append(out, f.Diagnostic)
		}
	}
	for _, d := range resolved {
		if d.Code == oprc.CodeFunctionRef {
			out = append(out, d)
		}
	}
	return out
}

// concerns says whether a finding is this plan's business: all of its documents',
// and errors in packages that it may touch.
func (a *attempt) concerns(d oprc.Diagnostic) bool {
	if _, named := a.doc(d.Package); named || a.broken[d.Package] {
		return named && !a.broken[d.Package]
	}
	return d.Severity == oprc.SeverityError && (d.Package == "" || a.planned[d.Package])
}

// doc is the document that speaks for a package in this attempt.
func (a *attempt) doc(pkg string) (oprc.Document, bool) {
	d, named := a.docs[pkg]
	return d, named && !a.held[subject(oprc.KindPackage, pkg)]
}

// retreat gives up the changes that errors are to blame on. It reports false when
// there is nothing left to give up.
func (a *attempt) retreat() bool {
	before := len(a.held) + len(a.broken)
	wrong := map[string]bool{}
	for _, f := range a.found {
		if f.stops() && f.subject != "" && a.giveUp(f) {
			wrong[cmp.Or(a.docs[f.Package].Path, f.File)] = true
		}
	}
	delete(wrong, "")
	a.keepBeside(wrong)
	return len(a.held)+len(a.broken) > before
}

// keepBeside holds all that files say in which an error was found, and what a source's
// file said before and does not any more, while a package in that file is held: it may be
// the one, under another name.
func (a *attempt) keepBeside(wrong map[string]bool) {
	for kind, docs := range map[oprc.Kind]map[string]oprc.Document{oprc.KindPackage: a.docs, oprc.KindEnv: a.envDocs} {
		for name, d := range docs {
			if wrong[d.Path] {
				a.held[subject(kind, name)] = true
			}
		}
	}
	for name, d := range a.docs {
		if a.held[subject(oprc.KindPackage, name)] && d.Path != "" {
			wrong[d.Path] = true
		}
	}
	for name := range a.remove {
		if rec := a.Live.Packages[name]; a.Scope.Complete && rec.Source != nil && wrong[rec.Source.Path] {
			a.held[subject(oprc.KindPackage, name)] = true
		}
	}
}

// giveUp blames an error on the package or environment itself if this plan changes
// it, or could not read it; else on the nearest change among what it depends on;
// else the package is wrong as it is live, and is left alone. own means the first.
func (a *attempt) giveUp(f finding) (own bool) {
	own = f.read || f.Package == "" || a.changed[f.Package] || a.remove[f.Package]
	if own && !a.held[f.subject] {
		a.held[f.subject] = true
		return true
	}
	culprits := nearest(f.Package, a.changed, a.graph.reads)
	for _, name := range culprits {
		a.held[subject(oprc.KindPackage, name)] = true
	}
	if len(culprits) == 0 {
		a.broken[f.Package] = true
	}
	return false
}

// disregard leaves packages alone that are wrong as they are live, that nothing
// in this plan made so, and that the plan does not speak for.
func (a *attempt) disregard() bool {
	before := len(a.broken)
	for pkg := range a.bad {
		if a.planned[pkg] && !a.scope[pkg] && !a.changed[pkg] && len(nearest(pkg, a.changed, a.graph.reads)) == 0 {
			a.broken[pkg] = true
		}
	}
	return len(a.broken) > before
}
