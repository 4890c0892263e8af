package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Format is a way to print.
type Format string

// The formats. Each command accepts some of them; the zero Format is text.
const (
	Text     Format = "text"
	Wide     Format = "wide" // text with everything
	JSON     Format = "json"
	YAML     Format = "yaml"
	Name     Format = "name" // kind/name, one a line
	Markdown Format = "markdown"
	GitHub   Format = "github" // workflow annotations
	SARIF    Format = "sarif"  // 2.1.0
)

// ParseFormat returns the format that s names, if it is among allowed. The empty
// string is text.
func ParseFormat(s string, allowed ...Format) (Format, error) {
	f := Format(s)
	if s == "" {
		f = Text
	}
	name, text, isTemplate := f.template()
	switch {
	case isTemplate && slices.Contains(allowed, name):
		if _, err := parseTemplate(name, text); err != nil {
			return "", fmt.Errorf("output format %s: %w", name, err)
		}
		return f, nil
	case slices.Contains(allowed, f) && !f.wantsTemplate():
		return f, nil
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = a.usage()
	}
	return "", fmt.Errorf("unknown output format %q: one of %s", s, strings.Join(names, ", "))
}

func (f Format) wantsTemplate() bool { return f == JSONPath || f == CustomColumns || f == GoTemplate }

// usage is how a format is written on the command line.
func (f Format) usage() string {
	if f.wantsTemplate() {
		return string(f) + "=…"
	}
	return string(f)
}

// Usage lists formats as they are written on the command line.
func Usage(formats ...Format) []string {
	out := make([]string, len(formats))
	for i, f := range formats {
		out[i] = f.usage()
	}
	return out
}

// Machine reports whether the format is one document for a program.
func (f Format) Machine() bool {
	_, _, isTemplate := f.template()
	return f == JSON || f == YAML || f == SARIF || f == JUnit || isTemplate
}

// FormatVersion is the version of the documents that machine formats print. They
// only grow.
const FormatVersion = "1.0"

// DefaultMaxBytes bounds Markdown: what a pull request's comment can hold, with room.
const DefaultMaxBytes = 65000

// An Output prints to one stream in one format. Its methods write one document
// each.
type Output struct {
	W        io.Writer
	Format   Format
	MaxBytes int       // of Markdown; 0 means DefaultMaxBytes
	Now      time.Time // what ages are counted from; zero prints timestamps instead
	// Path says where a file is in its repository, for what is shown beside it there:
	// markdown, annotations, SARIF. nil keeps paths as they are.
	Path      func(file string) string
	Columns   int      // of the terminal, for listings in text; 0 does not shorten them
	NoHeaders bool     // tables without their first line
	Mask      []string // patterns of keys whose values are secret, as in plan.Masked; none hides nothing
}

func (o Output) maxBytes() int {
	if o.MaxBytes <= 0 {
		return DefaultMaxBytes
	}
	return o.MaxBytes
}

func (o Output) path(file string) string {
	if o.Path == nil || file == "" {
		return file
	}
	return o.Path(file)
}

// Document prints v, which holds its own formatVersion, as JSON or YAML.
func (o Output) Document(v any) error {
	if o.Format == YAML {
		return writeYAML(o.W, v)
	}
	if _, _, isTemplate := o.Format.template(); isTemplate {
		return o.rendered(v)
	}
	return writeJSON(o.W, v)
}

func (o Output) print(s string) error {
	_, err := io.WriteString(o.W, s)
	return err
}
