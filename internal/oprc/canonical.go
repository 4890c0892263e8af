package oprc

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/gowebpki/jcs"
)

// Canonical returns the RFC 8785 (JCS) form of v's JSON: one byte sequence for
// one value, on every machine.
//
// It fails only for values that JSON cannot hold: NaN, infinities, cycles, or a
// failing MarshalJSON.
func Canonical(v any) ([]byte, error) {
	w := writer{buf: make([]byte, 0, 1024)}
	if w.value(reflect.ValueOf(v)) {
		return w.buf, nil
	}
	return transform(v)
}

// transform is [Canonical] by way of encoding/json.
func transform(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("canonical JSON: %w", err)
	}
	out, err := jcs.Transform(raw)
	if err != nil {
		return nil, fmt.Errorf("canonical JSON: %w", err)
	}
	return out, nil
}

// MustCanonical is [Canonical] for the types of this package, which always marshal.
func MustCanonical(v any) []byte {
	out, err := Canonical(v)
	if err != nil {
		panic(err)
	}
	return out
}

// Digest returns "sha256:" and the hex SHA-256 of v's canonical JSON. v is one of
// the types of this package, or made of them.
func Digest(v any) string { return new(Digester).Digest(v) }

// A Digester is [Digest] for many values: it uses its memory again. The zero Digester
// is ready; it is not for concurrent use.
type Digester struct{ w writer }

// Digest is [Digest].
func (d *Digester) Digest(v any) string {
	d.w.buf = d.w.buf[:0]
	if d.w.value(reflect.ValueOf(v)) {
		return DigestBytes(d.w.buf)
	}
	return DigestBytes(MustCanonical(v))
}

// DigestBytes is [Digest] for canonical JSON that is at hand.
func DigestBytes(canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}
