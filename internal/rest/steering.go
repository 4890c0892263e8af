package rest

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A ticket says which receipt of a source to wait for.
type ticket struct {
	Source string `json:"source"`
	Ticket int64  `json:"ticket"`
}

// A suspending says why, and for how long.
type suspending struct {
	Reason string `json:"reason"`
	For    string `json:"for,omitempty"` // as in 2h; "": until it is resumed
}

// An adoption says which source is to own a package.
type adoption struct {
	Source string `json:"source"`
}

// An undoing says what an undo goes back to.
type undoing struct {
	To     int64  `json:"to,omitempty"`     // revision of the package; 0: the last one that differs
	PlanID string `json:"planId,omitempty"` // that was consented to; "": whichever it is
	DryRun bool   `json:"dryRun,omitempty"` // answer with the plan
}

// readOptions reads a small JSON body into v; none is as good as {}.
func readOptions(w http.ResponseWriter, r *http.Request, v any) error {
	if r.ContentLength == 0 {
		return nil
	}
	if err := contentType(r, jsonType, requestType); err != nil {
		return err
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return badJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return refuse(http.StatusBadRequest, "the body is not the JSON that is needed: more follows after it")
	}
	return nil
}

// reconcileSource asks for a look at a source. Its receipt, in the source's document,
// will have the ticket that is answered, or a higher one.
func (a *api) reconcileSource(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("key")
	n, err := a.Control.Wake(r.Context(), name)
	if err != nil {
		return err
	}
	return a.reply(w, r, http.StatusAccepted, ticket{name, n})
}

func (a *api) suspendSource(w http.ResponseWriter, r *http.Request) error {
	var o suspending
	if err := readOptions(w, r, &o); err != nil {
		return err
	}
	var length time.Duration
	if o.For != "" {
		var err error
		if length, err = time.ParseDuration(o.For); err != nil || length <= 0 {
			return refuse(http.StatusBadRequest, "for: %q is no time such as 2h", o.For)
		}
	}
	if err := a.Control.Suspend(r.Context(), r.PathValue("key"), o.Reason, length, actor(r)); err != nil {
		return err
	}
	return a.one(oprc.KindSource)(w, r)
}

func (a *api) resumeSource(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.Control.Resume(r.Context(), r.PathValue("key"), actor(r)); err != nil {
		return err
	}
	return a.one(oprc.KindSource)(w, r)
}

// approve lets a plan through that a source holds.
func (a *api) approve(w http.ResponseWriter, r *http.Request, id string) error {
	who := caller(r)
	if !who.Role.Includes(Approver) {
		return refuse(http.StatusNotFound, "plan %s is not kept here (any more); approving one that a source holds needs the role %s, and %s has %s",
			clip(id), Approver, who.Name, orNone(who.Role))
	}
	if who.limited() || len(who.Origins) > 0 {
		p, err := a.Control.HeldPlan(r.Context(), id)
		if err == nil {
			err = who.permitsOf(p)
		}
		if err != nil {
			return err
		}
	}
	source, n, err := a.Control.Approve(r.Context(), id, actor(r))
	if err != nil {
		return err
	}
	return a.reply(w, r, http.StatusAccepted, ticket{source, n})
}

// adoptPackage lets a source take over a package that somebody else owns.
func (a *api) adoptPackage(w http.ResponseWriter, r *http.Request) error {
	var o adoption
	if err := readOptions(w, r, &o); err != nil {
		return err
	}
	if o.Source == "" {
		return refuse(http.StatusBadRequest, "source: name the source that is to own the package")
	}
	if _, err := a.findPackage(r, r.PathValue("key")); err != nil && caller(r).limited() {
		return err
	}
	n, err := a.Control.Adopt(r.Context(), r.PathValue("key"), o.Source, actor(r))
	if err != nil {
		return err
	}
	return a.reply(w, r, http.StatusAccepted, ticket{o.Source, n})
}

// undoPackage puts a package back to what it was, or says what that would do.
func (a *api) undoPackage(w http.ResponseWriter, r *http.Request) error {
	var o undoing
	if err := readOptions(w, r, &o); err != nil {
		return err
	}
	name := r.PathValue("key")
	if err := a.reaches(r, reconcile.Request{Scope: plan.Scope{Delete: []string{name}}}); err != nil {
		return err
	}
	if who := caller(r); !o.DryRun && who.limited() { // what it reaches is known from its plan alone
		p, err := a.Control.PlanUndo(r.Context(), name, o.To)
		if err != nil {
			return err
		}
		if err := who.permits(p, false); err != nil {
			return err
		}
		o.PlanID = p.ID
	}
	if !o.DryRun {
		res, err := a.Control.Undo(r.Context(), name, o.To, o.PlanID, actor(r))
		if err != nil {
			return err
		}
		return a.reply(w, r, http.StatusOK, res)
	}
	p, err := a.Control.PlanUndo(r.Context(), name, o.To)
	if err != nil {
		return err
	}
	if err := caller(r).permits(p, false); err != nil {
		return err
	}
	if got, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); got != requestType {
		return a.replyPlan(w, r, p)
	}
	seen, err := a.within(r, p)
	if err != nil {
		return err
	}
	raw, err := plan.Encode(seen)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(raw) // the client went away, if at all
	return nil
}
