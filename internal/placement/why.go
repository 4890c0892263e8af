package placement

import (
	"fmt"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
)

// A Share says who owns one partition, and why.
type Share struct {
	Partition int     `json:"partition"`
	Owners    []Owner `json:"owners"`
}

// An Owner is one replica of a partition.
type Owner struct {
	Member  int    `json:"member"`
	Env     string `json:"env"`
	Shard   int    `json:"shard"`
	Primary bool   `json:"primary,omitempty"`
	Why     string `json:"why"`               // why it owns the partition
	WhyLead string `json:"whyLead,omitempty"` // primaries: why it leads
}

// Shares explains the assignments of a placement that was made from in.
func (p Placement) Shares(in Input) []Share {
	e := explainer{in: in, members: map[int]oprc.Member{}, load: map[int]int{}, leads: map[int]int{}, was: map[int]int{}}
	for _, m := range p.Deployment.Members {
		e.members[m.ID] = m
	}
	for _, as := range p.Deployment.Assignments {
		e.leads[as.Primary]++
		for _, owner := range as.Owners {
			e.load[owner]++
			e.shards++
		}
	}
	if in.Current != nil {
		l := &layout{}
		for _, m := range p.Deployment.Members {
			l.seats = append(l.seats, seat{Member: m})
		}
		for id, s := range l.matchSeats(in.Current.Members) {
			e.was[id] = l.seats[s].ID
		}
	}
	shares := make([]Share, 0, len(p.Deployment.Assignments))
	for partition, as := range p.Deployment.Assignments {
		shares = append(shares, e.share(partition, as))
	}
	return shares
}

// An explainer knows what the reasons for owners are made of.
type explainer struct {
	in          Input
	members     map[int]oprc.Member
	load, leads map[int]int // by member id
	shards      int
	was         map[int]int // member id of the last placement -> of this one
}

func (e explainer) share(partition int, as oprc.Assignment) Share {
	var before oprc.Assignment
	if e.in.Current != nil && partition < len(e.in.Current.Assignments) {
		before = e.in.Current.Assignments[partition]
	}
	s := Share{Partition: partition, Owners: make([]Owner, 0, len(as.Owners))}
	for i, id := range as.Owners {
		o := Owner{Member: id, Env: e.members[id].Env, Primary: id == as.Primary, Why: e.whyOwner(id, before)}
		if i < len(as.ShardIDs) {
			o.Shard = as.ShardIDs[i]
		}
		if o.Primary {
			o.WhyLead = e.whyLead(id, before)
		}
		s.Owners = append(s.Owners, o)
	}
	return s
}

const declaredWhy = "the deployment's own assignments say so"

func (e explainer) whyOwner(id int, before oprc.Assignment) string {
	switch {
	case len(e.in.Deployment.Assignments) > 0:
		return declaredWhy
	case e.members[id].AllPartitions:
		return "the member has allPartitions"
	case e.owned(id, before):
		return "it owned the partition before: what is valid stays"
	}
	why := fmt.Sprintf("least loaded with room: it owns %d of %s", e.load[id], plural(e.shards, "shard"))
	if lost := e.lost(before); lost != "" {
		why = "takes over from " + lost + "; " + why
	}
	return why
}

func (e explainer) whyLead(id int, before oprc.Assignment) string {
	switch {
	case len(e.in.Deployment.Assignments) > 0:
		return declaredWhy
	case len(before.Owners) > 0 && e.was[before.Primary] == id && e.owned(id, before):
		return "it led before"
	}
	return fmt.Sprintf("primaries are spread evenly: it leads %d of %s", e.leads[id], plural(e.partitions(), "partition"))
}

func (e explainer) partitions() int {
	n := 0
	for _, count := range e.leads {
		n += count
	}
	return n
}

// owned reports whether a member owned the partition in the last placement.
func (e explainer) owned(id int, before oprc.Assignment) bool {
	return slices.ContainsFunc(before.Owners, func(old int) bool { now, stays := e.was[old]; return stays && now == id })
}

// lost names the environments of owners that could not stay, and why.
func (e explainer) lost(before oprc.Assignment) string {
	var names []string
	for _, old := range before.Owners {
		i := slices.IndexFunc(e.in.Current.Members, func(m oprc.Member) bool { return m.ID == old })
		if i < 0 {
			continue
		}
		env := e.in.Current.Members[i].Env
		at := slices.IndexFunc(e.in.Environments, func(s oprc.EnvironmentState) bool { return s.Spec.Name == env })
		_, member := e.was[old]
		switch {
		case at < 0:
			names = append(names, env+" (gone)")
		case !member:
			names = append(names, env+" (no member any more)")
		case e.in.Environments[at].Health == oprc.EnvDown:
			names = append(names, env+" (DOWN)")
		}
	}
	return list(names)
}
