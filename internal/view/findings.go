package view

import (
	"fmt"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Findings are what a check of files found.
type Findings struct {
	Files       int
	Packages    int
	Diagnostics oprc.Diagnostics // sorted
	// Contents holds the files by path, for the source lines that text shows. It
	// may lack any of them.
	Contents map[string][]byte
}

type findingsDoc struct {
	FormatVersion string           `json:"formatVersion"`
	Summary       findingsSummary  `json:"summary"`
	Diagnostics   oprc.Diagnostics `json:"diagnostics"`
}

type findingsSummary struct {
	Files    int `json:"files"`
	Packages int `json:"packages"`
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
}

func (f Findings) summary() findingsSummary {
	s := findingsSummary{Files: f.Files, Packages: f.Packages, Errors: f.number(oprc.SeverityError)}
	s.Warnings = f.number(oprc.SeverityWarning)
	return s
}

func (f Findings) number(sev oprc.Severity) int {
	n := 0
	for _, d := range f.Diagnostics {
		if d.Severity == sev {
			n++
		}
	}
	return n
}

// Findings prints what a check found, in any format but wide and name.
func (o Output) Findings(f Findings) error {
	f.Diagnostics = oprc.Secrets{Patterns: o.Mask}.Findings(f.Diagnostics)
	switch o.Format {
	case JSON, YAML:
		return o.Document(findingsDoc{FormatVersion, f.summary(), f.Diagnostics})
	case GitHub:
		return o.print(annotations(f.Diagnostics, o))
	case SARIF:
		return writeJSON(o.W, sarifOf(f.Diagnostics, o))
	case Markdown:
		return o.print(f.markdown(o))
	}
	return o.print(f.text(o.Mask))
}

// Remarks prints the findings as text, without a summary, and without those that
// are information only: what a person should see beside a plan.
func (o Output) Remarks(f Findings) error {
	var b strings.Builder
	for _, d := range (oprc.Secrets{Patterns: o.Mask}).Findings(f.Diagnostics) {
		if d.Severity != oprc.SeverityInfo {
			b.WriteString(f.finding(d, o.Mask))
		}
	}
	return o.print(b.String())
}

func (f Findings) text(mask []string) string {
	var b strings.Builder
	older, said := f.older(), map[saying]bool{}
	for _, d := range f.Diagnostics {
		key := saying{d.File, d.Message}
		lines := older[key]
		if d.Code != oprc.CodeLegacy || len(lines) < 2 {
			b.WriteString(f.finding(d, mask))
		} else if !said[key] {
			said[key] = true
			b.WriteString(f.finding(d, mask))
			b.WriteString("      " + faint("= also: ") + "on line " + strings.Join(lines[1:], ", ") + "\n")
		}
	}
	if len(f.Diagnostics) > 0 {
		b.WriteString("\n")
	}
	b.WriteString(f.line(true) + "\n")
	return b.String()
}

// A saying is what findings of one file say, wherever.
type saying struct{ file, message string }

// older lists the lines of each finding about an older spelling. A file that has one
// has many of them: text says each once, with the lines.
func (f Findings) older() map[saying][]string {
	lines := map[saying][]string{}
	for _, d := range f.Diagnostics {
		if d.Code == oprc.CodeLegacy {
			key := saying{d.File, d.Message}
			lines[key] = append(lines[key], strconv.Itoa(d.Line))
		}
	}
	return lines
}

// finding is one diagnostic with the line it is about and a caret below it.
func (f Findings) finding(d oprc.Diagnostic, mask []string) string {
	var b strings.Builder
	if pos := clean(d.Position.String()); pos != "" {
		b.WriteString(bold(pos) + ": ")
	}
	b.WriteString(severity(d.Severity, string(d.Severity)+" "+string(d.Code)) + ": " + clean(d.Message) + "\n")
	if line, ok := sourceLine(f.Contents[d.File], d.Line); ok {
		line = oprc.Secrets{Patterns: mask}.Line(line)
		gutter := fmt.Sprintf("%5d", d.Line)
		b.WriteString(faint(gutter+" | ") + printable(line) + "\n")
		if pad, ok := padding(line, d.Column); ok {
			b.WriteString(faint("      | ") + pad + severity(d.Severity, "^") + "\n")
		}
	}
	if d.Hint != "" {
		b.WriteString("      " + faint("= hint: ") + clean(d.Hint) + "\n")
	}
	return b.String()
}

// line is the summary: "3 errors, 1 warning in 2 files".
func (f Findings) line(colour bool) string {
	s := f.summary()
	where := " in " + count(s.Files, "file")
	if s.Errors+s.Warnings == 0 {
		ok := "OK"
		if colour {
			ok = green(ok)
		}
		return fmt.Sprintf("%s: %s%s", ok, count(s.Packages, "package"), where)
	}
	errs, warns := count(s.Errors, "error"), count(s.Warnings, "warning")
	if colour && s.Errors > 0 {
		errs = red(errs)
	}
	if colour && s.Warnings > 0 {
		warns = yellow(warns)
	}
	return errs + ", " + warns + where
}

func severity(s oprc.Severity, text string) string {
	switch s {
	case oprc.SeverityError:
		return red(text)
	case oprc.SeverityWarning:
		return yellow(text)
	}
	return cyan(text)
}

// sourceLine returns line n of data, counted from 1.
func sourceLine(data []byte, n int) (string, bool) {
	if n < 1 || len(data) == 0 {
		return "", false
	}
	rest := string(data)
	for ; n > 1; n-- {
		_, after, found := strings.Cut(rest, "\n")
		if !found {
			return "", false
		}
		rest = after
	}
	line, _, _ := strings.Cut(rest, "\n")
	line = strings.TrimSuffix(line, "\r")
	return line, strings.TrimSpace(line) != "" && len(line) <= 400
}

// printable is the line as text shows it; padding measures the same text.
func printable(line string) string { return clean(strings.ReplaceAll(line, "\t", "    ")) }

// padding is the white space under line before its column.
func padding(line string, column int) (string, bool) {
	runes := []rune(line)
	if column < 1 || column > len(runes)+1 {
		return "", false
	}
	return strings.Repeat(" ", lipgloss.Width(printable(string(runes[:column-1])))), true
}
