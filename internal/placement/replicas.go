package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// countReplicas decides how many replicas each partition has.
func (d *decision) countReplicas() {
	declared := d.in.Deployment.ReplicaCount
	ex := &d.out.Explanation
	switch {
	case declared > 0:
		d.replicas, ex.Why = declared, fmt.Sprintf("replicaCount %d is set in the deployment", declared)
	case len(d.in.Deployment.Assignments) > 0:
		d.replicas = fewestOwners(d.in.Deployment.Assignments)
		ex.Why = fmt.Sprintf("the assignments of the deployment give each partition %s", owners(d.replicas))
	case d.in.Availability > 0:
		d.computeReplicas()
	default:
		d.replicas, ex.Why = 1, "no availability is asked: 1 replica"
	}
	ex.Replicas = d.replicas
	d.out.Deployment.ReplicaCount = d.replicas
	if d.stopped() || (declared == 0 && len(d.in.Deployment.Assignments) == 0) {
		return
	}
	if d.in.Availability > 0 {
		d.judgeReplicas()
	}
	if d.consistency == oprc.Strong && d.replicas%2 == 0 {
		d.add(Finding{
			Code: oprc.CodeReplicas, Severity: oprc.SeverityInfo, Pointer: "/replicaCount",
			Message: fmt.Sprintf("%d replicas under STRONG never do better than %d: the quorum grows with them", d.replicas, d.replicas-1),
			Hint:    fmt.Sprintf("use %d or %d", d.replicas-1, d.replicas+1),
		})
	}
}

func fewestOwners(as []oprc.Assignment) int {
	n := len(as[0].Owners)
	for _, a := range as {
		n = min(n, len(a.Owners))
	}
	return max(1, n)
}

// computeReplicas finds the smallest count that reaches the target.
func (d *decision) computeReplicas() {
	if d.reportUnknown(oprc.CodeAvailability, oprc.SeverityError) {
		return
	}
	target, ex := d.in.Availability, &d.out.Explanation
	all, n := smallest(d.consistency, d.worst(), target)
	ex.Quorum = all
	ex.Best = best(all).Q
	if n == 0 {
		top := best(all)
		ex.Why = fmt.Sprintf("no count reaches %s; the best is Q(%d) = %s", number(target), top.N, number(top.Q))
		d.add(Finding{
			Code: oprc.CodeAvailability, Severity: oprc.SeverityError, Pointer: "/replicaCount",
			Message: fmt.Sprintf("availability %s cannot be reached over %s: the best is %s with %s",
				number(target), environments(len(d.candidates)), number(top.Q), replicas(top.N)),
			Hint: d.howToReach(target),
		})
		return
	}
	reached := all[n-1].Q
	ex.Slack = float64(reached - target)
	ex.Why = fmt.Sprintf("%d is the smallest n for which Q(n) reaches %s: Q(%d) = %s", n, number(target), n, number(reached))
	if n > 1 {
		ex.Why += fmt.Sprintf(", Q(%d) = %s", n-1, number(all[n-2].Q))
	}
	d.replicas = n
}

// judgeReplicas compares a count that the user chose with the target.
func (d *decision) judgeReplicas() {
	if d.reportUnknown(oprc.CodeReplicas, oprc.SeverityWarning) {
		return
	}
	target, ex := d.in.Availability, &d.out.Explanation
	all := Quorums(d.consistency, d.worst())
	reached := d.reachedBy(d.replicas)
	ex.Quorum, ex.Best = all[:min(len(all), d.replicas)], best(all).Q
	ex.Slack = float64(reached - target)
	if Reaches(reached, target) {
		return
	}
	f := Finding{
		Code: oprc.CodeReplicas, Severity: oprc.SeverityWarning, Pointer: "/replicaCount",
		Message: fmt.Sprintf("%s reach availability %s, below the target %s", replicas(d.replicas), number(reached), number(target)),
	}
	if d.replicas == 1 {
		f.Message = fmt.Sprintf("1 replica reaches availability %s, below the target %s", number(reached), number(target))
	}
	if _, n := smallest(d.consistency, d.worst(), target); n > 0 {
		f.Hint = fmt.Sprintf("replicaCount %d reaches it, and leaving replicaCount out computes it", n)
	} else {
		f.Hint = d.howToReach(target)
	}
	d.add(f)
}

