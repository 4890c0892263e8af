package view

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// mostAnnotations is how many annotations GitHub shows of a step. Others are lost without
// a word.
const mostAnnotations = 10

// annotations are GitHub workflow commands, one a line, which the web page shows
// beside the line they are about: errors first, and what does not fit in the last one.
func annotations(ds oprc.Diagnostics, o Output) string {
	ds = bySeverity(ds)
	var b strings.Builder
	for i, d := range ds {
		if left := len(ds) - i; i == mostAnnotations-1 && left > 1 {
			b.WriteString(moreFindings(ds[i:], o))
			break
		}
		b.WriteString(findingAnnotation(d, o))
	}
	return b.String()
}

func findingAnnotation(d oprc.Diagnostic, o Output) string {
	msg := d.Message
	if d.Hint != "" {
		msg += " (" + d.Hint + ")"
	}
	d.File = o.path(d.File)
	return annotation(level(d.Severity, "notice"), d.Position, string(d.Code), msg)
}

// moreFindings is one annotation for many findings.
func moreFindings(ds oprc.Diagnostics, o Output) string {
	lines := []string{count(len(ds), "more finding") + ":"}
	for _, d := range ds {
		d.File = o.path(d.File)
		lines = append(lines, clean(d.String()))
	}
	return annotation(level(ds[0].Severity, "notice"), oprc.Position{}, "oprc", within(strings.Join(lines, "\n")))
}

// within shortens the message of an annotation, of which GitHub keeps 64 KB.
func within(s string) string {
	const most = 16000
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + " …"
}

// annotations are at most ten, the most important first: why the plan is refused, each
// removal, and what changes at the lines that change it. What does not fit is in the last
// of its sort, so that no removal is lost.
func (d planDigest) annotations(o Output) string {
	var lines []string
	if d.refusal != nil {
		level := "error"
		if d.refusal.Verdict == Held {
			level = "warning"
		}
		lines = append(lines, annotation(level, oprc.Position{}, "oprc plan: "+strings.ToLower(d.refusal.title()), d.refusal.sentence(d.Plan)))
		lines = append(lines, d.findingAnnotations(o)...)
	}
	lines = append(lines, d.removalAnnotations(o, mostAnnotations-1-len(lines))...)
	if !d.Plan.Empty() || d.refusal == nil {
		lines = append(lines, annotation("notice", oprc.Position{}, "oprc plan", PlanSummary(d.Plan)))
	}
	for _, l := range d.changeAnnotations(o) {
		if len(lines) == mostAnnotations {
			break
		}
		lines = append(lines, l)
	}
	return strings.Join(lines, "")
}

// findingAnnotations are those of a refusal, five at most.
func (d planDigest) findingAnnotations(o Output) []string {
	const most = 5
	found := d.refusal.Findings
	var lines []string
	for i, f := range found {
		if i == most-1 && len(found) > most {
			return append(lines, moreFindings(found[i:], o))
		}
		lines = append(lines, findingAnnotation(f, o))
	}
	return lines
}

// removalAnnotations are one for each removal, or as many as there is room for with all
// the others in the last.
func (d planDigest) removalAnnotations(o Output, room int) []string {
	title := "oprc plan: " + strings.ToLower(removalTitle(d.Plan))
	if room < 1 {
		room = 1
	}
	var lines []string
	for i, r := range d.removals {
		if i == room-1 && len(d.removals) > room {
			names := []string{fmt.Sprintf("and %d more:", len(d.removals)-i)}
			for _, r := range d.removals[i:] {
				names = append(names, r.plain())
			}
			return append(lines, annotation("warning", oprc.Position{}, title, within(strings.Join(names, "\n"))))
		}
		at := d.site(r)
		at.File = o.path(at.File)
		verb := "deletes "
		if r.kind == oprc.KindUnit {
			verb = "undeploys "
		}
		lines = append(lines, annotation("warning", at, title, verb+r.plain()))
	}
	return lines
}

// site is where a file stopped asking for an object; the zero Position where none did.
func (d planDigest) site(r removal) oprc.Position {
	for _, c := range d.Plan.Changes {
		if c.Kind != oprc.KindPackage || c.Key != r.pkg {
			continue
		}
		name := strings.TrimPrefix(r.key, r.pkg+".")
		for _, f := range c.Fields {
			if f.File != "" && len(f.After) == 0 && strings.HasSuffix(f.Path, "/"+name) {
				return oprc.Position{File: f.File, Line: f.Line}
			}
		}
	}
	return oprc.Position{}
}

// changeAnnotations stand at the lines that change something.
func (d planDigest) changeAnnotations(o Output) []string {
	var lines []string
	for _, c := range d.Plan.Changes {
		for _, f := range c.Fields {
			if f.File == "" || c.Kind == oprc.KindUnit || c.Kind == oprc.KindPackage && partOfPackage(f.Path) {
				continue
			}
			lines = append(lines, annotation("notice", oprc.Position{File: o.path(f.File), Line: f.Line},
				string(c.Kind)+" "+c.Key, fieldText(f, 200)))
		}
	}
	return lines
}

func annotation(level string, at oprc.Position, title, message string) string {
	var props []string
	if at.File != "" {
		props = append(props, "file="+property(filepath.ToSlash(at.File)))
	}
	if at.Line > 0 {
		props = append(props, fmt.Sprintf("line=%d", at.Line))
	}
	if at.Column > 0 {
		props = append(props, fmt.Sprintf("col=%d", at.Column))
	}
	props = append(props, "title="+property(title))
	return fmt.Sprintf("::%s %s::%s\n", level, strings.Join(props, ","), data(message))
}

// level is the severity in the words of GitHub and SARIF, which differ in the
// last one.
func level(s oprc.Severity, info string) string {
	switch s {
	case oprc.SeverityError:
		return "error"
	case oprc.SeverityWarning:
		return "warning"
	}
	return info
}

// data escapes the message of a workflow command.
func data(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", "##[", "##\u200b[").Replace(s)
}

// property escapes a property of a workflow command.
func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C", "##[", "##\u200b[").Replace(s)
}
