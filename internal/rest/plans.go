package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

const (
	keptPlan    = 24 * time.Hour
	keptChanges = 10_000 // of one plan: larger ones are for the client to keep
)

// planned is a request, and what came out when it was planned.
type planned struct {
	Request reconcile.Request `json:"request"`
	Plan    *plan.Plan        `json:"plan"`
}

// keep makes what was planned known to every daemon, to be applied by the plan's id.
func (a *api) keep(r *http.Request, req reconcile.Request, p *plan.Plan) error {
	if len(p.Changes) > keptChanges {
		return nil
	}
	raw, err := json.Marshal(planned{req, p})
	if err != nil {
		return err
	}
	return a.Control.Keep(r.Context(), planName(p.ID), raw, keptPlan)
}

func planName(id string) string { return "plan/" + id }

// kept returns what was planned under an id, if it is the caller's to see.
func (a *api) kept(r *http.Request, id string) (was planned, err error) {
	raw, err := a.Control.Kept(r.Context(), planName(id))
	if err != nil {
		return was, err
	}
	if err := json.Unmarshal(raw, &was); err != nil {
		return was, fmt.Errorf("plan %s: %w", id, err)
	}
	if err := a.reaches(r, was.Request); err != nil {
		return was, err
	}
	return was, caller(r).permits(was.Plan, false)
}

// getPlan answers with a plan that was made here, or that a source holds, without its
// secrets.
func (a *api) getPlan(w http.ResponseWriter, r *http.Request) error {
	was, err := a.kept(r, r.PathValue("id"))
	if errors.Is(err, oprc.ErrNotFound) {
		if was.Plan, err = a.Control.HeldPlan(r.Context(), r.PathValue("id")); err == nil {
			err = caller(r).permits(was.Plan, false)
		}
	}
	if err != nil {
		return err
	}
	return a.replyPlan(w, r, was.Plan)
}

// postPlan answers with the plan of a submitted package, secrets masked, and keeps
// it. A whole request, which only a program sends, is answered with the plan as a
// plan file has it: complete, so that it can be applied.
func (a *api) postPlan(w http.ResponseWriter, r *http.Request) error {
	if got, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); got == requestType {
		return a.planRequest(w, r)
	}
	req, err := a.packageRequest(w, r)
	if err != nil {
		return err
	}
	if err := a.reaches(r, req); err != nil {
		return err
	}
	p, err := a.Control.Plan(r.Context(), req)
	if err != nil {
		return err
	}
	if err := caller(r).permits(p, false); err != nil {
		return err
	}
	if err := a.keep(r, req, p); err != nil {
		return err
	}
	return a.replyPlan(w, r, p)
}

// replyPlan answers with what the caller may see of a plan, without its secrets.
func (a *api) replyPlan(w http.ResponseWriter, r *http.Request, p *plan.Plan) error {
	seen, err := a.within(r, p.Masked(a.Mask))
	if err != nil {
		return err
	}
	return a.reply(w, r, http.StatusOK, seen)
}

func (a *api) planRequest(w http.ResponseWriter, r *http.Request) error {
	var req reconcile.Request
	if r.ContentLength > a.Bounds.BigBody {
		return &http.MaxBytesError{Limit: a.Bounds.BigBody}
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, a.Bounds.BigBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return badJSON(err)
	}
	if who := caller(r); who.Authenticated && !who.nameless {
		req.Actor = who.Name
	}
	if err := a.reaches(r, req); err != nil {
		return err
	}
	p, err := a.Control.Plan(r.Context(), req)
	if p == nil {
		return err
	}
	if denied := caller(r).permits(p, false); denied != nil {
		return denied
	}
	seen, failed := a.within(r, p)
	if failed != nil {
		return failed
	}
	raw, failed := plan.Encode(seen)
	if failed != nil {
		return failed
	}
	if err != nil {
		refused := a.problemFor(r, err)
		refused.Plan = raw
		refused.write(w, r)
		return nil
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(raw) // the client went away, if at all
	return nil
}

// applyPlan carries out what was planned here under an id, if it comes out the same again.
// If a source holds that plan, it is approved.
func (a *api) applyPlan(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if r.ContentLength != 0 {
		return refuse(http.StatusBadRequest, "send no body: the plan that was made here under the id is applied; POST /packages applies a package")
	}
	was, err := a.kept(r, id)
	if errors.Is(err, oprc.ErrNotFound) {
		err := a.approve(w, r, id)
		if errors.Is(err, oprc.ErrNotFound) {
			return refuse(http.StatusNotFound, "plan %s is not kept here (any more), and no source holds it: plan again", clip(id))
		}
		return err
	}
	if err != nil {
		return err
	}
	cond := reconcile.Conditions{PlanID: id, Saved: was.Plan, Ledger: was.Plan.Ledger, Review: permitting(r, nil)}
	res, err := a.Control.Apply(r.Context(), was.Request, cond, actor(r))
	if err != nil {
		return err
	}
	return a.reply(w, r, http.StatusOK, res)
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
	if r.ContentLength > a.Bounds.BigBody {
		return &http.MaxBytesError{Limit: a.Bounds.BigBody}
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, a.Bounds.BigBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&asked); err != nil {
		return badJSON(err)
	}
	if who := caller(r); who.Authenticated && !who.nameless {
		asked.Request.Actor = who.Name
	}
	asked.Conditions.Review = permitting(r, nil)
	if who := caller(r); asked.Request.Source != nil { // which says what is done in its name: the caller only says when
		asked.Conditions.Review = func(_ context.Context, p *plan.Plan) error { return who.permitsOf(p) }
	}
	asked.Conditions.Approved = asked.Conditions.Approved && caller(r).Role.Includes(Approver)
	res, err := a.Control.Apply(r.Context(), asked.Request, asked.Conditions, actor(r))
	if err != nil {
		return err
	}
	return a.reply(w, r, http.StatusOK, res)
}
