package plan

import (
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// Masked returns a copy to show: secrets are "***", as [oprc.Secrets] says of keys that
// match a pattern. The copy keeps the id; Decode refuses it.
func (p *Plan) Masked(patterns []string) *Plan {
	secrets := oprc.Secrets{Patterns: patterns}
	out := *p.Explain()
	out.Diagnostics = secrets.Findings(out.Diagnostics)
	out.Changes = slices.Clone(out.Changes)
	for i := range out.Changes {
		c := &out.Changes[i]
		c.Before, c.After = secrets.Hide(c.Before), secrets.Hide(c.After)
		c.Fields = slices.Clone(c.Fields)
		for j := range c.Fields {
			f := &c.Fields[j]
			at := tokens(f.Path)
			f.Before, f.After = secrets.Hide(f.Before, at...), secrets.Hide(f.After, at...)
		}
	}
	return &out
}
