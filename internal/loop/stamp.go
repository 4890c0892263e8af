package loop

import (
	"hash/maphash"
	"sync"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// planned is what a plan came to that changed nothing: while its input is the same,
// so is it.
type planned struct {
	of    *reading // the documents
	world uint64   // stands for all other input
	done  bool
	err   error
}

// seed makes hashes comparable within this process, and nowhere else.
var seed = maphash.MakeSeed()

// stampOf stands for everything that a plan reads of live state, and for what else
// it depends on. Equal stamps mean equal plans, but for a chance of 2^-64.
//
// What live state is made of is looked at once for each reading of it.
func (l *Loop) stampOf(live plan.Live, more ...any) uint64 {
	sum := l.stamps.of(live)
	for name, state := range live.Environments {
		sum += maphash.String(seed, name+" "+state.Standing())
	}
	for i, m := range more {
		sum += maphash.Comparable(seed, entry[int]{oprc.Digest(m), "more", i})
	}
	return sum
}

// stamps remembers the last reading that was looked at.
type stamps struct {
	mu      sync.Mutex
	reading uint64
	sum     uint64
}

func (s *stamps) of(live plan.Live) uint64 {
	if live.Reading == 0 {
		return contentOf(live)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading != live.Reading {
		s.reading, s.sum = live.Reading, contentOf(live)
	}
	return s.sum
}

type entry[T comparable] struct {
	env, key string
	value    T
}

// contentOf is the part of a stamp that does not hang on the state of environments.
func contentOf(live plan.Live) uint64 {
	var sum uint64 // of independent hashes: the order of maps does not count
	add := func(h uint64) { sum += h }
	for key, d := range live.Digests {
		add(maphash.Comparable(seed, entry[oprc.ObjectDigest]{"", key, d}))
	}
	for env, units := range live.Units {
		for id, d := range units {
			add(maphash.Comparable(seed, entry[oprc.UnitDigest]{env, id, d}))
		}
	}
	type heard struct {
		generation int64
		specHash   string
		gone       bool
	}
	for env, statuses := range live.Statuses {
		for id, s := range statuses {
			// That a unit comes to run as it was told to is not news to a plan.
			if d := live.Units[env][id]; s.Condition == oprc.Deleted || s.SpecHash != "" && s.Generation == d.Generation && s.SpecHash != d.SpecHash {
				add(maphash.Comparable(seed, entry[heard]{env, id, heard{s.Generation, s.SpecHash, s.Condition == oprc.Deleted}}))
			}
		}
	}
	for object := range live.Damaged {
		add(maphash.String(seed, "damaged "+object))
	}
	return sum
}
