package reconcile

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A PlanFile is a request with what was decided about it, to be applied later. Whoever
// applies it derives the decision again from the request, and goes on if it is the same:
// the plan in the file is for people to read, and to compare with. The request is files, or
// a revision of a source, which is then read again.
type PlanFile struct {
	Request Request
	Plan    *plan.Plan
}

const (
	planFileKind   = "planFile"
	planFileFormat = "2.0"
)

type planFile struct {
	FormatVersion string          `json:"formatVersion"`
	Request       Request         `json:"request"`
	Plan          json.RawMessage `json:"plan"`
}

// Encode writes the plan as a file, signed where there is a key.
func (f PlanFile) Encode(key ed25519.PrivateKey) ([]byte, error) {
	raw, err := plan.Encode(f.Plan)
	if err != nil {
		return nil, err
	}
	return plan.Seal(planFileKind, planFile{planFileFormat, f.Request, bytes.TrimSpace(raw)}, key)
}

// DecodePlanFile reads a plan file. It refuses with oprc.ErrInvalid what was edited or cut,
// what an older or newer program wrote and, if key is given, what it did not sign. A file
// speaks for the files that it holds, in the name of whoever applies it: one that claims
// another origin, or more than files can ask for, is an oprc.ErrDenied.
func DecodePlanFile(raw []byte, key ed25519.PublicKey) (PlanFile, error) {
	var old struct {
		FormatVersion string `json:"formatVersion"`
		PlanID        string `json:"planId"`
	}
	if json.Unmarshal(raw, &old) == nil && old.PlanID != "" {
		return PlanFile{}, fmt.Errorf("%w plan file: its format is %s, this program reads 2.x: plan again", oprc.ErrInvalid, old.FormatVersion)
	}
	var file planFile
	if err := plan.Unseal(planFileKind, raw, key, &file); err != nil {
		return PlanFile{}, fmt.Errorf("%w plan file: %w", oprc.ErrInvalid, err)
	}
	if !strings.HasPrefix(file.FormatVersion, "2.") {
		return PlanFile{}, fmt.Errorf("%w plan file: its format is %s, this program reads 2.x: plan again", oprc.ErrInvalid, file.FormatVersion)
	}
	p, err := plan.Decode(file.Plan)
	if err != nil {
		return PlanFile{}, err
	}
	p = p.Reread()
	if req := file.Request; req.Source != nil {
		if s := req.Scope; len(req.Files) > 0 || s.Origin != "" || s.Complete || s.TakeOwnership || len(s.Maintain)+len(s.Delete)+len(s.Restart) > 0 {
			return PlanFile{}, fmt.Errorf("plan file: it asks for more than revision %s of source %s: %w", req.Source.Revision, req.Source.Name, oprc.ErrDenied)
		}
		return PlanFile{req, p}, nil
	}
	if s := file.Request.Scope; s.Origin != oprc.OriginCLI || s.Complete || len(s.Maintain) > 0 {
		return PlanFile{}, fmt.Errorf("plan file: it claims to speak for all of %s, a plan file speaks for its files: %w", s.Origin, oprc.ErrDenied)
	}
	return PlanFile{file.Request, p}, nil
}

// Conditions are what must be true for the file to be applied.
func (f PlanFile) Conditions() Conditions {
	return Conditions{PlanID: f.Plan.ID, Saved: f.Plan, Ledger: f.Plan.Ledger}
}
