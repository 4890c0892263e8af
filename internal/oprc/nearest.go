package oprc

// Nearest returns the known name that is closest to name by edit distance, or ""
// when none is close enough to be a slip of the pen. Ties go to the first in
// known, so pass known sorted.
func Nearest(name string, known []string) string {
	if len(name) > MaxNameLen {
		return ""
	}
	best, limit := "", min(max(1, len(name)/3)+1, len(name)) // not every letter may differ
	for _, k := range known {
		if k == name || len(k) > MaxNameLen || len(k)-len(name) >= limit || len(name)-len(k) >= limit {
			continue
		}
		if d := editDistance(name, k, limit); d < limit {
			best, limit = k, d
		}
	}
	return best
}

// editDistance is the optimal string alignment distance of a and b (insert,
// delete, replace, swap neighbours), ignoring ASCII case; limit or more is
// returned as limit.
func editDistance(a, b string, limit int) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least >= limit {
			return limit
		}
		before, prev, row = prev, row, before
	}
	return min(prev[len(b)], limit)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
