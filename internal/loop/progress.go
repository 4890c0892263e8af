package loop

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// progress says how far the units of one origin are.
type progress struct {
	units, running, open, down int
	worst                      string // the first unit that is down, by id
}

// progressByOrigin counts the units that should run, for each origin.
func progressByOrigin(live plan.Live) map[string]progress {
	out := map[string]progress{}
	for env, digests := range live.Units {
		health := live.Environments[env].Health
		for id, d := range digests {
			cls, _, _, _, ok := oprc.ParseUnitID(id)
			if !ok || !d.Runs() {
				continue
			}
			origin := live.Packages[live.Deployments[cls].Pkg].Origin
			p := out[origin]
			p.count(id, d, live.Statuses[env][id], health)
			out[origin] = p
		}
	}
	return out
}

func (p *progress) count(id string, d oprc.UnitDigest, s oprc.Status, env oprc.Health) {
	p.units++
	switch {
	case env == oprc.EnvDown, s.Generation >= d.Generation && s.Condition == oprc.Down:
		p.down++
		if p.worst == "" || id < p.worst {
			p.worst = id
		}
	case s.Generation >= d.Generation && s.Condition == oprc.Running:
		p.running++
	default:
		p.open++
	}
}

// conditions are Healthy and Reconciling.
func (p progress) conditions() (healthy, reconciling oprc.SourceCondition) {
	healthy = oprc.SourceCondition{Type: "Healthy", Status: true, Reason: "AllRunning", Message: fmt.Sprintf("%d units run", p.units)}
	reconciling = oprc.SourceCondition{Type: "Reconciling", Reason: "Settled"}
	if p.units == 0 {
		healthy.Reason = "NothingDeployed"
	}
	if p.open > 0 {
		reconciling = oprc.SourceCondition{
			Type: "Reconciling", Status: true, Reason: "Progressing",
			Message: fmt.Sprintf("%d of %d units are on their way", p.open, p.units),
		}
		healthy.Status, healthy.Reason, healthy.Message = false, reconciling.Reason, reconciling.Message
	}
	if p.down > 0 {
		healthy.Status, healthy.Reason = false, "UnitsDown"
		healthy.Message = fmt.Sprintf("%d of %d units are down: %s; oprc why %s", p.down, p.units, p.worst, p.worst)
	}
	return healthy, reconciling
}

// untilNext is the time to the next poll of a repository. Sources of one repository
// with the same interval are due together, so that one listing serves them all;
// repositories, and daemons, are spread over the interval.
func untilNext(url string, interval time.Duration, now time.Time) time.Duration {
	phase := time.Duration(maphash.String(seed, url) % uint64(interval))
	return interval - time.Duration((now.UnixNano()-int64(phase))%int64(interval))
}

// retryFirst is the first pause after what went wrong here, not in a repository.
const retryFirst = 2 * time.Second

// nextTry is the pause before the next try after so many failures in a row: the first
// one, then ever longer.
func nextTry(first time.Duration, failures int) time.Duration {
	if failures <= 1 {
		return first
	}
	return max(first, min(first<<min(failures-1, 20), backoffMax))
}

// backoffMax is the longest pause between two tries, unless the source's
// interval is longer.
const backoffMax = 5 * time.Minute
