package plan

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Snapshot is live state at one time, without secrets, to plan against where
// the state itself cannot be reached.
type Snapshot struct {
	FormatVersion string
	Taken         time.Time
	Redaction     Redaction
	Live          Live
}

// NewSnapshot redacts live state.
func NewSnapshot(live Live, r Redaction, taken time.Time) (*Snapshot, error) {
	live, err := live.Redact(r)
	if err != nil {
		return nil, err
	}
	return &Snapshot{FormatVersion: FormatVersion, Taken: taken, Redaction: r, Live: live}, nil
}

// A sealedSnapshot is a snapshot as a file has it. The digest, and the signature
// where there is one, are over the canonical JSON of what is inside.
type sealedSnapshot struct {
	Snapshot  json.RawMessage `json:"snapshot"`
	Digest    string          `json:"digest"`
	Signature *signature      `json:"signature,omitempty"`
}

type signature struct {
	Algorithm string `json:"algorithm"` // ed25519
	PublicKey []byte `json:"publicKey"`
	Value     []byte `json:"value"`
}

// signedAs keeps a signature on a snapshot from being one on anything else.
const signedAs = "oprc snapshot 1\n"

type snapshotFile struct {
	FormatVersion string      `json:"formatVersion"`
	Taken         time.Time   `json:"takenAt"`
	Redaction     Redaction   `json:"redaction"`
	Live          liveOnPaper `json:"live"`
}

// liveOnPaper is Live with names for JSON.
type liveOnPaper struct {
	Packages     map[string]oprc.PackageRecord       `json:"packages"`
	Environments map[string]oprc.EnvironmentState    `json:"environments"`
	Deployments  map[string]oprc.Deployment          `json:"deployments"`
	Digests      map[string]objectOnPaper            `json:"digests"`
	Units        map[string]map[string]unitOnPaper   `json:"units"`
	Statuses     map[string]map[string]statusOnPaper `json:"statuses"`
}

type objectOnPaper struct {
	Rev  int64  `json:"rev"`
	Hash string `json:"hash"`
	Blob string `json:"blob,omitempty"`
}

type unitOnPaper struct {
	Generation int64  `json:"generation"`
	SpecHash   string `json:"specHash"`
}

type statusOnPaper struct {
	Generation int64          `json:"generation"`
	SpecHash   string         `json:"specHash"`
	Condition  oprc.Condition `json:"condition"`
}

// Encode writes the snapshot as a file, signed where there is a key.
func (s *Snapshot) Encode(key ed25519.PrivateKey) ([]byte, error) {
	inner, err := oprc.Canonical(snapshotFile{s.FormatVersion, s.Taken.UTC(), s.Redaction, onPaper(s.Live)})
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	sealed := sealedSnapshot{Snapshot: inner, Digest: oprc.DigestBytes(inner)}
	if key != nil {
		public, _ := key.Public().(ed25519.PublicKey)
		sealed.Signature = &signature{"ed25519", public, ed25519.Sign(key, append([]byte(signedAs), inner...))}
	}
	out, err := oprc.Canonical(sealed)
	return append(out, '\n'), err
}

// DecodeSnapshot reads a snapshot file. One that was changed is refused with
// oprc.ErrInvalid; so is one that key did not sign, if a key is given. Without one
// a signature only proves that the file is whole, not whose it is.
func DecodeSnapshot(raw []byte, key ed25519.PublicKey) (*Snapshot, error) {
	var sealed sealedSnapshot
	if err := strictly(raw, &sealed); err != nil {
		return nil, fmt.Errorf("%w snapshot: %w", oprc.ErrInvalid, err)
	}
	inner, err := oprc.Canonical(sealed.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("%w snapshot: %w", oprc.ErrInvalid, err)
	}
	if got := oprc.DigestBytes(inner); got != sealed.Digest {
		return nil, fmt.Errorf("%w snapshot: it was changed: its content is %s, it says %s", oprc.ErrInvalid, got, sealed.Digest)
	}
	if err := sealed.verify(inner, key); err != nil {
		return nil, fmt.Errorf("%w snapshot: %w", oprc.ErrInvalid, err)
	}
	var file snapshotFile
	if err := strictly(inner, &file); err != nil {
		return nil, fmt.Errorf("%w snapshot: %w", oprc.ErrInvalid, err)
	}
	if !strings.HasPrefix(file.FormatVersion, "1.") {
		return nil, fmt.Errorf("%w snapshot: format version %q, this program reads 1.x", oprc.ErrInvalid, file.FormatVersion)
	}
	return &Snapshot{file.FormatVersion, file.Taken, file.Redaction, file.Live.live()}, nil
}

// verify checks the signature; wanted is nil where any signer will do.
func (s sealedSnapshot) verify(inner []byte, wanted ed25519.PublicKey) error {
	sig := s.Signature
	switch {
	case sig == nil && wanted == nil:
		return nil
	case sig == nil:
		return errors.New("it is not signed")
	case sig.Algorithm != "ed25519" || len(sig.PublicKey) != ed25519.PublicKeySize:
		return fmt.Errorf("signature algorithm %q is not ed25519", sig.Algorithm)
	case wanted != nil && !bytes.Equal(wanted, sig.PublicKey):
		return errors.New("another key signed it")
	case !ed25519.Verify(sig.PublicKey, append([]byte(signedAs), inner...), sig.Value):
		return errors.New("its signature is not true of its content")
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

func onPaper(l Live) liveOnPaper {
	p := liveOnPaper{
		Packages: l.Packages, Environments: l.Environments, Deployments: l.Deployments, Digests: map[string]objectOnPaper{},
		Units: map[string]map[string]unitOnPaper{}, Statuses: map[string]map[string]statusOnPaper{},
	}
	for object, d := range l.Digests {
		p.Digests[object] = objectOnPaper(d)
	}
	for env, units := range l.Units {
		p.Units[env] = map[string]unitOnPaper{}
		for id, u := range units {
			p.Units[env][id] = unitOnPaper(u)
		}
	}
	for env, statuses := range l.Statuses {
		p.Statuses[env] = map[string]statusOnPaper{}
		for id, s := range statuses {
			p.Statuses[env][id] = statusOnPaper{s.Generation, s.SpecHash, s.Condition}
		}
	}
	return p
}

func (p liveOnPaper) live() Live {
	l := Live{
		Packages: p.Packages, Environments: p.Environments, Deployments: p.Deployments, Digests: map[string]oprc.ObjectDigest{},
		Units: map[string]map[string]oprc.UnitDigest{}, Statuses: map[string]map[string]oprc.Status{},
	}
	for object, d := range p.Digests {
		l.Digests[object] = oprc.ObjectDigest(d)
	}
	for env, units := range p.Units {
		l.Units[env] = map[string]oprc.UnitDigest{}
		for id, u := range units {
			l.Units[env][id] = oprc.UnitDigest(u)
		}
	}
	for env, statuses := range p.Statuses {
		l.Statuses[env] = map[string]oprc.Status{}
		for id, s := range statuses {
			l.Statuses[env][id] = oprc.Status{Generation: s.Generation, SpecHash: s.SpecHash, Condition: s.Condition}
		}
	}
	return l
}
