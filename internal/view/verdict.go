package view

import (
	"errors"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// A Verdict is what becomes of a plan, in one word.
type Verdict string

// The verdicts. All but the first mean that the plan is not carried out as it is.
const (
	Free     Verdict = ""         // nothing stops it
	Invalid  Verdict = "invalid"  // findings
	Conflict Verdict = "conflict" // another origin owns something of it
	Denied   Verdict = "denied"   // a policy forbids it
	Held     Verdict = "held"     // somebody has to approve it
	Refused  Verdict = "refused"  // anything else
)

// A refusal is why a plan is not carried out, with what is to blame.
type refusal struct {
	Verdict  Verdict          `json:"verdict"`
	Message  string           `json:"message"`
	Findings oprc.Diagnostics `json:"findings"`
}

// refusalOf reads why a plan is not carried out from the error that it ends with, and from
// the plan itself.
func refusalOf(p *plan.Plan, err error) *refusal {
	var denied *oprc.DeniedError
	var conflict *oprc.ConflictError
	switch {
	case errors.As(err, &denied):
		return &refusal{Denied, denied.Reason, blame(denied.Findings, CodeDenied, denied.Objects)}
	case errors.Is(err, oprc.ErrDenied):
		return &refusal{Denied, err.Error(), nil}
	case errors.Is(err, oprc.ErrInvalid) && p.Diagnostics.Err() == nil:
		return &refusal{Invalid, err.Error(), nil}
	case len(p.Diagnostics.Errors()) > 0:
		return invalidity(p)
	case errors.As(err, &conflict):
		return &refusal{Conflict, conflict.Reason, blame(nil, CodeOwner, conflict.Objects)}
	case len(p.Conflicts) > 0:
		return &refusal{Conflict, "another origin owns it", blame(nil, CodeOwner, p.Conflicts)}
	case errors.Is(err, oprc.ErrHeld):
		return &refusal{Held, strings.TrimSuffix(err.Error(), ": "+oprc.ErrHeld.Error()), nil}
	case err != nil:
		return &refusal{Refused, err.Error(), nil}
	}
	return nil
}

// invalidity tells a plan with errors from one whose only errors are a policy's.
func invalidity(p *plan.Plan) *refusal {
	errs := p.Diagnostics.Errors()
	r := &refusal{Invalid, count(len(errs), "error"), errs}
	if !slices.ContainsFunc(errs, func(d oprc.Diagnostic) bool { return d.Code != oprc.CodePolicy }) {
		r.Verdict, r.Message = Denied, "a policy forbids "+count(len(errs), "change")
	}
	if len(p.Kept) > 0 {
		r.Message += "; " + count(len(p.Kept), "object") + " would stay at the last good state"
	}
	return r
}

// The codes of what is no finding of the checker: they stand in SARIF and annotations.
const (
	CodeDenied  oprc.Code = oprc.CodePolicy
	CodeOwner   oprc.Code = "plan-other-owner"
	CodeHeld    oprc.Code = "plan-held"
	CodeRefused oprc.Code = "plan-refused"
	CodeDelete  oprc.Code = "plan-delete"
)

// blame makes findings of objects that have no position.
func blame(found oprc.Diagnostics, code oprc.Code, objects []string) oprc.Diagnostics {
	if len(found) > 0 {
		return found
	}
	for _, o := range objects {
		found = append(found, oprc.Diagnostic{Code: code, Severity: oprc.SeverityError, Message: o})
	}
	return found
}

// title is the verdict as a heading.
func (r *refusal) title() string {
	switch r.Verdict {
	case Invalid:
		return "Invalid"
	case Conflict:
		return "Other owner"
	case Denied:
		return "Denied by policy"
	case Held:
		return "Held for approval"
	}
	return "Refused"
}

// diagnostics are the findings, or the message alone where there are none.
func (r *refusal) diagnostics() oprc.Diagnostics {
	if len(r.Findings) > 0 {
		return r.Findings
	}
	code, severity := CodeRefused, oprc.SeverityError
	if r.Verdict == Held {
		code, severity = CodeHeld, oprc.SeverityWarning
	}
	return oprc.Diagnostics{{Code: code, Severity: severity, Message: r.Message}}
}

// sentence says what is refused, and whether anything of the plan would be applied.
func (r *refusal) sentence(p *plan.Plan) string {
	out := clean(r.Message)
	switch {
	case p.Empty():
		out += ". Nothing would be applied."
	case r.Verdict == Held:
		out += ". Nothing is applied until it is approved."
	case len(p.Kept) > 0:
		out += ". The rest of the plan would be applied:"
	default:
		out += ". Nothing would be applied of the plan below."
	}
	return out
}
