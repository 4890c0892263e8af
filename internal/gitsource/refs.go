package gitsource

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A tip is the ref that was chosen, and where it leads.
type tip struct {
	name   plumbing.ReferenceName
	object plumbing.Hash // what the ref holds: a commit, or an annotated tag
	commit plumbing.Hash // the commit, as far as the listing says
}

// peeled ends the name under which a listing gives the commit of an annotated tag.
const peeled = "^{}"

// listing is a remote's refs by name.
type listing map[plumbing.ReferenceName]*plumbing.Reference

func newListing(refs []*plumbing.Reference) listing {
	l := make(listing, len(refs))
	for _, r := range refs {
		l[r.Name()] = r
	}
	return l
}

// tip follows name to an object; ok is false where there is none.
func (l listing) tip(name plumbing.ReferenceName) (t tip, ok bool) {
	for range 5 { // symbolic refs may form a circle
		ref := l[name]
		if ref == nil {
			return tip{}, false
		}
		if ref.Type() == plumbing.SymbolicReference {
			name = ref.Target()
			continue
		}
		t = tip{name: name, object: ref.Hash(), commit: ref.Hash()}
		if p := l[name+peeled]; p != nil {
			t.commit = p.Hash()
		}
		return t, true
	}
	return tip{}, false
}

// pick decides which ref want means.
func pick(refs []*plumbing.Reference, want string) (tip, error) {
	l := newListing(refs)
	if len(l) == 0 {
		return tip{}, fmt.Errorf("the repository is empty: %w", oprc.ErrNotFound)
	}
	if want == "" {
		want = plumbing.HEAD.String()
	}
	for _, name := range []string{want, "refs/heads/" + want, "refs/tags/" + want} {
		if name != want || name == "HEAD" || strings.HasPrefix(name, "refs/") {
			if t, ok := l.tip(plumbing.ReferenceName(name)); ok {
				return t, nil
			}
		}
	}
	if t, ok := l.highest(want); ok {
		return t, nil
	}
	return tip{}, fmt.Errorf("ref %q: %w%s", want, oprc.ErrNotFound, l.known())
}

// highest returns the tag with the highest version in a semver range.
func (l listing) highest(want string) (tip, bool) {
	within, err := semver.NewConstraint(want)
	if err != nil {
		return tip{}, false
	}
	var best *semver.Version
	var name plumbing.ReferenceName
	for n := range l {
		if !n.IsTag() || strings.HasSuffix(n.String(), peeled) {
			continue
		}
		v, err := semver.NewVersion(n.Short())
		if err != nil || !within.Check(v) {
			continue
		}
		// Of v1.2.3 and 1.2.3 one has to win, always the same.
		if best == nil || v.GreaterThan(best) || v.Equal(best) && n < name {
			best, name = v, n
		}
	}
	if best == nil {
		return tip{}, false
	}
	return l.tip(name)
}

// known hints at the branches and tags that there are.
func (l listing) known() string {
	var branches, tags []string
	for n := range l {
		switch {
		case n.IsBranch():
			branches = append(branches, n.Short())
		case n.IsTag() && !strings.HasSuffix(n.String(), peeled):
			tags = append(tags, n.Short())
		}
	}
	if len(branches) == 0 && len(tags) == 0 {
		return " (the repository has no branch yet)"
	}
	slices.Sort(branches)
	slices.SortFunc(tags, newestFirst)
	var hints []string
	for _, kind := range []struct {
		name  string
		names []string
	}{{"branches", branches}, {"tags", tags}} {
		const few = 5
		switch n := len(kind.names); {
		case n > few:
			hints = append(hints, kind.name+": "+strings.Join(kind.names[:few], ", ")+", …")
		case n > 0:
			hints = append(hints, kind.name+": "+strings.Join(kind.names, ", "))
		}
	}
	return " (" + strings.Join(hints, "; ") + ")"
}

// newestFirst puts versions before other tags, the highest first.
func newestFirst(a, b string) int {
	v, notA := semver.NewVersion(a)
	w, notB := semver.NewVersion(b)
	switch {
	case notA == nil && notB == nil:
		return cmp.Or(w.Compare(v), cmp.Compare(a, b))
	case notA == nil:
		return -1
	case notB == nil:
		return 1
	}
	return cmp.Compare(a, b)
}

// Concerns reports whether a push of refs, by their full names, can change what want
// means; head is the repository's default branch, or "" if it is not known.
func Concerns(want string, refs []string, head string) bool {
	if want == "" || want == "HEAD" {
		if head == "" {
			return true
		}
		want = "refs/heads/" + head
	}
	if isCommitID(want) {
		return true // it may have come with any of them
	}
	_, notRange := semver.NewConstraint(want)
	for _, ref := range refs {
		switch {
		case ref == want, ref == "refs/heads/"+want, ref == "refs/tags/"+want:
			return true
		case notRange == nil && strings.HasPrefix(ref, "refs/tags/"):
			return true
		}
	}
	return false
}

func isCommitID(s string) bool { return plumbing.IsHash(s) && len(s) == 40 }
