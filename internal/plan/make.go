package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Make decides what must change so that the live state becomes what the
// documents ask for, inside the scope. Same input, same bytes.
func Make(in Input) *Plan {
	it := read(in)
	a, findings := it.attempts()
	if a == nil {
		return it.refuse(findings)
	}
	return a.decide(findings)
}

// Check is the findings of the plan that Make makes, in their order, without the
// plan: for many documents that nobody wants to apply it takes a third of the time.
func Check(in Input) oprc.Diagnostics {
	_, findings := read(in).attempts()
	return findings.Sort()
}

// attempts tries until nothing stops the attempt any more; it returns nil for one that
// is refused, and everything that was found.
func (it *intent) attempts() (*attempt, oprc.Diagnostics) {
	findings := append(oprc.Diagnostics{}, it.early...)
	for first := true; ; {
		a := it.attempt()
		if a.disregard() {
			continue
		}
		for _, f := range a.found {
			if first || f.stops() {
				findings = append(findings, f.Diagnostic)
			}
		}
		first = false
		stopped := slices.ContainsFunc(a.found, func(f finding) bool {
			nobodys := f.read && f.subject == "" // an unreadable file: it stops pruning, not the others
			return f.stops() && !(it.KeepGoing && nobodys)
		})
		switch {
		case !it.KeepGoing && (stopped || len(it.conflict) > 0):
			return nil, findings
		case !stopped:
			return a, findings
		case !a.retreat():
			return nil, findings
		}
	}
}

// blank is a plan that does nothing.
func (it *intent) blank(findings oprc.Diagnostics) *Plan {
	return &Plan{
		FormatVersion: FormatVersion,
		Ledger:        it.Live.Ledger,
		Scope:         it.Scope,
		Desired:       it.desired(),
		Base:          Base{Packages: map[string]int64{}, Environments: map[string]int64{}},
		Summary:       Summary{Blast: Blast{Environments: []string{}}},
		Changes:       []Change{},
		Diagnostics:   findings.Sort(),
		Size:          it.Live.size(it.Scope),
		Conflicts:     it.conflict,
	}
}

func (it *intent) refuse(findings oprc.Diagnostics) *Plan { return it.blank(findings).seal() }

// decide compares the attempt with live state.
func (a *attempt) decide(findings oprc.Diagnostics) *Plan {
	d := newDiff(a)
	d.environments()
	for _, name := range slices.Sorted(maps.Keys(a.planned)) {
		d.pkg(name)
	}
	d.units()
	sortChanges(d.changes)
	p := a.blank(append(findings, d.damage()...))
	p.Kept = a.kept()
	if d.changes != nil {
		p.Changes = d.changes
	}
	p.Base = a.base(d)
	p.Summary = summarize(p.Changes, d.unchanged)
	p.decided, p.rests = a, a.rests()
	return p.seal()
}

// Explain returns the plan with what the changed objects are and will be, the fields
// that differ, the lines that set them, and what seems renamed. It is the same decision.
func (p *Plan) Explain() *Plan {
	a := p.decided
	if a == nil {
		return p
	}
	told := *p
	told.decided, told.Changes = nil, slices.Clone(p.Changes)
	for i := range told.Changes {
		if c := &told.Changes[i]; c.doc != nil {
			c.After = oprc.MustCanonical(c.doc)
		}
	}
	a.recall(told.Changes)
	a.compare(told.Changes)
	a.markRenames(told.Changes)
	a.nameCauses(told.Changes)
	return &told
}

// kept lists what stays as it is because of errors or owners.
func (a *attempt) kept() []string {
	var names []string
	for s := range a.held {
		names = append(names, strings.TrimPrefix(s, string(oprc.KindPackage)+"/"))
	}
	for name := range a.broken {
		if a.scope[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// kinds is the order in which changes are listed.
var kinds = []oprc.Kind{
	oprc.KindEnv, oprc.KindPackage, oprc.KindFunction, oprc.KindClass, oprc.KindDeployment, oprc.KindUnit,
}

func sortChanges(changes []Change) {
	slices.SortFunc(changes, func(x, y Change) int {
		if by := slices.Index(kinds, x.Kind) - slices.Index(kinds, y.Kind); by != 0 {
			return by
		}
		return strings.Compare(x.Key, y.Key)
	})
}

// base is the vector of revisions that the changes rest on: of every package that
// owns a changed object, of all that those depend on, and of those that were seen to
// need what is deleted.
func (a *attempt) base(d *diff) Base {
	b := Base{Packages: map[string]int64{}, Environments: map[string]int64{}}
	owners, placed := maps.Clone(d.absent), false
	for _, c := range d.changes {
		if c.Package != "" {
			owners[c.Package] = true
		}
		if slices.Contains(c.Actions, Delete) {
			for _, name := range a.graph.readBy[c.Package] {
				owners[name] = true
			}
		}
		placed = placed || c.Kind == oprc.KindEnv || c.Kind == oprc.KindDeployment || c.Kind == oprc.KindUnit
	}
	for name := range closure(owners, a.graph.reads) {
		if name != oprc.BuiltinPackage {
			b.Packages[name] = a.Live.Packages[name].Rev
		}
	}
	if placed {
		b.Observed = map[string]oprc.Observation{}
		for _, e := range a.environments {
			name := e.Spec.Name
			if state, live := a.Live.Environments[name]; live {
				b.Observed[name] = state.Observed()
			}
			b.Environments[name] = a.Live.Environments[name].Rev
		}
	}
	return b
}
