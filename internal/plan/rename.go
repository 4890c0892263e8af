package plan

import (
	"encoding/json"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// markRenames finds created objects that have the content of a deleted one under
// another name. They stay a create and a delete; the mark is for the reader.
func (a *attempt) markRenames(changes []Change) {
	renamed := map[string]string{} // "<kind>/<new key>" -> old key
	a.match(changes, renamed, oprc.KindPackage, func(c *Change) any { return packageContent(c) })
	home := func(pkg string) string {
		if old, ok := renamed[subject(oprc.KindPackage, pkg)]; ok {
			return old
		}
		return pkg
	}
	for _, kind := range []oprc.Kind{oprc.KindFunction, oprc.KindClass} {
		a.match(changes, renamed, kind, func(c *Change) any { return a.content(c, home(c.Package)) })
	}
	if len(renamed) == 0 {
		return
	}
	gone := map[string]bool{}
	for _, c := range changes {
		if c.Actions[0] == Delete {
			gone[subject(c.Kind, c.Key)] = true
		}
	}
	for i := range changes {
		c := &changes[i]
		cls, rest := c.Key, ""
		if c.Kind == oprc.KindUnit {
			cls, rest, _ = strings.Cut(c.Key, "/")
			rest = "/" + rest
		}
		old, ok := renamed[subject(oprc.KindClass, cls)]
		if ok && c.Actions[0] == Create && gone[subject(c.Kind, old+rest)] {
			c.RenamedFrom = old + rest
		}
		if old, ok := renamed[subject(c.Kind, c.Key)]; ok {
			c.RenamedFrom = old
		}
	}
}

// match pairs created with deleted objects of equal content, in key order.
func (a *attempt) match(changes []Change, renamed map[string]string, kind oprc.Kind, content func(*Change) any) {
	gone := map[string][]string{}
	for i := range changes {
		if c := &changes[i]; c.Kind == kind && c.Actions[0] == Delete {
			if doc := content(c); doc != nil {
				gone[oprc.Digest(doc)] = append(gone[oprc.Digest(doc)], c.Key)
			}
		}
	}
	if len(gone) == 0 {
		return
	}
	for i := range changes {
		c := &changes[i]
		if c.Kind != kind || c.Actions[0] != Create {
			continue
		}
		doc := content(c)
		if doc == nil {
			continue
		}
		if old := gone[oprc.Digest(doc)]; len(old) > 0 {
			renamed[subject(kind, c.Key)], gone[oprc.Digest(doc)] = old[0], old[1:]
		}
	}
}

// packageContent is what a package says but for its name.
func packageContent(c *Change) any {
	raw := c.After
	if raw == nil {
		raw = c.Before
	}
	var p oprc.Package
	if raw == nil || json.Unmarshal(raw, &p) != nil {
		return nil
	}
	p.Name = ""
	return p
}

// content is a function or class as its package spells it, but for its name,
// together with the package that it belongs or belonged to.
func (a *attempt) content(c *Change, home string) any {
	spec := a.packages[c.Package]
	if c.Actions[0] == Delete {
		spec = a.Live.Packages[c.Package].Spec
	}
	name := strings.TrimPrefix(c.Key, c.Package+".")
	if c.Kind == oprc.KindFunction {
		f, ok := functionNamed(spec, name)
		f.Name = ""
		return optional(ok, []any{home, f})
	}
	k, ok := classNamed(spec, name)
	k.Name = ""
	return optional(ok, []any{home, k})
}

func optional(ok bool, v any) any {
	if !ok {
		return nil
	}
	return v
}
