package schema

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/oaas-platform/oprc/internal/lazyregexp"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// What people write that is no YAML, or YAML that means something else. Each finding
// says what is there and the line that mends it.

var conflictMark = lazyregexp.New(`(?m)^(<<<<<<<|>>>>>>>)( .*)?\r?$`)

// conflict reports the first conflict of a merge that was not resolved.
func conflict(f oprc.File) *oprc.Diagnostic {
	if !bytes.Contains(f.Data, []byte("<<<<<<<")) && !bytes.Contains(f.Data, []byte(">>>>>>>")) {
		return nil // nearly always, and much quicker found
	}
	m := conflictMark().FindIndex(f.Data)
	if m == nil {
		return nil
	}
	d := finding(oprc.CodeSyntax, positionAt(f.Path, f.Data, m[0]), "a merge conflict is not resolved here")
	d.Hint = "keep one of the two sides, and remove the lines <<<<<<<, ======= and >>>>>>>"
	return &d
}

var (
	template    = lazyregexp.New(`\{\{-?\s*[^}]*\}\}`)
	colonTwice  = lazyregexp.New(`^(\s*(?:- +)*[\w.-]+:\s+)([^\s"'|>\[{#].*:(?: .*|))$`)
	closedEarly = lazyregexp.New(`^(\s*(?:- +)*(?:[\w.-]+:\s+)?)(["'])(.*)$`)
)

// misread finds what was probably meant on the line where the parser stumbled.
func misread(file string, lines [][]byte, at oprc.Position) (oprc.Diagnostic, bool) {
	line := string(bytes.TrimRight(lineAt(lines, at.Line), "\r"))
	report := func(n int, column int, message, hint string) (oprc.Diagnostic, bool) {
		d := finding(oprc.CodeSyntax, oprc.Position{File: file, Line: n, Column: column}, message)
		d.Hint = hint
		return d, true
	}
	for n := at.Line; n >= max(1, at.Line-3); n-- {
		text := string(lineAt(lines, n))
		if i := strings.IndexFunc(text, isInvisible); i >= 0 {
			c, _ := utf8.DecodeRuneInString(text[i:])
			return report(n, 1+utf8.RuneCountInString(text[:i]), invisible(c)+" is in this line, where YAML expects a space", "replace it by a space: "+fixed(strings.Map(visible, text)))
		}
	}
	for n := at.Line; n >= max(1, at.Line-1); n-- {
		text := string(lineAt(lines, n))
		if m := template().FindStringIndex(text); m != nil {
			return report(n, 1+utf8.RuneCountInString(text[:m[0]]), fmt.Sprintf("a template is not YAML: %s", shorten(text[m[0]:m[1]])), "render the template first, and validate what comes out")
		}
	}
	if m := colonTwice().FindStringSubmatch(line); m != nil {
		value := strings.TrimSpace(m[2])
		return report(at.Line, 1+utf8.RuneCountInString(m[1]), fmt.Sprintf("the value %q holds a `:`, which YAML reads as another key", shorten(value)),
			"quote it: "+fixed(m[1]+strconv.Quote(value)))
	}
	if m := closedEarly().FindStringSubmatch(line); m != nil {
		end := strings.Index(m[3], m[2])
		apostrophe := m[2] == "'" && end >= 0 && end+1 < len(m[3]) && isLetter(m[3][end+1])
		if end >= 0 && end+1 < len(m[3]) && (apostrophe || strings.HasSuffix(m[3], m[2])) {
			inside := strings.TrimSuffix(m[3], m[2])
			return report(at.Line, 1+utf8.RuneCountInString(m[1])+1+utf8.RuneCountInString(m[3][:end]), "the quoted text ends here, and more follows on the line",
				"write "+fixed(m[1]+strconv.Quote(inside)))
		}
	}
	for n := at.Line; n >= max(1, at.Line-1); n-- {
		if text := string(lineAt(lines, n)); n < at.Line || strings.HasSuffix(strings.TrimSpace(text), ":") {
			if mended := spaced(text); mended != "" {
				return report(n, 1+len(text)-len(strings.TrimLeft(text, " ")), "a space is missing in "+fixed(text), "write "+fixed(mended))
			}
		}
	}
	if m := keyOfLine().FindStringSubmatch(line); m != nil {
		for n := at.Line - 1; n > 0; n-- {
			above := keyOfLine().FindStringSubmatch(string(lineAt(lines, n)))
			if above == nil || above[1] != m[1] {
				continue
			}
			if above[2] != "" && m[2] == "" && above[3] == m[3] {
				return report(at.Line, at.Column, fmt.Sprintf("`%s` stands in the column of the dashes above, without one", m[3]),
					"write "+fixed("- "+strings.TrimSpace(line))+" if a new item begins here, or indent it as the item's other fields")
			}
			break
		}
	}
	return oprc.Diagnostic{}, false
}

var (
	keyOfLine = lazyregexp.New(`^( *)(- +)?([\w.-]+):(?: |$)`)
	noSpace   = lazyregexp.New(`^( *)((?:- +)*)(-|[–—•] *)?([A-Za-z_]\w*:)([^\s:/].*|\s.*|)$`)
)

