package rest

import (
	"errors"
	"net/http"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// applied is the answer to a submitted package.
type applied struct {
	shownPackage
	PlanID      string           `json:"planId"`
	Diagnostics oprc.Diagnostics `json:"diagnostics"`
}

// postPackage plans and applies what the body holds. Of several packages, or none,
// it answers with a page.
func (a *api) postPackage(w http.ResponseWriter, r *http.Request) error {
	req, err := packageRequest(w, r)
	if err != nil {
		return err
	}
	docs, _ := a.Load(req.Files, req.Strict, req.Package)
	for _, d := range docs {
		if holdsMask(d.Package, a.Mask) {
			return refuse(http.StatusBadRequest, "package %s holds the mask %s where a secret belongs: an answer of this API is no package file", d.Name(), masked)
		}
	}
	names, cond := packageNames(docs), reconcile.Conditions{AnyRemovals: true}
	if len(names) == 1 {
		if cond.If, err = expected(r, "package/"+names[0]); err != nil {
			return err
		}
	}
	res, err := a.Control.Apply(r.Context(), req, cond, actor(r))
	if err != nil {
		return err
	}
	answers := make([]applied, 0, len(names))
	for _, name := range names {
		v, err := a.asApplied(r, name, res.Records[name])
		if err != nil {
			return err
		}
		answers = append(answers, applied{shownPackage{v.Rev, v}, res.PlanID, res.Diagnostics})
	}
	status, fresh := http.StatusOK, len(res.New) > 0
	if fresh {
		status = http.StatusCreated
	}
	if len(answers) != 1 {
		return a.reply(w, status, cut(window{limit: len(answers)}, answers))
	}
	w.Header().Set("ETag", etag(answers[0].Rev))
	if fresh {
		w.Header().Set("Location", "/packages/"+names[0])
	}
	return a.reply(w, status, answers[0])
}

func packageNames(docs []oprc.Document) []string {
	var names []string
	for _, d := range docs {
		if d.Package != nil && d.Package.Name != "" {
			names = append(names, d.Package.Name)
		}
	}
	return names
}

// asApplied is the record that an apply wrote or found, with how its deployments are doing
// now.
func (a *api) asApplied(r *http.Request, name string, rec oprc.PackageRecord) (*reconcile.PackageView, error) {
	v := &reconcile.PackageView{Name: name, PackageRecord: rec, Deployments: []reconcile.DeploymentBrief{}}
	now, err := a.findPackage(r, name)
	if errors.Is(err, oprc.ErrNotFound) { // deleted since
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	v.Condition, v.Deployments = now.Condition, now.Deployments
	return v, nil
}

// accepted is the answer to what takes a while.
type accepted struct {
	PlanID  string       `json:"planId"`
	Summary plan.Summary `json:"summary"`
}

func (a *api) deletePackage(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("key")
	take, err := flag(r.URL.Query(), "takeOwnership")
	if err != nil {
		return err
	}
	v, err := a.findPackage(r, name)
	if err != nil {
		return err
	}
	scope, err := scopeOf(v)
	if err != nil && !take {
		return err
	}
	scope.Delete, scope.TakeOwnership = []string{name}, take
	cond := reconcile.Conditions{AnyRemovals: true}
	if cond.If, err = expected(r, "package/"+name); err != nil {
		return err
	}
	res, err := a.Control.Apply(r.Context(), reconcile.Request{Scope: scope}, cond, actor(r))
	if err != nil {
		return needed(err)
	}
	return a.reply(w, http.StatusAccepted, accepted{res.PlanID, res.Summary})
}

// needed turns the findings that forbid a deletion into a conflict: the request
// is well-formed, but others stand on what it deletes.
func needed(err error) error {
	var invalid *oprc.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	var objects []string
	for _, d := range invalid.Diagnostics.Errors() {
		objects = append(objects, d.String())
	}
	return &oprc.ConflictError{Reason: "others need it", Objects: objects}
}

// scopeOf speaks for a package that is not a Git source's, without changing its
// owner.
func scopeOf(v *reconcile.PackageView) (plan.Scope, error) {
	if strings.HasPrefix(v.Origin, "git:") {
		return plan.Scope{Origin: oprc.OriginAPI}, &oprc.ConflictError{
			Reason: "a Git source owns it: change it there", Objects: []string{"package/" + v.Name + ": owned by " + v.Origin},
		}
	}
	return plan.Scope{Origin: v.Origin}, nil
}
