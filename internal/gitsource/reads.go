package gitsource

import (
	"strings"

	"github.com/oaas-platform/oprc/internal/ignore"
	"github.com/oaas-platform/oprc/internal/oprc"
)

// Reads returns what a source with this path and these patterns to ignore does with a file
// of its repository, which is named from the root with slashes: reads it, or passes it
// over. Of all others it takes no notice.
func Reads(path string, patterns []string) (func(name string) (reads, passes bool), error) {
	p, err := newPattern(path)
	if err != nil {
		return nil, err
	}
	rules := ignore.Rules{}.With([]byte(strings.Join(patterns, "\n")), nil)
	return func(name string) (reads, passes bool) {
		segments := strings.Split(name, "/")
		ignored := false
		for i, s := range segments {
			if oprc.Hidden(s) {
				return false, false
			}
			ignored = ignored || rules.Match(segments[:i+1], i < len(segments)-1)
		}
		ours := oprc.IsPackageFile(name) && p.matches(segments)
		return ours && !ignored, oprc.IsPackageFile(name) && ignored
	}, nil
}
