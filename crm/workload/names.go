package workload

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// nameLimit is how long the label of a DNS name may be, and a Kubernetes label's value.
const nameLimit = 63

// Name makes one DNS label of several texts, such as a unit's id and a function's key:
// the same for the same texts, another for others, and readable where there is room.
func Name(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	suffix := "-" + hex.EncodeToString(sum[:5])
	readable := strings.Trim(squeeze(strings.ToLower(strings.Join(parts, "-"))), "-")
	if readable == "" || readable[0] < 'a' || readable[0] > 'z' {
		readable = "u" + readable
	}
	if most := nameLimit - len(suffix); len(readable) > most {
		readable = readable[:most]
	}
	return strings.TrimRight(readable, "-") + suffix
}

// squeeze puts one dash in the place of everything that no DNS label holds.
func squeeze(s string) string {
	var b strings.Builder
	dash := false
	for _, r := range s {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
			dash = false
		} else if !dash {
			b.WriteByte('-')
			dash = true
		}
	}
	return b.String()
}

// LabelValue is a text as the value of a Kubernetes label: as it is where that is
// possible, else as [Name] writes it.
func LabelValue(text string) string {
	inner := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	}
	ok := len(text) <= nameLimit && strings.Trim(text, "._-") == text
	for _, r := range text {
		ok = ok && inner(r)
	}
	if ok {
		return text
	}
	return Name(text)
}
