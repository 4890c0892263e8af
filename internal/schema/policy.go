package schema

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"
	cuejson "cuelang.org/go/encoding/json"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// Policies reads transition policies: CUE files with a field `input`, which
// becomes one [reconcile.Transition] after the other, and a list `deny` of messages.
// A change is allowed if every policy's list is empty for it. A policy that cannot be
// evaluated for a change denies it.
func Policies(files []oprc.File) (reconcile.Judge, error) {
	files = slices.Clone(files)
	if _, err := compilePolicies(files); err != nil {
		return nil, err
	}
	return func(ctx context.Context, ts []reconcile.Transition) ([]reconcile.Denial, error) {
		return judge(ctx, files, ts)
	}, nil
}

// A policy is a compiled file.
type policy struct {
	path string
	body cue.Value
}

const (
	policyInput = "input"
	policyDeny  = "deny"
	// perContext is how many transitions one CUE context judges: a context keeps all
	// that was ever evaluated in it, so it is thrown away from time to time.
	perContext = 256
	// maxDenials bounds what is told of one plan.
	maxDenials = 100
)

func judge(ctx context.Context, files []oprc.File, ts []reconcile.Transition) ([]reconcile.Denial, error) {
	var out []reconcile.Denial
	for batch := range slices.Chunk(ts, perContext) {
		policies, err := compilePolicies(files)
		if err != nil {
			return nil, err
		}
		for _, t := range batch {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			raw, err := json.Marshal(t)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", t.Kind, t.Key, err)
			}
			for _, p := range policies {
				for _, message := range p.judge(raw) {
					out = append(out, reconcile.Denial{Policy: p.path, Kind: t.Kind, Key: t.Key, Package: t.Package, Message: message})
				}
			}
			if len(out) >= maxDenials {
				return out, nil
			}
		}
	}
	return out, nil
}

// compilePolicies compiles all files in a context of their own.
func compilePolicies(files []oprc.File) ([]policy, error) {
	ctx := cuecontext.New()
	out := make([]policy, 0, len(files))
	for _, f := range files {
		v := ctx.CompileBytes(f.Data, cue.Filename(f.Path))
		if err := v.Validate(); err != nil {
			message := cueMessage(err)
			if !strings.HasPrefix(message, f.Path+":") {
				message = f.Path + ": " + message
			}
			return nil, fmt.Errorf("%w policy: %s", oprc.ErrInvalid, message)
		}
		for _, field := range []string{policyInput, policyDeny} {
			if !v.LookupPath(cue.ParsePath(field)).Exists() {
				return nil, fmt.Errorf("%w policy: %s: it has no field %q", oprc.ErrInvalid, f.Path, field)
			}
		}
		out = append(out, policy{f.Path, v})
	}
	return out, nil
}

// judge returns the policy's messages for one transition.
func (p policy) judge(transition []byte) []string {
	expr, err := cuejson.Extract(policyInput, transition)
	if err != nil {
		return []string{"the policy cannot judge it: " + cueMessage(err)}
	}
	input := cuecontext.New().BuildExpr(expr)
	deny := p.body.FillPath(cue.ParsePath(policyInput), input).LookupPath(cue.ParsePath(policyDeny))
	var messages []string
	if err := deny.Validate(cue.Concrete(true)); err != nil {
		return []string{"the policy cannot judge it: " + cueMessage(err)}
	}
	if err := deny.Decode(&messages); err != nil {
		return []string{"the policy cannot judge it: deny must be a list of texts"}
	}
	return messages
}

// cueMessage is the first error of a CUE evaluation with its place, on one line.
func cueMessage(err error) string {
	all := errors.Errors(err)
	if len(all) == 0 {
		return err.Error()
	}
	first := all[0]
	message := strings.ReplaceAll(first.Error(), "\n", " ")
	if at := first.Position(); at.IsValid() {
		return fmt.Sprintf("%s:%d:%d: %s", at.Filename(), at.Line(), at.Column(), message)
	}
	return message
}
