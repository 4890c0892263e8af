package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// A filter says which objects a listing is about. Empty members pass everything.
type filter struct {
	pkg, class, env, condition string
	label, value               string
	needs                      string // packages, with a comma before and behind each
	since                      time.Time
}

func newFilter(q url.Values) (filter, error) {
	f := filter{pkg: q.Get("package"), class: q.Get("class"), env: q.Get("env"), condition: strings.ToUpper(q.Get("condition"))}
	f.label, f.value, _ = strings.Cut(q.Get("label"), "=")
	if names := q.Get("needs"); names != "" {
		f.needs = "," + names + ","
	}
	if text := q.Get("since"); text != "" {
		var err error
		if f.since, err = time.Parse(time.RFC3339, text); err != nil {
			return f, refuse(http.StatusBadRequest, "since=%s: a time such as 2026-01-02T15:04:05Z is needed", clip(text))
		}
	}
	return f, nil
}

// none reports whether the filter passes everything.
func (f filter) none() bool { return f == filter{} }

// candidates are the keys of a kind that the filter can pass, judged by how they look.
func (f filter) candidates(kind oprc.Kind, keys []string) []string {
	begins := ""
	switch {
	case kind != oprc.KindUnit && kind != oprc.KindClass && kind != oprc.KindFunction:
		return keys
	case kind == oprc.KindUnit && f.class != "":
		begins = f.class + "/"
	case f.pkg != "":
		begins = f.pkg + "."
	}
	out := []string{}
	for _, key := range keys {
		if strings.HasPrefix(key, begins) && (kind != oprc.KindUnit || f.env == "" || strings.HasSuffix(key, "@"+f.env)) {
			out = append(out, key)
		}
	}
	return out
}

func (f filter) passes(o reconcile.Object) bool {
	if f.none() {
		return true
	}
	pkg, envs := placeOf(o)
	seen := traitsOf(o)
	return (f.pkg == "" || f.pkg == pkg) &&
		(f.env == "" || slices.Contains(envs, f.env)) &&
		(f.class == "" || seen.class == f.class) &&
		(f.condition == "" || seen.condition == f.condition) &&
		(f.label == "" || f.labelled(o)) &&
		(f.needs == "" || f.needing(o)) &&
		(f.since.IsZero() || !seen.changed.Before(f.since))
}

func (f filter) labelled(o reconcile.Object) bool {
	env, ok := o.Doc.(*reconcile.EnvironmentView)
	if !ok {
		return false
	}
	value, has := env.Spec.Labels[f.label]
	return has && (f.value == "" || value == f.value)
}

// needing reports whether o is a package that refers to one of those that are looked for.
func (f filter) needing(o reconcile.Object) bool {
	p, ok := o.Doc.(*reconcile.PackageView)
	return ok && slices.ContainsFunc(plan.ReferencesOf(p.Spec).Reads, func(name string) bool {
		return strings.Contains(f.needs, ","+name+",")
	})
}

// traits are what filters look at.
type traits struct {
	class, condition string
	changed          time.Time // zero: not known
}

func traitsOf(o reconcile.Object) traits {
	switch doc := o.Doc.(type) {
	case *reconcile.PackageView:
		return traits{"", string(doc.Condition), doc.AppliedAt}
	case *reconcile.ClassView:
		return traits{o.Key, string(doc.Condition), time.Time{}}
	case *reconcile.FunctionView:
		return traits{"", string(doc.Status.Condition), time.Time{}}
	case *reconcile.DeploymentView:
		return traits{o.Key, string(doc.Condition), time.Time{}}
	case *reconcile.UnitView:
		changed := doc.DispatchedAt
		if doc.Status != nil && doc.Status.Time.After(changed) {
			changed = doc.Status.Time
		}
		return traits{doc.Unit.ClsKey, string(doc.Condition), changed}
	case *oprc.ClassRuntime:
		return traits{doc.ClsKey, string(doc.Status), doc.LastUpdate}
	case *reconcile.EnvironmentView:
		return traits{"", string(doc.Health), doc.AppliedAt}
	case *reconcile.CRMView:
		return traits{"", "", doc.Time}
	case *oprc.SourceStatus:
		return traits{"", "", doc.LastTick}
	}
	return traits{}
}
