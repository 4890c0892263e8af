// Package crmtest runs the conformance suite of [conformance] as a Go test.
package crmtest

import (
	"fmt"
	"testing"

	"github.com/oaas-platform/oprc/crm/conformance"
)

// Options say where the CRM under test works.
type Options = conformance.Options

// Test runs the suite as a test: each rule that must be kept and is not fails it.
func Test(t *testing.T, o Options) {
	t.Helper()
	o.Observe = func(s conformance.Step) {
		if f := s.Finding; f != nil {
			_, _ = fmt.Fprintf(t.Output(), "%-11s  %-19s  %s (%s)\n", f.Verdict, f.Rule, f.Seen, f.Took)
		}
	}
	result, err := conformance.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range result.Broken() {
		t.Errorf("rule %s (docs/protocol.md#%s): it %s; %s", f.Rule, f.Section, f.Says, f.Seen)
	}
}
