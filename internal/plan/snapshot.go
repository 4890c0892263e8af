package plan

import (
	"crypto/ed25519"
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
	// Sources and Asked are what daemons have stored about their sources and what people
	// ask of those, to plan as one of them.
	Sources map[string]oprc.SourceStatus
	Asked   oprc.Requests
}

// NewSnapshot redacts live state.
func NewSnapshot(live Live, r Redaction, taken time.Time) (*Snapshot, error) {
	live, err := live.Redact(r)
	if err != nil {
		return nil, err
	}
	return &Snapshot{FormatVersion: FormatVersion, Taken: taken, Redaction: r, Live: live}, nil
}

type snapshotFile struct {
	FormatVersion string      `json:"formatVersion"`
	Taken         time.Time   `json:"takenAt"`
	Redaction     Redaction   `json:"redaction"`
	Live          liveOnPaper `json:"live"`

	Sources map[string]oprc.SourceStatus `json:"sources,omitempty"`
	Asked   *oprc.Requests               `json:"asked,omitempty"`
}

// liveOnPaper is Live with names for JSON.
type liveOnPaper struct {
	Ledger       string                              `json:"ledger,omitempty"`
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
	return Seal(snapshotKind, snapshotFile{s.FormatVersion, s.Taken.UTC(), s.Redaction, onPaper(s.Live), s.Sources, &s.Asked}, key)
}

// DecodeSnapshot reads a snapshot file. One that was changed is refused with
// oprc.ErrInvalid; so is one that key did not sign, if a key is given. Without one
// a signature only proves that the file is whole, not whose it is.
func DecodeSnapshot(raw []byte, key ed25519.PublicKey) (*Snapshot, error) {
	var file snapshotFile
	if err := Unseal(snapshotKind, raw, key, &file); err != nil {
		return nil, fmt.Errorf("%w snapshot: %w", oprc.ErrInvalid, err)
	}
	if !strings.HasPrefix(file.FormatVersion, "1.") {
		return nil, fmt.Errorf("%w snapshot: format version %q, this program reads 1.x", oprc.ErrInvalid, file.FormatVersion)
	}
	s := &Snapshot{FormatVersion: file.FormatVersion, Taken: file.Taken, Redaction: file.Redaction, Live: file.Live.live(), Sources: file.Sources}
	if file.Asked != nil {
		s.Asked = *file.Asked
	}
	return s, nil
}

const snapshotKind = "snapshot"

func onPaper(l Live) liveOnPaper {
	p := liveOnPaper{
		Ledger: l.Ledger, Packages: l.Packages, Environments: l.Environments, Deployments: l.Deployments, Digests: map[string]objectOnPaper{},
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
		Ledger: p.Ledger, Packages: p.Packages, Environments: p.Environments, Deployments: p.Deployments, Digests: map[string]oprc.ObjectDigest{},
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
