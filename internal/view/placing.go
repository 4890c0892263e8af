package view

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/plan"
)

// Placing prints the arithmetic of a placement.
func (o Output) Placing(p plan.Placing) error {
	if o.Format == JSON || o.Format == YAML {
		return o.Document(struct {
			FormatVersion string `json:"formatVersion"`
			plan.Placing
		}{FormatVersion, p})
	}
	var b strings.Builder
	b.WriteString(bold(clean(p.Class)) + "  " + faint(placingFacts(p)) + "\n")
	b.WriteString(section("Candidates", candidateTable(p)))
	if len(p.Quorums) > 0 {
		b.WriteString(section("Q(n): probability that a quorum of the n least available candidates is up", quorumTable(p)))
	}
	if p.Replicas > 0 {
		b.WriteString("\n" + bold("Replicas: ") + strconv.Itoa(p.Replicas) + ". " + sentence(p.Why) + "\n")
	}
	if p.Replicas > 0 && p.Target > 0 && len(p.Quorums) > 0 {
		b.WriteString(bold("Slack: ") + probability(p.Slack) + " above the target of " + probability(p.Target) + "; the best that can be had is " + probability(p.Best) + "\n")
	}
	if len(p.Shares) > 0 {
		b.WriteString(section("Who owns what", shareTable(p)))
	}
	for _, d := range p.Diagnostics {
		b.WriteString("\n" + string(d.Severity) + " " + string(d.Code) + ": " + clean(d.Message) + "\n")
		if d.Hint != "" {
			b.WriteString("  " + faint(clean(d.Hint)) + "\n")
		}
	}
	switch {
	case p.Failed:
		b.WriteString("\n" + bold("This placement is not possible.") + "\n")
	case p.Changes && len(p.Without) > 0:
		b.WriteString("\n" + bold("It would move.") + " Nothing was changed.\n")
	case p.Changes:
		b.WriteString("\n" + bold("This is not what runs now:") + " the next plan for package " + clean(p.Package) + " moves it.\n")
	}
	return o.print(b.String())
}

func placingFacts(p plan.Placing) string {
	facts := []string{"package " + clean(p.Package), "consistency " + p.Consistency}
	if p.ShardType != "" {
		facts = append(facts, "shards "+clean(p.ShardType))
	}
	if p.Target > 0 {
		facts = append(facts, "availability "+probability(p.Target)+" asked")
	}
	if len(p.Without) > 0 {
		facts = append(facts, "without "+clean(strings.Join(p.Without, ", ")))
	}
	return strings.Join(facts, " · ")
}

func candidateTable(p plan.Placing) table {
	t := table{header: []string{"ENVIRONMENT", "AVAILABILITY", "UNITS", "CHOSEN", "WHY NOT"}}
	for _, c := range p.Candidates {
		availability := "unknown"
		if c.Availability > 0 {
			availability = probability(c.Availability)
		}
		chosen := "no"
		if c.Chosen {
			chosen = green("yes")
		}
		t.add(clean(c.Env), availability, strconv.Itoa(c.Units), chosen, dash(c.Why))
	}
	return t
}

func quorumTable(p plan.Placing) table {
	t := table{header: []string{"N", "MUST BE UP", "Q(N)", "TARGET"}}
	for _, q := range p.Quorums {
		verdict := "below"
		if q.Reaches {
			verdict = green("reached")
		}
		t.add(strconv.Itoa(q.N), strconv.Itoa(q.Need), probability(q.Q), verdict)
	}
	return t
}

func shareTable(p plan.Placing) table {
	t := table{header: []string{"PARTITION", "SHARD", "MEMBER", "ENVIRONMENT", "ROLE", "WHY"}}
	for _, s := range p.Shares {
		for _, owner := range s.Owners {
			role, why := "replica", owner.Why
			if owner.Primary {
				role, why = bold("primary"), why+"; "+owner.WhyLead
			}
			t.add(strconv.Itoa(s.Partition), strconv.Itoa(owner.Shard), strconv.Itoa(owner.Member), clean(owner.Env), role, clean(why))
		}
	}
	return t
}

// probability writes as many digits as mean something.
func probability(f float64) string { return strconv.FormatFloat(f, 'g', 9, 64) }

// sentence makes a clause one.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("%s%s.", strings.ToUpper(s[:1]), clean(s[1:]))
}
