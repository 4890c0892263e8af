package placement

import "slices"

// primaries chooses one owner of each partition, as evenly as the owners allow:
// whoever led before still does, where that is not at the cost of evenness.
func (l *layout) primaries() []int {
	lead := slices.Repeat([]int{vacant}, len(l.slots))
	count := make([]int, len(l.seats))
	if l.before != nil {
		seatOf := l.matchSeats(l.before.Members)
		for p := range lead[:min(len(lead), len(l.before.Assignments))] {
			if s, ok := seatOf[l.before.Assignments[p].Primary]; ok && slices.Contains(l.slots[p], s) {
				lead[p] = s
				count[s]++
			}
		}
	}
	for p, slots := range l.slots {
		if lead[p] != vacant {
			continue
		}
		for _, s := range slots {
			if lead[p] == vacant || count[s] < count[lead[p]] || (count[s] == count[lead[p]] && s < lead[p]) {
				lead[p] = s
			}
		}
		count[lead[p]]++
	}
	for l.evenOut(lead, count) {
	}
	return lead
}

// evenOut takes one partition off a seat that leads at least two more than
// another, along the shortest chain of owners. It reports false when no chain is
// left: then no choice of primaries is more even.
func (l *layout) evenOut(lead, count []int) bool {
	if len(count) == 0 || slices.Max(count)-slices.Min(count) < 2 {
		return false
	}
	leads := make([][]int, len(l.seats)) // seat -> partitions it leads
	for p, s := range lead {
		leads[s] = append(leads[s], p)
	}
	from := make([]int, 0, len(l.seats))
	for s := range l.seats {
		from = append(from, s)
	}
	slices.SortStableFunc(from, func(a, b int) int { return count[b] - count[a] })
	for _, s := range from {
		if count[s]-slices.Min(count) < 2 {
			return false
		}
		if l.passOn(s, leads, lead, count) {
			return true
		}
	}
	return false
}

// passOn searches breadth first from seat s for one that leads two fewer, and
// passes the lead of one partition along the way.
func (l *layout) passOn(s int, leads [][]int, lead, count []int) bool {
	via := slices.Repeat([]int{vacant}, len(l.seats)) // partition through which a seat was reached
	queue := []int{s}
	for head := 0; head < len(queue); head++ {
		for _, p := range leads[queue[head]] {
			for _, to := range l.slots[p] {
				if to == s || via[to] != vacant {
					continue
				}
				via[to] = p
				if count[to] > count[s]-2 {
					queue = append(queue, to)
					continue
				}
				count[s]--
				count[to]++
				for at := to; at != s; {
					p := via[at]
					at, lead[p] = lead[p], at
				}
				return true
			}
		}
	}
	return false
}
