package plan

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Removals lists what the plan takes away, as "<kind>/<key>", sorted: the objects that it
// deletes, and the units that it undeploys for another reason than that placement moves
// them. Whoever consents to a plan consents to these.
func (p *Plan) Removals() []string {
	var out []string
	for _, c := range p.Changes {
		if slices.Contains(c.Actions, Delete) && !(c.Kind == oprc.KindUnit && c.Reason == ReasonPlacement) {
			out = append(out, subject(c.Kind, c.Key))
		}
	}
	slices.Sort(out)
	return out
}

// Moved lists what the plan rests on and is no longer so in live state, each from what to
// what, sorted.
func (p *Plan) Moved(live Live) []string {
	var moved []string
	for name, rev := range p.Base.Packages {
		if now := live.Packages[name].Rev; now != rev {
			moved = append(moved, fmt.Sprintf("package/%s: revision %s, now %s", name, revision(rev), revision(now)))
		}
	}
	for name, rev := range p.Base.Environments {
		if now := live.Environments[name].Rev; now != rev {
			moved = append(moved, fmt.Sprintf("environment/%s: revision %s, now %s", name, revision(rev), revision(now)))
		}
	}
	for name, was := range p.Base.Observed {
		state, known := live.Environments[name]
		if !known {
			moved = append(moved, fmt.Sprintf("environment/%s: %s, now unheard of", name, was))
		} else if now := state.Observed(); !now.Equal(was) {
			moved = append(moved, fmt.Sprintf("environment/%s: %s, now %s", name, was, now))
		}
	}
	slices.Sort(moved)
	return moved
}

func revision(n int64) string {
	if n == 0 {
		return "absent"
	}
	return strconv.FormatInt(n, 10)
}

// Differences says how another plan of the same request differs from p: which changes
// came, went or are others, which findings, what is kept back or owned by others did, and
// what the scope is. Where p is not now, it names something. It is sorted.
func (p *Plan) Differences(now *Plan) []string {
	var out []string
	was := map[string]Change{}
	for _, c := range p.Changes {
		was[subject(c.Kind, c.Key)] = c
	}
	for _, c := range now.Changes {
		object := subject(c.Kind, c.Key)
		old, both := was[object]
		delete(was, object)
		switch {
		case !both:
			out = append(out, fmt.Sprintf("%s: to %s now (%s)", object, c.Actions[0], c.Reason))
		case !slices.Equal(old.Actions, c.Actions):
			out = append(out, fmt.Sprintf("%s: was to %s, now to %s (%s)", object, old.Actions[0], c.Actions[0], c.Reason))
		case old.Was != c.Was:
			out = append(out, object+": recorded otherwise now")
		case old.Will != c.Will:
			out = append(out, object+": will be another now")
		case old.Reason != c.Reason || old.Package != c.Package:
			out = append(out, fmt.Sprintf("%s: was to %s because of %s, now of %s", object, c.Actions[0], old.Reason, c.Reason))
		}
	}
	for object, c := range was {
		out = append(out, fmt.Sprintf("%s: not to %s any more", object, c.Actions[0]))
	}
	out = append(out, foundOnlyIn(now, p, "found now: ")...)
	out = append(out, foundOnlyIn(p, now, "not found any more: ")...)
	out = append(out, namedOnlyIn(now.Kept, p.Kept, "kept as it is now: ")...)
	out = append(out, namedOnlyIn(p.Kept, now.Kept, "not kept as it is any more: ")...)
	out = append(out, namedOnlyIn(now.Conflicts, p.Conflicts, "in conflict now: ")...)
	out = append(out, namedOnlyIn(p.Conflicts, now.Conflicts, "not in conflict any more: ")...)
	if was, is := oprc.MustCanonical(p.Scope), oprc.MustCanonical(now.Scope); !bytes.Equal(was, is) {
		out = append(out, fmt.Sprintf("scope: it was %s, now %s", was, is))
	}
	if len(out) == 0 { // the same is decided about something else, or in another order
		out = append(out, "request: it asks for something else than what was planned")
	}
	slices.Sort(out)
	return out
}

func foundOnlyIn(p, other *Plan, prefix string) []string {
	var out []string
	for _, d := range p.Diagnostics {
		same := func(o oprc.Diagnostic) bool {
			return o.Code == d.Code && o.Severity == d.Severity && o.Package == d.Package && o.Pointer == d.Pointer && o.Message == d.Message
		}
		if !slices.ContainsFunc(other.Diagnostics, same) {
			out = append(out, fmt.Sprintf("%s%s %s: %s", prefix, d.Severity, d.Code, d.Message))
		}
	}
	return out
}

// namedOnlyIn lists which of names are not among others.
func namedOnlyIn(names, others []string, prefix string) []string {
	var out []string
	for _, name := range names {
		if !slices.Contains(others, name) {
			out = append(out, prefix+name)
		}
	}
	return out
}

// Revision is the revision of an object "<kind>/<key>" of the catalogue; 0 where it is
// absent.
func (l Live) Revision(object string) int64 {
	kind, key, _ := strings.Cut(object, "/")
	switch oprc.Kind(kind) {
	case oprc.KindPackage:
		return max(l.Packages[key].Rev, l.Digests[object].Rev)
	case oprc.KindEnv:
		return l.Environments[key].Rev
	}
	return l.Digests[object].Rev
}

// Class is the class that a change of a deployment or unit is about; "" for other kinds.
func (c Change) Class() string {
	switch c.Kind {
	case oprc.KindDeployment:
		return c.Key
	case oprc.KindUnit:
		cls, _ := classOf(c.Key)
		return cls
	}
	return ""
}

// Classes names the classes whose placement or units the plan changes, and those whose
// units follow from a package that it changes: that a unit was found to be right already
// holds only as long as nobody else sends to it, and units are under no version of the
// catalogue.
func (p *Plan) Classes() map[string]bool {
	classes := map[string]bool{}
	maps.Copy(classes, p.rests)
	for _, c := range p.Changes {
		if cls := c.Class(); cls != "" {
			classes[cls] = true
		}
	}
	return classes
}

// rests names the placed classes of the packages that change or depend on one that does.
func (a *attempt) rests() map[string]bool {
	out := map[string]bool{}
	for cls, d := range a.placed {
		if a.affected[d.Pkg] {
			out[cls] = true
		}
	}
	return out
}
