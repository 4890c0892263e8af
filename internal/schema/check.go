package schema

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A checker walks one document against the definitions. It collects findings and
// leaves the document in canonical spelling; what does not fit stays, and the
// decoder passes over it.
type checker struct {
	model  *definitions
	file   string
	strict bool
	quiet  bool // for those who want the canonical tree alone
	found  oprc.Diagnostics

	passOver bool // what belongs to other systems; an error where somebody named the file
}

func (c *checker) report(code oprc.Code, at *yaml.Node, p *path, hint, format string, args ...any) {
	if c.quiet || c.full() {
		return
	}
	d := finding(code, oprc.Position{File: c.file, Line: at.Line, Column: at.Column}, p.step()+fmt.Sprintf(format, args...))
	d.Pointer, d.Hint = p.pointer(), hint
	c.found = append(c.found, d)
	if c.full() {
		d := finding(oprc.CodeLimits, d.Position, fmt.Sprintf("the document has more than %d findings; the others are not shown", maxFindings))
		c.found = append(c.found, d)
	}
}

// maxFindings is how many findings of one document are reported.
const maxFindings = 1000

func (c *checker) full() bool { return len(c.found) >= maxFindings }

// spot is where a value stands in the definitions: its field, and the definition
// that has the field.
type spot struct {
	def   *definition
	field *field
}

func (s spot) code() oprc.Code {
	if s.field == nil {
		return oprc.CodeType
	}
	return s.field.code
}

// hint is advice for a value of the right type that is out of range.
func (s spot) hint(v *value, n *yaml.Node) string {
	if better := better(v, n.Value); better != "" {
		return better
	}
	if s.field == nil {
		return ""
	}
	hint := outOfRange[strings.TrimPrefix(s.def.name, compatible)+"."+s.field.name]
	switch {
	case hint != "":
	case s.field.fallback != "":
		hint = "leave it out for the default, " + s.field.fallback
	case !s.field.required && v.low != nil && v.low.limit <= 0:
		hint = "leave it out when it is not set"
	}
	return hint
}

// value checks one value and reports whether it is there: a null list or mapping
// is not.
func (c *checker) value(v *value, n *yaml.Node, p *path, s spot) bool {
	switch v.shape {
	case textShape:
		if v.def != nil && n.Kind == yaml.MappingNode {
			c.structure(v.def, n, p, s)
		} else {
			c.text(v, n, p, s)
		}
	case intShape, numberShape:
		c.number(v, n, p, s)
	case boolShape:
		if _, ok := boolean(n); !ok {
			c.mismatch(v, n, p, boolHint(n))
		}
	case listShape, mapShape, structShape:
		if isNull(n) && !c.strict {
			c.report(oprc.CodeLegacy, p.anchor(n), p, "remove it, or write "+empty[v.shape], "%s: nothing stands here; it is read as empty", p.label())
			return false
		}
		c.collection(v, n, p, s)
	default:
		c.free(n, p)
	}
	return true
}

var empty = map[shape]string{listShape: "[]", mapShape: "{}", structShape: "{}"}

func (c *checker) collection(v *value, n *yaml.Node, p *path, s spot) {
	switch v.shape {
	case listShape:
		if n.Kind != yaml.SequenceNode {
			c.mismatch(v, n, p, listHint(v, n))
			return
		}
		for i, item := range n.Content {
			if isNull(item) && v.elem.shape == structShape {
				c.mismatch(v.elem, item, p.item(i), "remove the empty item")
				continue
			}
			c.value(v.elem, item, p.item(i), s)
		}
	case mapShape:
		if n.Kind != yaml.MappingNode {
			c.mismatch(v, n, p, "")
			return
		}
		c.entries(n, p, func(val *yaml.Node, p *path) {
			if v.key != nil && !v.key.allows(p.key.Value) {
				c.report(s.code(), p.key, p, "", "%s: expected %s as key, got %q", p.label(), expected(v.key), shorten(p.key.Value))
			}
			c.value(v.elem, val, p, s)
		})
	case structShape:
		c.structure(v.def, n, p, s)
	}
}

// entries visits the fields of a free mapping, and refuses repeated keys and
// keys that are no text.
func (c *checker) entries(n *yaml.Node, p *path, visit func(*yaml.Node, *path)) {
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	kept := n.Content[:0]
	for i := 0; i < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || isNull(key) {
			c.report(oprc.CodeType, key, p, "", "expected a text as key, got %s", got(key))
			continue
		}
		at := p.field(key.Value, key)
		if first := seen[key.Value]; first != nil {
			c.report(oprc.CodeDuplicate, key, at, "remove one of them", "the key `%s` stands here again; it is first on line %d", shorten(key.Value), first.Line)
			continue
		}
		seen[key.Value] = key
		visit(val, at)
		kept = append(kept, key, val)
	}
	n.Content = kept
}

