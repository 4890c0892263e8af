package plan_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// What a plan may leave out because it was found settled before changes nothing
// about what the plan does.
func TestLawSettledPackagesNeedNoPlan(t *testing.T) {
	narrower := 0
	rapid.Check(t, func(t *rapid.T) {
		w := generateWorld(t)
		l := settle(t, w)
		origin := rapid.SampledFrom(slices.Sorted(maps.Values(w.origin))).Draw(t, "origin")
		in := w.of(origin)
		in.KeepGoing, in.Live = true, l.live
		if p := plan.Make(in); !p.Empty() || p.Err() != nil {
			return
		}
		before := map[string]string{}
		for _, d := range in.Documents {
			before[d.Name()] = oprc.Digest(d.Package)
		}
		next := w.mutate(t).of(origin)
		next.KeepGoing, next.Live = true, l.live
		whole := plan.Make(next)
		next.Settled = map[string]bool{}
		for _, d := range next.Documents {
			if d.Package != nil && before[d.Name()] == oprc.Digest(d.Package) {
				next.Settled[d.Name()] = true
			}
		}
		part := plan.Make(next)
		if diff := cmp.Diff(whole.Explain().Changes, part.Explain().Changes, cmpopts.IgnoreUnexported(plan.Change{})); diff != "" {
			t.Fatalf("changes differ: -whole +part\n%s", diff)
		}
		if diff := cmp.Diff(whole.Base, part.Base); diff != "" {
			t.Fatalf("base differs: -whole +part\n%s", diff)
		}
		if diff := cmp.Diff(whole.Kept, part.Kept); diff != "" {
			t.Fatalf("kept differs: -whole +part\n%s", diff)
		}
		if whole.Desired != part.Desired || whole.Size != part.Size {
			t.Fatalf("whole %s %v, part %s %v", whole.Desired, whole.Size, part.Desired, part.Size)
		}
		if len(next.Settled) > 0 && !part.Empty() {
			narrower++
		}
	})
	if narrower == 0 || narrower < 10 && !testing.Short() { // about 33 of 100 do
		t.Errorf("only %d plans had something to leave out", narrower)
	}
}
