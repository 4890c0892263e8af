package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/charmbracelet/colorprofile"
)

// Color says when to print colour.
type Color string

// The values of --color.
const (
	ColorAuto   Color = "auto" // on a terminal; NO_COLOR and CLICOLOR_FORCE decide first
	ColorAlways Color = "always"
	ColorNever  Color = "never" // no styles at all, bold included
)

// ParseColor returns the Color that s names; the empty string is auto.
func ParseColor(s string) (Color, error) {
	switch c := Color(s); c {
	case "":
		return ColorAuto, nil
	case ColorAuto, ColorAlways, ColorNever:
		return c, nil
	}
	return "", fmt.Errorf("unknown colour mode %q: one of auto, always, never", s)
}

// NewWriter returns a writer that reduces styled text to what w can show, given
// the process environment ("KEY=value"). Goroutines may share it: what one call
// writes stays together.
func NewWriter(w io.Writer, environ []string, c Color) io.Writer {
	out := colorprofile.NewWriter(w, conventional(environ))
	switch c {
	case ColorNever:
		out.Profile = colorprofile.NoTTY
	case ColorAlways:
		out.Profile = max(out.Profile, colorprofile.ANSI)
	}
	return &shared{w: out}
}

// shared is a writer for several goroutines.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// conventional spells NO_COLOR and CLICOLOR_FORCE as colorprofile reads them: by
// their conventions any value turns the first on, and any but "0" the second;
// NO_COLOR beats the other.
func conventional(environ []string) []string {
	out := slices.Clone(environ)
	noColor := false
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, "NO_COLOR="); ok && v != "" {
			noColor = true
			out = append(out, "NO_COLOR=1")
		}
	}
	for _, kv := range environ {
		v, ok := strings.CutPrefix(kv, "CLICOLOR_FORCE=")
		switch {
		case !ok:
		case noColor || v == "" || v == "0":
			out = append(out, "CLICOLOR_FORCE=0")
		default:
			out = append(out, "CLICOLOR_FORCE=1")
		}
	}
	return out
}
