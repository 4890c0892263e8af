package console

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/view"
)

// A plansPage shows the plans that wait for a person, and tries out files.
type plansPage struct {
	Held     []sourceCard
	Sources  []string
	Text     string
	Lines    []sourceLine // of the text, with what was found in it
	Findings oprc.Diagnostics
	Errors   int
	Plan     *planPart
	Of       string // source whose next look was planned
	HeldWhy  string
}

// A sourceLine is a line of a file, and what was found there.
type sourceLine struct {
	Number   int
	Text     string
	Findings oprc.Diagnostics
}

// A planPart is a plan as every view of it orders it: what it removes first.
type planPart struct {
	ID       string
	Summary  string
	Empty    bool
	Sections []view.PlanSection
	More     int // lines that are left out
	Kept     []string
	Findings oprc.Diagnostics
}

const planLines = 600 // of a plan on one page

func partOf(p *plan.Plan) *planPart {
	out := &planPart{ID: p.ID, Summary: view.PlanSummary(p), Empty: p.Empty(), Kept: p.Kept, Findings: p.Diagnostics}
	left := planLines
	for _, s := range view.PlanSections(p) {
		if n := len(s.Lines) - left; n > 0 {
			out.More += n
			s.Lines = s.Lines[:left]
		}
		if left -= len(s.Lines); len(s.Lines) > 0 {
			out.Sections = append(out.Sections, s)
		}
	}
	return out
}

func (v *visit) heldPlans() (plansPage, error) {
	var p plansPage
	l, err := objects[oprc.SourceStatus](v, "sources", url.Values{"limit": {most}})
	for _, o := range l.Items {
		p.Sources = append(p.Sources, o.Key)
		if o.Doc.PlanID != "" {
			p.Held = append(p.Held, stateOf(o.Doc))
		}
	}
	return p, err
}

func (s *server) plans(v *visit) error {
	p, err := v.heldPlans()
	if err != nil {
		return err
	}
	if name := v.r.URL.Query().Get("source"); name != "" {
		var next struct {
			Plan *plan.Plan `json:"plan"`
			Held string     `json:"held"`
		}
		if err := v.get("/sources/"+url.PathEscape(name)+"/plan", nil, &next); err != nil {
			return err
		}
		p.Plan, p.Of, p.HeldWhy = partOf(next.Plan), name, next.Held
	}
	return v.render(http.StatusOK, "plans", "plans", "Plans", p)
}

// tryPlan validates and plans what was pasted. Nothing is applied.
func (s *server) tryPlan(v *visit) error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, 2<<20)
	pasted := strings.ReplaceAll(v.r.PostFormValue("text"), "\r\n", "\n")
	p, err := v.heldPlans()
	if err != nil {
		return err
	}
	p.Text = pasted
	var made plan.Plan
	err = v.ask(http.MethodPost, "/plan", nil, "application/yaml", []byte(pasted), &made)
	var refused *problem
	status := http.StatusOK
	switch {
	case err == nil:
		p.Plan, p.Findings = partOf(&made), made.Diagnostics
	case errors.As(err, &refused) && len(refused.Diagnostics) > 0:
		status, p.Findings = http.StatusUnprocessableEntity, refused.Diagnostics
	default:
		return err
	}
	p.Errors = len(p.Findings.Errors())
	p.Lines = linesOf(pasted, p.Findings)
	return v.render(status, "plans", "plans", "Plans", p)
}

// linesOf are the lines around findings, or all if the file is short.
func linesOf(text string, found oprc.Diagnostics) []sourceLine {
	const short, around = 60, 3
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	near := make([]bool, len(lines)+1)
	at := map[int]oprc.Diagnostics{}
	for _, d := range found {
		n := min(max(d.Line, 1), len(lines))
		at[n] = append(at[n], d)
		for i := max(1, n-around); i <= min(len(lines), n+around); i++ {
			near[i] = true
		}
	}
	var out []sourceLine
	for i, line := range lines {
		if len(lines) <= short && len(found) > 0 || near[i+1] {
			out = append(out, sourceLine{i + 1, line, at[i+1]})
		}
	}
	return out
}

// plan shows a held plan, or one that was made here.
func (s *server) plan(v *visit) error {
	id := v.r.PathValue("id")
	var p plan.Plan
	if err := v.get("/plans/"+url.PathEscape(id), nil, &p); err != nil {
		return err
	}
	held, err := v.heldPlans()
	if err != nil {
		return err
	}
	page := struct {
		*planPart
		By  *sourceCard
		May bool
	}{planPart: partOf(&p)}
	for i := range held.Held {
		if held.Held[i].PlanID == p.ID {
			page.By = &held.Held[i]
			page.May = v.may("approve", "plan", "")
		}
	}
	return v.render(http.StatusOK, "plan", "plans", "Plan "+short(p.ID), page)
}

func (s *server) dead(v *visit) error {
	q := v.r.URL.Query()
	asked := window(q, "env")
	asked.Del("sort")
	var l listing[oprc.DeadEntry]
	if err := v.get("/dead", asked, &l); err != nil {
		return err
	}
	return v.render(http.StatusOK, "dead", "dead", "Dead letters", struct {
		Items       []oprc.DeadEntry
		Env         string
		Pager       pager
		Retry, Drop bool
	}{l.Items, q.Get("env"), paged(v.r.URL, l.Offset, len(l.Items), l.Total), v.may("retry", "dead", q.Get("env")), v.may("drop", "dead", q.Get("env"))})
}

// count words a number of things.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
