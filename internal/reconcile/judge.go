package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A Transition is one change as a policy sees it.
type Transition struct {
	Kind    oprc.Kind       `json:"kind"`
	Key     string          `json:"key"`
	Package string          `json:"package"`
	Actions []plan.Action   `json:"actions"`
	Reason  plan.Reason     `json:"reason"`
	Before  json.RawMessage `json:"before"` // null where it does not exist
	After   json.RawMessage `json:"after"`
	Actor   string          `json:"actor"`  // "" where nobody in particular acts
	Origin  string          `json:"origin"` // "" when the daemon looks after what is live
	Blast   plan.Blast      `json:"blast"`  // of the whole plan
}

// A Denial is a change that a policy does not allow.
type Denial struct {
	Policy  string    // file
	Kind    oprc.Kind // of the change
	Key     string
	Package string
	Message string
}

func (d Denial) String() string {
	return fmt.Sprintf("%s %s: %s (%s)", d.Kind, d.Key, d.Message, d.Policy)
}

// A Judge says which transitions policies deny. An error means that it cannot
// tell: then nothing may happen.
type Judge func(ctx context.Context, ts []Transition) ([]Denial, error)

// Review is nil if judge, which may be nil, allows everything in the plan; else an
// *oprc.DeniedError that names what it does not.
func Review(ctx context.Context, judge Judge, p *plan.Plan, actor string) error {
	denials, err := review(ctx, judge, p, actor)
	if err != nil || len(denials) == 0 {
		return err
	}
	return deniedError(p, denials)
}

func review(ctx context.Context, judge Judge, p *plan.Plan, actor string) ([]Denial, error) {
	if judge == nil || p.Empty() {
		return nil, nil
	}
	ts := make([]Transition, 0, len(p.Changes))
	for _, c := range p.Explain().Changes {
		ts = append(ts, Transition{
			Kind: c.Kind, Key: c.Key, Package: c.Package, Actions: c.Actions, Reason: c.Reason, Before: orNull(c.Before), After: orNull(c.After),
			Actor: actor, Origin: p.Scope.Origin, Blast: p.Summary.Blast,
		})
	}
	denials, err := judge(ctx, ts)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	return denials, nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func deniedError(p *plan.Plan, denials []Denial) error {
	e := &oprc.DeniedError{Reason: "policy forbids it"}
	changes := p.Explain().Changes
	for _, d := range denials {
		e.Objects = append(e.Objects, d.String())
		found := findingOf(d, nil)
		found.Position = siteOf(changes, d)
		e.Findings = append(e.Findings, found)
	}
	return e
}

// siteOf is the first line of a file that asks for a change, or for another one of its package.
func siteOf(changes []plan.Change, d Denial) oprc.Position {
	var near oprc.Position
	for _, c := range changes {
		for _, f := range c.Fields {
			at := oprc.Position{File: f.File, Line: f.Line}
			switch {
			case f.File == "":
			case c.Kind == d.Kind && c.Key == d.Key:
				return at
			case near.File == "" && d.Package != "" && (c.Package == d.Package || c.Kind == oprc.KindPackage && c.Key == d.Package):
				near = at
			}
		}
		if near.File == "" && c.Kind == oprc.KindPackage && c.Key == d.Package && c.Source != nil {
			near = oprc.Position{File: c.Source.Path}
		}
	}
	return near
}

// decide makes the plan and has it judged. With KeepGoing the packages whose
// changes are denied stay as they are, and the others are planned.
func (r *Reconciler) decide(ctx context.Context, in plan.Input, actor string) (*plan.Plan, error) {
	given := map[string]bool{}
	for {
		p := plan.Make(in)
		denials, err := review(ctx, r.Judge, p, actor)
		switch {
		case err != nil:
			return p, err
		case len(denials) == 0:
			return p, nil
		case !in.KeepGoing:
			return p, deniedError(p, denials)
		}
		more := false
		in.Diagnostics = slices.Clone(in.Diagnostics)
		for _, d := range denials {
			if d.Package == "" || given[d.Package] {
				continue
			}
			more, given[d.Package] = true, true
			in.Diagnostics = append(in.Diagnostics, findingOf(d, in.Documents))
		}
		if !more { // it is not a package that can stay behind: nothing of it may happen
			return p, deniedError(p, denials)
		}
	}
}

// findingOf is a denial as a finding in the file that asks for the change.
func findingOf(d Denial, docs []oprc.Document) oprc.Diagnostic {
	found := oprc.Diagnostic{
		Code: oprc.CodePolicy, Severity: oprc.SeverityError, Package: d.Package,
		Message: fmt.Sprintf("%s %s: %s", d.Kind, d.Key, d.Message), Hint: "denied by " + d.Policy,
	}
	for _, doc := range docs {
		if doc.Package != nil && doc.Name() == d.Package {
			found.Position, found.Pointer = doc.Where.At("/name"), "/name"
		}
	}
	return found
}
