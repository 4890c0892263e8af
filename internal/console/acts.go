package console

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
)

// An act is something that a person does, after a page that names what happens. Whether
// the person may is the API's decision.
type act struct {
	name, verb, kind string
	// confirm says what would happen; do does it, and says where to go from there.
	confirm func(v *visit) (confirmation, error)
	do      func(v *visit) (next string, err error)
}

// A confirmation names what happens.
type confirmation struct {
	Act, Title, Button string
	Says               []string
	Danger, Suspends   bool
	Fields             []filter
	Plan               *planPart
	Back               string
	Reason, For, Error string // of a suspension that was refused
}

// done words what has been done, on the page that follows.
var done = map[string]string{
	"approve": "The plan is approved. The source is being reconciled.", "suspend": "The source is suspended.", "resume": "The source is resumed.",
	"reconcile": "The source is being reconciled.", "undo": "The package is restored.", "retry": "The dead letters are back in their stream.", "drop": "The dead letters are deleted.",
}

func acts() []act {
	return []act{
		{"approve", "approve", "plan", confirmApprove, doApprove},
		{"suspend", "suspend", "source", confirmSuspend, doSuspend},
		{"resume", "resume", "source", confirmSource("Resume", "The daemon looks at the source again, and applies its newest revision."), doSource("resume")},
		{"reconcile", "reconcile", "source", confirmSource("Reconcile", "The daemon looks at the source now, and applies its newest revision."), doSource("reconcile")},
		{"undo", "undo", "package", confirmUndo, doUndo},
		{"retry", "retry", "dead", confirmDead("Retry", "goes back to the end of its stream, and is tried again", false), doDead("retry")},
		{"drop", "drop", "dead", confirmDead("Drop", "is deleted for good", true), doDead("drop")},
	}
}

// about is the object of an act, as the API is asked whether the visitor may.
func (a act) about(r *http.Request) string {
	switch a.kind {
	case "plan":
		return ""
	case "dead":
		return r.FormValue("env")
	}
	return r.FormValue("name")
}

func (s *server) confirm(v *visit, a act) error {
	if err := v.allowed(a); err != nil {
		return err
	}
	c, err := a.confirm(v)
	if err != nil {
		return err
	}
	c.Act = a.name
	return v.render(http.StatusOK, "confirm", "", c.Title, c)
}

// allowed is nil if the visitor may do it, else the API's reason.
func (v *visit) allowed(a act) error {
	var p struct {
		Allowed bool   `json:"allowed"`
		Reason  string `json:"reason"`
	}
	err := v.get("/auth/can-i", url.Values{"verb": {a.verb}, "kind": {a.kind}, "name": {a.about(v.r)}}, &p)
	if err == nil && !p.Allowed {
		return &problem{Status: http.StatusForbidden, Detail: p.Reason}
	}
	return err
}

func (s *server) carryOut(v *visit, a act) error {
	next, err := a.do(v)
	var refused *problem
	if errors.As(err, &refused) {
		s.Log.Info("act refused", "act", a.name, "by", v.who.Name, "about", a.about(v.r)+v.r.FormValue("plan"), "status", refused.Status)
		if a.name == "suspend" && refused.Status == http.StatusBadRequest {
			c, err := a.confirm(v)
			if err != nil {
				return err
			}
			c.Act, c.Error = a.name, refused.Detail
			c.Reason, c.For = v.r.FormValue("reason"), v.r.FormValue("for")
			return v.render(http.StatusBadRequest, "confirm", "", c.Title, c)
		}
	}
	if err != nil {
		return err
	}
	s.Log.Info("act", "act", a.name, "by", v.who.Name, "about", a.about(v.r)+v.r.FormValue("plan"))
	http.Redirect(v.w, v.r, next+"?done="+a.name, http.StatusSeeOther)
	return nil
}

// record is who acts, for servers that do not know their callers.
func (v *visit) record() url.Values { return url.Values{"actor": {"console"}} }

func (v *visit) heldPlan(id string) (sourceCard, error) {
	held, err := v.heldPlans()
	for _, s := range held.Held {
		if s.PlanID == id {
			return s, err
		}
	}
	if err == nil {
		err = &problem{Status: http.StatusNotFound, Detail: "No source holds plan " + short(id) + " any more."}
	}
	return sourceCard{}, err
}

func confirmApprove(v *visit) (confirmation, error) {
	id := v.r.FormValue("plan")
	s, err := v.heldPlan(id)
	if err != nil {
		return confirmation{}, err
	}
	var p plan.Plan
	if err := v.get("/plans/"+url.PathEscape(id), nil, &p); err != nil {
		return confirmation{}, err
	}
	return confirmation{
		Title: "Approve the plan of " + s.Name, Button: "Approve and apply", Danger: p.Summary.Delete > 0 || p.Summary.Commands.Undeploy > 0,
		Says: []string{
			"The source " + s.Name + " holds this plan at revision " + short(s.Revision) + ": " + s.Why,
			"Once approved, it is applied when the source is reconciled, which starts now, if the plan is still the same then.",
		},
		Plan: partOf(&p), Fields: []filter{{"plan", id}}, Back: pathOf("plans", id),
	}, nil
}

