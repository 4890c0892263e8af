package view

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
)

// JUnit is a report that CI systems show as tests.
const JUnit Format = "junit"

// A RuleVerdict is on one rule of the CRM protocol.
type RuleVerdict struct {
	Rule    string  `json:"rule"`
	Level   string  `json:"level"`   // must, should
	Verdict string  `json:"verdict"` // kept, broken, not checked
	Says    string  `json:"says"`    // what the rule asks of a CRM
	Seen    string  `json:"seen"`
	Section string  `json:"section"` // of the protocol's description
	Seconds float64 `json:"seconds"`
}

// failed reports whether a rule that must be kept is not.
func (v RuleVerdict) failed() bool { return v.Level == "must" && v.Verdict == "broken" }

// RuleVerdicts are on a whole CRM.
type RuleVerdicts struct {
	FormatVersion string        `json:"formatVersion"`
	Environment   string        `json:"environment"`
	Summary       RulesSummary  `json:"summary"`
	Rules         []RuleVerdict `json:"rules"`
}

// RulesSummary counts verdicts.
type RulesSummary struct {
	Rules      int `json:"rules"`
	Kept       int `json:"kept"`
	Broken     int `json:"broken"` // that must be kept
	Advice     int `json:"advice"` // broken, and should be kept
	NotChecked int `json:"notChecked"`
}

// NewRuleVerdicts counts.
func NewRuleVerdicts(environment string, rules []RuleVerdict) RuleVerdicts {
	v := RuleVerdicts{FormatVersion: FormatVersion, Environment: environment, Rules: rules}
	v.Summary.Rules = len(rules)
	for _, r := range rules {
		switch {
		case r.failed():
			v.Summary.Broken++
		case r.Verdict == "broken":
			v.Summary.Advice++
		case r.Verdict == "kept":
			v.Summary.Kept++
		default:
			v.Summary.NotChecked++
		}
	}
	return v
}

// Rule prints one line, and what the rule asks where it is not kept.
func (o Output) Rule(v RuleVerdict) error {
	verdict := v.Verdict
	if v.failed() {
		verdict = "BROKEN"
	}
	line := fmt.Sprintf("%-11s  %-6s  %-19s  %s", verdict, v.Level, v.Rule, strings.ReplaceAll(v.Seen, "\n", " "))
	line = strings.TrimRight(line, " ") + "  [" + v.Section + "]\n"
	if v.Verdict == "broken" {
		line += fmt.Sprintf("%22sA CRM %s.\n", "", v.Says)
	}
	return o.print(line)
}

// Rules prints the summary, or everything in one document.
func (o Output) Rules(v RuleVerdicts) error {
	switch o.Format {
	case JUnit:
		return o.junit(v)
	case Text:
		s := v.Summary
		return o.print(fmt.Sprintf("%d rules: %d kept, %d broken, %d recommended and not kept, %d not checked.\n", s.Rules, s.Kept, s.Broken, s.Advice, s.NotChecked))
	}
	return o.Document(v)
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// junit has failures for rules that must be kept; what is only recommended is skipped.
func (o Output) junit(v RuleVerdicts) error {
	suite := junitSuite{
		Name: "oprc crm test", Tests: v.Summary.Rules, Failures: v.Summary.Broken, Skipped: v.Summary.Advice + v.Summary.NotChecked,
	}
	total := 0.0
	for _, r := range v.Rules {
		total += r.Seconds
		c := junitCase{Class: r.Level, Name: r.Rule, Time: seconds(r.Seconds)}
		about := &junitMessage{r.Seen, "A CRM " + r.Says + ". " + r.Section}
		switch {
		case r.failed():
			c.Failure = about
		case r.Verdict != "kept":
			c.Skipped = about
		default:
			c.Out = r.Seen
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = seconds(total)
	text, err := xml.MarshalIndent(suite, "", "  ")
	if err != nil {
		return err
	}
	return o.print(xml.Header + string(text) + "\n")
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
