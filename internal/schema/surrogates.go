package schema

import (
	"bytes"
	"strconv"
	"unicode/utf16"
)

// joinSurrogates writes escaped surrogate pairs of JSON (\ud83d\ude00) as the
// character that they mean: YAML has no such pairs. A lone half becomes U+FFFD.
func joinSurrogates(data []byte) []byte {
	if !bytes.Contains(data, []byte(`\ud`)) && !bytes.Contains(data, []byte(`\uD`)) {
		return data
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); {
		if data[i] != '\\' || i+1 == len(data) {
			out = append(out, data[i])
			i++
			continue
		}
		high, ok := escape(data[i:])
		if !ok || !utf16.IsSurrogate(high) {
			out = append(out, data[i], data[i+1])
			i += 2
			continue
		}
		i += 6
		joined := '\uFFFD'
		if low, ok := escape(data[i:]); ok {
			if r := utf16.DecodeRune(high, low); r != '\uFFFD' {
				joined = r
				i += 6
			}
		}
		out = append(out, string(joined)...)
	}
	return out
}

// escape reads \uXXXX.
func escape(data []byte) (rune, bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	return rune(n), err == nil
}
