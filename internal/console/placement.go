package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/oaas-platform/oprc/internal/oprc"
	"github.com/oaas-platform/oprc/internal/plan"
	"github.com/oaas-platform/oprc/internal/reconcile"
)

// kin is near with the packages that a package's classes and functions come from.
type kin struct {
	*near
	packages []reconcile.Object
}

// List implements reconcile.Lister.
func (k kin) List(ctx context.Context, kind oprc.Kind) ([]reconcile.Object, error) {
	if kind == oprc.KindPackage {
		return k.packages, nil
	}
	return k.near.List(ctx, kind)
}

const kinAtMost = 50 // packages that one depends on

// kin reads a package, and what it refers to.
func (v *visit) kin(pkg string) (kin, error) {
	k := kin{near: v.near(pkg, "")}
	seen, next := map[string]bool{pkg: true}, []string{pkg}
	for len(next) > 0 && len(k.packages) < kinAtMost {
		name := next[0]
		next = next[1:]
		p, err := find[reconcile.PackageView](v, "packages", name)
		if absent(err) {
			continue
		}
		if err != nil {
			return k, err
		}
		k.packages = append(k.packages, reconcile.Object{Kind: oprc.KindPackage, Key: name, Doc: &p})
		for _, other := range mentioned(p.Spec) {
			if !seen[other] {
				seen[other] = true
				next = append(next, other)
			}
		}
	}
	return k, nil
}

// dependants reads the packages that need one, and those that need these in turn. The
// number is of others that were found; what needs them is not looked for.
func (v *visit) dependants(pkg string) (out []reconcile.Object, more int, err error) {
	seen, next := map[string]bool{pkg: true}, []string{pkg}
	for len(next) > 0 && more == 0 {
		found, err := objects[reconcile.PackageView](v, "packages", url.Values{
			"needs": {strings.Join(next, ",")}, "limit": {strconv.Itoa(kinAtMost)},
		})
		if err != nil {
			return nil, 0, err
		}
		next = nil
		for _, o := range found.Items {
			switch {
			case seen[o.Key]:
				continue
			case len(out) == kinAtMost:
				more++
			default:
				out = append(out, reconcile.Object{Kind: oprc.KindPackage, Key: o.Key, Doc: &o.Doc})
				next = append(next, o.Key)
			}
			seen[o.Key] = true
		}
		more += found.Total - len(found.Items)
	}
	return out, more, nil
}

// mentioned names the packages that a package refers to.
func mentioned(p oprc.Package) []string {
	out := slices.Clone(p.Required)
	refer := func(key string) {
		if i := strings.LastIndexByte(key, '.'); i > 0 {
			out = append(out, key[:i])
		}
	}
	for _, c := range p.Classes {
		for _, parent := range c.Parents {
			refer(parent)
		}
		for _, b := range c.Functions {
			refer(b.Function)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A placementPage is the arithmetic of where a class runs.
type placementPage struct {
	plan.Placing
	Environments []string
}

func (s *server) placement(v *visit) error {
	class := v.r.PathValue("key")
	d, err := find[reconcile.DeploymentView](v, "deployments", class)
	if err != nil {
		return err
	}
	k, err := v.kin(d.Pkg)
	if err != nil {
		return err
	}
	without := slices.DeleteFunc(v.r.URL.Query()["without"], func(env string) bool { return env == "" })
	placing, err := reconcile.ExplainListed(v.r.Context(), k, class, without)
	if errors.Is(err, oprc.ErrNotFound) || errors.Is(err, oprc.ErrInvalid) {
		return &problem{Status: http.StatusConflict, Detail: err.Error()}
	}
	if err != nil {
		return err
	}
	p := placementPage{Placing: placing}
	envs, err := k.List(v.r.Context(), oprc.KindEnv)
	if err != nil {
		return err
	}
	for _, e := range envs {
		p.Environments = append(p.Environments, e.Key)
	}
	return v.render(http.StatusOK, "placement", "deployments", "Placement of "+class, p)
}
