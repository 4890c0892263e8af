package placement

import (
	"cmp"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// vacant marks a slot without owner.
const vacant = -1

// A seat is one participant of a layout, in order of member id.
type seat struct {
	oprc.Member
	limit int // most shards; at least 0
	load  int
}

// A layout gives each slot of each partition an owner: an index into seats. A
// slot is what a unit's replicaId names; whoever owns it may change, the slot
// stays.
type layout struct {
	seats  []seat
	slots  [][]int // partition -> slot -> seat
	spread bool    // prefer owners in different environments
	fresh  bool    // nothing was placed before
	idle   []int   // seats that had no shard before: new members
	before *oprc.Deployment
}

// newLayout prepares a layout in which every slot is vacant. limits are parallel
// to members.
func newLayout(members []oprc.Member, limits []int, partitions, replicas int, spread bool) *layout {
	l := &layout{slots: make([][]int, partitions), spread: spread, fresh: true}
	for i, m := range members {
		l.seats = append(l.seats, seat{Member: m, limit: min(limits[i], partitions)})
	}
	slices.SortFunc(l.seats, func(a, b seat) int { return cmp.Compare(a.ID, b.ID) })
	pinned := 0
	for _, s := range l.seats {
		if s.AllPartitions {
			pinned++
		}
	}
	for p := range l.slots {
		l.slots[p] = slices.Repeat([]int{vacant}, max(replicas, pinned))
	}
	return l
}

// feasible reports whether a layout within the limits exists: each partition
// needs that many different owners, and a seat serves a partition at most once.
func (l *layout) feasible() bool {
	have, need := 0, 0
	for _, s := range l.seats {
		if s.AllPartitions && s.limit < len(l.slots) {
			return false
		}
		have += s.limit
	}
	for _, slots := range l.slots {
		need += len(slots)
	}
	return have >= need
}

// keep takes over the owners of the last placement that are still valid.
func (l *layout) keep(before *oprc.Deployment) {
	if before == nil || len(before.Assignments) == 0 {
		return
	}
	l.fresh, l.before = false, before
	seatOf := l.matchSeats(before.Members)
	for p := range l.slots[:min(len(l.slots), len(before.Assignments))] {
		owners := before.Assignments[p].Owners
		for slot, id := range owners {
			s, known := seatOf[id]
			if !known || slices.Contains(l.slots[p], s) || l.seats[s].load >= l.seats[s].limit {
				continue
			}
			if slot >= len(l.slots[p]) {
				// The partition has fewer slots now; an owner beyond them may still
				// serve in a slot that lost its own.
				if slot = slices.Index(l.slots[p], vacant); slot < 0 {
					break
				}
			}
			l.put(p, slot, s)
		}
	}
	for i, s := range l.seats {
		if s.load == 0 {
			l.idle = append(l.idle, i)
		}
	}
}

// matchSeats maps ids of members of the last placement to seats: the same id in
// the same environment, else the only member of that environment then and now.
func (l *layout) matchSeats(before []oprc.Member) map[int]int {
	byEnv := make(map[string][]int)
	for i, s := range l.seats {
		byEnv[s.Env] = append(byEnv[s.Env], i)
	}
	were := make(map[string]int)
	for _, m := range before {
		were[m.Env]++
	}
	match := make(map[int]int)
	for _, m := range before {
		for _, i := range byEnv[m.Env] {
			if l.seats[i].ID == m.ID || (len(byEnv[m.Env]) == 1 && were[m.Env] == 1) {
				match[m.ID] = i
			}
		}
	}
	return match
}

func (l *layout) put(p, slot, s int) {
	if old := l.slots[p][slot]; old != vacant {
		l.seats[old].load--
	}
	l.slots[p][slot] = s
	l.seats[s].load++
}

// pin makes the members with allPartitions owners of every partition.
func (l *layout) pin() {
	for s := range l.seats {
		if !l.seats[s].AllPartitions {
			continue
		}
		for p := range l.slots {
			if slices.Contains(l.slots[p], s) {
				continue
			}
			l.put(p, l.slotFor(p), s)
		}
	}
}

// slotFor is a slot that a pinned member may take: a vacant one, else the last
// whose owner is not pinned.
func (l *layout) slotFor(p int) int {
	if slot := slices.Index(l.slots[p], vacant); slot >= 0 {
		return slot
	}
	for slot := len(l.slots[p]) - 1; slot > 0; slot-- {
		if !l.seats[l.slots[p][slot]].AllPartitions {
			return slot
		}
	}
	return 0
}

// fill gives every vacant slot an owner. It returns the first partition for which
// that is impossible, or -1.
func (l *layout) fill() int {
	for p := range l.slots {
		for slot, s := range l.slots[p] {
			if s != vacant {
				continue
			}
			if s = l.pick(p); s != vacant {
				l.put(p, slot, s)
			} else if !l.makeRoom(p, slot) {
				return p
			}
		}
	}
	return -1
}

// pick returns the least loaded seat that has room for partition p, the first of
// equals, or vacant.
func (l *layout) pick(p int) int {
	best, bestShares := vacant, false
	for i := range l.seats {
		s := &l.seats[i]
		if s.load >= s.limit || slices.Contains(l.slots[p], i) {
			continue
		}
		shares := l.spread && l.sharesEnv(p, i, vacant)
		if best == vacant || (bestShares && !shares) || (bestShares == shares && s.load < l.seats[best].load) {
			best, bestShares = i, shares
		}
	}
	return best
}

// sharesEnv reports whether an owner of p other than except is in the environment
// of seat s.
func (l *layout) sharesEnv(p, s, except int) bool {
	for _, o := range l.slots[p] {
		if o != vacant && o != except && l.seats[o].Env == l.seats[s].Env {
			return true
		}
	}
	return false
}

// A move hands a slot of a partition over to another seat.
type move struct{ partition, slot, seat int }

// makeRoom fills a slot when everybody who could take it is full: it finds the
// shortest chain of hand-overs that ends at a seat with room.
func (l *layout) makeRoom(p, slot int) bool {
	type reached struct {
		move
		from int // index in queue of the move that this one makes necessary
	}
	queue := []reached{{move{p, slot, vacant}, -1}}
	seen := make([]bool, len(l.seats))
	for head := 0; head < len(queue); head++ {
		at := queue[head]
		for s := range l.seats {
			if seen[s] || slices.Contains(l.slots[at.partition], s) {
				continue
			}
			if l.seats[s].load < l.seats[s].limit {
				for taker, i := s, head; i >= 0; i = queue[i].from {
					taker = l.hand(queue[i].partition, queue[i].slot, taker)
				}
				return true
			}
			if l.seats[s].AllPartitions {
				continue
			}
			seen[s] = true
			for q := range l.slots {
				if i := slices.Index(l.slots[q], s); i >= 0 && q != at.partition {
					queue = append(queue, reached{move{q, i, s}, head})
				}
			}
		}
	}
	return false
}

// hand gives the slot to seat s and returns who had it.
func (l *layout) hand(p, slot, s int) int {
	old := l.slots[p][slot]
	l.put(p, slot, s)
	return old
}

// welcome moves shards to members that had none, until nobody has two more than
// they. A new member takes no more than its share, so few shards move; everybody
// else keeps what they have.
func (l *layout) welcome() {
	if l.fresh || len(l.seats) == 0 {
		return
	}
	shards := 0
	for _, s := range l.seats {
		shards += s.load
	}
	share := (shards + len(l.seats) - 1) / len(l.seats)
	taken := make(map[int]int)
	for moved := true; moved; {
		moved = false
		slices.SortStableFunc(l.idle, func(a, b int) int { return cmp.Compare(l.seats[a].load, l.seats[b].load) })
		for _, to := range l.idle {
			if taken[to] < share && l.takeOne(to) {
				taken[to]++
				moved = true
				break
			}
		}
	}
}

// takeOne moves one shard to seat to from the most loaded seat that can give one.
func (l *layout) takeOne(to int) bool {
	if l.seats[to].load >= l.seats[to].limit {
		return false
	}
	givers := make([]int, 0, len(l.seats))
	for i, s := range l.seats {
		if !s.AllPartitions && s.load >= l.seats[to].load+2 {
			givers = append(givers, i)
		}
	}
	slices.SortStableFunc(givers, func(a, b int) int { return -cmp.Compare(l.seats[a].load, l.seats[b].load) })
	for _, from := range givers {
		for p := len(l.slots) - 1; p >= 0; p-- {
			slot := slices.Index(l.slots[p], from)
			if slot < 0 || slices.Contains(l.slots[p], to) || (l.spread && l.sharesEnv(p, to, from)) {
				continue
			}
			l.put(p, slot, to)
			return true
		}
	}
	return false
}
