package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// damage is what is wrong with the records themselves and stays so after this plan.
func (d *diff) damage() oprc.Diagnostics {
	stays := maps.Clone(d.Live.Damaged)
	for object := range d.reasons {
		delete(stays, object)
	}
	if len(stays) == 0 {
		return nil
	}
	const most = 5
	names := slices.Sorted(maps.Keys(stays))
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("and %d more", more))
	}
	return oprc.Diagnostics{{
		Code: oprc.CodeDamage, Severity: oprc.SeverityWarning,
		Message: "records are lost or altered, and this plan does not write them again: " + strings.Join(names, ", "),
		Hint:    "a daemon writes what it can within a tick; oprc doctor says what to do about the rest",
	}}
}
