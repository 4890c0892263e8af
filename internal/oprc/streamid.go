package oprc

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// A StreamID is the id of an entry of a Redis stream, "milliseconds-sequence". It
// orders entries by the server's clock. The zero StreamID sorts first.
type StreamID struct{ MS, Seq uint64 }

// ParseStreamID reads an id; a part that is no number is 0.
func ParseStreamID(id string) StreamID {
	ms, seq, _ := strings.Cut(id, "-")
	var out StreamID
	out.MS, _ = strconv.ParseUint(ms, 10, 64)
	out.Seq, _ = strconv.ParseUint(seq, 10, 64)
	return out
}

// Compare returns -1, 0 or 1 as id is before, the same as or after other.
func (id StreamID) Compare(other StreamID) int {
	return cmp.Or(cmp.Compare(id.MS, other.MS), cmp.Compare(id.Seq, other.Seq))
}

// Time is the server's time at which the entry was added, in milliseconds; it is
// zero for the zero id.
func (id StreamID) Time() time.Time {
	if id.MS == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(id.MS)).UTC() //nolint:gosec // a time
}