func doApprove(v *visit) (string, error) {
	id := v.r.FormValue("plan")
	s, err := v.heldPlan(id)
	if err != nil {
		return "", err
	}
	return pathOf("sources", s.Name), v.ask(http.MethodPost, "/plan/"+url.PathEscape(id)+"/apply", v.record(), "", nil, nil)
}

func confirmSource(verb, says string) func(*visit) (confirmation, error) {
	return func(v *visit) (confirmation, error) {
		name := v.r.FormValue("name")
		st, err := find[oprc.SourceStatus](v, "sources", name)
		if err != nil {
			return confirmation{}, err
		}
		c := confirmation{Title: verb + " source " + name, Button: verb, Says: []string{says}, Fields: []filter{{"name", name}}, Back: pathOf("sources", name)}
		if s := st.Suspended; s != nil {
			c.Says = append(c.Says, "It is suspended: "+s.Reason+".")
		}
		return c, nil
	}
}

func doSource(verb string) func(*visit) (string, error) {
	return func(v *visit) (string, error) {
		name := v.r.FormValue("name")
		return pathOf("sources", name), v.ask(http.MethodPost, "/sources/"+url.PathEscape(name)+"/"+verb, v.record(), "", nil, nil)
	}
}

func confirmSuspend(v *visit) (confirmation, error) {
	c, err := confirmSource("Suspend", "The daemon applies nothing of the source until the suspension ends. What runs goes on.")(v)
	c.Suspends = true
	return c, err
}

func doSuspend(v *visit) (string, error) {
	name, length := v.r.FormValue("name"), strings.TrimSpace(v.r.FormValue("for"))
	body := map[string]string{"reason": v.r.FormValue("reason")}
	if length != "" {
		if _, err := time.ParseDuration(length); err != nil {
			return "", &problem{Status: http.StatusBadRequest, Detail: "The time has to be one such as 2h or 90m."}
		}
		body["for"] = length
	}
	return pathOf("sources", name), v.postAs("/sources/"+url.PathEscape(name)+"/suspend", body)
}

// An undoing is what the API is asked to go back to.
type undoing struct {
	To     int64  `json:"to,omitempty"`
	PlanID string `json:"planId,omitempty"`
	DryRun bool   `json:"dryRun,omitempty"`
}

func confirmUndo(v *visit) (confirmation, error) {
	name := v.r.FormValue("name")
	to, _ := strconv.ParseInt(v.r.FormValue("to"), 10, 64) // 0: the last one that differs
	var p plan.Plan
	if err := v.post("/packages/"+url.PathEscape(name)+"/undo", undoing{To: to, DryRun: true}, &p); err != nil {
		return confirmation{}, err
	}
	target := "the last version that differs"
	if to > 0 {
		target = "revision " + strconv.FormatInt(to, 10)
	}
	return confirmation{
		Title: "Undo " + name, Button: "Put it back", Danger: true,
		Says: []string{
			"The package goes back to " + target + ". What its source says now is put in quarantine until a new revision changes the package.",
		},
		Plan: partOf(&p), Fields: []filter{{"name", name}, {"to", strconv.FormatInt(to, 10)}, {"planId", p.ID}}, Back: pathOf("packages", name),
	}, nil
}

func doUndo(v *visit) (string, error) {
	name := v.r.FormValue("name")
	to, err := strconv.ParseInt(v.r.FormValue("to"), 10, 64)
	if err != nil {
		return "", &problem{Status: http.StatusBadRequest, Detail: "to: a revision is needed."}
	}
	return pathOf("packages", name), v.postAs("/packages/"+url.PathEscape(name)+"/undo", undoing{To: to, PlanID: v.r.FormValue("planId")})
}

func confirmDead(verb, fate string, danger bool) func(*visit) (confirmation, error) {
	return func(v *visit) (confirmation, error) {
		env, id := v.r.FormValue("env"), v.r.FormValue("id")
		var l listing[oprc.DeadEntry]
		if err := v.get("/dead", url.Values{"env": {env}, "limit": {"1"}}, &l); err != nil {
			return confirmation{}, err
		}
		what, says := "dead letter "+id+" of "+env, "The letter "+fate+"."
		if id == "" {
			what, says = "all dead letters of "+env, count(l.Total, "letter")+": each "+fate+"."
		}
		return confirmation{
			Title: verb + " " + what, Button: verb, Danger: danger, Says: []string{says},
			Fields: []filter{{"env", env}, {"id", id}}, Back: "/ui/dead",
		}, nil
	}
}

func doDead(verb string) func(*visit) (string, error) {
	return func(v *visit) (string, error) {
		body := map[string]any{"all": true}
		if id := v.r.FormValue("id"); id != "" {
			body = map[string]any{"ids": []string{id}}
		}
		return "/ui/dead", v.post("/dead/"+url.PathEscape(v.r.FormValue("env"))+"/"+verb, body, nil)
	}
}
