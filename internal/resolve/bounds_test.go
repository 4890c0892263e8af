package resolve_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// chain is a package of classes each of which inherits from the one before.
func chain(n int) []oprc.Document {
	p := &oprc.Package{Name: "p"}
	for i := range n {
		c := oprc.Class{Name: fmt.Sprintf("c%05d", i)}
		if i > 0 {
			c.Parents = []string{fmt.Sprintf(".c%05d", i-1)}
		}
		p.Classes = append(p.Classes, c)
	}
	return []oprc.Document{{Package: p}}
}

// wide is a package in which one class has some members, and others inherit them all.
func wide(members, heirs int) []oprc.Document {
	base := oprc.Class{Name: "base", StateSpec: &oprc.StateSpec{}}
	for i := range members {
		base.StateSpec.KeySpecs = append(base.StateSpec.KeySpecs, oprc.KeySpec{Name: fmt.Sprint("k", i)})
	}
	p := &oprc.Package{Name: "p", Classes: []oprc.Class{base}}
	for i := range heirs {
		p.Classes = append(p.Classes, oprc.Class{Name: fmt.Sprint("c", i), Parents: []string{".base"}})
	}
	return []oprc.Document{{Package: p}}
}

// What inheritance may come to is bounded, and what is beyond is refused before the work
// is done: of a chain of 4,000 classes the last would inherit 4,000 classes.
func TestInheritanceIsBounded(t *testing.T) {
	tests := map[string]struct {
		docs []oprc.Document
		want string // "": no finding
	}{
		"64 levels":           {chain(65), ""},
		"65 levels":           {chain(66), `class "c00065" inherits through 65 levels of classes; the limit is 64`},
		"4,000 levels":        {chain(4000), `class "c00065" inherits through 65 levels of classes; the limit is 64`},
		"100 members for 900": {wide(100, 900), ""},
		"100 for 1,000":       {wide(100, 1000), `with class "c990" the classes of package "p" inherit 100091 members in all; the limit is 100000`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cat, found := resolve.Packages(tt.docs, nil)
			var got []string
			for _, d := range found {
				if d.Code == oprc.CodeLimits {
					got = append(got, d.Message)
				}
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			sum := 0
			for _, c := range cat.Classes {
				sum += len(c.Resolved.Ancestors) + len(c.Resolved.KeySpecs)
			}
			if sum > 150_000 {
				t.Errorf("%d members were resolved all the same", sum)
			}
		})
	}
}
