// Package lazyregexp has regular expressions that are compiled when they are first used:
// most commands use few of them, and all would be paid for at each start.
package lazyregexp

import (
	"regexp"
	"sync"
)

// New returns what gives the compiled expression, always the same. An expression that is
// none panics there, not at the start.
func New(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
