package rest

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"sync"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A planCache keeps the requests that were planned last, to be applied by the id of their
// plan. Its zero value is empty.
type planCache struct {
	mu    sync.Mutex
	plans []planned // oldest first
}

// planned is a request, and what came out when it was planned.
type planned struct {
	request reconcile.Request
	plan    *plan.Plan
}

const (
	keptPlans   = 32
	keptChanges = 10_000 // of one plan: larger ones are for the client to keep
)

func (c *planCache) put(req reconcile.Request, p *plan.Plan) {
	if len(p.Changes) > keptChanges {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plans = slices.DeleteFunc(c.plans, func(old planned) bool { return old.plan.ID == p.ID })
	c.plans = append(c.plans, planned{req, p})
	c.plans = slices.Delete(c.plans, 0, max(0, len(c.plans)-keptPlans))
}

func (c *planCache) find(id string) (planned, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.plans, func(p planned) bool { return p.plan.ID == id })
	if i < 0 {
		return planned{}, false
	}
	return c.plans[i], true
}

// postPlan answers with the plan of a submitted package, secrets masked, and keeps
// it. A whole request, which only a program sends, is answered with the plan as a
// plan file has it: complete, so that it can be applied.
func (a *api) postPlan(w http.ResponseWriter, r *http.Request) error {
	if got, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); got == requestType {
		return a.planRequest(w, r)
	}
	req, err := packageRequest(w, r)
	if err != nil {
		return err
	}
	p, err := a.Control.Plan(r.Context(), req)
	if err != nil {
		return err
	}
	a.plans.put(req, p)
	return a.reply(w, http.StatusOK, p.Masked(a.Mask))
}

func (a *api) planRequest(w http.ResponseWriter, r *http.Request) error {
	var req reconcile.Request
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return badJSON(err)
	}
	p, err := a.Control.Plan(r.Context(), req)
	if p == nil {
		return err
	}
	raw, failed := plan.Encode(p)
	if failed != nil {
		return failed
	}
	if err != nil {
		refused := a.problemOf(err)
		refused.Plan = raw
		refused.write(w, r)
		return nil
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(raw) // the client went away, if at all
	return nil
}

// heldPlan answers with a plan that a source holds, without its secrets.
func (a *api) heldPlan(w http.ResponseWriter, r *http.Request) error {
	p, err := a.Control.HeldPlan(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return a.reply(w, http.StatusOK, p.Masked(a.Mask))
}

// applyPlan carries out what was planned here under an id, if it comes out the same again.
// If a source holds that plan, it is approved.
func (a *api) applyPlan(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if r.ContentLength != 0 {
		return refuse(http.StatusBadRequest, "send no body: the plan that was made here under the id is applied; POST /packages applies a package")
	}
	kept, ok := a.plans.find(id)
	if !ok {
		err := a.approve(w, r, id)
		if errors.Is(err, oprc.ErrNotFound) {
			return refuse(http.StatusNotFound, "plan %s is not kept here (any more), and no source holds it: plan again", id)
		}
		return err
	}
	res, err := a.Control.Apply(r.Context(), kept.request, reconcile.Conditions{PlanID: id, Saved: kept.plan}, actor(r))
	if err != nil {
		return err
	}
	return a.reply(w, http.StatusOK, res)
}

// An application is a whole request, which only a program sends, and what must be true
// for it to be applied.
type application struct {
	Request    reconcile.Request    `json:"request"`
	Conditions reconcile.Conditions `json:"conditions"`
}

func (a *api) applyRequest(w http.ResponseWriter, r *http.Request) error {
	if err := contentType(r, requestType); err != nil {
		return err
	}
	var asked application
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&asked); err != nil {
		return badJSON(err)
	}
	res, err := a.Control.Apply(r.Context(), asked.Request, asked.Conditions, actor(r))
	if err != nil {
		return err
	}
	return a.reply(w, http.StatusOK, res)
}
