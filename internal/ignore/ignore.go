// Package ignore reads .oprcignore files, which name what is not to be read below
// their directory, in the syntax of .gitignore.
package ignore

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// File is the name of the files that hold rules.
const File = ".oprcignore"

// Rules say which files and directories are not read. The zero Rules name none.
type Rules struct{ patterns []gitignore.Pattern }

// With returns the rules and, after them, those of a file in the directory dir, given
// as the segments of its path. Later rules win, and a rule that begins with "!" takes
// back what an earlier one names.
func (r Rules) With(data []byte, dir []string) Rules {
	out := Rules{slices.Clip(r.patterns)}
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		rule := trim(strings.TrimRight(string(line), "\r\n"))
		if rule != "" && rule[0] != '#' {
			out.patterns = append(out.patterns, gitignore.ParsePattern(rule, slices.Clone(dir)))
		}
	}
	return out
}

// trim removes trailing spaces that no backslash protects.
func trim(rule string) string {
	for strings.HasSuffix(rule, " ") && !strings.HasSuffix(rule, `\ `) {
		rule = rule[:len(rule)-1]
	}
	return rule
}

// Match reports whether the rules name a file or directory, by the segments of its
// path. What is in a directory that they name is not asked about.
func (r Rules) Match(name []string, isDir bool) bool {
	return len(r.patterns) > 0 && gitignore.NewMatcher(r.patterns).Match(name, isDir)
}
