package loop

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A board is where sources and the keeper leave each other notes.
type board struct {
	mu       sync.Mutex
	progress map[string]progress               // by source
	guessed  bool                              // progress holds what was sent and not yet counted
	claims   map[string][]string               // by source: objects that it claims in vain, "KIND/NAME: owned by ORIGIN"
	wanted   map[string]wanted                 // by source: what its files hold
	polled   map[string]time.Time              // by source: what was there then, it has read
	kept     map[string]bool                   // by source: packages of it wait for others, or for a correction
	put      map[string]map[string][]time.Time // by source (or keeper) and object: when it was put back
	statuses map[string]string                 // by source: digest of its status as it was stored last; "" where that is not known
}

func newBoard() board {
	return board{
		progress: map[string]progress{}, wanted: map[string]wanted{}, claims: map[string][]string{}, kept: map[string]bool{}, put: map[string]map[string][]time.Time{},
		statuses: map[string]string{}, polled: map[string]time.Time{},
	}
}

const (
	// fightTimes is how often within fightWindow an object is put back before it counts
	// as fought over. Then it is left alone for as long, or until somebody acts.
	fightTimes  = 5
	fightWindow = 10 * time.Minute
)

// report keeps a source's progress, and says whether it is news.
func (b *board) report(source string, p progress) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.progress[source]
	b.progress[source] = p
	return was != p
}

// stored notes which status of a source was stored last.
func (b *board) stored(s oprc.SourceStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.statuses[s.Name] = withoutSuspension(s)
}

// withoutSuspension is the digest of what of a status is stored: suspensions are told from
// requests.
func withoutSuspension(s oprc.SourceStatus) string {
	s.Suspended = nil
	return oprc.Digest(s)
}

// missing lists the sources whose stored status is not the one that is there: from now on
// that is not known.
func (b *board) missing(there map[string]oprc.SourceStatus) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for name, digest := range b.statuses {
		if digest != "" && withoutSuspension(there[name]) != digest {
			b.statuses[name] = ""
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// unstored reports whether it is not known what is stored of a source.
func (b *board) unstored(source string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	digest, known := b.statuses[source]
	return known && digest == ""
}

// sent notes that so many units of a source are on their way.
func (b *board) sent(source string, units int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.progress[source]
	p.open = max(p.open, units)
	p.units = max(p.units, p.open+p.running)
	b.progress[source] = p
	b.guessed = true
}

// recount reports whether progress was guessed since the last call, so that it has to
// be counted although live state is as it was.
func (b *board) recount() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.guessed
	b.guessed = false
	return was
}

func (b *board) progressOf(source string) (progress, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, known := b.progress[source]
	return p, known
}

// claim keeps what a source claims in vain. Where that is news it returns the
// origins that own it, or owned it.
func (b *board) claim(source string, conflicts []string) (owners []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.claims[source]
	b.claims[source] = conflicts
	if slices.Equal(was, conflicts) {
		return nil
	}
	for _, c := range slices.Concat(was, conflicts) {
		if _, owner, ok := strings.Cut(c, ": owned by "); ok && !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
	}
	return owners
}

// want keeps what a source's files hold.
func (b *board) want(source string, w wanted) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wanted[source] = w
}

func (b *board) wants(source string) (w wanted, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w, known = b.wanted[source]
	return w, known
}

// looked notes that a source has read what was there at a time, if not what came later.
func (b *board) looked(source string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at.After(b.polled[source]) {
		b.polled[source] = at
	}
}

// lookedAt is the newest time for which [board.looked] was called.
func (b *board) lookedAt(source string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.polled[source]
}

// givesUp reports whether the files of a source do not hold an object any more.
func (b *board) givesUp(source, object string) bool {
	w, known := b.wants(source)
	return known && !w.objects[object]
}

// keep says whether packages of a source stay at their last good state.
func (b *board) keep(source string, some bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept[source] = some
}

// waits reports whether a change elsewhere may let a source go on.
func (b *board) waits(source string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept[source]
}

// claimsOf returns what a source claims in vain.
func (b *board) claimsOf(source string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.claims[source]
}

// claimed lists what others claim of an origin's objects: "KIND/NAME by source NAME".
func (b *board) claimed(origin string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, source := range slices.Sorted(maps.Keys(b.claims)) {
		for _, c := range b.claims[source] {
			if object, owner, _ := strings.Cut(c, ": owned by "); owner == origin {
				out = append(out, object+" by source "+source)
			}
		}
	}
	return out
}

// putBack counts what a plan undoes although nobody asked for anything new: drift,
// and specs that were changed in the ledger.
func (b *board) putBack(source string, p *plan.Plan, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range p.Changes {
		drift := c.Kind == oprc.KindUnit && c.Reason == plan.ReasonDrift
		spec := c.Kind == oprc.KindPackage && c.Reason == plan.ReasonSpec
		if !drift && !spec {
			continue
		}
		if b.put[source] == nil {
			b.put[source] = map[string][]time.Time{}
		}
		recent := slices.DeleteFunc(b.put[source][c.Key], func(t time.Time) bool { return now.Sub(t) > fightWindow })
		b.put[source][c.Key] = append(recent, now)
	}
}

// contested returns the objects that are fought over now.
func (b *board) contested(source string, now time.Time) map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out map[string]bool
	for object, times := range b.put[source] {
		switch last := times[len(times)-1]; {
		case now.Sub(last) > fightWindow:
			delete(b.put[source], object)
		case len(times) >= fightTimes:
			if out == nil {
				out = map[string]bool{}
			}
			out[object] = true
		}
	}
	return out
}

// peace forgets a source's fights: somebody acted.
func (b *board) peace(source string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.put, source)
}

// describeFights names what is fought over, and with whom.
func describeFights(contested map[string]bool, live plan.Live) string {
	var out []string
	for _, object := range slices.Sorted(maps.Keys(contested)) {
		if _, _, _, env, unit := oprc.ParseUnitID(object); unit {
			out = append(out, fmt.Sprintf("CRM %s reports a different spec of unit %s than was sent", cmp.Or(live.Statuses[env][object].CRM, "unknown"), object))
			continue
		}
		rec := live.Packages[object]
		out = append(out, fmt.Sprintf("package %s is changed again and again by %s (%s)", object, cmp.Or(rec.AppliedBy, "somebody"), rec.Origin))
	}
	return strings.Join(out, "; ")
}

// A fightError says that objects are left alone because somebody else keeps
// changing them.
type fightError struct{ objects string }

func (e *fightError) Error() string {
	return fmt.Sprintf("two writers: %s; reverted %d times within %s, now paused for that long or until a new revision or `oprc source reconcile`",
		e.objects, fightTimes, fightWindow)
}

func (e *fightError) Unwrap() error { return oprc.ErrConflict }
