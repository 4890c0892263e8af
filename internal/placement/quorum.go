package placement

import (
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// tolerance is what rounding may take from a probability before it counts as
// below a target.
const tolerance = 1e-12

// Reaches reports whether availability q meets the target.
func Reaches(q, target float64) bool { return q >= target-tolerance }

// Need returns how many of n replicas must be up.
func Need(c oprc.Consistency, n int) int {
	if c == oprc.Strong {
		return n/2 + 1
	}
	return 1
}

// Quorums returns Q(1), Q(2), … over the availabilities, worst first: Q(n) is the
// probability that a quorum of the n worst is up. So any n of them do at least as
// well.
func Quorums(c oprc.Consistency, availability []float64) []Quorum {
	worst := slices.Sorted(slices.Values(availability))
	var up tally
	out := make([]Quorum, 0, len(worst))
	for i, a := range worst {
		up = up.add(a, 1)
		out = append(out, Quorum{N: i + 1, Q: up.atLeast(Need(c, i+1))})
	}
	return out
}

// smallest returns Q(1) … Q(n) for the smallest n that reaches target; or, with
// n = 0, all of them where none does.
func smallest(c oprc.Consistency, worst []float64, target float64) (all []Quorum, n int) {
	var up tally
	for i, a := range worst {
		up = up.add(a, 1)
		q := Quorum{N: i + 1, Q: up.atLeast(Need(c, i+1))}
		all = append(all, q)
		if Reaches(q.Q, target) {
			return all, q.N
		}
	}
	return all, 0
}

// A tally is the distribution of how many replicas are up: index k holds the
// probability of exactly k. The zero tally has no replicas.
type tally []float64

// add returns the distribution with w more replicas that stand and fall together,
// up with probability a.
//
// The conversions keep the compiler from fusing multiply and add, which would
// give other bits on other machines.
func (t tally) add(a float64, w int) tally {
	if len(t) == 0 {
		t = tally{1}
	}
	out := make(tally, len(t)+w)
	for k, p := range t {
		out[k] += float64(p * (1 - a))
		out[k+w] += float64(p * a)
	}
	return out
}

// atLeast returns the probability that q or more are up. It sums the smaller
// terms first.
func (t tally) atLeast(q int) float64 {
	sum := 0.0
	terms := slices.Sorted(slices.Values(t[min(q, len(t)):]))
	for _, p := range terms {
		sum += p
	}
	return min(sum, 1)
}