// free checks what is handed on as it is: any JSON value.
func (c *checker) free(n *yaml.Node, p *path) {
	switch n.Kind {
	case yaml.MappingNode:
		c.entries(n, p, c.free)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			c.free(item, p.item(i))
		}
	case yaml.ScalarNode:
		f, finite := float(n)
		if inexact(n) {
			c.tooLarge(n, p, asText(n))
		} else if lossy(n) {
			c.rounded(n, p, asText(n))
		} else if (n.Tag == tagInt || n.Tag == tagFloat) && finite {
			c.oddNumber(n, p, f)
		} else if n.Tag == tagInt || n.Tag == tagFloat {
			c.report(oprc.CodeType, n, p, "quote it", "%s: expected a finite number, got %s", p.label(), got(n))
		} else if !isText(n) && !isBare(n) && !isNull(n) {
			c.report(oprc.CodeType, n, p, "remove the tag", "%s: expected a plain value, got %s", p.label(), got(n))
		}
	}
}

func (c *checker) text(v *value, n *yaml.Node, p *path, s spot) {
	was := *n // for a finding says what was written
	switch {
	case isText(n):
	case isBare(n) && c.strict:
		c.mismatch(v, n, p, fmt.Sprintf("quote it: %q", n.Value))
		return
	case isBare(n):
	default:
		c.mismatch(v, n, p, "")
		return
	}
	n.Tag = tagStr
	switch {
	case v.enum != nil:
		c.enumeration(v, n, p, s, was)
	case !v.allows(n.Value):
		c.report(s.code(), n, p, s.hint(v, n), "%s: expected %s, got %s", p.label(), expected(v), got(&was))
		switch {
		case v.name == "Quantity":
			n.Tag = tagInvalid
		case s.code() == oprc.CodeMacro && n.Value == "$":
			n.Value = "@"
		}
	case bareName[was.Tag] != "":
		c.report(oprc.CodeCoerced, n, p, "quote it", "%s: expected a text, got a %s; it is read as the text that is written", p.label(), bareName[was.Tag])
	}
}

// allows reports whether a text keeps the limits of the definitions.
func (v *value) allows(text string) bool {
	runes := utf8.RuneCountInString(text)
	return (v.pattern == nil || v.pattern.MatchString(text)) && runes >= v.minRunes && (v.maxRunes == 0 || runes <= v.maxRunes)
}

var bareName = map[string]string{tagInt: "number", tagFloat: "number", tagBool: "boolean"}

// enumeration checks a word against those allowed, and maps older words.
func (c *checker) enumeration(v *value, n *yaml.Node, p *path, s spot, was yaml.Node) {
	for _, word := range v.enum {
		if word == n.Value {
			return
		}
	}
	written := got(&was)
	var now string
	if s.field != nil {
		now = s.field.was[n.Value]
	}
	code := oprc.CodeEnum
	if s.code() == oprc.CodeStateType {
		code = oprc.CodeStateType
	}
	near := nearest(n.Value, v.enum)
	if kind := keyTypes[strings.ToLower(n.Value)]; v.name == "KeyType" && kind != "" {
		near = kind
	}
	switch {
	case now != "" && c.strict:
		c.report(code, n, p, fmt.Sprintf("use %s; the older word is accepted without --strict", now), "%s: expected %s, got %s", p.label(), expected(v), written)
		n.Value = now
	case now != "":
		c.report(oprc.CodeLegacy, n, p, "write "+now, "%s: %s is an older word for %s", p.label(), n.Value, now)
		n.Value = now
	case near != "":
		c.report(code, n, p, fmt.Sprintf("did you mean `%s`?", near), "%s: expected %s, got %s", p.label(), expected(v), written)
		n.Value = near
	default:
		c.report(code, n, p, "", "%s: expected %s, got %s", p.label(), expected(v), written)
		n.Tag = tagInvalid
	}
}

func (c *checker) number(v *value, n *yaml.Node, p *path, s spot) {
	var f float64
	var ok bool
	if v.shape == intShape {
		var i int
		i, ok = integer(n)
		f = float64(i)
	} else {
		f, ok = float(n)
	}
	switch {
	case inexact(n):
		c.tooLarge(n, p, "write a smaller number")
		n.Tag = tagInvalid
	case lossy(n):
		c.rounded(n, p, "")
		n.Tag = tagInvalid
	case !ok:
		c.mismatch(v, n, p, numberHint(v, n, s))
	case v.low != nil && (f < v.low.limit || v.low.open && f == v.low.limit),
		v.high != nil && (f > v.high.limit || v.high.open && f == v.high.limit):
		c.report(s.code(), n, p, s.hint(v, n), "%s: expected %s, got %s", p.label(), expected(v), got(n))
		n.Tag = tagInvalid
	default:
		c.oddNumber(n, p, f)
	}
}

