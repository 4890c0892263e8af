package plan

import (
	"reflect"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// A diff compares what an attempt wants with what is live, by digest.
type diff struct {
	*attempt
	changes   []Change
	unchanged int
	reasons   map[string]Reason   // of the changes so far, by "<kind>/<key>"
	off       map[string]bool     // functions that were switched off, by key
	absent    map[string]bool     // packages that must stay absent, for the base
	recorded  map[string][]string // package -> class keys of its recorded deployments
	known     map[string][]known  // class key -> its units that live state knows
}

// known is a unit that some environment has a record of.
type known struct {
	id, env string
	oprc.UnitDigest
}

func newDiff(a *attempt) *diff {
	d := &diff{
		attempt: a, reasons: map[string]Reason{}, off: map[string]bool{}, absent: map[string]bool{},
		recorded: map[string][]string{}, known: map[string][]known{},
	}
	for key, dep := range a.Live.Deployments {
		d.recorded[dep.Pkg] = append(d.recorded[dep.Pkg], key)
	}
	for env, units := range a.Live.Units {
		for id, u := range units {
			if cls, ok := classOf(id); ok {
				d.known[cls] = append(d.known[cls], known{id: id, env: env, UnitDigest: u})
			}
		}
	}
	return d
}

// add records a change from what is recorded to what its document says.
func (d *diff) add(c Change) {
	c.Was = d.Live.digest(subject(c.Kind, c.Key))
	if c.doc != nil && c.Will == "" {
		c.Will = d.digests.Digest(c.doc)
	}
	d.changes = append(d.changes, c)
	d.reasons[subject(c.Kind, c.Key)] = c.Reason
}

// environments compares the environments that the plan names.
func (d *diff) environments() {
	for _, e := range d.attempt.environments {
		name := e.Spec.Name
		_, asked := d.envDocs[name]
		if !d.changedEnvs[name] {
			switch looksAfter := asked || d.Scope.Complete || len(d.Scope.Maintain) > 0; {
			case looksAfter && e.Rev > 0 && d.Live.Damaged[subject(oprc.KindEnv, name)]:
				d.add(Change{Kind: oprc.KindEnv, Key: name, Actions: []Action{Update}, Reason: ReasonDrift, doc: e.Spec})
			case asked:
				d.unchanged++
			}
			continue
		}
		c := Change{Kind: oprc.KindEnv, Key: name, Actions: []Action{Update}, Reason: ReasonSpec}
		live := d.Live.Environments[name].Rev > 0
		switch doc := d.envDocs[name]; {
		case d.leaving(name):
			c.Actions, c.Reason = []Action{Delete}, ReasonRemoved
		default:
			c.doc = *doc.Environment
			c.Source, c.Blob = &oprc.SourceRef{Path: doc.Path}, doc.Blob
			if !live {
				c.Actions, c.Reason = []Action{Create}, ReasonNew
			}
		}
		d.add(c)
	}
}

// pkg compares one package and what it declares.
func (d *diff) pkg(name string) {
	d.record(name)
	want, live := d.packages[name], d.Live.Packages[name].Spec
	for _, f := range d.functionKeys(name, want, live) {
		d.function(name, f)
	}
	for _, c := range d.classKeys(name, want, live) {
		d.class(name, c)
	}
	for _, key := range d.deploymentKeys(name, want) {
		d.deployment(name, key)
	}
}

// record compares the package's own record.
func (d *diff) record(name string) {
	p, wanted := d.packages[name]
	rec, live := d.Live.Packages[name]
	digest, stored := d.Live.Digests[subject(oprc.KindPackage, name)]
	c := Change{Kind: oprc.KindPackage, Key: name, Package: name, Actions: []Action{Update}, Reason: ReasonSpec}
	switch {
	case !wanted && !live:
		return
	case !wanted:
		c.Actions, c.Reason = []Action{Delete}, ReasonRemoved
	case !live:
		c.Actions, c.Reason = []Action{Create}, ReasonNew
	case !stored:
		c.Actions, c.Reason = []Action{Create}, ReasonNoReport
	case !d.changed[name] && (digest.Hash != rec.Digest || d.Live.Damaged[subject(oprc.KindPackage, name)]):
		c.Reason = ReasonDrift
	case !d.changed[name]:
		d.unchanged++
		return
	case d.wants[name] == rec.Digest:
		c.Reason = ReasonOwner
		if rec.Origin == d.Scope.Origin {
			c.Reason = ReasonMoved
		}
	}
	if wanted {
		c.doc = p
	}
	if doc, named := d.doc(name); named && wanted {
		c.Source, c.Blob, c.where = &oprc.SourceRef{Path: doc.Path}, doc.Blob, doc.Where
		c.Will = d.wants[name]
	}
	d.add(c)
}

// functionKeys lists the functions of both specs.
func (d *diff) functionKeys(pkg string, specs ...oprc.Package) []string {
	var keys []string
	for _, p := range specs {
		for _, f := range p.Functions {
			keys = append(keys, oprc.Key(pkg, f.Name))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (d *diff) classKeys(pkg string, specs ...oprc.Package) []string {
	var keys []string
	for _, p := range specs {
		for _, c := range p.Classes {
			keys = append(keys, oprc.Key(pkg, c.Name))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// deploymentKeys lists what the package deploys or is recorded to deploy.
func (d *diff) deploymentKeys(pkg string, want oprc.Package) []string {
	keys := slices.Clone(d.recorded[pkg])
	for _, dep := range want.Deployments {
		keys = append(keys, resolve.DeploymentKey(want, dep.Key))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (d *diff) function(pkg, key string) {
	f, wanted := d.catalogue.Functions[key]
	wanted = wanted && d.has(f.Pkg)
	was, declared := functionNamed(d.Live.Packages[pkg].Spec, key[len(pkg)+1:])
	if wanted && declared && f.State == oprc.Disabled && was.State != oprc.Disabled {
		d.off[key] = true
	}
	now, _ := functionNamed(d.packages[pkg], key[len(pkg)+1:])
	d.object(object{
		kind: oprc.KindFunction, key: key, pkg: pkg, wanted: wanted, declared: declared,
		doc: func() any { return f }, same: func() bool { return equal(was, now) },
	})
}

func (d *diff) class(pkg, key string) {
	c, wanted := d.catalogue.Classes[key]
	wanted = wanted && d.has(c.Pkg) && !d.retired(c)
	was, declared := classNamed(d.Live.Packages[pkg].Spec, key[len(pkg)+1:])
	now, _ := classNamed(d.packages[pkg], key[len(pkg)+1:])
	d.object(object{
		kind: oprc.KindClass, key: key, pkg: pkg, wanted: wanted, declared: declared,
		doc: func() any { return c }, same: func() bool { return equal(was, now) },
	})
}

func (d *diff) has(pkg string) bool { _, ok := d.packages[pkg]; return ok }

// retired reports whether a class that is marked for removal has gone everywhere:
// then its document goes too.
func (d *diff) retired(c oprc.Class) bool {
	return c.MarkForRemoval && !slices.ContainsFunc(d.known[c.Key], func(u known) bool {
		s := d.Live.Statuses[u.env][u.id]
		return u.Runs() || s.Condition != oprc.Deleted || s.Generation < u.Generation
	})
}

// deployment compares a placement with the recorded one.
func (d *diff) deployment(pkg, key string) {
	dep, wanted := d.placed[key]
	if wanted && dep.Pkg != pkg {
		return // another planned package deploys the class now
	}
	live := d.Live.Packages[pkg].Spec
	was, declared := deploymentFor(live, key)
	now, asked := deploymentFor(d.packages[pkg], key)
	recorded, placed := d.Live.Deployments[key]
	same := func() bool { return equal(was, now) }
	o := object{
		kind: oprc.KindDeployment, key: key, pkg: pkg, wanted: wanted, declared: declared && placed,
		same: same, otherwise: ReasonPlacement, gone: ReasonRemoved,
		doc: func() any { return dep },
	}
	if wanted && placed && reflect.DeepEqual(dep, recorded) {
		o.hash = d.Live.Digests[subject(oprc.KindDeployment, key)].Hash
	}
	if asked {
		o.gone = ReasonDisabled
	}
	if slices.Contains(d.Scope.Restart, key) {
		o.otherwise = ReasonRestart
	}
	if asked && o.hash == "" && o.otherwise != ReasonRestart && d.affected[pkg] && !d.sameClassAsk(key) {
		o.otherwise = ReasonInherited
	}
	d.object(o)
}

// An object is one document of the catalogue to compare.
type object struct {
	kind      oprc.Kind
	key, pkg  string
	wanted    bool
	declared  bool        // the live spec has it
	doc       func() any  // the new document
	hash      string      // its digest, where that is known; else ""
	same      func() bool // its own part of the spec is as before
	otherwise Reason      // why it changes if it is; default inherited
	gone      Reason      // why it goes; default removed
}

// object decides about one document of the catalogue.
func (d *diff) object(o object) {
	digest, stored := d.Live.Digests[subject(o.kind, o.key)]
	c := Change{Kind: o.kind, Key: o.key, Package: o.pkg}
	switch {
	case !o.wanted && !stored:
		return
	case !o.wanted:
		c.Actions, c.Reason = []Action{Delete}, ReasonRemoved
		if o.gone != "" {
			c.Reason = o.gone
		}
		d.add(c)
		return
	}
	doc := o.doc()
	if o.hash == "" {
		o.hash = d.digests.Digest(doc)
	}
	switch {
	case !stored:
		c.Actions, c.Reason = []Action{Create}, ReasonNew
		if o.declared || !d.affected[o.pkg] {
			c.Reason = ReasonNoReport
		}
	case o.hash == digest.Hash && !d.Live.Damaged[subject(o.kind, o.key)]:
		d.unchanged++
		return
	case !d.affected[o.pkg] && o.kind != oprc.KindDeployment, o.hash == digest.Hash:
		c.Actions, c.Reason = []Action{Update}, ReasonDrift
	default:
		c.Actions, c.Reason = []Action{Update}, ReasonSpec
		if o.same() {
			c.Reason = ReasonInherited
			if o.otherwise != "" {
				c.Reason = o.otherwise
			}
		}
	}
	c.doc, c.Will = doc, o.hash
	d.add(c)
}

// equal compares two parts of specs.
func equal[T any](a, b T) bool { return reflect.DeepEqual(a, b) || oprc.Digest(a) == oprc.Digest(b) }

func classOf(unit string) (string, bool) {
	for i := range len(unit) {
		if unit[i] == '/' {
			return unit[:i], i > 0
		}
	}
	return "", false
}
