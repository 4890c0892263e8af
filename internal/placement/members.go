package placement

import (
	"cmp"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// chooseMembers settles who takes part: the members as declared, or one for each
// environment that was named or chosen.
func (d *decision) chooseMembers() {
	out := &d.out.Deployment
	switch d.basis {
	case fromMembers:
		out.Members = slices.Clone(d.in.Deployment.Members)
	case fromTargets:
		out.Members = d.membersFor(inOrder(d.in.Deployment.TargetEnvs))
	case fromPool:
		want := d.replicas
		for _, a := range d.in.Deployment.Assignments {
			want = max(want, slices.Max(append([]int{0}, a.Owners...)))
		}
		d.prefer(d.candidates)
		for _, left := range d.candidates[min(want, len(d.candidates)):] {
			d.leaveOut(left, "others are preferred: enough were chosen before it")
		}
		chosen := d.candidates[:min(want, len(d.candidates))]
		slices.Sort(chosen)
		out.Members = d.membersFor(chosen)
	case fromDefault:
		out.Members = d.membersFor(d.candidates)
	}
	out.TargetEnvs = out.TargetEnvs[:0:0]
	for _, m := range out.Members {
		out.TargetEnvs = append(out.TargetEnvs, m.Env)
	}
	out.TargetEnvs = inOrder(out.TargetEnvs)
	for i := range d.out.Explanation.Candidates {
		c := &d.out.Explanation.Candidates[i]
		c.Chosen = c.Why == "" && slices.Contains(out.TargetEnvs, c.Env)
	}
}

func (d *decision) leaveOut(env, why string) {
	for i := range d.out.Explanation.Candidates {
		if c := &d.out.Explanation.Candidates[i]; c.Env == env {
			c.Why = why
		}
	}
}

// inOrder drops repeats and keeps the order.
func inOrder(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// membersFor makes one member for each environment, with ids 1, 2, …; an
// environment that took part before keeps its id, unless the user's assignments
// count on the numbering.
func (d *decision) membersFor(envs []string) []oprc.Member {
	had := make(map[string]int)
	if d.in.Current != nil && len(d.in.Deployment.Assignments) == 0 {
		for _, m := range d.in.Current.Members {
			if id := had[m.Env]; m.ID >= 1 && (id == 0 || m.ID < id) {
				had[m.Env] = m.ID
			}
		}
	}
	taken := make(map[int]bool)
	for _, env := range envs {
		taken[had[env]] = true
	}
	out, next := make([]oprc.Member, 0, len(envs)), 1
	for _, env := range envs {
		id := had[env]
		if id == 0 {
			for taken[next] {
				next++
			}
			id = next
			taken[id] = true
		}
		out = append(out, oprc.Member{ID: id, Env: env})
	}
	slices.SortFunc(out, func(a, b oprc.Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
