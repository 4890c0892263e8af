package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// postDeployment adds a deployment to the package of its class.
func (a *api) postDeployment(w http.ResponseWriter, r *http.Request) error {
	body, key, err := deploymentBody(w, r)
	if err != nil {
		return err
	}
	if key == "" {
		return refuse(http.StatusBadRequest, "_key is missing: it names the class to deploy")
	}
	_, err = a.Control.Find(r.Context(), oprc.KindDeployment, key)
	switch {
	case err == nil:
		return &oprc.ConflictError{Reason: "it exists; PUT changes it", Objects: []string{"deployment/" + key}}
	case !errors.Is(err, oprc.ErrNotFound):
		return err
	}
	cls, err := a.findClass(r, key)
	if errors.Is(err, oprc.ErrNotFound) {
		return refuse(http.StatusBadRequest, "_key: there is no class %s", key)
	}
	if err != nil {
		return err
	}
	owner, err := a.findPackage(r, cls.Pkg)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/deployments/"+key)
	return a.deploy(w, r, owner, key, body, http.StatusCreated)
}

// putDeployment replaces a deployment.
func (a *api) putDeployment(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	body, named, err := deploymentBody(w, r)
	if err != nil {
		return err
	}
	if named != "" && named != key {
		return refuse(http.StatusBadRequest, "_key: the body is about %s, not %s", named, key)
	}
	o, err := a.Control.Find(r.Context(), oprc.KindDeployment, key)
	if err != nil {
		return err
	}
	v, ok := o.Doc.(*reconcile.DeploymentView)
	if !ok {
		return fmt.Errorf("deployment %s: the state holds a %T", key, o.Doc)
	}
	if err := match(r, v.Rev); err != nil {
		return err
	}
	owner, err := a.findPackage(r, v.Pkg)
	if err != nil {
		return err
	}
	return a.deploy(w, r, owner, key, body, http.StatusOK)
}

// deploymentBody reads a deployment as it stands, for the validator to judge, and
// the key that it names.
func deploymentBody(w http.ResponseWriter, r *http.Request) (body map[string]any, key string, err error) {
	if err := contentType(r, jsonType); err != nil {
		return nil, "", err
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, oprc.MaxFileSize))
	dec.UseNumber()
	if err := dec.Decode(&body); err != nil {
		return nil, "", badJSON(err)
	}
	if body == nil {
		return nil, "", refuse(http.StatusBadRequest, "the body is not the JSON that is needed: a deployment is an object")
	}
	for _, name := range []string{"_key", "key", "cls"} {
		if key, ok := body[name].(string); ok {
			return body, key, nil
		}
	}
	return body, "", nil
}

// deploy plans and applies the owner's package with the deployment in it.
func (a *api) deploy(w http.ResponseWriter, r *http.Request, owner *reconcile.PackageView, key string, body map[string]any, status int) error {
	scope, err := scopeOf(owner)
	if err != nil {
		return err
	}
	if holdsMask(body, a.Mask) {
		return refuse(http.StatusBadRequest, "the deployment holds the mask %s where a secret belongs", masked)
	}
	for _, name := range []string{"key", "cls"} {
		delete(body, name)
	}
	body["_key"] = key
	spec, err := without(owner, key)
	if err != nil {
		return err
	}
	list, _ := spec["deployments"].([]any)
	spec["deployments"] = append(list, body)
	p, err := a.planSpec(r, owner, spec, scope)
	if err != nil {
		return err
	}
	if _, err := a.Control.Apply(r.Context(), p, actor(r)); err != nil {
		return err
	}
	o, err := a.Control.Find(r.Context(), oprc.KindDeployment, key)
	if err != nil {
		return err
	}
	if rev, ok := revision(o); ok {
		w.Header().Set("ETag", etag(rev))
	}
	return a.reply(w, status, o.Doc)
}

// without returns the package's spec as JSON, without the deployment of a class.
func without(owner *reconcile.PackageView, key string) (map[string]any, error) {
	bare := owner.Spec
	bare.Deployments = slices.DeleteFunc(slices.Clone(bare.Deployments), func(d oprc.Deployment) bool {
		return oprc.Abs(owner.Name, d.Key) == key
	})
	raw, err := json.Marshal(bare)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", owner.Name, err)
	}
	var spec map[string]any
	if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, fmt.Errorf("package %s: %w", owner.Name, err)
	}
	return spec, nil
}

// planSpec plans a changed spec of a package. Had the package moved since it was
// read, the change would undo what someone else did.
func (a *api) planSpec(r *http.Request, owner *reconcile.PackageView, spec any, scope plan.Scope) (*plan.Plan, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", owner.Name, err)
	}
	p, err := a.Control.Plan(r.Context(), reconcile.Request{
		Files: []oprc.File{{Path: "package " + owner.Name, Data: raw}}, Scope: scope,
	})
	if err != nil {
		return nil, err
	}
	if rev, ok := p.Base.Packages[owner.Name]; ok && rev != owner.Rev {
		return nil, &oprc.ConflictError{
			Reason:  "someone else changed the package meanwhile",
			Objects: []string{fmt.Sprintf("package/%s: revision %d, now %d", owner.Name, owner.Rev, rev)},
		}
	}
	return p, nil
}

func (a *api) findClass(r *http.Request, key string) (*reconcile.ClassView, error) {
	o, err := a.Control.Find(r.Context(), oprc.KindClass, key)
	if err != nil {
		return nil, err
	}
	v, ok := o.Doc.(*reconcile.ClassView)
	if !ok {
		return nil, fmt.Errorf("class %s: the state holds a %T", key, o.Doc)
	}
	return v, nil
}

// deleteClass undeploys a class: it takes the class's deployment out of its
// package, and marks the class for removal.
func (a *api) deleteClass(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	cls, err := a.findClass(r, key)
	if err != nil {
		return err
	}
	if err := match(r, cls.Rev); err != nil {
		return err
	}
	if err := a.childless(r, key); err != nil {
		return err
	}
	owner, err := a.findPackage(r, cls.Pkg)
	if errors.Is(err, oprc.ErrNotFound) {
		return &oprc.ConflictError{Reason: "it is built in", Objects: []string{"class/" + key}}
	}
	if err != nil {
		return err
	}
	scope, err := scopeOf(owner)
	if err != nil {
		return err
	}
	marked := *owner
	marked.Spec.Classes = slices.Clone(owner.Spec.Classes)
	for i, c := range marked.Spec.Classes {
		if oprc.Key(owner.Name, c.Name) == key {
			marked.Spec.Classes[i].MarkForRemoval = true
		}
	}
	spec, err := without(&marked, key)
	if err != nil {
		return err
	}
	p, err := a.planSpec(r, owner, spec, scope)
	if err != nil {
		return needed(err)
	}
	return a.accept(w, r, p)
}

// childless refuses while other classes inherit from the class.
func (a *api) childless(r *http.Request, key string) error {
	all, err := a.Control.List(r.Context(), oprc.KindClass)
	if err != nil {
		return err
	}
	var children []string
	for _, o := range all {
		c, ok := o.Doc.(*reconcile.ClassView)
		if ok && c.Resolved != nil && slices.Contains(c.Resolved.Ancestors, key) {
			children = append(children, "class/"+o.Key)
		}
	}
	if len(children) > 0 {
		return &oprc.ConflictError{Reason: "other classes inherit from it", Objects: children}
	}
	return nil
}
