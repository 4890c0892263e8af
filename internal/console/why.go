package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// near lists what the state of one object can depend on: the objects of its package, and
// all sources and environments.
type near struct {
	v          *visit
	pkg, class string
	everywhere map[oprc.Kind][]reconcile.Object // of sources and environments, once read
}

func (v *visit) near(pkg, class string) *near {
	return &near{v: v, pkg: pkg, class: class, everywhere: map[oprc.Kind][]reconcile.Object{}}
}

// of is near for another object, with what was read already.
func (n *near) of(pkg, class string) *near {
	return &near{v: n.v, pkg: pkg, class: class, everywhere: n.everywhere}
}

const most = "1000" // objects of one request

// List implements reconcile.Lister.
func (n *near) List(_ context.Context, kind oprc.Kind) ([]reconcile.Object, error) {
	q := url.Values{"limit": {most}}
	switch kind {
	case oprc.KindSource:
		return n.all(kind, n.sources)
	case oprc.KindEnv:
		return n.all(kind, n.environments)
	}
	if n.pkg == "" {
		return nil, nil
	}
	switch kind {
	case oprc.KindPackage:
		p, err := find[reconcile.PackageView](n.v, "packages", n.pkg)
		if absent(err) {
			return nil, nil
		}
		return []reconcile.Object{{Kind: kind, Key: n.pkg, Doc: &p}}, err
	case oprc.KindDeployment:
		if n.class != "" {
			d, err := find[reconcile.DeploymentView](n.v, "deployments", n.class)
			if absent(err) {
				return nil, nil
			}
			return []reconcile.Object{{Kind: kind, Key: n.class, Doc: &d}}, err
		}
		q.Set("package", n.pkg)
		return typed[reconcile.DeploymentView](n.v, kind, "deployments", q)
	case oprc.KindUnit:
		q.Set("package", n.pkg)
		if n.class != "" {
			q.Del("package")
			q.Set("class", n.class)
		}
		return typed[reconcile.UnitView](n.v, kind, "units", q)
	}
	return nil, nil
}

func (n *near) sources() ([]reconcile.Object, error) {
	return typed[oprc.SourceStatus](n.v, oprc.KindSource, "sources", url.Values{"limit": {most}})
}

func (n *near) environments() ([]reconcile.Object, error) {
	return typed[reconcile.EnvironmentView](n.v, oprc.KindEnv, "environments", url.Values{"limit": {most}})
}

func (n *near) all(kind oprc.Kind, read func() ([]reconcile.Object, error)) ([]reconcile.Object, error) {
	if known, ok := n.everywhere[kind]; ok {
		return known, nil
	}
	found, err := read()
	if err == nil {
		n.everywhere[kind] = found
	}
	return found, err
}

// why explains an object's state; nil if there is nothing to explain.
func (n *near) why(kind oprc.Kind, key string) (*reconcile.Explanation, error) {
	e, err := reconcile.Why(n.v.r.Context(), n, kind, key, n.v.now)
	if errors.Is(err, oprc.ErrNotFound) {
		return nil, nil
	}
	return &e, err
}

// typed reads objects as the views that the rest of the program reads.
func typed[T any](v *visit, kind oprc.Kind, path string, q url.Values) ([]reconcile.Object, error) {
	l, err := objects[T](v, path, q)
	if err != nil {
		return nil, err
	}
	out := make([]reconcile.Object, len(l.Items))
	for i := range l.Items {
		out[i] = reconcile.Object{Kind: kind, Key: l.Items[i].Key, Doc: &l.Items[i].Doc}
	}
	return out, nil
}

func absent(err error) bool {
	var p *problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}
