package console

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// An overviewPage is health at a glance.
type overviewPage struct {
	Conditions   []tally
	Deployments  int
	Environments []envCard
	Sources      []sourceCard
	Unwell       []unwell
	MoreUnwell   int
	Events       []oprc.Event
}

// A tally is how many classes are in a condition, and how wide that is in a bar of 1000.
type tally struct {
	Condition oprc.Condition
	N         int
	X, Width  int
}

// An envCard is an environment in short. Used is in thousandths of what it takes at most.
type envCard struct {
	Name         string
	Health       oprc.Health
	Availability float64
	Default      bool
	Units, Max   int // Max is -1 where there is no limit
	Used         int
	CRMs, Alive  int
}

func cardOf(e reconcile.EnvironmentView, now time.Time) envCard {
	c := envCard{Name: e.Name, Health: e.Health, Availability: e.Availability, Default: e.Spec.Default, Units: e.Units, Max: -1, CRMs: len(e.Beats)}
	if n := e.MaxUnits(); n != nil {
		c.Max = *n
		c.Used = min(1000, 1000*e.Units/max(1, *n))
	}
	for _, b := range e.Beats {
		if now.Sub(b.Time) <= oprc.HeartbeatTimeout {
			c.Alive++
		}
	}
	return c
}

// A sourceCard is a source in one word, and why.
type sourceCard struct {
	oprc.SourceStatus
	State, Why string
}

// stateOf says in one word how a source is doing.
func stateOf(s oprc.SourceStatus) sourceCard {
	c := sourceCard{SourceStatus: s, State: "FRESH"}
	for _, cond := range s.Conditions {
		if cond.Type == "Ready" && !cond.Status {
			c.State, c.Why = "STALE", cmp.Or(cond.Message, cond.Reason)
		}
		if cond.Type == "Stalled" && cond.Status {
			c.State, c.Why = "STALLED", cmp.Or(c.Why, cond.Message, cond.Reason)
		}
	}
	switch {
	case s.Suspended != nil:
		c.State, c.Why = "SUSPENDED", cmp.Or(s.Suspended.Reason, "no reason was given")
		if s.Suspended.Author != "" {
			c.Why += ", by " + s.Suspended.Author
		}
	case s.PlanID != "":
		c.State = "HELD"
	}
	return c
}

// An unwell class comes with the causes of its state.
type unwell struct {
	reconcile.ClassTopology
	Causes []reconcile.Cause
}

// classes are what the API says of deployed classes.
type classes struct {
	listing[reconcile.ClassTopology]
	Conditions map[oprc.Condition]int `json:"conditions"`
}

const (
	explained   = 6 // classes whose state is explained on the overview
	lastChanges = 14
)

func (s *server) overview(v *visit) error {
	var p overviewPage
	var ill classes
	n := v.near("", "")
	var envs, sources []reconcile.Object
	err := together(
		func() error {
			return v.get("/topology", url.Values{"unwell": {"true"}, "limit": {strconv.Itoa(explained)}}, &ill)
		},
		func() (err error) { envs, err = n.environments(); return err },
		func() (err error) { sources, err = n.sources(); return err },
		func() (err error) { p.Events, err = v.lastEvents(nil, lastChanges); return err },
	)
	if err != nil {
		return err
	}
	n.everywhere = map[oprc.Kind][]reconcile.Object{oprc.KindEnv: envs, oprc.KindSource: sources}
	p.Conditions, p.Deployments = tallies(ill.Conditions)
	for _, o := range envs {
		if e, ok := o.Doc.(*reconcile.EnvironmentView); ok {
			p.Environments = append(p.Environments, cardOf(*e, v.now))
		}
	}
	for _, o := range sources {
		if st, ok := o.Doc.(*oprc.SourceStatus); ok {
			p.Sources = append(p.Sources, stateOf(*st))
		}
	}
	p.Unwell = make([]unwell, len(ill.Items))
	explain := make([]func() error, len(ill.Items))
	for i, c := range ill.Items {
		p.Unwell[i].ClassTopology = c
		explain[i] = func() error {
			e, err := n.of(c.Package, c.Class).why(oprc.KindDeployment, c.Class)
			if err == nil && e != nil {
				p.Unwell[i].Causes = slices.DeleteFunc(e.Causes, func(c reconcile.Cause) bool { return c.Reason == "" })
			}
			return err
		}
	}
	if err := together(explain...); err != nil {
		return err
	}
	p.MoreUnwell = ill.Total - len(ill.Items)
	return v.render(http.StatusOK, "overview", "overview", "Overview", p)
}

// lastEvents are the newest events, the newest first.
func (v *visit) lastEvents(q url.Values, n int) ([]oprc.Event, error) {
	query := url.Values{"desc": {"true"}, "limit": {strconv.Itoa(n)}}
	for name, values := range q {
		query[name] = values
	}
	var l listing[oprc.Event]
	err := v.get("/events", query, &l)
	return l.Items, err
}

func tallies(of map[oprc.Condition]int) (out []tally, all int) {
	order := []oprc.Condition{oprc.Down, oprc.Deploying, oprc.Pending, oprc.Deleted, oprc.Running}
	for _, n := range of {
		all += n
	}
	x := 0
	for _, c := range append(order, slices.Sorted(maps.Keys(of))...) {
		if of[c] == 0 || slices.ContainsFunc(out, func(t tally) bool { return t.Condition == c }) {
			continue
		}
		w := max(4, 1000*of[c]/all)
		out = append(out, tally{c, of[c], x, w})
		x += w
	}
	return out, all
}

func (s *server) events(v *visit) error {
	q := url.Values{"desc": {"true"}}
	for name, values := range window(v.r.URL.Query(), "package", "class", "env", "type", "kind") {
		q[name] = values
	}
	q.Del("sort")
	var l listing[oprc.Event]
	if err := v.get("/events", q, &l); err != nil {
		return err
	}
	return v.render(http.StatusOK, "events", "events", "Events", struct {
		Events []oprc.Event
		Pager  pager
		Query  url.Values
	}{l.Items, paged(v.r.URL, l.Offset, len(l.Items), l.Total), v.r.URL.Query()})
}