// spaced writes a line again that lacks the space behind a dash or a colon, or begins
// with a dash that is none. It returns "" where nothing is missing.
func spaced(line string) string {
	m := noSpace().FindStringSubmatch(strings.TrimRight(line, "\r"))
	if m == nil || m[3] == "" && (m[5] == "" || isSpace(m[5][0])) {
		return ""
	}
	dash := m[2]
	if m[3] != "" {
		dash += "- "
	}
	return strings.TrimRight(m[1]+dash+m[4]+" "+strings.TrimSpace(m[5]), " ")
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// textHint says why a text stands where fields are expected.
func textHint(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	if strings.IndexFunc(first, isInvisible) >= 0 {
		if strings.Count(first, ":") > 1 { // the parser joined several lines
			return "no-break spaces are in this text, where YAML expects spaces: replace each of them by a space"
		}
		return "a no-break space is in this text, where YAML expects a space: write " + fixed(strings.Map(visible, first))
	}
	if mended := spaced(first); mended != "" {
		return "a space is missing: write " + fixed(mended)
	}
	return ""
}

// fixed shows a line as it would be right.
func fixed(line string) string { return "`" + strings.TrimSpace(line) + "`" }

func isInvisible(r rune) bool {
	return r == '\u00a0' || r == '\u200b' || r == '\u2007' || r == '\u202f'
}

func visible(r rune) rune {
	switch {
	case r == '\u200b':
		return -1
	case isInvisible(r):
		return ' '
	}
	return r
}

// isTemplate reports a mapping in a mapping's key: {{ name }} without quotes.
func isTemplate(n *yaml.Node) bool {
	return n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode
}

const templateHint = "render the template first, or quote the text if it is none"

// forgotDash reports whether a key that stands again begins the next item of a list:
// it is the one with which the item begins.
func forgotDash(n, key *yaml.Node, p *path) bool {
	if p == nil || !p.isItem() || n.Style&yaml.FlowStyle != 0 || len(n.Content) < 2 {
		return false
	}
	first, val := n.Content[0], n.Content[1]
	i := slices.Index(n.Content, key)
	return first != key && first.Value == key.Value && key.Line > first.Line && val.Value != n.Content[i+1].Value
}

// unitHint writes as a number what was written with a unit, a percent sign or a
// decimal comma.
func unitHint(v *value, n *yaml.Node, name string) string {
	text := strings.TrimSpace(n.Value)
	write := func(f float64, note string) string {
		if v.shape == intShape && f != float64(int64(f)) {
			return ""
		}
		return "write " + strconv.FormatFloat(f, 'f', -1, 64) + note
	}
	switch d, err := time.ParseDuration(strings.ReplaceAll(text, " ", "")); {
	case err == nil && inMilliseconds[name]:
		return write(float64(d)/float64(time.Millisecond), ": it is in milliseconds")
	case err == nil && v.shape != intShape && d != 0:
		return ""
	}
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(strings.Replace(percent, ",", ".", 1)), 64); err == nil {
			return write(round(f/100), ", a share instead of a percentage")
		}
	}
	if f, err := strconv.ParseFloat(strings.Replace(text, ",", ".", 1), 64); err == nil && strings.Count(text, ",") == 1 {
		return write(f, ", with a dot")
	}
	if thousands, ok := strings.CutSuffix(strings.ToLower(text), "k"); ok {
		if f, err := strconv.ParseFloat(thousands, 64); err == nil {
			return write(f*1000, "")
		}
	}
	return ""
}

var inMilliseconds = map[string]bool{"latency": true, "hardLatency": true, "timeout": true}

// round drops what dividing by 100 adds behind the last digit.
func round(f float64) float64 {
	out, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 12, 64), 64)
	if err != nil {
		return f
	}
	return out
}

// namedValues writes a list of {name, value}, as Kubernetes has them, as a mapping.
func namedValues(n *yaml.Node) string {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return ""
	}
	var parts []string
	for _, item := range n.Content {
		_, name := lookup(item, "name")
		_, val := lookup(item, "value")
		switch {
		case item.Kind == yaml.ScalarNode && strings.Contains(item.Value, "="):
			k, v, _ := strings.Cut(item.Value, "=")
			parts = append(parts, k+": "+strconv.Quote(v))
		case name == nil:
			return ""
		case val == nil || val.Kind != yaml.ScalarNode:
			parts = append(parts, name.Value+": VALUE")
		default:
			parts = append(parts, name.Value+": "+strconv.Quote(val.Value))
		}
	}
	if len(parts) > 4 {
		parts = append(parts[:4], "…")
	}
	return "write it as a mapping: {" + strings.Join(parts, ", ") + "}"
}

// wrapped reports whether a document of another system wraps a package, as
// {apiVersion, kind, metadata: {name}, spec: {classes}}.
func (c *checker) wrapped(root *yaml.Node) string {
	_, spec := lookup(root, "spec")
	if spec == nil {
		return ""
	}
	def := c.model.structs[compatible+"Package"]
	for _, field := range fieldNames(spec) {
		if f := def.byName[field]; f != nil && f.value.shape == listShape {
			_, meta := lookup(root, "metadata")
			name := "NAME"
			if _, n := lookup(meta, "name"); n != nil {
				name = n.Value
			}
			return fmt.Sprintf("a package has no apiVersion, kind, metadata and spec: begin with `name: %s`, and write what is below `spec` at the top", name)
		}
	}
	return ""
}
