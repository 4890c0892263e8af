package plan_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// Whatever the world was and is asked to become: after the plans of all origins
// are applied, what runs is what the oracle says.
func TestLawConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		if wrong := w.oracle().judge(l.units); len(wrong) > 0 {
			t.Fatalf("first apply: %s", strings.Join(wrong, "\n"))
		}
		next := w.mutate(t)
		for _, origin := range origins {
			in := next.of(origin)
			if len(in.Documents) == 0 {
				continue // an empty source prunes nothing
			}
			l.must(t, in)
			w = w.with(next, origin)
			if wrong := w.oracle().judge(l.units); len(wrong) > 0 {
				t.Fatalf("after %s: %s", origin, strings.Join(wrong, "\n"))
			}
		}
	})
}

// A plan that was applied leaves nothing to plan.
func TestLawAppliedPlanIsEmpty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		next := w.mutate(t)
		for _, origin := range origins {
			in := next.of(origin)
			l.must(t, in)
			in.Live = l.live
			if again := plan.Make(in); !again.Empty() {
				t.Fatalf("%s: planned again: %v", origin, keysOf(again))
			}
		}
	})
}

// The same input gives the same bytes, in whatever order the files were read.
func TestLawSameInputSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		in := w.mutate(t).of(rapid.SampledFrom(origins).Draw(t, "origin"))
		in.Live = l.live
		first := encode(t, plan.Make(in))
		in.Documents = rapid.Permutation(in.Documents).Draw(t, "order")
		if second := encode(t, plan.Make(in)); !bytes.Equal(first, second) {
			t.Fatalf("two plans of one input:\n%s\n%s", first, second)
		}
	})
}

// Packages of other origins are never deleted, their own records never written,
// and their units only change because something that they use did.
func TestLawNothingOutsideTheScope(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		origin := rapid.SampledFrom(origins).Draw(t, "origin")
		in := w.mutate(t).of(origin)
		in.Scope.Complete = rapid.Bool().Draw(t, "complete")
		named := map[string]bool{}
		for _, d := range in.Documents {
			named[d.Name()] = true
		}
		before := l.clone()
		in.Live = l.live
		if p := plan.Make(in); !in.Scope.Complete && p.Err() != nil {
			// A file took away what a live package uses that no file of this plan names.
			if !p.Empty() {
				t.Fatalf("a refused plan has changes: %v", keysOf(p))
			}
			return
		}
		p := l.must(t, in)
		for name, rec := range before.live.Packages {
			mine := rec.Origin == origin && (named[name] || in.Scope.Complete)
			if now := l.live.Packages[name]; !mine && (now.Rev != rec.Rev || now.Digest != rec.Digest) {
				t.Fatalf("package %s of %s was written by %s", name, rec.Origin, origin)
			}
		}
		for _, c := range p.Changes {
			rec, live := before.live.Packages[c.Package]
			if live && rec.Origin != origin && slices.Contains(c.Actions, plan.Delete) {
				t.Fatalf("%s %s of %s is deleted by %s", c.Kind, c.Key, rec.Origin, origin)
			}
		}
	})
}

// Without a complete scope nothing is pruned, and the zero scope does nothing to
// what has an owner.
func TestLawFilesDeleteNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		next := w.mutate(t)
		in := next.of(rapid.SampledFrom(origins).Draw(t, "origin"))
		in.Scope.Complete, in.Live = false, l.live
		for _, c := range plan.Make(in).Explain().Changes {
			if c.Kind == oprc.KindPackage && c.Actions[0] == plan.Delete {
				t.Fatalf("package %s is deleted by a plan for files", c.Key)
			}
		}
		for _, c := range plan.Make(plan.Input{Live: l.live}).Changes {
			t.Fatalf("the zero scope changes %s %s", c.Kind, c.Key)
		}
	})
}

// Of two plans on one base that touch one package, exactly one can be applied,
// and the other one says what moved.
func TestLawOneOfTwoPlansApplies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		origin := rapid.SampledFrom(origins).Draw(t, "origin")
		one, two := w.mutate(t).of(origin), w.mutate(t).of(origin)
		one.Live, two.Live = l.live, l.live
		p, q := plan.Make(one), plan.Make(two)
		if !overlap(p, q) {
			return
		}
		l = l.clone()
		if err := l.apply(p); err != nil {
			t.Fatalf("the first: %v", err)
		}
		err := l.apply(q)
		var conflict *oprc.ConflictError
		if !errors.As(err, &conflict) || len(conflict.Objects) == 0 {
			t.Fatalf("the second: got %v, want a conflict that names what moved", err)
		}
	})
}

