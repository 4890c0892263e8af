package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/oaas-platform/oprc/internal/loop"
	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// postPackage plans and applies what the body holds. Of several packages, or none,
// it answers with a page.
func (a *api) postPackage(w http.ResponseWriter, r *http.Request) error {
	req, err := a.packageRequest(w, r)
	if err != nil {
		return err
	}
	docs, _ := a.Load(req.Files, req.Strict, req.Package)
	for _, d := range docs {
		if holdsMask(d.Package, a.Mask) {
			return refuse(http.StatusBadRequest, "package %s holds the mask %s where a secret belongs: write the secret", d.Name(), oprc.Masked)
		}
	}
	names, cond := packageNames(docs), reconcile.Conditions{AnyRemovals: true}
	if len(names) == 1 {
		if cond.If, err = expected(r, "package/"+names[0]); err != nil {
			return err
		}
	}
	res, planned, err := a.carry(w, r, req, cond)
	if err != nil || planned {
		return err
	}
	answers := make([]OPackage, 0, len(names))
	var last *reconcile.PackageView
	for _, name := range names {
		if last, err = a.asApplied(r, name, res.Records[name]); err != nil {
			return err
		}
		out := shownPackage(last)
		out.Status.PlanID, out.Status.Diagnostics = res.PlanID, res.Diagnostics
		answers = append(answers, out)
	}
	status, fresh := http.StatusOK, len(res.New) > 0
	if fresh {
		status = http.StatusCreated
	}
	if len(answers) != 1 {
		return a.reply(w, r, status, paged(window{limit: len(answers)}, answers))
	}
	raw, err := a.encode(r, shown(last)) // as GET answers, whose tag it shall be
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(answers[0].Rev, raw))
	if fresh {
		w.Header().Set("Location", "/packages/"+names[0])
	}
	return a.reply(w, r, status, answers[0])
}

// carry applies a request within the caller's limits. With ?dryRun=true it answers with
// the plan, and changes nothing.
func (a *api) carry(w http.ResponseWriter, r *http.Request, req reconcile.Request, cond reconcile.Conditions) (res *reconcile.Result, planned bool, err error) {
	dry, err := flag(r.URL.Query(), "dryRun")
	if err == nil {
		err = a.reaches(r, req)
	}
	if err != nil {
		return nil, false, err
	}
	if !dry {
		cond.Review = permitting(r, cond.Review)
		res, err = a.Control.Apply(r.Context(), req, cond, actor(r))
		return res, false, err
	}
	p, err := a.Control.Plan(r.Context(), req)
	if err == nil {
		err = caller(r).permits(p, false)
	}
	if err != nil {
		return nil, false, err
	}
	return nil, true, a.replyPlan(w, r, p)
}

// permitting lets only those decisions be carried out that are within the caller's
// limits.
func permitting(r *http.Request, also func(context.Context, *plan.Plan) error) func(context.Context, *plan.Plan) error {
	who := caller(r)
	return func(ctx context.Context, p *plan.Plan) error {
		if err := who.permits(p, true); err != nil || also == nil {
			return err
		}
		return also(ctx, p)
	}
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
	res, planned, err := a.carry(w, r, reconcile.Request{Scope: scope}, cond)
	if err != nil || planned {
		return needed(err)
	}
	return a.reply(w, r, http.StatusAccepted, accepted{res.PlanID, res.Summary})
}

// needed turns the findings that forbid a deletion into a conflict: the request
// is well-formed, but others need what it deletes.
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
	if v.Name == oprc.BuiltinPackage {
		return plan.Scope{Origin: oprc.OriginAPI}, &oprc.ConflictError{Reason: "it is built in", Objects: []string{"package/" + v.Name}}
	}
	if err := ownedElsewhere("package/"+v.Name, v.Origin); err != nil {
		return plan.Scope{Origin: oprc.OriginAPI}, err
	}
	return plan.Scope{Origin: v.Origin}, nil
}

// ownedElsewhere is the conflict about an object that a Git source, or the configuration
// of the daemon, would only write anew.
func ownedElsewhere(object, origin string) error {
	reason := ""
	switch {
	case strings.HasPrefix(origin, "git:"):
		reason = "a Git source owns it: change it there"
	case origin == loop.OriginConfig:
		reason = "the configuration of the daemon owns it: change it there"
	default:
		return nil
	}
	return &oprc.ConflictError{Reason: reason, Objects: []string{object + ": owned by " + origin}}
}
