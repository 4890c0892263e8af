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

// seal gives the plan its id: the digest of everything else in it, which is what
// is desired, the base, and every change.
func (p *Plan) seal() *Plan {
	p.Desired = oprc.Digest(p.Predicted())
	p.ID = p.digest()
	return p
}

// digest stands documents in by their digests, so that a plan of ten thousand
// packages is not written out twice.
func (p *Plan) digest() string {
	bare := *p
	bare.ID, bare.Changes = "", slices.Clone(p.Changes)
	for i := range bare.Changes {
		c := &bare.Changes[i]
		c.Before, c.After = standIn(c.Before), standIn(c.After)
	}
	return oprc.Digest(&bare)
}

func standIn(canonical json.RawMessage) json.RawMessage {
	if canonical == nil {
		return nil
	}
	return json.RawMessage(`"` + oprc.DigestBytes(canonical) + `"`)
}

// Encode writes a plan as a plan file.
func Encode(p *Plan) ([]byte, error) {
	raw, err := oprc.Canonical(p)
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return append(raw, '\n'), nil
}

// Decode reads a plan file. A file whose content does not match its id was
// edited, cut or masked; it is refused with oprc.ErrInvalid.
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
		return nil, fmt.Errorf("%w plan file: it was edited after planning: its content is %s, it says %s", oprc.ErrInvalid, got, p.ID)
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

// Commands lists what the CRMs of each environment will be told, by unit id.
// Time and Revision are the caller's to fill in.
func (p *Plan) Commands() map[string][]oprc.Command {
	commands := map[string][]oprc.Command{}
	for _, c := range p.Changes {
		if c.Kind != oprc.KindUnit {
			continue
		}
		cmd := oprc.Command{Type: oprc.Deploy, ID: c.Key, Generation: c.Generation, Unit: unitOf(c)}
		if slices.Contains(c.Actions, Delete) {
			cmd.Type = oprc.Undeploy
		}
		cmd.SpecHash = oprc.Digest(cmd.Unit)
		commands[cmd.Unit.TargetEnv] = append(commands[cmd.Unit.TargetEnv], cmd)
	}
	return commands
}

// unitOf is the unit that a change is about: the new one, else the old one, else
// what its id says.
func unitOf(c Change) oprc.DeploymentUnit {
	var u oprc.DeploymentUnit
	for _, raw := range []json.RawMessage{c.After, c.Before} {
		if raw != nil && json.Unmarshal(raw, &u) == nil {
			return u
		}
	}
	cls, partition, replica, env, _ := oprc.ParseUnitID(c.Key)
	return oprc.DeploymentUnit{
		ID: c.Key, ClsKey: cls, Functions: []oprc.UnitFunction{}, TargetEnv: env,
		PartitionInfo: oprc.PartitionInfo{PartitionID: partition, ReplicaID: replica},
	}
}

// Predicted says what the digest of each changed object will be once the plan is
// applied, by "<kind>/<key>"; "" where the object will be gone or undeployed.
func (p *Plan) Predicted() map[string]string {
	predicted := make(map[string]string, len(p.Changes))
	for _, c := range p.Changes {
		hash := ""
		if c.After != nil {
			hash = oprc.DigestBytes(c.After)
		}
		predicted[string(c.Kind)+"/"+c.Key] = hash
	}
	return predicted
}

// Diverged lists the changed objects that are not in live what the plan predicted,
// sorted. After a plan was applied, and before anything else was, there are none.
func (p *Plan) Diverged(live Live) []string {
	var off []string
	for object, want := range p.Predicted() {
		if live.digest(object) != want {
			off = append(off, object)
		}
	}
	slices.Sort(off)
	return off
}

// digest is what live state holds of an object that Predicted names.
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
