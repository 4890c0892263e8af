package plan

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A signature says who vouches for a file.
type signature struct {
	Algorithm string `json:"algorithm"` // ed25519
	PublicKey []byte `json:"publicKey"`
	Value     []byte `json:"value"`
}

// signedAs keeps a signature on a file of one kind from being one on another.
func signedAs(kind string, inner []byte) []byte { return append([]byte("oprc "+kind+" 1\n"), inner...) }

// Seal writes a file of a kind: its content in canonical JSON under the kind's name, the
// content's digest and, where there is a key, a signature on it.
func Seal(kind string, content any, key ed25519.PrivateKey) ([]byte, error) {
	inner, err := oprc.Canonical(content)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	file := map[string]any{kind: json.RawMessage(inner), "digest": oprc.DigestBytes(inner)}
	if key != nil {
		public, _ := key.Public().(ed25519.PublicKey)
		file["signature"] = signature{"ed25519", public, ed25519.Sign(key, signedAs(kind, inner))}
	}
	out, err := oprc.Canonical(file)
	return append(out, '\n'), err
}

// Unseal reads what Seal wrote. It refuses a file whose content was changed since, and if
// key is given one that it did not sign; nil: any signer, or none, will do.
func Unseal(kind string, raw []byte, key ed25519.PublicKey, content any) error {
	var file map[string]json.RawMessage
	if err := strictly(raw, &file); err != nil {
		return err
	}
	var digest string
	var signed *signature
	for name, value := range file {
		var err error
		switch name {
		case kind:
		case "digest":
			err = strictly(value, &digest)
		case "signature":
			err = strictly(value, &signed)
		default:
			err = fmt.Errorf("unknown field %q", name)
		}
		if err != nil {
			return err
		}
	}
	if file[kind] == nil {
		return fmt.Errorf("it has no %q", kind)
	}
	inner, err := oprc.Canonical(file[kind])
	if err != nil {
		return err
	}
	if got := oprc.DigestBytes(inner); got != digest {
		return fmt.Errorf("it was changed (edited, or cut): its content is %s, it says %s", got, digest)
	}
	if err := signed.verify(signedAs(kind, inner), key); err != nil {
		return err
	}
	return strictly(inner, content)
}

// verify checks the signature; wanted is nil where any signer will do.
func (s *signature) verify(message []byte, wanted ed25519.PublicKey) error {
	switch {
	case s == nil && wanted == nil:
		return nil
	case s == nil:
		return errors.New("it is not signed")
	case s.Algorithm != "ed25519" || len(s.PublicKey) != ed25519.PublicKeySize:
		return fmt.Errorf("signature algorithm %q is not ed25519", s.Algorithm)
	case wanted != nil && !bytes.Equal(wanted, s.PublicKey):
		return errors.New("another key signed it")
	case !ed25519.Verify(s.PublicKey, message, s.Value):
		return errors.New("its signature does not match its content")
	}
	return nil
}

// strictly decodes one JSON value that has no unknown members.
func strictly(raw []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more follows after its end")
	}
	return nil
}
