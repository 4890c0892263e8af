package resolve

import (
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// ranges remembers version ranges by their text.
type ranges map[string]*semver.Constraints

func (r *ranges) parse(text string) (*semver.Constraints, error) {
	if c, ok := (*r)[text]; ok {
		return c, nil
	}
	c, err := semver.NewConstraint(text)
	if err != nil {
		return nil, err
	}
	if *r == nil {
		*r = ranges{}
	}
	(*r)[text] = c
	return c, nil
}

// linkRequired finds the packages that others require.
func (w *world) linkRequired() {
	for _, p := range w.packs {
		for i, entry := range p.spec.Required {
			w.require(p, i, entry)
		}
	}
	w.requiredCycles()
}

func (w *world) require(p *pack, i int, entry string) {
	name, wanted, ranged := strings.Cut(entry, "@")
	name = strings.TrimSpace(name)
	pointer := at("required", i)
	if name == "" {
		if ranged {
			w.report(p, oprc.CodeRequired, pointer, "write NAME@RANGE", "required package "+quote(entry)+" has no name")
		}
		return
	}
	to := w.byName[name]
	if to == nil {
		w.report(p, oprc.CodeRequired, pointer, w.nearPackage(name),
			"required package "+quote(name)+" is neither in this change nor live")
		return
	}
	p.dependOn(to)
	p.required = append(p.required, link{to, i})
	if ranged {
		w.checkVersion(p, to, pointer, strings.TrimSpace(wanted))
	}
}

func (w *world) nearPackage(name string) string {
	if near := oprc.Nearest(name, slices.Sorted(maps.Keys(w.byName))); near != "" {
		return didYouMean(near)
	}
	return "apply it together with this one, or before"
}

// checkVersion checks the version of a required package against the range asked.
func (w *world) checkVersion(p, to *pack, pointer, wanted string) {
	constraint, err := w.ranges.parse(wanted)
	if err != nil {
		w.report(p, oprc.CodeRequired, pointer, "write a range such as "+to.name+"@^1.2",
			quote(wanted)+" is not a range of semantic versions")
		return
	}
	if to.spec.Version == "" {
		w.report(p, oprc.CodeRequired, pointer, "give package "+quote(to.name)+" a version, or require it without a range",
			"package "+quote(to.name)+" has no version; "+quote(wanted)+" is required")
		return
	}
	version, err := semver.NewVersion(to.spec.Version)
	if err != nil {
		w.report(p, oprc.CodeRequired, pointer, "versions look like 1.2.3",
			"version "+quote(to.spec.Version)+" of package "+quote(to.name)+" is not a semantic version; "+quote(wanted)+" is required")
		return
	}
	if !constraint.Check(version) {
		hint := "ask for " + to.name + "@^" + to.spec.Version + ", or apply a version in the range"
		if version.Prerelease() != "" {
			hint = "a pre-release is in a range that names one only, such as " + to.name + "@^" + to.spec.Version
		}
		w.report(p, oprc.CodeRequired, pointer, hint, "package "+quote(to.name)+" has version "+to.spec.Version+"; "+quote(wanted)+" is required")
	}
}

// requiredCycles finds packages that require each other.
func (w *world) requiredCycles() {
	g := graph{next: make([][]int, len(w.packs))}
	number := make(map[*pack]int, len(w.packs))
	byName := slices.Clone(w.packs)
	slices.SortFunc(byName, func(a, b *pack) int { return strings.Compare(a.name, b.name) })
	for i, p := range byName {
		number[p] = i
	}
	for i, p := range byName {
		for _, l := range p.required {
			g.next[i] = append(g.next[i], number[l.to])
		}
	}
	g.cycles(func(cycle []step) {
		var names []named
		for _, s := range cycle {
			p := byName[s.node]
			names = append(names, named{key: p.name, name: p.name, pack: p, pointer: at("required", p.required[s.edge].index)})
		}
		w.reportCycle(oprc.CodeRequired, names, "remove one of these requirements", func(_ named, path string) string {
			return "packages require each other: " + path
		})
	})
}
