package plan

import (
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// nameCauses says of units and deployments that move which environments they leave because
// those are DOWN. The mark is for the reader, and no part of the decision.
func (a *attempt) nameCauses(changes []Change) {
	down := map[string][]string{} // class -> environments, sorted as the changes are
	for _, c := range changes {
		if c.Kind != oprc.KindUnit || c.Reason != ReasonPlacement || c.Actions[0] != Delete {
			continue
		}
		cls, _, _, env, ok := oprc.ParseUnitID(c.Key)
		if ok && a.Live.Environments[env].Health == oprc.EnvDown && !slices.Contains(down[cls], env) {
			down[cls] = append(down[cls], env)
		}
	}
	for i := range changes {
		c := &changes[i]
		cls := c.Key
		if c.Kind == oprc.KindUnit {
			cls, _, _, _, _ = oprc.ParseUnitID(c.Key)
		}
		if envs := down[cls]; c.Reason == ReasonPlacement && len(envs) == 1 {
			c.Cause = "environment " + envs[0] + " is DOWN"
		} else if c.Reason == ReasonPlacement && len(envs) > 1 {
			c.Cause = "environments " + strings.Join(envs, ", ") + " are DOWN"
		}
	}
}
