package plan

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/resolve"
)

// A Redaction puts a token in the place of every secret: the same token for the
// same secret, so that a plan still sees whether one changes, and another one under
// another salt. What live state holds and what is desired are redacted alike before
// they are compared. Whoever has the salt can test a guess, so short secrets are
// hidden from readers, not from attackers.
type Redaction struct {
	Mask []string `json:"mask"` // patterns of keys, as in [Plan.Masked]
	Salt string   `json:"salt"` // hex, random
}

// tokenPrefix begins what stands for a secret.
const tokenPrefix = "redacted:hmac-sha256:"

func (r Redaction) secrets() oprc.Secrets {
	return oprc.Secrets{Patterns: r.Mask, Instead: func(secret any) any {
		if s, ok := secret.(string); ok && strings.HasPrefix(s, tokenPrefix) {
			return s
		}
		mac := hmac.New(sha256.New, []byte(r.Salt))
		mac.Write(oprc.MustCanonical(secret))
		return tokenPrefix + hex.EncodeToString(mac.Sum(nil))
	}}
}

// Documents redacts what is desired.
func (r Redaction) Documents(docs []oprc.Document) ([]oprc.Document, error) {
	out := make([]oprc.Document, len(docs))
	for i, d := range docs {
		if d.Package != nil {
			p, err := redacted(r, *d.Package)
			if err != nil {
				return nil, fmt.Errorf("redact package %q: %w", d.Name(), err)
			}
			d.Package = &p
		}
		out[i] = d
	}
	return out, nil
}

// redacted is v without its secrets.
func redacted[T any](r Redaction, v T) (T, error) {
	before, err := oprc.Canonical(v)
	if err != nil {
		return v, err
	}
	after := r.secrets().Hide(before)
	if bytes.Equal(before, after) {
		return v, nil
	}
	var out T
	if err := json.Unmarshal(after, &out); err != nil {
		return v, fmt.Errorf("%w mask: it hides a field that must be a number or a list: %w", oprc.ErrInvalid, err)
	}
	return out, nil
}

// Redact returns live state without secrets, and without what no plan reads: who
// applied, and what CRMs said in words. Every recorded digest that was true of its
// document is true of the redacted one; one that was not (an apply was interrupted)
// still is not. So a plan against it has the same changes.
func (l Live) Redact(r Redaction) (Live, error) {
	out := Live{
		Ledger: l.Ledger, Packages: map[string]oprc.PackageRecord{}, Environments: map[string]oprc.EnvironmentState{}, Deployments: map[string]oprc.Deployment{},
		Digests: map[string]oprc.ObjectDigest{}, Units: map[string]map[string]oprc.UnitDigest{}, Statuses: map[string]map[string]oprc.Status{},
	}
	for name, rec := range l.Packages {
		spec, err := redacted(r, rec.Spec)
		if err != nil {
			return Live{}, fmt.Errorf("redact package %q: %w", name, err)
		}
		rec.Spec, rec.AppliedBy = spec, ""
		out.Packages[name] = rec
	}
	for key, d := range l.Deployments {
		placed, err := redacted(r, d)
		if err != nil {
			return Live{}, fmt.Errorf("redact deployment %q: %w", key, err)
		}
		out.Deployments[key] = placed
	}
	for name, e := range l.Environments {
		e.AppliedBy = ""
		out.Environments[name] = e
	}
	l.redactDigests(out)
	return out, nil
}

// redactDigests carries the digests over.
func (l Live) redactDigests(out Live) {
	was, is := memoryOf(l, l.catalogue()), memoryOf(out, out.catalogue())
	var digests oprc.Digester
	carry := func(kind oprc.Kind, key, hash string) string {
		c := &Change{Kind: kind, Key: key}
		if hash == "" || digests.Digest(was.document(c)) != hash {
			return hash
		}
		return digests.Digest(is.document(c))
	}
	for object, d := range l.Digests {
		kind, key, _ := strings.Cut(object, "/")
		d.Hash = carry(oprc.Kind(kind), key, d.Hash)
		out.Digests[object] = d
	}
	for name, rec := range out.Packages {
		rec.Digest = carry(oprc.KindPackage, name, l.Packages[name].Digest)
		out.Packages[name] = rec
	}
	for env, units := range l.Units {
		out.Units[env], out.Statuses[env] = map[string]oprc.UnitDigest{}, map[string]oprc.Status{}
		for id, u := range units {
			hash := carry(oprc.KindUnit, id, u.SpecHash)
			s, heard := l.Statuses[env][id]
			if heard {
				echo := s.SpecHash
				if echo == u.SpecHash {
					echo = hash
				}
				out.Statuses[env][id] = oprc.Status{Generation: s.Generation, SpecHash: echo, Condition: s.Condition}
			}
			u.SpecHash = hash
			out.Units[env][id] = u
		}
	}
}

// catalogue resolves the live packages as they are recorded.
func (l Live) catalogue() *resolve.Catalogue {
	specs := make(map[string]oprc.Package, len(l.Packages))
	for name, rec := range l.Packages {
		specs[name] = rec.Spec
	}
	catalogue, _ := resolve.Packages(nil, specs)
	return catalogue
}
