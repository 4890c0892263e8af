package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// guardOptions hold plans that do more than the user expects. The zero value
// holds none.
type guardOptions struct {
	bound     bool
	maxDelete int // -1: any
	maxBlast  blastFlag
}

func (o *guardOptions) bind(cmd *cobra.Command) {
	o.bound = true
	cmd.Flags().IntVar(&o.maxDelete, "max-delete", -1, "hold a plan that deletes more than `n` packages (-1: any number)")
	cmd.Flags().Var(&o.maxBlast, "max-blast", "hold a plan that touches more than this `share` of the units that run, e.g. units=10%")
}

// given reports whether a plan can be held at all.
func (o *guardOptions) given() bool { return o.maxDelete >= 0 && o.bound || o.maxBlast > 0 }

// held is the error of a plan that goes further than was allowed, with the way on.
func (o *guardOptions) held(p *plan.Plan, next string) error {
	if !o.bound {
		return nil
	}
	g := plan.Guard{MaxDelete: o.maxDelete, MaxBlastUnits: float64(o.maxBlast)}
	if o.maxDelete < 0 {
		g.MaxDelete, g.MaxDeletePercent = len(p.Changes), 100
	}
	reason, held := p.Held(g)
	if !held {
		return nil
	}
	return stepError{fmt.Errorf("the plan goes too far: %s: %w", reason, oprc.ErrHeld), next}
}

// blastFlag is "units=10%".
type blastFlag float64

func (f *blastFlag) String() string {
	if f == nil || *f == 0 {
		return ""
	}
	return "units=" + strconv.FormatFloat(float64(*f), 'g', -1, 64) + "%"
}

func (f *blastFlag) Type() string { return "share" }

func (f *blastFlag) Set(s string) error {
	digits, ok := strings.CutPrefix(s, "units=")
	if ok {
		digits, ok = strings.CutSuffix(digits, "%")
	}
	percent, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(percent > 0 && percent <= 100) {
		return fmt.Errorf("write units=N%%, N above 0 and up to 100")
	}
	*f = blastFlag(percent)
	return nil
}
