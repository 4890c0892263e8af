package loop

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// handover is how long a source waits with a deletion until the others have read what is
// there now, too: one of them may have the package.
const handover = 30 * time.Second

// maxAsked is how many other branches and repositories are looked at for a deletion.
const maxAsked = 50

// wanted is what the files of a source hold, for the others to know.
type wanted struct {
	revision string
	objects  map[string]bool // "package/NAME", "environment/NAME"
}

// want tells the other sources what this one's files hold, and lets those go on that
// waited for it.
func (l *Loop) want(s *sourceState) {
	w := wanted{s.rev.ID, map[string]bool{}}
	for _, d := range s.reading.docs {
		w.objects[object(d)] = true
	}
	l.board.want(s.c.Name, w)
	for _, c := range l.Sources {
		if c.Name != s.c.Name && c.URL == s.c.URL {
			l.wake(c.Name, look{})
		}
	}
}

func object(d oprc.Document) string {
	if d.Environment != nil {
		return string(oprc.KindEnv) + "/" + d.Name()
	}
	return string(oprc.KindPackage) + "/" + d.Name()
}

// free names what the source may take over: objects of origins that nobody follows, of
// sources that do not have them any more, and packages that somebody lets it adopt.
func (l *Loop) free(s *sourceState, live plan.Live, asked oprc.Requests) map[string]bool {
	out := map[string]bool{}
	for _, d := range s.reading.docs {
		origin := live.Packages[d.Name()].Origin
		if d.Environment != nil {
			origin = live.Environments[d.Name()].Origin
		} else if a, ok := asked.Find(oprc.VerbAdopt, d.Name()); ok && a.Source == s.c.Name {
			out[object(d)] = true
		}
		owner, isSource := strings.CutPrefix(origin, "git:")
		if !isSource || owner == s.c.Name {
			continue
		}
		i := slices.IndexFunc(l.Sources, func(c SourceConfig) bool { return c.Name == owner })
		if i < 0 && len(l.Differing()) == 0 || i >= 0 && !l.Sources[i].NoPrune && l.board.givesUp(owner, object(d)) {
			out[object(d)] = true
		}
	}
	return out
}

// yield names packages that the source's files do not hold any more, and that it does
// not delete: another source has them, or may have them. wait means that it is to look
// again soon.
func (l *Loop) yield(s *sourceState, live plan.Live, asked oprc.Requests, now time.Time) (names map[string]bool, wait bool) {
	waits := now.Before(s.readAt.Add(handover))
	has := map[string]bool{}
	for _, d := range s.reading.docs {
		has[object(d)] = true
	}
	names = map[string]bool{}
	for name, rec := range live.Packages {
		if rec.Origin != s.c.origin() || has["package/"+name] {
			continue
		}
		for _, c := range l.Sources {
			if c.Name == s.c.Name {
				continue
			}
			theirs, _ := l.board.wants(c.Name)
			switch {
			case theirs.objects["package/"+name]:
				names[name] = true
				l.wake(c.Name, look{})
			case waits && !l.mayLack(s, c, asked, now):
				names[name], wait = true, true
				if s.asked[c.Name] != s.readAt {
					s.asked[c.Name] = s.readAt
					l.wake(c.Name, look{poll: true, since: s.readAt})
				}
			}
		}
	}
	return names, wait
}

// mayLack reports whether another source is known not to have what was missing when s was
// read, or will not say soon.
func (l *Loop) mayLack(s *sourceState, other SourceConfig, asked oprc.Requests, now time.Time) bool {
	theirs, known := l.board.wants(other.Name)
	switch {
	case other.Suspend || other.NoTrack:
		return true
	case other.URL == s.c.URL && other.Ref == s.c.Ref:
		return known && theirs.revision == s.rev.ID
	}
	return len(l.Sources) > maxAsked || asked.Suspension(other.Name, now) != nil || !l.board.lookedAt(other.Name).Before(s.readAt)
}

// adopted ends the requests that let the source adopt packages: those that it owns now.
// One for a package that its files do not hold cannot be met, which is told to who asked.
func (l *Loop) adopted(ctx context.Context, s *sourceState, asked oprc.Requests, p *plan.Plan) error {
	var missing []string
	for _, a := range adoptions(asked, s.c.Name) {
		if slices.Contains(p.Kept, a.Name) {
			continue
		}
		if !slices.ContainsFunc(s.reading.docs, func(d oprc.Document) bool { return d.Package != nil && d.Name() == a.Name }) {
			missing = append(missing, a.Name)
		}
		if err := l.Store.DropRequest(ctx, a); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		s.unmet = fmt.Errorf("adopt %s: %w in the files of source %s", strings.Join(missing, ", "), oprc.ErrNotFound, s.c.Name)
	}
	return nil
}

// adoptions are the requests that let a source adopt packages.
func adoptions(asked oprc.Requests, source string) []oprc.SourceRequest {
	var out []oprc.SourceRequest
	for _, a := range asked.Asked {
		if a.Verb == oprc.VerbAdopt && a.Source == source {
			out = append(out, a)
		}
	}
	return out
}

// wayOver says how a source comes to own what it claims in vain.
func wayOver(source string, conflicts []string) string {
	packages := packagesOf(conflicts)
	if len(packages) == 0 {
		return fmt.Sprintf("to take it over, set takeOwnership: true for source %s", source)
	}
	return fmt.Sprintf("to take it over, remove it there, run `oprc adopt %s --by %s`, or set takeOwnership: true for the source", packages[0], source)
}