// tooLarge reports a whole number that JSON cannot hold exactly.
func (c *checker) tooLarge(n *yaml.Node, p *path, hint string) {
	c.report(oprc.CodeType, n, p, hint, "%s: whole numbers beyond ±%d are not exact in JSON, got %s", p.label(), maxExact, shorten(n.Value))
}

// rounded reports a number that would become another one, and says which.
func (c *checker) rounded(n *yaml.Node, p *path, hint string) {
	if f, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), 64); err == nil && f != 0 {
		near := "write " + strconv.FormatFloat(f, 'g', -1, 64)
		hint = strings.TrimSuffix(near+", or "+hint, ", or ")
	}
	c.report(oprc.CodeType, n, p, hint, "%s: JSON holds numbers of 17 digits up to 1.8e308, got %s", p.label(), shorten(n.Value))
}

// asText is the hint for a number that only a text can hold.
func asText(n *yaml.Node) string { return fmt.Sprintf("write it as a text: %q", n.Value) }

// oddNumber reports a number whose spelling readers disagree about.
func (c *checker) oddNumber(n *yaml.Node, p *path, f float64) {
	if oddNumber().MatchString(n.Value) {
		value := strconv.FormatFloat(f, 'f', -1, 64)
		c.report(oprc.CodeCoerced, n, p, "write "+value+", or quote it if it is a text", "%s: %s is read as the number %s", p.label(), n.Value, value)
	}
}

// mismatch reports a value of another type than the definitions allow.
func (c *checker) mismatch(v *value, n *yaml.Node, p *path, hint string) {
	at := n
	if isNull(n) && n.Value == "" {
		at = p.anchor(n) // an absent value has no token of its own
	}
	if hint == "" {
		hint = mismatchHint(v, n)
	}
	if isTemplate(n) {
		c.report(oprc.CodeType, at, p, templateHint, "%s: a template is not YAML; expected %s", p.label(), plainly(v))
		return
	}
	c.report(oprc.CodeType, at, p, hint, "%s: expected %s, got %s", p.label(), expected(v), got(n))
}

// plainly names a value without the rules for it.
func plainly(v *value) string {
	if v.name == "Name" {
		return "a name"
	}
	return expected(v)
}

// expected names what the definitions allow, for the first half of a sentence.
func expected(v *value) string {
	switch v.shape {
	case textShape:
		switch {
		case v.enum != nil:
			return orList(v.enum)
		case v.name == "Name":
			return "a name of letters, digits, dots, dashes and underscores that starts and ends with a letter or digit and has at most 253 characters"
		case v.name == "KubernetesName":
			return "a name of lower-case letters, digits, dots and dashes that starts and ends with a letter or digit and has at most 253 characters"
		case v.name == "LabelKey":
			return "the key of a label: at most 63 letters, digits, dots, dashes and underscores, of which the first and the last are letters or digits, after a domain in lower case and a slash or without them"
		case v.name == "LabelValue":
			return "the value of a label: at most 63 letters, digits, dots, dashes and underscores, of which the first and the last are letters or digits"
		case v.name == "Quantity":
			return "an amount such as 250m, 0.5 or 128Mi"
		case v.pattern != nil:
			return "`@`, the alias of an earlier step, or alias.field"
		case v.minRunes > 0:
			return "a text that is not empty"
		case v.def != nil:
			return fmt.Sprintf("a text or a mapping with `%s`", v.def.fields[0].name)
		}
		return "a text"
	case intShape:
		return "a whole number" + limits(v)
	case numberShape:
		return "a number" + limits(v)
	case boolShape:
		return "true or false"
	case listShape:
		return "a list"
	case mapShape, structShape:
		return "a mapping"
	}
	return "a value"
}

func limits(v *value) string {
	switch {
	case v.low != nil && v.high != nil && v.low.open:
		return fmt.Sprintf(" between %v and %v, neither of them included", v.low.limit, v.high.limit)
	case v.low != nil && v.high != nil:
		return fmt.Sprintf(" from %v to %v", v.low.limit, v.high.limit)
	case v.low != nil:
		return fmt.Sprintf(" of at least %v", v.low.limit)
	}
	return ""
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
