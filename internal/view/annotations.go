package view

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// annotations are GitHub workflow commands, one a line, which the web page shows
// beside the line they are about.
func annotations(ds oprc.Diagnostics) string {
	var b strings.Builder
	for _, d := range ds {
		msg := d.Message
		if d.Hint != "" {
			msg += " (" + d.Hint + ")"
		}
		b.WriteString(annotation(level(d.Severity, "notice"), d.Position, string(d.Code), msg))
	}
	return b.String()
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
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

// property escapes a property of a workflow command.
func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