// reachedBy returns the availability of n replicas on the worst members. Members
// that share an environment stand and fall together.
func (d *decision) reachedBy(n int) float64 {
	perEnv := make(map[string]int)
	if d.basis == fromMembers {
		for _, m := range d.in.Deployment.Members {
			perEnv[m.Env]++
		}
	}
	names := slices.Clone(d.candidates)
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Compare(availabilityOf(d.envs[a]), availabilityOf(d.envs[b]))
	})
	if n <= len(names) {
		return Quorums(d.consistency, d.worst())[n-1].Q
	}
	var up tally
	left := n
	for _, name := range names {
		w := min(left, max(1, perEnv[name]))
		if w == 0 {
			break
		}
		up = up.add(availabilityOf(d.envs[name]), w)
		left -= w
	}
	return up.atLeast(Need(d.consistency, n))
}

// reportUnknown reports candidates without an availability, where one is needed.
func (d *decision) reportUnknown(code oprc.Code, severity oprc.Severity) bool {
	found := false
	for _, name := range d.candidates {
		if availabilityOf(d.envs[name]) > 0 {
			continue
		}
		found = true
		d.add(Finding{
			Code: code, Severity: severity, Pointer: d.pointerTo(name),
			Message: fmt.Sprintf("availability %s is asked, but that of environment %q is not known", number(d.in.Availability), name),
			Hint:    "declare it in the document of the environment, or let its CRM report it",
		})
	}
	if found {
		d.out.Explanation.Why = "the availability of a candidate is not known"
	}
	return found
}

// pointerTo is where the deployment names the environment.
func (d *decision) pointerTo(env string) string {
	for i, m := range d.in.Deployment.Members {
		if m.Env == env {
			return fmt.Sprintf("/members/%d/env", i)
		}
	}
	if i := slices.Index(d.in.Deployment.TargetEnvs, env); i >= 0 {
		return fmt.Sprintf("/targetEnvs/%d", i)
	}
	return "/targetEnvs"
}

// worst returns the availabilities of the candidates, worst first.
func (d *decision) worst() []float64 {
	out := make([]float64, 0, len(d.candidates))
	for _, name := range d.candidates {
		out = append(out, availabilityOf(d.envs[name]))
	}
	slices.Sort(out)
	return out
}

// howToReach suggests leaving out the worst candidates, where that helps.
func (d *decision) howToReach(target float64) string {
	names := slices.Clone(d.candidates)
	slices.SortStableFunc(names, func(a, b string) int {
		return -cmp.Compare(availabilityOf(d.envs[a]), availabilityOf(d.envs[b]))
	})
	worst := d.worst()
	for cut := 1; cut < len(worst); cut++ {
		if all, n := smallest(d.consistency, worst[cut:], target); n > 0 {
			keep := slices.Sorted(slices.Values(names[:len(names)-cut]))
			return fmt.Sprintf("targetEnvs [%s] reaches %s with %s", list(keep), number(all[n-1].Q), replicas(n))
		}
	}
	return "add environments, choose better ones, or lower the target"
}

func best(all []Quorum) Quorum {
	var top Quorum
	for _, q := range all {
		if q.Q > top.Q {
			top = q
		}
	}
	return top
}

// number formats a probability so that a person can read it: 12 digits are what
// the tolerance leaves meaningful.
func number(f float64) string { return strconv.FormatFloat(f, 'g', 12, 64) }

func replicas(n int) string { return plural(n, "replica") }

func owners(n int) string { return plural(n, "owner") }

func environments(n int) string { return plural(n, "environment") }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
