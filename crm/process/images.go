package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/crm"
)

// A Command is what runs in place of an image.
type Command struct {
	Command    []string          `json:"command"`              // program and arguments
	Env        map[string]string `json:"env,omitempty"`        // besides what the unit says
	Dir        string            `json:"dir,omitempty"`        // where it runs; default, and what a relative one starts from: the images file's directory
	HealthPath string            `json:"healthPath,omitempty"` // answers 2xx or 3xx when the function is ready; default "/health"
	StartTime  Duration          `json:"startTime,omitempty"`  // in which it must answer; default 2m
}

// Images maps images to commands. A name that is not found is matched against the
// patterns among them, the longest first: "*" at the end stands for anything,
// elsewhere as in path.Match.
type Images map[string]Command

// A Duration is a time.Duration that JSON spells as "90s".
type Duration time.Duration

// UnmarshalText reads the spelling of time.ParseDuration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText is the inverse of UnmarshalText.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// LoadImages reads a JSON file {"images": {IMAGE or pattern: Command}}.
func LoadImages(file string) (Images, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := strict(text); err != nil {
		return nil, fmt.Errorf("%s:%w", file, err)
	}
	var doc struct {
		Images Images `json:"images"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	base, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	for name, c := range doc.Images {
		if err := c.check(name); err != nil {
			return nil, fmt.Errorf("%s: image %q: %w", file, name, err)
		}
		if !filepath.IsAbs(c.Dir) {
			c.Dir = filepath.Join(base, c.Dir)
		}
		doc.Images[name] = c
	}
	return doc.Images, nil
}

// fields are the names in an images file, by depth: encoding/json would also take them
// in other cases, twice, and followed by anything.
var fields = map[int][]string{1: {"images"}, 3: {"command", "env", "dir", "healthPath", "startTime"}}

// strict reports the first unknown or repeated name, and what follows the document, as
// line:column: what.
func strict(text []byte) error {
	in := json.NewDecoder(bytes.NewReader(text))
	var open []map[string]bool // names in the objects that are open; nil for a list
	name := false              // a name comes next
	for {
		from := in.InputOffset()
		token, err := in.Token()
		at := position(text, from)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", at, err)
		}
		word, isWord := token.(string)
		switch {
		case name && isWord:
			if known := fields[len(open)]; known != nil && !slices.Contains(known, word) {
				return fmt.Errorf("%s: unknown field %q, known are %s", at, word, strings.Join(known, ", "))
			}
			if open[len(open)-1][word] {
				return fmt.Errorf("%s: %q stands here again", at, word)
			}
			open[len(open)-1][word] = true
			name = false
			continue
		case token == json.Delim('{'):
			open, name = append(open, map[string]bool{}), true
			continue
		case token == json.Delim('['):
			open, name = append(open, nil), false
			continue
		case token == json.Delim('}'), token == json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			if rest := bytes.TrimSpace(text[in.InputOffset():]); len(rest) > 0 {
				return fmt.Errorf("%s: something follows the document", position(text, in.InputOffset()))
			}
			return nil
		}
		name = open[len(open)-1] != nil
	}
}

// position is line:column of the token that follows an offset.
func position(text []byte, offset int64) string {
	before := text[:len(text)-len(bytes.TrimLeft(text[offset:], " \t\r\n,:"))]
	return fmt.Sprintf("%d:%d", bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n'))
}

func (c Command) check(name string) error {
	if len(c.Command) == 0 || c.Command[0] == "" {
		return errors.New("no command")
	}
	if c.HealthPath != "" && !strings.HasPrefix(c.HealthPath, "/") {
		return fmt.Errorf("healthPath %q does not begin with a slash", c.HealthPath)
	}
	_, err := path.Match(name, "")
	return err
}

// find returns the command for an image.
func (m Images) find(image string) (Command, error) {
	if c, ok := m[image]; ok {
		return c, nil
	}
	best := ""
	for pattern := range m {
		if matches(pattern, image) && (len(pattern) > len(best) || len(pattern) == len(best) && pattern < best) {
			best = pattern
		}
	}
	if best == "" {
		return Command{}, fmt.Errorf("image %q: %w: the images file has no command for it", image, crm.ErrInvalid)
	}
	return m[best], nil
}

func matches(pattern, image string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok && !strings.ContainsAny(prefix, "*?[") {
		return strings.HasPrefix(image, prefix)
	}
	ok, err := path.Match(pattern, image)
	return ok && err == nil
}
