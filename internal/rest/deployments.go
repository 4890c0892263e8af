package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
	"github.com/oaas-platform/oprc/internal/resolve"
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
	return a.deploy(w, r, owner.Name, key, body, http.StatusCreated, map[string][]int64{"deployment/" + key: {reconcile.Absent}})
}

// putDeployment replaces a deployment.
func (a *api) putDeployment(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	body, named, err := deploymentBody(w, r)
	if err != nil {
		return err
	}
	if named != "" && !names(named, key) {
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
	cond, err := expected(r, "deployment/"+key)
	if err != nil {
		return err
	}
	return a.deploy(w, r, v.Pkg, key, body, http.StatusOK, cond)
}

// names reports whether what a body calls its class is the key: whole, relative to its
// package, or by the bare name.
func names(said, key string) bool {
	return said == key || strings.HasSuffix(key, "."+strings.TrimPrefix(said, "."))
}

// deploymentBody reads a deployment as it stands, for the validator to judge, and
// the key that it names.
func deploymentBody(w http.ResponseWriter, r *http.Request) (body map[string]any, key string, err error) {
	if err := contentType(r, jsonType); err != nil {
		return nil, "", err
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.UseNumber()
	if err := dec.Decode(&body); err != nil {
		return nil, "", badJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, "", refuse(http.StatusBadRequest, "the body is not the JSON that is needed: more follows after it")
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

// deploy applies the owner's package with the deployment in it.
func (a *api) deploy(w http.ResponseWriter, r *http.Request, owner, key string, body map[string]any, status int, cond map[string][]int64) error {
	if holdsMask(body, a.Mask) {
		return refuse(http.StatusBadRequest, "the deployment holds the mask %s where a secret belongs", oprc.Masked)
	}
	for _, name := range []string{"key", "cls", "metadata", "status", "_rev"} { // what the API adds is nothing to write
		delete(body, name)
	}
	change := func(owner *reconcile.PackageView) (map[string]any, error) {
		spec, err := generic(owner.Spec)
		if err != nil {
			return nil, err
		}
		list, _ := spec["deployments"].([]any)
		if i := deploymentOf(owner, key); i < 0 {
			body["_key"] = key
			list = append(list, body)
		} else {
			body["_key"] = owner.Spec.Deployments[i].Key // as the package writes it
			list[i] = body
		}
		spec["deployments"] = list
		return spec, nil
	}
	if dry, err := flag(r.URL.Query(), "dryRun"); err != nil || dry {
		w.Header().Del("Location")
		return errors.Join(err, a.rewritten(w, r, owner, change))
	}
	res, err := a.rewrite(r, owner, cond, change)
	if err != nil {
		return err
	}
	o, err := a.Control.Find(r.Context(), oprc.KindDeployment, key)
	if err != nil {
		return err
	}
	if v, is := o.Doc.(*reconcile.DeploymentView); is {
		if placed, written := res.Deployments[key]; written {
			v.Deployment, v.Rev = placed, res.Revisions["deployment/"+key]
		}
	}
	return a.replyObject(w, r, status, o)
}

// deploymentOf is the place of the deployment of a class in its package; -1: it has none.
func deploymentOf(owner *reconcile.PackageView, key string) int {
	return slices.IndexFunc(owner.Spec.Deployments, func(d oprc.Deployment) bool {
		return resolve.DeploymentKey(owner.Spec, d.Key) == key
	})
}

// rewrite applies a package with a change of its spec as it is recorded. Where somebody
// else writes the package meanwhile, the change is made again on what they wrote.
func (a *api) rewrite(r *http.Request, name string, cond map[string][]int64, change func(*reconcile.PackageView) (map[string]any, error)) (*reconcile.Result, error) {
	for {
		owner, err := a.findPackage(r, name)
		if err != nil {
			return nil, err
		}
		scope, err := scopeOf(owner)
		if err != nil {
			return nil, err
		}
		spec, err := change(owner)
		if err != nil {
			return nil, err
		}
		raw, err := json.Marshal(spec)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", name, err)
		}
		object, all := "package/"+name, reconcile.Conditions{AnyRemovals: true, If: map[string][]int64{}}
		maps.Copy(all.If, cond)
		all.If[object] = []int64{owner.Rev}
		all.Review = permitting(r, nil)
		res, err := a.Control.Apply(r.Context(), reconcile.Request{
			Files: []oprc.File{{Path: "package " + name, Data: raw}}, Scope: scope,
		}, all, actor(r))
		var unmet *reconcile.PreconditionError
		if errors.As(err, &unmet) && unmet.Object == object && r.Context().Err() == nil {
			continue
		}
		return res, err
	}
}

// rewritten answers with the plan of what rewrite would do.
func (a *api) rewritten(w http.ResponseWriter, r *http.Request, name string, change func(*reconcile.PackageView) (map[string]any, error)) error {
	owner, err := a.findPackage(r, name)
	if err != nil {
		return err
	}
	scope, err := scopeOf(owner)
	if err != nil {
		return err
	}
	spec, err := change(owner)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("package %s: %w", name, err)
	}
	_, _, err = a.carry(w, r, reconcile.Request{Files: []oprc.File{{Path: "package " + name, Data: raw}}, Scope: scope}, reconcile.Conditions{})
	return err
}

// without returns the package's spec as JSON, without the deployment of a class.
func without(owner *reconcile.PackageView, key string) (map[string]any, error) {
	bare := owner.Spec
	if i := deploymentOf(owner, key); i >= 0 {
		bare.Deployments = slices.Delete(slices.Clone(bare.Deployments), i, i+1)
	}
	return generic(bare)
}

// generic returns a package as JSON.
func generic(p oprc.Package) (map[string]any, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	var spec map[string]any
	if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	return spec, nil
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
	cond, err := expected(r, "class/"+key)
	if err != nil {
		return err
	}
	if cls.Pkg == oprc.BuiltinPackage {
		return &oprc.ConflictError{Reason: "it is built in", Objects: []string{"class/" + key}}
	}
	if err := a.childless(r, key); err != nil {
		return err
	}
	mark := func(owner *reconcile.PackageView) (map[string]any, error) {
		marked := *owner
		marked.Spec.Classes = slices.Clone(owner.Spec.Classes)
		for i, c := range marked.Spec.Classes {
			if oprc.Key(owner.Name, c.Name) == key {
				marked.Spec.Classes[i].MarkForRemoval = true
			}
		}
		return without(&marked, key)
	}
	if dry, err := flag(r.URL.Query(), "dryRun"); err != nil || dry {
		return errors.Join(err, needed(a.rewritten(w, r, cls.Pkg, mark)))
	}
	res, err := a.rewrite(r, cls.Pkg, cond, mark)
	if err != nil {
		return needed(err)
	}
	return a.reply(w, r, http.StatusAccepted, accepted{res.PlanID, res.Summary})
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
