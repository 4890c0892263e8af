package resolve

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// report adds an error about package p.
func (w *world) report(p *pack, code oprc.Code, pointer, hint, message string) {
	w.diagnose(p, oprc.SeverityError, code, pointer, hint, message)
}

// warn adds a warning about package p. What is live was accepted with its
// warnings.
func (w *world) warn(p *pack, code oprc.Code, pointer, hint, message string) {
	if p.doc != nil {
		w.diagnose(p, oprc.SeverityWarning, code, pointer, hint, message)
	}
}

func (w *world) diagnose(p *pack, severity oprc.Severity, code oprc.Code, pointer, hint, message string) {
	d := oprc.Diagnostic{Code: code, Severity: severity, Pointer: pointer, Package: p.name, Message: message, Hint: hint}
	if p.doc != nil {
		d.Position = place(p.doc, pointer)
	}
	w.found = append(w.found, d)
}

// reportDoc adds an error about a document that is no part of the world.
func (w *world) reportDoc(doc *oprc.Document, code oprc.Code, pointer, hint, message string) {
	d := oprc.Diagnostic{Code: code, Severity: oprc.SeverityError, Position: place(doc, pointer), Pointer: pointer, Message: message, Hint: hint}
	if doc.Package != nil {
		d.Package = doc.Package.Name
	}
	w.found = append(w.found, d)
}

func place(doc *oprc.Document, pointer string) oprc.Position {
	pos := doc.Where.At(pointer)
	if pos.File == "" {
		pos.File = doc.Path
	}
	return pos
}

// at builds a JSON pointer from names and indices.
func at(parts ...any) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteByte('/')
		switch v := part.(type) {
		case int:
			b.WriteString(strconv.Itoa(v))
		case string:
			b.WriteString(escape.Replace(v))
		}
	}
	return b.String()
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

func quote(s string) string { return strconv.Quote(s) }

// suggestions finds names that a misspelt reference may have meant. Searching all
// keys is dear, so it is done for the first few references only: who has hundreds
// of them has another problem than spelling.
type suggestions struct {
	classes, functions []string
	searches           int
}

const maxSearches = 20

// nearFunction hints at the function that ref may have meant.
func (w *world) nearFunction(p *pack, ref string) string {
	if lookup(w.classes, p, ref) != nil {
		return quote(ref) + " is a class"
	}
	return suggest(w, "functions", w.functions, &w.near.functions, p, ref, func(p *pack) []string {
		names := make([]string, 0, len(p.functions))
		for _, f := range p.functions {
			names = append(names, f.spec.Name)
		}
		return names
	})
}

// nearClass hints at the class that ref may have meant.
func (w *world) nearClass(p *pack, ref string) string {
	if lookup(w.functions, p, ref) != nil {
		return quote(ref) + " is a function"
	}
	return suggest(w, "classes", w.classes, &w.near.classes, p, ref, func(p *pack) []string {
		names := make([]string, 0, len(p.classes))
		for _, c := range p.classes {
			names = append(names, c.spec.Name)
		}
		return names
	})
}

func suggest[T any](w *world, what string, table map[string]*T, all *[]string, p *pack, ref string, names func(*pack) []string) string {
	name, relative := strings.CutPrefix(ref, ".")
	if own := oprc.Nearest(name, slices.Sorted(slices.Values(names(p)))); own != "" {
		if relative {
			own = "." + own
		}
		return didYouMean(own)
	}
	key := absolute(p, ref)
	if relative && table[name] != nil {
		return "without the leading dot it is " + quote(name)
	}
	if own := oprc.Key(p.name, name); !relative && table[own] != nil {
		return didYouMean("." + name)
	}
	in := p // the package that is meant
	for i := range key {
		if other := w.byName[key[:i]]; key[i] == '.' && other != nil && other != p {
			if near := oprc.Nearest(key[i+1:], slices.Sorted(slices.Values(names(other)))); near != "" {
				return didYouMean(oprc.Key(other.name, near))
			}
			in = other
		}
	}
	if in == p && !relative && w.near.searches < maxSearches {
		w.near.searches++
		if *all == nil {
			*all = slices.Sorted(maps.Keys(table))
		}
		if near := oprc.Nearest(key, *all); near != "" {
			return didYouMean(near)
		}
	}
	if in == p && !relative && strings.Contains(ref, ".") {
		return "" // of a package that is not known
	}
	refs := names(in)
	for i, name := range refs {
		if refs[i] = "." + name; in != p {
			refs[i] = oprc.Key(in.name, name)
		}
	}
	return choice(what+" of package "+quote(in.name), refs)
}

// mostChoices is how many names a hint lists.
const mostChoices = 10

// choice lists names that could have been meant, where they are few.
func choice(what string, names []string) string {
	if len(names) == 0 || len(names) > mostChoices {
		return ""
	}
	return what + ": " + strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return "did you mean " + quote(name) + "?"
}

// path prints a cycle of things as "a -> b -> a", starting at the smallest key:
// the same whatever found it. Within one package the names suffice.
func path(cycle []named) string {
	short := true
	for _, n := range cycle {
		short = short && n.pack == cycle[0].pack
	}
	var b strings.Builder
	for i := range len(cycle) + 1 {
		n := cycle[i%len(cycle)]
		if i > 0 {
			b.WriteString(" -> ")
		}
		if short {
			b.WriteString(n.name)
		} else {
			b.WriteString(n.key)
		}
	}
	return b.String()
}

// A named thing stands in a cycle.
type named struct {
	key, name string
	pack      *pack
	pointer   string // to what leads on to the next
	step      int    // of a macro
}

// rotate makes the smallest key the first.
func rotate(cycle []named) []named {
	first := 0
	for i, n := range cycle {
		if n.key < cycle[first].key {
			first = i
		}
	}
	return append(slices.Clone(cycle[first:]), cycle[:first]...)
}

// reportCycle reports a cycle once in each package that takes part in it.
func (w *world) reportCycle(code oprc.Code, cycle []named, hint string, message func(n named, path string) string) {
	cycle = rotate(cycle)
	seen := map[*pack]bool{}
	for _, n := range cycle {
		if !seen[n.pack] {
			seen[n.pack] = true
			w.report(n.pack, code, n.pointer, hint, message(n, path(cycle)))
		}
	}
}
