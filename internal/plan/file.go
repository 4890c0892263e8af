package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// seal gives the plan its id.
func (p *Plan) seal() *Plan {
	p.ID = p.digest()
	return p
}

// digest is the digest of what is desired and of the decision.
func (p *Plan) digest() string {
	type change struct {
		Object  string   `json:"object"`
		Actions []Action `json:"actions"`
		Reason  Reason   `json:"reason"`
		Package string   `json:"package"`
		Was     string   `json:"was"`
		Will    string   `json:"will"`
	}
	type found struct {
		Code     oprc.Code     `json:"code"`
		Severity oprc.Severity `json:"severity"`
		Package  string        `json:"package"`
		Pointer  string        `json:"pointer"`
		Message  string        `json:"message"`
	}
	decision := struct {
		Desired   string   `json:"desired"`
		Scope     Scope    `json:"scope"`
		Changes   []change `json:"changes"`
		Findings  []found  `json:"findings"`
		Kept      []string `json:"kept"`
		Conflicts []string `json:"conflicts"`
	}{Desired: p.Desired, Scope: p.Scope, Kept: p.Kept, Conflicts: p.Conflicts}
	for _, c := range p.Changes {
		decision.Changes = append(decision.Changes, change{subject(c.Kind, c.Key), c.Actions, c.Reason, c.Package, c.Was, c.Will})
	}
	for _, d := range p.Diagnostics {
		decision.Findings = append(decision.Findings, found{d.Code, d.Severity, d.Package, d.Pointer, d.Message})
	}
	return oprc.Digest(decision)
}

// Encode writes a plan, explained, as JSON.
func Encode(p *Plan) ([]byte, error) {
	raw, err := oprc.Canonical(p.Explain())
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return append(raw, '\n'), nil
}

// Decode reads what Encode wrote, to show it. Where the decision in it does not match
// its id, or a document its digest, it was edited, cut or masked: it is refused with
// oprc.ErrInvalid.
func Decode(raw []byte) (*Plan, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	p := new(Plan)
	if err := dec.Decode(p); err != nil {
		return nil, fmt.Errorf("%w plan file: %w", oprc.ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w plan file: more follows after the plan", oprc.ErrInvalid)
	}
	if !strings.HasPrefix(p.FormatVersion, "1.") {
		return nil, fmt.Errorf("%w plan file: format version %q, this program reads 1.x", oprc.ErrInvalid, p.FormatVersion)
	}
	if err := p.compact(); err != nil {
		return nil, err
	}
	if got := p.digest(); got != p.ID {
		return nil, fmt.Errorf("%w plan file: it was modified after planning: its digest is %s, expected %s", oprc.ErrInvalid, got, p.ID)
	}
	for _, c := range p.Changes {
		if c.Before != nil && oprc.DigestBytes(c.Before) != c.Was || (c.After == nil) != (c.Will == "") || c.After != nil && oprc.DigestBytes(c.After) != c.Will {
			return nil, fmt.Errorf("%w plan file: it was modified after planning: %s does not match its digest", oprc.ErrInvalid, subject(c.Kind, c.Key))
		}
	}
	return p, nil
}

// compact brings the documents back into canonical form, should someone have
// indented the file.
func (p *Plan) compact() error {
	tidy := func(raw *json.RawMessage) error {
		if *raw == nil {
			return nil
		}
		out, err := oprc.Canonical(*raw)
		*raw = out
		return err
	}
	for i := range p.Changes {
		c := &p.Changes[i]
		errs := []error{tidy(&c.Before), tidy(&c.After)}
		for j := range c.Fields {
			errs = append(errs, tidy(&c.Fields[j].Before), tidy(&c.Fields[j].After))
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("%w plan file: %w", oprc.ErrInvalid, err)
		}
	}
	return nil
}

// Err says why a plan may not be applied: objects of another origin first, then
// findings that are errors. Under KeepGoing such a plan still holds the changes of
// the packages that are well.
func (p *Plan) Err() error {
	if len(p.Conflicts) > 0 {
		return &oprc.ConflictError{Reason: "owned by another origin (--take-ownership takes over)", Objects: p.Conflicts}
	}
	return p.Diagnostics.Err()
}

// Commands lists what the CRMs of each environment are sent, by unit id. Time and
// Revision are the caller's to fill in.
func (p *Plan) Commands() map[string][]oprc.Command {
	commands := map[string][]oprc.Command{}
	for _, c := range p.Changes {
		if c.Kind == oprc.KindUnit {
			u := c.unit()
			commands[u.TargetEnv] = append(commands[u.TargetEnv], commandFor(u, c.Generation, !slices.Contains(c.Actions, Delete)))
		}
	}
	return commands
}

// commandFor is the command that makes one unit run, or go.
func commandFor(u oprc.DeploymentUnit, generation int64, run bool) oprc.Command {
	cmd := oprc.Command{Type: oprc.Undeploy, ID: u.ID, Generation: generation, Unit: u, SpecHash: oprc.Digest(u)}
	if run {
		cmd.Type = oprc.Deploy
	}
	return cmd
}

// Doc is what the object will be: an oprc.Environment, Package, Function, Class,
// Deployment or DeploymentUnit; nil where it goes, and in a plan that was decoded.
func (c Change) Doc() any { return c.doc }

// unit is the unit that a change is about: what it will be, else what it was, else
// what its id says.
func (c Change) unit() oprc.DeploymentUnit {
	if u, is := c.doc.(oprc.DeploymentUnit); is {
		return u
	}
	if c.ran != nil {
		return *c.ran
	}
	for _, raw := range []json.RawMessage{c.After, c.Before} { // of a plan that was decoded
		var u oprc.DeploymentUnit
		if raw != nil && json.Unmarshal(raw, &u) == nil && u.ID == c.Key {
			return u
		}
	}
	return oprc.UnitOf(c.Key)
}

// Diverged lists the changed objects that are not in live what the plan says, sorted.
func (p *Plan) Diverged(live Live) []string {
	var off []string
	for _, c := range p.Changes {
		if live.digest(subject(c.Kind, c.Key)) != c.Will {
			off = append(off, subject(c.Kind, c.Key))
		}
	}
	slices.Sort(off)
	return off
}

// digest is what live state records of a planned object.
func (l Live) digest(object string) string {
	kind, key, _ := strings.Cut(object, "/")
	switch oprc.Kind(kind) {
	case oprc.KindUnit:
		_, _, _, env, _ := oprc.ParseUnitID(key)
		return l.Units[env][key].SpecHash
	case oprc.KindEnv:
		if env := l.Environments[key]; env.Rev > 0 {
			return oprc.Digest(env.Spec)
		}
		return ""
	}
	return l.Digests[object].Hash
}

func (p *Plan) count(kind oprc.Kind, action Action) int {
	n := 0
	for _, c := range p.Changes {
		if c.Kind == kind && slices.Contains(c.Actions, action) {
			n++
		}
	}
	return n
}
