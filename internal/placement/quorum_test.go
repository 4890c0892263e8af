package placement_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/placement"
)

func TestReplicasFromAvailability(t *testing.T) {
	same := func(a float64, n int) []float64 { return slices.Repeat([]float64{a}, n) }
	tests := map[string]struct {
		consistency oprc.Consistency
		target      float64
		over        []float64
		want        int // 0: cannot be reached
	}{
		"strong: one good":           {oprc.Strong, 0.99, same(.99, 1), 1},
		"strong: one too weak":       {oprc.Strong, 0.99, same(.95, 1), 0},
		"strong: two do not help":    {oprc.Strong, 0.99, same(.95, 2), 0},
		"strong: three do":           {oprc.Strong, 0.99, same(.95, 3), 3},
		"strong: five of seven":      {oprc.Strong, 0.99, same(.9, 7), 5},
		"strong: three nines":        {oprc.Strong, 0.999, same(.99, 3), 3},
		"strong: five nines":         {oprc.Strong, 0.99999, same(.99, 7), 5},
		"strong: one bad among good": {oprc.Strong, 0.99, []float64{.5, .99, .99}, 3},
		"strong: the worst decides":  {oprc.Strong, 0.95, []float64{.9, .99}, 0},
		"strong: in any order":       {oprc.Strong, 0.95, []float64{.99, .9}, 0},
		"strong: the worst suffices": {oprc.Strong, 0.9, []float64{.92, .94, .97}, 1},
		"weak: two nines":            {oprc.ConsistencyNone, 0.99, same(.97, 5), 2},
		"weak: four nines":           {oprc.ReadYourWrite, 0.9999, same(.97, 5), 3},
		"weak: one nine":             {oprc.BoundedStaleness, 0.9, same(.97, 5), 1},
		"weak: exactly four nines":   {oprc.ConsistencyNone, 0.9999, same(.9, 6), 4},
		"weak: exact but for bits":   {oprc.ConsistencyNone, 0.91, same(.7, 4), 2},
		"strong: exact but for bits": {oprc.Strong, 0.648, same(.6, 4), 3},
		"weak: coins":                {oprc.ConsistencyNone, 0.99, same(.5, 9), 7},
		"unset consistency is weak":  {"", 0.99, same(.97, 5), 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := placement.Input{
				Deployment: oprc.Deployment{Key: cls}, Class: class(test.consistency),
				Availability: test.target, Environments: envs(test.over...),
			}
			p := placement.Place(in)
			if test.want == 0 {
				if got, want := codes(p.Findings), []string{"E010 error /replicaCount"}; !slices.Equal(got, want) {
					t.Fatalf("got %v, want %v", got, want)
				}
				return
			}
			if p.Failed() || p.Deployment.ReplicaCount != test.want {
				t.Fatalf("got %d replicas, want %d; %+v", p.Deployment.ReplicaCount, test.want, p)
			}
			if p.Explanation.Slack < -1e-12 || p.Explanation.Quorum[test.want-1].N != test.want {
				t.Errorf("the explanation does not carry the decision: %+v", p.Explanation)
			}
		})
	}
}

// TestQuorumsByEnumeration judges Q by all 2^n outcomes.
func TestQuorumsByEnumeration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.Float64Range(0, 1), 1, 10).Draw(t, "availability")
		consistency := rapid.SampledFrom([]oprc.Consistency{oprc.ConsistencyNone, oprc.Strong}).Draw(t, "consistency")
		worst := slices.Sorted(slices.Values(a))
		for i, got := range placement.Quorums(consistency, a) {
			n := i + 1
			need := 1
			if consistency == oprc.Strong {
				need = n/2 + 1
			}
			want := 0.0
			for outcome := range 1 << n {
				p, up := 1.0, 0
				for bit := range n {
					if outcome>>bit&1 == 1 {
						p *= worst[bit]
						up++
					} else {
						p *= 1 - worst[bit]
					}
				}
				if up >= need {
					want += p
				}
			}
			if got.N != n || math.Abs(got.Q-want) > 1e-12 {
				t.Fatalf("Q(%d) over %v: got %v, want %v", n, worst, got, want)
			}
		}
	})
}

// TestEvenNeverHelpsUnderStrong is why a computed count is odd under STRONG.
func TestEvenNeverHelpsUnderStrong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.Float64Range(0, 1), 2, 12).Draw(t, "availability")
		qs := placement.Quorums(oprc.Strong, a)
		for i := 1; i < len(qs); i += 2 {
			if qs[i].Q > qs[i-1].Q+1e-12 {
				t.Fatalf("Q(%d) = %v is above Q(%d) = %v", i+1, qs[i].Q, i, qs[i-1].Q)
			}
		}
	})
}
