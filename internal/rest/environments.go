package rest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

func (a *api) postEnvironment(w http.ResponseWriter, r *http.Request) error {
	name, req, err := a.environmentRequest(w, r)
	if err != nil {
		return err
	}
	v, err := a.findEnvironment(r, name)
	status := http.StatusOK
	switch {
	case errors.Is(err, oprc.ErrNotFound):
		status = http.StatusCreated
		w.Header().Set("Location", "/environments/"+name)
	case err != nil:
		return err
	}
	return a.writeEnvironment(w, r, status, name, req, v)
}

func (a *api) putEnvironment(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	name, req, err := a.environmentRequest(w, r)
	if err != nil {
		return err
	}
	if name != key {
		return refuse(http.StatusBadRequest, "name: the body is about %s, not %s", name, clip(key))
	}
	v, err := a.findEnvironment(r, key)
	if err != nil {
		return err
	}
	return a.writeEnvironment(w, r, http.StatusOK, name, req, v)
}

func (a *api) writeEnvironment(w http.ResponseWriter, r *http.Request, status int, name string, req reconcile.Request, was *reconcile.EnvironmentView) error {
	if was != nil && was.Origin != "" {
		if err := ownedElsewhere("environment/"+name, was.Origin); err != nil {
			return err
		}
		req.Scope.Origin = was.Origin
	}
	cond := reconcile.Conditions{}
	var err error
	if cond.If, err = expected(r, "environment/"+name); err != nil {
		return err
	}
	if _, planned, err := a.carry(w, r, req, cond); err != nil || planned {
		w.Header().Del("Location")
		return err
	}
	o, err := a.Control.Find(r.Context(), oprc.KindEnv, name)
	if err != nil {
		return err
	}
	return a.replyObject(w, r, status, o)
}

// environmentRequest reads the one environment that the body declares.
func (a *api) environmentRequest(w http.ResponseWriter, r *http.Request) (string, reconcile.Request, error) {
	f, err := a.packageFile(w, r)
	if err != nil {
		return "", reconcile.Request{}, err
	}
	f.Data = asWritten(f.Data)
	req := reconcile.Request{Files: []oprc.File{f}, Scope: plan.Scope{Origin: oprc.OriginAPI}}
	docs, found := a.Load(req.Files, false, "")
	if err := found.Err(); err != nil {
		return "", req, err
	}
	if len(docs) != 1 || docs[0].Environment == nil {
		return "", req, refuse(http.StatusBadRequest, "one environment is needed: a document with kind: %s", oprc.KindEnvironment)
	}
	return docs[0].Environment.Name, req, nil
}

func (a *api) findEnvironment(r *http.Request, name string) (*reconcile.EnvironmentView, error) {
	o, err := a.Control.Find(r.Context(), oprc.KindEnv, name)
	if err != nil {
		return nil, err
	}
	v, ok := o.Doc.(*reconcile.EnvironmentView)
	if !ok {
		return nil, fmt.Errorf("environment %s: the state holds a %T", name, o.Doc)
	}
	if !caller(r).sees(o) {
		return nil, fmt.Errorf("environment %q: %w", name, oprc.ErrNotFound)
	}
	return v, nil
}

func (a *api) deleteEnvironment(w http.ResponseWriter, r *http.Request) error {
	v, err := a.findEnvironment(r, r.PathValue("key"))
	if err != nil {
		return err
	}
	cond := reconcile.Conditions{AnyRemovals: true}
	if cond.If, err = expected(r, "environment/"+v.Name); err != nil {
		return err
	}
	take, err := flag(r.URL.Query(), "takeOwnership")
	if err != nil {
		return err
	}
	origin := v.Origin
	if err := ownedElsewhere("environment/"+v.Name, origin); err != nil {
		if !take {
			return err
		}
		origin = oprc.OriginAPI
	}
	req := reconcile.Request{Scope: plan.Scope{Origin: origin, TakeOwnership: take, Delete: []string{"environment/" + v.Name}}}
	res, planned, err := a.carry(w, r, req, cond)
	if err != nil || planned {
		return needed(err)
	}
	return a.reply(w, r, http.StatusAccepted, accepted{res.PlanID, res.Summary})
}

// snapshot takes live state down as "oprc snapshot" does, unsigned.
func (a *api) snapshot(w http.ResponseWriter, r *http.Request) error {
	if who := caller(r); who.limited() {
		return refuse(http.StatusForbidden, "a snapshot holds everything, and %s may see only a part", who.Name)
	}
	mask := slices.Clone(a.Mask)
	for pattern := range strings.SplitSeq(r.URL.Query().Get("mask"), ",") {
		if pattern != "" {
			mask = append(mask, pattern)
		}
	}
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	taken, err := a.Control.Snapshot(r.Context(), plan.Redaction{Mask: mask, Salt: hex.EncodeToString(salt)})
	if err != nil {
		return err
	}
	raw, err := taken.Encode(nil)
	if err != nil {
		return err
	}
	return a.send(w, r, http.StatusOK, raw)
}

// A SourcePlan is what the daemon would carry out for a source at its next poll.
type SourcePlan struct {
	Source    string           `json:"source"`
	Revision  string           `json:"revision"`
	Author    string           `json:"author,omitempty"`
	Plan      *plan.Plan       `json:"plan"`
	Held      string           `json:"held,omitempty"` // why it would have to be approved
	Suspended *oprc.Suspension `json:"suspended,omitempty"`
	Untracked bool             `json:"untracked,omitempty"` // a new revision is carried out only when somebody asks for it
	Left      []string         `json:"left"`                // what was changed by hand, and is left so
	TakenAt   time.Time        `json:"takenAt"`
}

func (a *api) planSource(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("key")
	complete, err := flag(r.URL.Query(), "complete")
	if err != nil {
		return err
	}
	if _, err := a.Control.Find(r.Context(), oprc.KindSource, name); err != nil {
		return err
	}
	if a.Preview == nil {
		return refuse(http.StatusNotFound, "this server has no sources")
	}
	pre, err := a.Preview(r.Context(), name, r.URL.Query().Get("ref"))
	if err != nil {
		return err
	}
	if err := caller(r).permits(pre.Plan, false); err != nil {
		return err
	}
	pre.Source, pre.TakenAt, pre.Left = name, a.now().UTC(), list(pre.Left)
	if !complete {
		pre.Plan = pre.Plan.Masked(a.Mask)
	}
	if pre.Plan, err = a.within(r, pre.Plan); err != nil {
		return err
	}
	return a.reply(w, r, http.StatusOK, pre)
}