// overlap reports whether both plans write the record of one package.
func overlap(p, q *plan.Plan) bool {
	written := map[string]bool{}
	for _, c := range p.Changes {
		if c.Kind == oprc.KindPackage {
			written[c.Key] = true
		}
	}
	return slices.ContainsFunc(q.Changes, func(c plan.Change) bool { return c.Kind == oprc.KindPackage && written[c.Key] })
}

// An apply that dies at any point between the catalogue and the environments is
// finished by the next plans, of the same origin and of who maintains the others:
// once, and by nothing more than what was missing.
func TestLawInterruptedApplyIsFinished(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		next := w.mutate(t)
		origin := rapid.SampledFrom(origins).Draw(t, "origin")
		in := next.of(origin)
		in.Live = l.live
		p := plan.Make(in)
		if err := p.Err(); err != nil {
			t.Fatal(err)
		}
		lost := map[string]bool{}
		for _, c := range p.Changes {
			if c.Kind == oprc.KindUnit && rapid.Bool().Draw(t, "lost "+c.Key) {
				lost[c.Key] = true
			}
		}
		if err := errors.Join(l.commit(p), l.dispatch(p, func(id string) bool { return !lost[id] })); err != nil {
			t.Fatal(err)
		}
		again := l.must(t, in)
		rest := l.must(t, plan.Input{Scope: plan.Scope{Maintain: origins}})
		for _, c := range append(again.Changes, rest.Changes...) {
			if c.Kind != oprc.KindUnit || !lost[c.Key] {
				t.Fatalf("%s %s is planned again though it was done", c.Kind, c.Key)
			}
			delete(lost, c.Key)
		}
		if len(in.Documents) == 0 {
			return
		}
		if wrong := w.with(next, origin).oracle().judge(l.units); len(wrong) > 0 {
			t.Fatalf("after the second: %s", strings.Join(wrong, "\n"))
		}
	})
}

// Records that are lost are written again.
func TestLawLostRecordsAreRestored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		whole := l.clone()
		for _, object := range slices.Sorted(maps.Keys(l.live.Digests)) {
			if chance(t, 3, "lose "+object) {
				delete(l.live.Digests, object)
				delete(l.live.Deployments, strings.TrimPrefix(object, "deployment/"))
			}
		}
		for env, units := range l.live.Units {
			for _, id := range slices.Sorted(maps.Keys(units)) {
				if chance(t, 3, "lose "+id) {
					delete(l.live.Units[env], id)
					delete(l.units, id)
				}
			}
		}
		for _, origin := range origins {
			l.must(t, w.of(origin))
		}
		for object, want := range whole.live.Digests {
			got, stored := l.live.Digests[object]
			if placed := strings.HasPrefix(object, "deployment/"); !stored || got.Hash != want.Hash && !placed {
				t.Fatalf("%s: %v, want %v", object, got, want)
			}
		}
		if wrong := w.oracle().judge(l.units); len(wrong) > 0 {
			t.Fatal(strings.Join(wrong, "\n"))
		}
	})
}

// Every update that can show what was before shows at least one field, and every
// field of a document in the plan says where it was set. A file shows the same.
func TestLawUpdatesShowFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		origin := rapid.SampledFrom(origins).Draw(t, "origin")
		in := w.mutate(t).of(origin)
		in.Live = l.live
		p := plan.Make(in)
		file, err := plan.Decode(encode(t, p))
		if err != nil {
			t.Fatal(err)
		}
		if was, is := string(encode(t, file)), string(encode(t, file.Reread())); was != is {
			t.Fatalf("it was\n%s\nand of a file is shown\n%s", was, is)
		}
		for _, c := range p.Explain().Changes {
			if c.Actions[0] == plan.Create {
				continue
			}
			if c.Before == nil {
				t.Fatalf("%s %s: nothing is shown of what was before", c.Kind, c.Key)
			}
			if c.Actions[0] == plan.Update && len(c.Fields) == 0 {
				t.Fatalf("%s %s: no fields\n%s\n%s", c.Kind, c.Key, c.Before, c.After)
			}
			for _, f := range c.Fields {
				if f.Line == 0 && l.live.Packages[c.Package].Origin == origin && c.Kind != oprc.KindUnit {
					t.Fatalf("%s %s%s has no position", c.Kind, c.Key, f.Path)
				}
			}
		}
	})
}

func keysOf(p *plan.Plan) []string {
	keys := make([]string, 0, len(p.Changes))
	for _, c := range p.Changes {
		keys = append(keys, string(c.Kind)+"/"+c.Key+" "+string(c.Actions[0])+" "+string(c.Reason))
	}
	return keys
}

func encode(t rapid.TB, p *plan.Plan) []byte {
	t.Helper()
	raw, err := plan.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
