package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A planCache keeps the plans that were made last, to be applied by id. Its zero
// value is empty.
type planCache struct {
	mu    sync.Mutex
	plans []*plan.Plan // oldest first
}

const (
	keptPlans   = 32
	keptChanges = 10_000 // of one plan: larger ones are for the client to keep
)

func (c *planCache) put(p *plan.Plan) {
	if len(p.Changes) > keptChanges {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plans = slices.DeleteFunc(c.plans, func(old *plan.Plan) bool { return old.ID == p.ID })
	c.plans = append(c.plans, p)
	c.plans = slices.Delete(c.plans, 0, max(0, len(c.plans)-keptPlans))
}

func (c *planCache) find(id string) (*plan.Plan, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.plans, func(p *plan.Plan) bool { return p.ID == id })
	if i < 0 {
		return nil, false
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
	a.plans.put(p)
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

// applyPlan applies the plan in the body or, without a body, the one that was made
// here with that id. If a source holds that one, it is approved.
func (a *api) applyPlan(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return badBody(err)
	}
	p, ok := a.plans.find(id)
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := contentType(r, jsonType); err != nil {
			return err
		}
		if p, err = plan.Decode(raw); err != nil {
			return err
		}
		if p.ID != id {
			return refuse(http.StatusBadRequest, "the body is plan %s, not %s", p.ID, id)
		}
	} else if !ok {
		err := a.approve(w, r, id)
		if errors.Is(err, oprc.ErrNotFound) {
			return refuse(http.StatusNotFound, "plan %s is not kept here (any more), and no source holds it: plan again, or send the plan", id)
		}
		return err
	}
	res, err := a.Control.Apply(r.Context(), p, actor(r))
	if err != nil {
		return err
	}
	return a.reply(w, http.StatusOK, res)
}
